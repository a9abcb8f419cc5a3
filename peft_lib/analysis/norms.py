"""Norms of a weight before training and of what training added to it."""

from typing import NamedTuple

import torch
from torch import Tensor


class MatrixNorms(NamedTuple):
    """Largest singular value, and root of the sum of squares, of W0 and of W - W0."""

    base_spectral: float
    delta_spectral: float
    base_frobenius: float
    delta_frobenius: float


def measured(before: Tensor, after: Tensor) -> MatrixNorms:
    """Norms of W0 and W, both (d_out, d_in). The difference is taken in fp64, where that of two fp32 matrices is exact.

    Raises ValueError for a weight that is not finite.
    """
    delta = after.double() - before.double()
    if not (torch.isfinite(before).all() and torch.isfinite(delta).all()):
        raise ValueError(f"a weight of shape {tuple(before.shape)} has entries that are not finite: it has no norm")
    base = before.double()
    spectral = (float(torch.linalg.matrix_norm(m, 2)) for m in (base, delta))
    frobenius = (float(torch.linalg.matrix_norm(m)) for m in (base, delta))
    return MatrixNorms(*spectral, *frobenius)
