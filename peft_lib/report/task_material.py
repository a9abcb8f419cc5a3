"""What there is to say something of a task from: its cells, by place, and costs."""

from dataclasses import dataclass
from functools import cached_property

from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import LEADER, VALUE, told_apart
from peft_lib.results.context import Task
from peft_lib.results.marks import best_of, goodness
from peft_lib.results.noise import Floor
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
    floor: Floor | None = None
    """How far methods that are one up to rounding drift apart, if the study has measured it."""

    @cached_property
    def of(self) -> Places:
        return {(c.panel, c.column): c for c in self.cells}

    @cached_property
    def values(self) -> list[Cell]:
        """Means of methods: of a comparison, or of a table of means, which has no panels."""
        return [c for c in self.cells if c.method and c.panel in (VALUE, "")]

    @cached_property
    def good(self) -> list[Cell]:
        return sorted((c for c in self.values if c.complete), key=goodness, reverse=True)

    @cached_property
    def what(self) -> Quantity:
        return quantity("test_metric", self.plan.datasets[self.task[1]].metric)

    @property
    def rounding(self) -> float:
        """The difference of two means that rounding alone may make; 0 where none is known."""
        if self.floor is None:
            return 0.0
        return self.floor.single if self.floor.means is None else self.floor.means

    def within(self, difference: float) -> bool:
        """Whether a difference of two means is no larger than what rounding alone may make."""
        return self.rounding > 0 and abs(difference) <= self.rounding

    def beyond(self, cell: Cell) -> bool:
        """Whether a tested difference is a finding: more than chance after correction, and than rounding."""
        return told_apart(cell) and not self.within(cell.number)

    def apart(self, a: Cell, b: Cell) -> bool | None:
        """Whether two methods share no letter and differ by more than rounding; None where one of them was not tested."""
        if not a.text or not b.text:
            return None
        return not set(a.text) & set(b.text) and not self.within(a.number - b.number)

    def others(self) -> tuple[list[Cell], list[Cell]]:
        """Differences to the leader: not told apart, and behind; best first. Without those who share the first place. None where
        the best of all could not be tested."""
        own = self.of.get((LEADER, self.good[0].column))
        if own is None or own.value != 0 or own.p is not None:
            return [], []
        first = {c.column for c in best_of(self.good)}
        others = [c.column for c in self.good if c.column not in first and (LEADER, c.column) in self.of]
        tested = [c for name in others if (c := self.of[LEADER, name]).p is not None]
        return [c for c in tested if not self.beyond(c)], [c for c in tested if self.beyond(c)]

    @property
    def all_tested(self) -> bool:
        """Whether every method of the task, but for those in the first place, was compared with the leader."""
        first = {c.column for c in best_of(self.good)}
        return sum(map(len, self.others())) == sum(c.column not in first for c in self.values)
