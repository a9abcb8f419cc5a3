"""How far runs of one and the same method drift apart by rounding alone: what a difference between methods has to beat.

Methods with a `twin` take the same steps on the same selection, in another order of additions. What tells their runs apart is
rounding, amplified by training: the least noise that any comparison of the task has, below that of seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peft_lib.methods.registry import get_method
from peft_lib.results.context import Context, Group
from peft_lib.statistics.intervals import LEVEL

if TYPE_CHECKING:
    from peft_lib.results.cells import Cell

KIND = "noise_floor"
FLOOR, LARGEST = "floor", "largest"
"""Columns of the artefact's cells that this module reads back."""
EXECUTED = ("method",)
"""Fields of a spec that twins differ in."""


@dataclass(frozen=True)
class Floor:
    """Of one row: the largest difference between single runs of twins, and the reach of a difference of means over seeds."""

    single: float
    means: float | None


def twins_of(context: Context, row: list[Group]) -> list[tuple[Group, Group]]:
    """Pairs of a row's groups that are one method up to rounding: `Method.twin`, with the same settings and options."""
    by_method = {group.method: group for group in row}
    pairs = [(group, by_method[twin]) for group in row if (twin := get_method(group.method).twin) in by_method]
    return [(one, other) for one, other in pairs if _settings(context, one) == _settings(context, other)]


def _settings(context: Context, group: Group) -> dict:
    return context.spec(group).model_dump(exclude=set(EXECUTED))


def reach(differences: Iterable[float], seeds: int) -> float | None:
    """How far means over that many seeds of one method drift apart in 95 of 100 cases: t_k s / sqrt(seeds).

    s^2: mean square of the k differences of single runs, about zero, as twins differ by nothing on average. None below three
    differences: with one or two t_k s is no statement.
    """
    from scipy import stats

    values = list(differences)
    if len(values) < 3:
        return None
    s = (sum(d * d for d in values) / len(values)) ** 0.5
    return float(stats.t.ppf(0.5 + LEVEL / 2, len(values))) * s / seeds**0.5


def noise_floor(cells: "Iterable[Cell]") -> dict[tuple[str, str, str], Floor]:
    """(model, data set, row) -> floor, from the cells of an artefact of kind `noise_floor`; rows without twins have none.

    A difference of two methods' means that is no larger than `means` (without it `single`) is no finding.
    """
    single: dict[tuple[str, str, str], float] = {}
    means: dict[tuple[str, str, str], float] = {}
    for c in cells:
        if c.kind == KIND and c.value is not None:
            task = (c.model, c.dataset, c.row)
            if c.column == LARGEST:
                single[task] = max(single.get(task, 0.0), c.value)
            elif c.column == FLOOR:
                means[task] = c.value
    return {task: Floor(value, means.get(task)) for task, value in single.items()}
