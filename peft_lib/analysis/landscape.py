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

    Every position is computed from the centre, never from the last one, so nothing adds up: in fp32, then rounded to the
    weight's own format. Holds a copy of the weights that move, and for `across` another.
    """

    space: Space
    directions: Sequence[Direction]
    centre: dict[str, Tensor] = field(default_factory=dict, init=False)
    start: dict[str, Tensor] = field(default_factory=dict, init=False)

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
        self.centre, self.start = {}, {}

    @torch.no_grad()
    def to(self, index: int, step: float) -> None:
        """Puts the weights at W + step * directions[index]."""
        for name, centre in self.centre.items():
            _shifted(self.space[name], centre, self.directions[index].get(name), step)

    @torch.no_grad()
    def begin(self, index: int, step: float) -> None:
        """Makes W + step * directions[index] what `across` starts from. The weights stay where they are."""
        for name, centre in self.centre.items():
            if name not in self.start:
                self.start[name] = torch.empty_like(centre, dtype=torch.float32)
            _shifted(self.start[name], centre, self.directions[index].get(name), step)

    @torch.no_grad()
    def across(self, index: int, step: float) -> None:
        """Puts the weights at (where `begin` has put the start) + step * directions[index]: one addition a weight."""
        for name, start in self.start.items():
            _shifted(self.space[name], start, self.directions[index].get(name), step)


def _shifted(target: Tensor, start: Tensor, direction: Tensor | None, step: float) -> None:
    """target = start + step * direction, in fp32; a direction that is absent is zero."""
    if direction is None or step == 0:
        target.copy_(start)
    elif target.dtype == start.dtype == torch.float32:
        torch.add(start, direction, alpha=step, out=target)
    else:
        for rows in row_blocks(target):
            target[rows].copy_(torch.add(start[rows].float(), direction[rows], alpha=step))


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
    return np.array([row(objective, moved, coordinates, float(b)) for b in coordinates])


def row(objective: Objective, moved: Moved, coordinates: np.ndarray, b: float) -> list[float]:
    """Losses at (W + b e) + a d for every a: along a row each point is one addition to its start."""
    moved.begin(1, b)
    losses = []
    for a in coordinates:
        moved.across(0, float(a))
        losses.append(objective())
    return losses


def curvature(objective: Objective, moved: Moved, axis_index: int, centre: float, step: float = STEP) -> float:
    """Second derivative of the loss at the centre along one direction: (L(h) - 2 L(0) + L(-h)) / h^2, h = `step`.

    centre: L(0). The error is h^2 / 12 times the fourth derivative; rounding of the loss adds about 4 eps L / h^2.
    """
    ends = []
    for side in (step, -step):
        moved.to(axis_index, side)
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
