"""The spectrum of what was learnt: singular values of delta = W - W0, its ranks and norms, the input columns that it touches."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from peft_lib.layers.links import Link


@dataclass(frozen=True)
class Update:
    """One delta (d_out, d_in). values: its singular values, (n,) fp64, falling. touched: (d_in,) bool, the input columns
    that training has moved."""

    values: Tensor
    touched: Tensor

    @property
    def norm(self) -> float:
        """Frobenius norm."""
        return float(torch.linalg.vector_norm(self.values))

    @property
    def spectral_norm(self) -> float:
        """The largest singular value."""
        return float(self.values[0]) if len(self.values) else 0.0

    @property
    def effective_rank(self) -> float | None:
        """exp(-sum p_i ln p_i) with p_i = sigma_i / sum sigma (Roy and Vetterli, EUSIPCO 2007): from 1 to the rank. None for
        a delta of zero, which has no such distribution."""
        if not self.spectral_norm:
            return None
        shares = self.values / self.values.sum()
        return float(torch.special.entr(shares).sum().exp())

    @property
    def stable_rank(self) -> float | None:
        """Squared Frobenius norm over squared spectral norm: from 1 to the rank. None for a delta of zero."""
        return (self.norm / self.spectral_norm) ** 2 if self.spectral_norm else None

    @property
    def share_touched(self) -> float:
        """Share of the columns that are touched."""
        return float(self.touched.double().mean())


def of_matrices(before: Tensor, after: Tensor) -> Update:
    """The update from W0 to W, both (d_out, d_in) fp32; the difference is taken in fp64, where it is exact."""
    delta = after.double() - before.double()
    return Update(_singular_values(delta), (delta != 0).any(dim=0))


def of_links(links: Sequence[Link], d_in: int) -> Update:
    """The update of a chain, sum_j s_j B_j A_j, from its factors: at most sum_j r_j singular values.

    With [s_1 B_1, s_2 B_2, ...] = Q_b R_b and [A_1; A_2; ...]^T = Q_a R_a they are those of R_b R_a^T, because Q_b and Q_a have
    orthonormal columns. In fp64, and without the rounding of W in fp32, which would be a floor below a small delta.
    """
    b = torch.cat([link.scale * link.B.double() for link in links], dim=1)
    a = torch.cat([_a(link, d_in) for link in links])
    core = torch.linalg.qr(b, mode="r").R @ torch.linalg.qr(a.mT, mode="r").R.mT
    return Update(_singular_values(core), touched(links, d_in))


def _singular_values(matrix: Tensor) -> Tensor:
    """Those of an fp64 matrix; what is zero up to rounding (links that share columns have a sum of lower rank) is zero."""
    values = torch.linalg.svdvals(matrix)
    return torch.where(values > max(matrix.shape) * torch.finfo(torch.float64).eps * values[:1], values, 0.0)


def touched(links: Sequence[Link], d_in: int) -> Tensor:
    """(d_in,) bool: input columns that some link of the chain has moved, even if a later one moved them back."""
    found = torch.zeros(d_in, dtype=torch.bool)
    for link in links:
        moved = (link.B != 0).any(dim=0)
        found |= (_a(link, d_in)[moved] != 0).any(dim=0)
    return found


def _a(link: Link, d_in: int) -> Tensor:
    """A (r, d_in) in fp64; of a selector its rows are unit vectors."""
    if link.A is not None:
        return link.A.double()
    assert link.columns is not None
    rows = torch.zeros(len(link.columns), d_in, dtype=torch.float64)
    return rows.scatter_(1, link.columns.view(-1, 1), 1.0)
