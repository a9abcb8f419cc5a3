"""The plane of a trajectory's two leading principal directions, and the path in a plane.

With the offsets o_t = W^t - W^ref (t = 1..K, not mean-centred: paper section E.4.1) as rows of O (K x P), the principal
directions are the leading right singular vectors of O, found through the K x K Gram matrix G = O O^T = U S^2 U^T:
v_i = O^T u_i / s_i. O itself is never made: offsets come in blocks of rows of one weight, for all K states at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from peft_lib.analysis.space import Direction, Space, inner


class Block(NamedTuple):
    """Offsets of some rows of one weight: (K, rows, ...) fp32."""

    name: str
    rows: slice
    offsets: Tensor


Offsets = Callable[[], Iterable[Block]]
"""Gives the blocks anew at each call. Weights that no state moves may be left out."""


@dataclass(frozen=True)
class Path:
    """A trajectory projected on a plane.

    coordinates: (K, 2) least squares: the (a, b) that minimise |o_t - a d - b e|; d and e need not be orthogonal.
    explained: share of sum_t |o_t|^2 that lies in the plane; 0..1.
    """

    coordinates: np.ndarray
    explained: float


def gram(offsets: Offsets) -> np.ndarray:
    """(K, K) inner products of the offsets, summed over blocks in fp64.

    Raises ValueError if there are no blocks, or entries are not finite.
    """
    total: np.ndarray | None = None
    for block in offsets():
        flat = block.offsets.reshape(len(block.offsets), -1)
        part = (flat @ flat.T).cpu().double().numpy()
        total = part if total is None else total + part
    if total is None:
        raise ValueError("no weight of this space moves in the trajectory")
    if not np.isfinite(total).all():
        raise ValueError("the trajectory has weights that are not finite")
    return total


def principal(offsets: Offsets, space: Space) -> tuple[list[Direction], np.ndarray]:
    """The two leading principal directions, each of length 1, and the shares of variance of all K.

    The sign is chosen so that the first state lies on the positive side of each. Holds two directions and a block.

    Raises ValueError for a trajectory that spans fewer than two dimensions.
    """
    values, vectors = np.linalg.eigh(gram(offsets))
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    # Rounding of an fp32 Gram matrix of K states makes eigenvalues of about K eps times the largest.
    floor = len(values) * np.finfo(np.float32).eps * values[0]
    if len(values) < 2 or values[1] <= floor:
        spanned = int((values > floor).sum()) if values[0] > 0 else 0
        raise ValueError(
            f"the trajectory spans {spanned} dimensions, a plane needs 2: it takes at least two epochs beside the "
            "reference that lie in different directions from it; use random directions"
        )
    signs = np.where(vectors[0, :2] < 0, -1.0, 1.0)  # never 0: the first state may be orthogonal to a direction
    weights = torch.from_numpy((vectors[:, :2] * signs / np.sqrt(values[:2])).T.copy()).float()
    directions: list[Direction] = [{}, {}]
    for block in offsets():
        flat = block.offsets.reshape(len(block.offsets), -1)
        pair = (weights.to(flat.device) @ flat).reshape(2, *block.offsets.shape[1:])
        for direction, part in zip(directions, pair, strict=True):
            whole = direction.get(block.name)
            if whole is None:
                weight = space[block.name]
                whole = direction[block.name] = torch.zeros(weight.shape, device=weight.device)
            whole[block.rows] = part
    return directions, values / values.sum()


def project(offsets: Offsets, first: Direction, second: Direction) -> Path:
    """The path of a trajectory in the plane of two directions.

    Raises ValueError for parallel directions.
    """
    normal = np.array([[inner(first, first), inner(first, second)], [inner(second, first), inner(second, second)]])
    if np.linalg.det(normal) <= 1e-6 * normal[0, 0] * normal[1, 1]:
        raise ValueError("the two directions are parallel: they span no plane")
    against: np.ndarray | None = None
    squares: np.ndarray | None = None
    for block in offsets():
        flat = block.offsets.reshape(len(block.offsets), -1)
        parts = []
        for direction in (first, second):
            whole = direction.get(block.name)
            parts.append(torch.zeros(len(flat)) if whole is None else (flat @ whole[block.rows].reshape(-1)).cpu())
        both = torch.stack(parts, dim=1).double().numpy()
        square = torch.linalg.vector_norm(flat, dim=1).cpu().double().square().numpy()
        against = both if against is None else against + both
        squares = square if squares is None else squares + square
    if against is None or squares is None:
        raise ValueError("no weight of this space moves in the trajectory")
    coordinates = np.linalg.solve(normal, against.T).T
    inside = float((coordinates * against).sum())
    return Path(coordinates, inside / float(squares.sum()))


def covering_range(path: Path, margin: float = 1.05) -> float:
    """Half the side of the square that holds the path: `margin` times its largest coordinate."""
    return margin * float(np.abs(path.coordinates).max())
