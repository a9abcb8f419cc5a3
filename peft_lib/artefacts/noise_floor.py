"""Kind `noise_floor`: how far methods that are one up to rounding drift apart, per task: the least noise of any comparison."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from peft_lib.artefacts.kind import Metric, OfGrids
from peft_lib.display.entries import fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group, Task
from peft_lib.results.noise import FLOOR, LARGEST, Floor, noise_floor, reach, twins_of

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

SPREAD, LOSS, ITEMS, WITHIN = "sd", "loss", "items", "within"
OF_TASK, OF_PAIR = "task", "pair"
"""Panels."""
HEADINGS = {
    LARGEST: "largest difference", SPREAD: "sd about zero", LOSS: "largest difference of test loss",
    ITEMS: "items answered otherwise, %", FLOOR: "floor of a difference of means", WITHIN: "pairs of methods within it",
}  # fmt: skip

NAMED = 4
"""Rows of which each has a sentence; of more there is one for all."""


class NoiseFloor(OfGrids):
    """Per pair of twins: largest difference, spread, items on which they disagree; per task the floor."""

    kind: Literal["noise_floor"]
    metric: Metric = "test_metric"

    def build(self, context: Context) -> list[Cell]:
        """Panel `pair`: cells of each pair of twins. Panel `task`: the floor of the task, and what lies within it."""
        cells: list[Cell] = []
        for row in context.rows():
            pairs = twins_of(context, row)
            if not pairs:
                continue
            found = {one.method: _differences(context, one, other, self.metric) for one, other in pairs}
            for one, other in pairs:
                cells += self._of_pair(context, one, other, found[one.method])
            cells += self._of_task(context, row, pairs, [d for part in found.values() for d in part.values()])
        return cells

    def _pattern(self, context: Context, group: Group, panel: str, **more: Any) -> Cell:
        like = context.cell(group, self.metric)
        return Cell(
            self.id, self.kind, panel, group.model, group.dataset, group.row, "", self.metric, unit=like.unit,
            digits=like.digits, direction="lower", **more,
        )  # fmt: skip

    def _of_pair(self, context: Context, one: Group, other: Group, found: dict[int, float]) -> Iterator[Cell]:
        names = f"{plain_name(one.method)} and {plain_name(other.method)}"
        pattern = self._pattern(
            context, one, OF_PAIR, method=one.method, text=names, n=len(found), planned=len(one.run_ids),
            run_ids=(*one.run_ids, *other.run_ids), values=tuple(found.values()),
        )  # fmt: skip
        if not found:
            why = context.cell(one, self.metric).reason or context.cell(other, self.metric).reason
            pattern = replace(pattern, status="not_available", reason=f"no seed in which both have a good run: {why}")
            yield from (replace(pattern, column=column) for column in (LARGEST, SPREAD, LOSS, ITEMS))
            return
        if len(found) < len(one.run_ids):
            why = f"{len(found)} of {len(one.run_ids)} seeds have a good run of both"
            pattern = replace(pattern, status="partial", reason=why)
        squares = [d * d for d in found.values()]
        yield replace(pattern, column=LARGEST, value=max(map(abs, found.values())))
        yield replace(pattern, column=SPREAD, value=(sum(squares) / len(squares)) ** 0.5)
        losses = _differences(context, one, other, "test_loss")
        like = context.cell(one, "test_loss")
        drift = replace(pattern, column=LOSS, metric="test_loss", unit=like.unit, digits=like.digits)
        yield replace(drift, value=max(map(abs, losses.values()), default=None), values=tuple(losses.values()))
        yield self._items(context, pattern, one, other, set(found))

    def _items(self, context: Context, pattern: Cell, one: Group, other: Group, seeds: set[int]) -> Cell:
        """Mean share over seeds of test items that the two runs answer differently."""
        from peft_lib.results.predictions import read_items
        from peft_lib.statistics.items import NotComparable

        blank: dict[str, Any] = {"column": ITEMS, "metric": "disagreement", "unit": "%", "digits": 1, "values": ()}
        shares = []
        for first, second in zip(one.run_ids, other.run_ids, strict=True):
            if context.plan.runs[first].seed not in seeds:
                continue
            try:
                a, b = (read_items(context.results / "runs" / context.plan.runs[i].folder) for i in (first, second))
            except NotComparable as error:
                return replace(pattern, **blank, status="not_available", reason=str(error))
            answers = dict(zip(b.ids, b.prediction, strict=True))
            if not len(a) or set(a.ids) != set(answers):
                why = "the two runs have no test items, or not the same ones"
                return replace(pattern, **blank, status="not_available", reason=why)
            pairs = zip(a.ids, a.prediction, strict=True)
            shares.append(100 * sum(answers[i] != given for i, given in pairs) / len(a))
        return replace(pattern, **blank | {"values": tuple(shares)}, value=sum(shares) / len(shares))

    def _of_task(
        self, context: Context, row: list[Group], pairs: list[tuple[Group, Group]], found: list[float]
    ) -> Iterator[Cell]:
        seeds = len(row[0].run_ids)
        pattern = self._pattern(context, row[0], OF_TASK, n=len(found), planned=seeds * len(pairs))
        floor = reach(found, seeds)
        if floor is None:
            few = f"{len(found)} differences of single runs say too little of means: three are needed"
            pattern = replace(pattern, status="not_available", reason=few)
            yield from (replace(pattern, column=column) for column in (FLOOR, WITHIN))
            return
        yield replace(pattern, column=FLOOR, value=floor)
        twins = {frozenset((a.method, b.method)) for a, b in pairs}
        means = {c.column: c.number for g in row if (c := context.cell(g, self.metric)).complete}
        others = [pair for pair in combinations(means, 2) if frozenset(pair) not in twins]
        close = sum(abs(means[a] - means[b]) <= floor for a, b in others)
        yield replace(
            pattern, column=WITHIN, metric=WITHIN, unit="", digits=0, value=close, n=len(others), planned=len(others),
            text=f"{close} of {len(others)}",
        )  # fmt: skip

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """A part per task: its pairs, then the task itself."""
        lines: dict[tuple, dict[str, Cell]] = {}
        for c in cells:
            name = str(c.text) if c.panel == OF_PAIR else "All pairs"
            lines.setdefault((c.model, c.dataset, c.row, name), {})[c.column] = c
        body = [
            Row(
                (name,), tuple(_entry(line[c], notes) if c in line else EMPTY for c in HEADINGS), task_name(plan, *task)
            )
            for (*task, name), line in lines.items()
        ]
        return [Table(("Pair",), tuple(Label.plain(text) for text in HEADINGS.values()), tuple(body))] if body else []

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        if not cells:
            return ["No two methods of these grids are one up to rounding, so there is no floor to measure."]
        said = [
            "Each pair is one method under two parametrisations, on the same selections: its runs differ by rounding, which "
            "training amplifies. Runs of one seed are compared.",
        ]
        said += _of_rows(cells, list(dict.fromkeys(row.group for table in tables for row in table.rows)))
        said.append(
            "Floor: how far the means of one method drift apart in 95 of 100 cases, t s / sqrt(seeds). It is the least noise of a "
            "comparison: other seeds and other test items add theirs."
        )
        return said


def _of_rows(cells: list[Cell], names: list[str]) -> list[str]:
    """What each row's floor means, or where there are many, all of them together. `names`: of the rows, in the cells' order."""
    floors = noise_floor(cells)
    within = {(c.model, c.dataset, c.row): c for c in cells if c.column == WITHIN}
    if len(floors) > NAMED:
        close = [within[task] for task, floor in floors.items() if floor.means is not None]
        pairs = f"{sum(int(c.value or 0) for c in close)} of {sum(c.n for c in close)} pairs of other methods"
        return [f"A difference of two methods' means below the floor of its row is no finding: {pairs} lie that close."]
    tasks = dict.fromkeys((c.model, c.dataset, c.row) for c in cells)
    return [_of_row(cells, task, name, floors[task]) for task, name in zip(tasks, names, strict=True) if task in floors]


def _of_row(cells: list[Cell], task: Task, name: str, floor: Floor) -> str:
    mine = {c.column: c for c in cells if (c.model, c.dataset, c.row) == task}
    like = mine[LARGEST]
    unit = "points" if like.unit == "%" else like.unit
    if not floor.single:
        return (
            f"{name}: twins score the same in every seed, so rounding decides nothing here; what differs still has the noise of "
            "seeds and of test items."
        )
    if floor.means is None:
        return f"{name}: single runs drift up to {fixed(floor.single, like.digits)} {unit} apart."
    return (
        f"{name}: a difference of two methods' means below {fixed(floor.means, like.digits)} {unit} is no finding; "
        f"{mine[WITHIN].text} pairs of other methods lie that close."
    )


def _differences(context: Context, one: Group, other: Group, metric: str) -> dict[int, float]:
    """Seed -> first minus second, of seeds in which both have a good run."""
    values = []
    for group in (one, other):
        cell = context.cell(group, metric)
        good = [run.seed for run in context.of_runs(group, "seed") if run.status == "ok"]
        # The values of a cell are those of its good runs, in their order; stale ones stand alone.
        known = cell.measured and len(good) == len(cell.values)
        values.append(dict(zip(good, cell.values, strict=True)) if known else {})
    first, second = values
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def _entry(cell: Cell, notes: Footnotes) -> Entry:
    if cell.value is None:
        return Entry("n/a", status="not_available", notes=notes.mark(cell.reason))
    text = cell.text if cell.column == WITHIN and cell.text else fixed(cell.value, cell.digits)
    if cell.column == LOSS and 0 < cell.value < 0.001:  # rounding, before it changes an answer
        text = f"{cell.value:.0e}"
    singles = "; ".join(fixed(v, cell.digits) for v in cell.values)
    return Entry(
        text, status=cell.status, notes=notes.mark(cell.reason), title=f"single seeds {singles}" if singles else ""
    )
