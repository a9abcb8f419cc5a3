"""A place whose links are W + s B A: A a matrix, or a choice of columns (`LowRank`, `Columns`)."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peft_lib.layers.links import AnyLink, Link
from peft_lib.layers.place import Place
from peft_lib.layers.targets import TargetError
from peft_lib.methods.method import Columns, LowRank, Tensors


class FactorPlace(Place):
    """Factors A (r, d_in) or columns (r,), and B or P (d_out, r), all factors fp32.

    `A`, `B` and `P` are parameters if they train, buffers if not. With P (PaCA), B = P - base_columns / s, so that every
    execution computes with B. The inplace execution keeps W[:, columns] = base_columns + s B (`write_back`).
    """

    A: Tensor | None
    B: Tensor
    P: Tensor
    columns: Tensor | None
    base_columns: Tensor | None

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.written: tuple[Tensor, int] | None = None
        """The factor that W holds in place, and its version when it was written."""
        for name in ("A", "columns", "base_columns"):
            self.register_buffer(name, None, persistent=False)
        self.open_link(0)

    def factors(self) -> dict[str, nn.Parameter]:
        return dict(self.named_parameters())

    def frozen(self) -> Iterator[Tensor]:
        yield from (b for b in (self.A, self.columns, self.base_columns) if b is not None and not b.requires_grad)

    def b(self) -> Tensor:
        """B (d_out, r) of the open link, differentiable in the factor that trains."""
        if "P" not in self.method.trains:
            return self.B
        assert self.base_columns is not None
        return self.P - self.base_columns / self.scale

    def open_link(self, index: int) -> None:
        """A drawn or chosen by the method, B = 0 (P = W[:, columns] / s)."""
        match self._start(index):
            case Columns() as factor:
                self._check(factor)
                self._select(torch.tensor(factor.indices, dtype=torch.int64))
            case LowRank() as factor:
                self.hold("A", self._checked(factor), trains="A" in self.method.trains)
            case Tensors():
                raise TargetError(
                    f"{self.target.key}: method {self.method.id} starts with Tensors, so its description needs `weight`"
                )
        self.hold("B", torch.zeros(self.d_out, self.rank), trains="B" in self.method.trains)
        if "P" in self.method.trains:
            assert self.base_columns is not None
            self.hold("P", self.base_columns / self.scale, trains=True)
        self.written = None

    def _select(self, columns: Tensor) -> None:
        self.hold("columns", columns, trains=False)
        if self.execution == "inplace":
            self.keep_original()  # now: a state dict that is loaded before the first forward pass brings a folded W
        if self.execution == "inplace" or "P" in self.method.trains:
            base = self.closed_weight().index_select(1, columns.to(self.weight.device))
            self.hold("base_columns", base, trains=False)
        if self.execution == "dense":
            one_hot = torch.zeros(self.rank, self.d_in).scatter_(1, columns.view(-1, 1), 1.0)
            self.hold("A", one_hot, trains=False)

    def _check(self, factor: Columns) -> None:
        chosen = factor.indices
        if len(set(chosen)) != self.rank or len(chosen) != self.rank or not all(0 <= c < self.d_in for c in chosen):
            raise TargetError(
                f"{self.target.key}: method {self.method.id} chose columns {chosen}; "
                f"a selector is {self.rank} distinct columns in 0..{self.d_in - 1}"
            )

    def _checked(self, factor: LowRank) -> Tensor:
        if tuple(factor.A.shape) != (self.rank, self.d_in):
            shape = tuple(factor.A.shape)
            raise TargetError(
                f"{self.target.key}: method {self.method.id} made A of shape {shape}, not {(self.rank, self.d_in)}"
            )
        return factor.A

    def link(self) -> Link:
        copies = {
            name: tensor.detach().to("cpu", copy=True)
            for name in ("columns", "P")
            if (tensor := getattr(self, name, None)) is not None
        }
        if self.columns is None:
            assert self.A is not None
            copies["A"] = self.A.detach().to("cpu", copy=True)
        return Link(self.index, self.b().detach().to("cpu", copy=True), self.scale, **copies)

    def closing(self, link: AnyLink) -> AnyLink:
        """Without P, which only an open link needs."""
        assert isinstance(link, Link)
        return Link(link.index, link.B, link.scale, link.A, link.columns)

    def misfit(self, link: AnyLink, is_open: bool) -> str | None:
        kind = "lowrank" if self.columns is None else "columns"
        if not isinstance(link, Link) or link.kind != kind:
            return f"the delta's kind is {link.kind}, the adapter's {kind}. Use the same options"
        shapes = {"B": (self.d_out, self.rank), "A": (self.rank, self.d_in), "columns": (self.rank,)}
        shapes["P"] = shapes["B"]
        for name, tensor in link.stored().items():
            if tuple(tensor.shape) != shapes[name] or link.scale != self.scale:
                return (
                    f"the delta has {name} {tuple(tensor.shape)} and scale {link.scale}, the adapter {shapes[name]} and "
                    f"{self.scale}. Use the same rank and alpha"
                )
        if is_open and ("P" in self.method.trains) != (link.P is not None):
            return "the delta and the adapter differ in whether P trains. Use the method that wrote it"
        columns = link.columns
        if columns is not None and not 0 <= int(columns.min()) <= int(columns.max()) < self.d_in:
            return f"the delta's columns reach {int(columns.max())}, the layer has {self.d_in}. Use the same model"
        return None

    def take(self, link: AnyLink) -> None:
        assert isinstance(link, Link)
        if link.columns is not None:
            self._select(link.columns)
        else:
            assert link.A is not None
            self.hold("A", link.A, trains=False)
        if link.P is not None:
            self.hold("P", link.P, trains=True)
        else:
            self.hold("B", link.B, trains=False)
        self.written = None

    def side(self, x: Tensor) -> Tensor:
        """s B A x: under gather the selector's product is a choice of r inputs."""
        b = self.b().to(x.dtype)
        if self.execution == "gather":
            assert self.columns is not None
            return self.scale * F.linear(x.index_select(-1, self.columns), b)
        assert self.A is not None
        return self.scale * F.linear(F.linear(x, self.A.to(x.dtype)), b)

    @torch.no_grad()
    def without_open_link(self) -> None:
        if self.execution == "inplace":
            self._fold(self.base_columns)

    @torch.no_grad()
    def write_back(self) -> None:
        """inplace: W[:, columns] = base_columns + s B, before every forward pass.

        Whether B has changed cannot be known: fused optimisers, `.data`, `vector_to_parameters` and compiled graphs write
        into it without raising its version. The version only says whether W's own has to rise: if B is known to have
        changed, autograd must refuse a backward pass through the W of before; if not, most likely the same numbers are
        written again (a module used twice, a checkpointed one), and a pending backward pass must stay valid.
        """
        if self.execution != "inplace":
            return
        factor = self.P if "P" in self.method.trains else self.B
        assert self.base_columns is not None
        values = self.base_columns + self.scale * self.b()
        if self.written is not None and self.written[0] is factor and self.written[1] == factor._version:
            # _unsafe_: PyTorch's own name, for those who know that no saved tensor is changed by the writing
            with torch.autograd._unsafe_preserve_version_counter(weight_of(self)):
                self._fold(values)
        else:
            self._fold(values)
        self.written = (factor, factor._version)

    def _fold(self, values: Tensor | None) -> None:
        assert self.columns is not None and values is not None
        self.weight.index_copy_(1, self.columns, values.to(self.weight.dtype))


def weight_of(place: Place) -> Tensor:
    """The module's own weight, which all views of it share their version with."""
    weight = place.matrix_of[0].weight
    assert isinstance(weight, Tensor)
    return weight
