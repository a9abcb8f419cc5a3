"""Loss around a point in weight space: L(W + a d + b e) at the same fixed batches for every (a, b).

Li et al. 2018, section 4; paper section E.4.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from peft_lib.analysis.space import Direction, Space, row_blocks

STEP = 0.05
"""Step of central differences, in units of a direction."""


@dataclass(frozen=True)
class Objective:
    """A model's mean loss over fixed batches, as the weights are now.

    loss(model, batch): the sum of the batch's losses. weight: what all batches weigh together (items, or target tokens).
    """

    model: nn.Module
    batches: Sequence[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    weight: float

    @torch.no_grad()
    def __call__(self) -> float:
        """Sums over batches in fp64, in evaluation mode; the model's mode is put back."""
        training = self.model.training
        self.model.eval()
        try:
            return sum(float(self.loss(self.model, batch)) for batch in self.batches) / self.weight
        finally:
            self.model.train(training)


@dataclass
class Moved:
    """Moves the weights of a space along directions, and puts them back bit for bit at the end of its `with`.

    Every position is computed from the centre, never from the last one, so nothing adds up: W + a d + b e, left to right in
    fp32, then rounded to the weight's own format. Holds a copy of the weights that move.
    """

    space: Space
    directions: Sequence[Direction]
    centre: dict[str, Tensor] = field(default_factory=dict, init=False)

    def __enter__(self) -> Self:
        names = dict.fromkeys(name for direction in self.directions for name in direction)
        self.centre = {name: self.space[name].clone(memory_format=torch.preserve_format) for name in names}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with torch.no_grad():
            for name, values in self.centre.items():
                self.space[name].copy_(values)
        self.centre = {}

    @torch.no_grad()
    def to(self, *steps: float) -> None:
        """Puts the weights at W + sum of steps times directions."""
        for name, centre in self.centre.items():
            moves = [(s, d[name]) for s, d in zip(steps, self.directions, strict=True) if s != 0 and name in d]
            weight = self.space[name]
            if not moves:
                weight.copy_(centre)
                continue
            (first, direction), *rest = moves
            # Row by row block: the second addition finds in the cache what the first has written.
            for rows in row_blocks(weight):
                target = weight[rows]
                plain = target.dtype == torch.float32
                moved = torch.add(
                    centre[rows] if plain else centre[rows].float(), direction[rows], alpha=first,
                    out=target if plain else None,
                )  # fmt: skip
                for step, other in rest:
                    moved.add_(other[rows], alpha=step)
                if not plain:
                    target.copy_(moved)


def axis(half: float, points: int) -> np.ndarray:
    """`points` coordinates evenly from -half to half; an odd number has exactly 0 in the middle.

    Raises ValueError for an even number, fewer than 3, or a range that is not positive.
    """
    if points < 3 or points % 2 == 0:
        raise ValueError(f"{points} points along an axis: an odd number of at least 3 has the centre among them")
    if not (np.isfinite(half) and half > 0):
        raise ValueError(f"range {half}: half the side of the square is a number above 0")
    middle = points // 2
    return half * (np.arange(points) - middle) / middle


def surface(objective: Objective, moved: Moved, coordinates: np.ndarray) -> np.ndarray:
    """(n, n) losses; entry [i, j] is at a = coordinates[j], b = coordinates[i]. Not finite where the loss is not."""
    losses = np.empty((len(coordinates), len(coordinates)))
    for i, b in enumerate(coordinates):
        for j, a in enumerate(coordinates):
            moved.to(float(a), float(b))
            losses[i, j] = objective()
    return losses


def curvature(objective: Objective, moved: Moved, axis_index: int, centre: float, step: float = STEP) -> float:
    """Second derivative of the loss at the centre along one direction: (L(h) - 2 L(0) + L(-h)) / h^2, h = `step`.

    centre: L(0). The error is h^2 / 12 times the fourth derivative; rounding of the loss adds about 4 eps L / h^2.
    """
    steps = [0.0] * len(moved.directions)
    ends = []
    for side in (step, -step):
        steps[axis_index] = side
        moved.to(*steps)
        ends.append(objective())
    return (ends[0] - 2 * centre + ends[1]) / step**2


def area_below(losses: np.ndarray, level: float, parts: int = 16) -> float:
    """Share of the square where the loss is at most `level`, 0..1; losses: (n, n) at evenly spaced points.

    Bilinear between the points, each cell cut into parts x parts. A corner that is not finite makes its cells lie above.
    """
    from scipy.interpolate import RegularGridInterpolator

    high = np.where(np.isfinite(losses), losses, np.finfo(np.float32).max)
    n = len(high)
    at = (np.arange((n - 1) * parts) + 0.5) / parts
    between = RegularGridInterpolator((np.arange(n), np.arange(n)), high)
    y, x = np.meshgrid(at, at, indexing="ij")
    return float((between((y, x)) <= level).mean())
