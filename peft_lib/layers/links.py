"""Links: what a run learnt, kept as factors in fp32, and the one definition of the effective weight.

W_k = (((W0 + s_1 B_1 A_1) + s_2 B_2 A_2) + ...), each addition in fp32, in the order of the chain. Weights stored in
fewer bits are rounded from W_k once, never from a rounded predecessor.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


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
    def kind(self) -> str:
        return "columns" if self.columns is not None else "lowrank"

    def add_to(self, weight: Tensor) -> None:
        """weight (d_out, d_in), fp32, += s B A, in place."""
        if self.columns is not None:
            columns = self.columns.to(weight.device)
            update = self.scale * self.B.to(weight.device)
            weight.index_copy_(1, columns, weight.index_select(1, columns) + update)
        else:
            assert self.A is not None
            weight += self.scale * (self.B.to(weight.device) @ self.A.to(weight.device))

    def delta(self, d_in: int) -> Tensor:
        """s B A as a dense (d_out, d_in) fp32 matrix, for analyses and tests."""
        zero = torch.zeros(self.B.shape[0], d_in, device=self.B.device)
        self.add_to(zero)
        return zero


def effective_weight(original: Tensor, links: Iterable[Link]) -> Tensor:
    """W0 (d_out, d_in) of any dtype plus all links, in fp32."""
    weight = original.to(torch.float32, copy=True)
    for link in links:
        link.add_to(weight)
    return weight
