"""What there is to say something of a task from: its cells, by place, and costs."""

from dataclasses import dataclass

from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import LEADER, VALUE, told_apart
from peft_lib.results.context import Task
from peft_lib.results.marks import goodness
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import Quantity, quantity

Places = dict[tuple[str, str], Cell]
"""Cells of one task by panel and column."""


@dataclass(frozen=True)
class Material:
    """What there is to say something of a task from. good: its complete cells, best first."""

    plan: Plan
    task: Task
    cells: list[Cell]
    costs: dict[str, Cell]

    @property
    def of(self) -> Places:
        return {(c.panel, c.column): c for c in self.cells}

    @property
    def values(self) -> list[Cell]:
        """Means of methods: of a comparison, or of a table of means, which has no panels."""
        return [c for c in self.cells if c.method and c.panel in (VALUE, "")]

    @property
    def good(self) -> list[Cell]:
        return sorted((c for c in self.values if c.complete), key=goodness, reverse=True)

    @property
    def what(self) -> Quantity:
        return quantity("test_metric", self.plan.datasets[self.task[1]].metric)

    def apart(self, a: Cell, b: Cell) -> bool | None:
        """Whether two methods share no letter; None where one of them was not tested."""
        return None if not a.text or not b.text else not set(a.text) & set(b.text)

    def others(self) -> tuple[list[Cell], list[Cell]]:
        """Differences to the leader: not told apart, and behind; best first. None where the best of all could not be tested."""
        own = self.of.get((LEADER, self.good[0].column))
        if own is None or own.value != 0 or own.p is not None:
            return [], []
        cells = [self.of[LEADER, c.column] for c in self.good if (LEADER, c.column) in self.of]
        tested = [c for c in cells if c.p is not None]
        return [c for c in tested if not told_apart(c)], [c for c in tested if told_apart(c)]
