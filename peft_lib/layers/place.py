"""One adapted place: its open link's factors, its closed links, and how links are closed, merged and restored."""

from collections.abc import Sequence

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from peft_lib.layers.draws import Draws
from peft_lib.layers.links import Link, effective_weight
from peft_lib.layers.targets import Target, TargetError, rows_of, weight_matrix
from peft_lib.methods.method import Columns, LowRank, Method


class Place(nn.Module):
    """State of a method at one target: factors A (r, d_in) or columns (r,), and B or P (d_out, r), all factors fp32.

    `A`, `B` and `P` are parameters if they train, buffers if not. With P (PaCA), B = P - base_columns / s, so that every
    execution computes with B. The frozen weight W (the target's rows of the module's weight) holds W0 plus all closed
    links; the inplace execution adds the open link too (`write_back`).
    """

    A: Tensor | None
    B: Tensor
    P: Tensor
    columns: Tensor | None
    base_columns: Tensor | None

    def __init__(
        self, module: nn.Module, target: Target, method: Method, options: BaseModel, rank: int, scale: float, seed: int,
        execution: str,
    ) -> None:  # fmt: skip
        super().__init__()
        self.target, self.method, self.options = target, method, options
        self.rank, self.scale, self.seed, self.execution = rank, scale, seed, execution
        self.start, self.stop = rows_of(target, module)
        self.matrix_of = [module]  # in a list: the module must not become a child of this one
        self.d_out, self.d_in = self.weight.shape
        if rank > min(self.d_out, self.d_in):
            raise TargetError(f"{target.key}: rank {rank} is larger than the layer ({self.d_out} x {self.d_in})")
        self.closed: list[Link] = []
        self.original: Tensor | None = None
        self.written = -1
        for name in ("A", "columns", "base_columns"):
            self.register_buffer(name, None, persistent=False)
        self.open_link(0)

    @property
    def weight(self) -> Tensor:
        """W, a (d_out, d_in) view into the module's weight."""
        return weight_matrix(self.matrix_of[0]).detach()[self.start : self.stop]

    @property
    def index(self) -> int:
        """Index of the open link."""
        return len(self.closed)

    def b(self) -> Tensor:
        """B (d_out, r) of the open link, differentiable in the factor that trains."""
        if "P" not in self.method.trains:
            return self.B
        assert self.base_columns is not None
        return self.P - self.base_columns / self.scale

    def open_link(self, index: int) -> None:
        """Starts link `index`: A drawn or chosen by the method, B = 0 (P = W[:, columns] / s)."""
        draws = Draws(self.seed, self.target.key, self.d_in, self.d_out, self.rank, index)
        assert self.method.start is not None
        factor = self.method.start(draws, self.options)
        if isinstance(factor, Columns):
            self._check(factor)
            self._select(torch.tensor(factor.indices, dtype=torch.int64))
        else:
            self._set("A", self._checked(factor), trains="A" in self.method.trains)
        self._set("B", torch.zeros(self.d_out, self.rank), trains="B" in self.method.trains)
        if "P" in self.method.trains:
            assert self.base_columns is not None
            self._set("P", self.base_columns / self.scale, trains=True)
        self.written = -1

    def _select(self, columns: Tensor) -> None:
        self._set("columns", columns, trains=False)
        if self.execution == "inplace" or "P" in self.method.trains:
            base = self._current().index_select(1, columns.to(self.weight.device))
            self._set("base_columns", base, trains=False)
        if self.execution == "dense":
            one_hot = torch.zeros(self.rank, self.d_in).scatter_(1, columns.view(-1, 1), 1.0)
            self._set("A", one_hot, trains=False)

    def _set(self, name: str, value: Tensor, *, trains: bool) -> None:
        """Writes into the existing tensor if there is one: the optimiser holds it, and so may DDP."""
        old = getattr(self, name, None)
        if old is not None:
            with torch.no_grad():
                old.copy_(value)
        elif trains:
            self._buffers.pop(name, None)
            self.register_parameter(name, nn.Parameter(value.to(self.weight.device)))
        else:
            self.register_buffer(name, value.to(self.weight.device), persistent=False)

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
        """The open link as it stands, copied to the CPU in fp32."""
        copies = {
            name: tensor.detach().to("cpu", copy=True)
            for name in ("columns", "P")
            if (tensor := getattr(self, name, None)) is not None
        }
        if self.columns is None:
            assert self.A is not None
            copies["A"] = self.A.detach().to("cpu", copy=True)
        return Link(self.index, self.b().detach().to("cpu", copy=True), self.scale, **copies)

    @torch.no_grad()
    def next_link(self) -> None:
        """Chain reset: W += s B A in fp32, the link is closed, the next one starts with B = 0."""
        link = self.link()
        self.merge_open()
        self.closed.append(Link(link.index, link.B, link.scale, link.A, link.columns))
        self.open_link(self.index)

    @torch.no_grad()
    def merge_open(self) -> None:
        """W := effective weight with the open link added."""
        link = self.link()
        self._keep_original()
        if self.weight.dtype == torch.float32:
            if self.execution == "inplace":
                self._fold(self.columns, self.base_columns)  # W without the open link again
            link.add_to(self.weight)
        else:
            assert self.original is not None
            self.weight.copy_(effective_weight(self.original, [*self.closed, link]))

    @torch.no_grad()
    def write_back(self) -> None:
        """inplace: W[:, columns] = base_columns + s B, unless W already holds it.

        Changes are noticed by the factor's version counter: optimisers, `copy_` and every in-place operation raise it,
        assignments through `.data` do not (do not use them).
        """
        factor = self.P if "P" in self.method.trains else self.B
        if factor._version == self.written:
            return
        self._keep_original()
        assert self.base_columns is not None
        self._fold(self.columns, self.base_columns + self.scale * self.b())
        self.written = factor._version

    def _fold(self, columns: Tensor | None, values: Tensor | None) -> None:
        assert columns is not None and values is not None
        self.weight.index_copy_(1, columns, values.to(self.weight.dtype))

    def _current(self) -> Tensor:
        """fp32 effective weight of the closed links."""
        if self.weight.dtype == torch.float32:
            return self.weight
        return effective_weight(
            self.weight if self.original is None else self.original.to(self.weight.device), self.closed
        )

    def _keep_original(self) -> None:
        if self.original is None:
            self.original = self.weight.to("cpu", copy=True)

    @torch.no_grad()
    def reset_weight(self) -> None:
        """W := W0, bit for bit."""
        if self.original is not None:
            self.weight.copy_(self.original)

    @torch.no_grad()
    def restore(self, closed: Sequence[Link], link: Link) -> None:
        """Puts the place into a recorded state: W0, closed links added in order, the open link's factors."""
        self.reset_weight()
        self.closed = list(closed)
        if closed:
            self._keep_original()
            assert self.original is not None
            self.weight.copy_(effective_weight(self.original, closed))
        if link.columns is not None:
            self._select(link.columns)
        else:
            assert link.A is not None
            self._set("A", link.A, trains=False)
        if link.P is not None:
            self._set("P", link.P, trains=True)
        else:
            self._set("B", link.B, trains=False)
        self.written = -1
