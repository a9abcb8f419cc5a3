"""Links: what a run learnt, kept as factors or tensors in fp32, and the one definition of the effective weight.

W_k = (((W0 + s_1 B_1 A_1) + s_2 B_2 A_2) + ...), each addition in fp32, in the order of the chain; a link of `Tensors` takes
W_j to weight(W_j, tensors, s). Weights stored in fewer bits are rounded from W_k once, never from a rounded predecessor.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


class DeltaError(ValueError):
    """What was learnt cannot be read or does not fit; the message names the file or place, the rule and the remedy."""


@dataclass(frozen=True)
class Link:
    """One link at one place: s B A with A (r, d_in), or s B on the input columns `columns` (r,), int64; B (d_out, r)."""

    index: int
    B: Tensor
    scale: float
    A: Tensor | None = None
    columns: Tensor | None = None
    P: Tensor | None = None
    """PaCA's own parameter at an open link (exact resume); B = P - W[:, columns] / s."""

    @property
    def kind(self) -> Literal["columns", "lowrank"]:
        return "columns" if self.columns is not None else "lowrank"

    def stored(self) -> dict[str, Tensor]:
        """What a delta file keeps, by name."""
        parts = {"A": self.A, "columns": self.columns, "B": self.B, "P": self.P}
        return {name: value for name, value in parts.items() if value is not None}

    def apply(self, weight: Tensor) -> Tensor:
        """weight (d_out, d_in), fp32, += s B A, in place; returns it."""
        if self.columns is not None:
            columns = self.columns.to(weight.device)
            update = self.scale * self.B.to(weight.device)
            weight.index_copy_(1, columns, weight.index_select(1, columns) + update)
        else:
            assert self.A is not None
            weight += self.scale * (self.B.to(weight.device) @ self.A.to(weight.device))
        return weight

    def delta(self, d_in: int) -> Tensor:
        """s B A as a dense (d_out, d_in) fp32 matrix, for analyses and tests."""
        return self.apply(torch.zeros(self.B.shape[0], d_in, device=self.B.device))


@dataclass(frozen=True)
class TensorLink:
    """One link of a `Tensors` method: its trained tensors, and what completes them, which no file holds."""

    index: int
    scale: float
    trained: Mapping[str, Tensor]
    frozen: Mapping[str, Tensor] | None = None
    """None as read from a file: a place draws them anew (`TensorPlace.restore`)."""
    rule: Callable[[Tensor, Mapping[str, Tensor], float], Tensor] | None = None
    """`Method.weight`."""
    digest: str | None = None
    """SHA-256 of the frozen tensors as they were when the link was written."""

    @property
    def kind(self) -> Literal["tensors"]:
        return "tensors"

    def stored(self) -> dict[str, Tensor]:
        """What a delta file keeps, by name."""
        return dict(self.trained)

    def apply(self, weight: Tensor) -> Tensor:
        """The effective weight (d_out, d_in), fp32, that this link makes of `weight`, which may be overwritten.

        Raises DeltaError if the link was read from a file and not yet loaded into an adapter.
        """
        if self.rule is None or self.frozen is None:
            raise DeltaError("a link without its frozen tensors: load the delta into an adapter of its method first")
        tensors = {n: t.to(weight.device) for n, t in {**self.frozen, **self.trained}.items()}
        return self.rule(weight, tensors, self.scale)


AnyLink = Link | TensorLink


def content(tensor: Tensor) -> memoryview:
    """The bytes of a tensor of any dtype, in the order of its elements; not copied where they lie so on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def effective_weight(original: Tensor, links: Iterable[AnyLink]) -> Tensor:
    """W0 (d_out, d_in) of any dtype with all links, in fp32."""
    weight = original.to(torch.float32, copy=True)
    for link in links:
        weight = link.apply(weight)
    return weight
