"""Methods over all rows, as tables and in words: measures with their intervals, the scale of each row, what was tested."""

from dataclasses import replace
from typing import TYPE_CHECKING

from peft_lib.display.entries import entry, fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.statistics.across import FEWEST_ROWS
from peft_lib.statistics.families import ALPHA
from peft_lib.statistics.intervals import FEWEST

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

RANK, SCORE, IMPROVEMENT = "mean_rank", "interquartile_mean", "improvement"
ROWS, TEST = "rows", "friedman"
"""Panels."""


def tables_of(cells: list[Cell], plan: "Plan", notes: Footnotes, against: str | None) -> list[Table]:
    """One row per method; then one per task with the ends of its scale."""
    panels = [p for p in (RANK, SCORE, IMPROVEMENT) if any(c.panel == p for c in cells)]
    names = {RANK: "mean rank", SCORE: "IQM, %", IMPROVEMENT: over(against)}
    by_place = {(c.panel, c.method): c for c in cells if c.panel in (RANK, SCORE, IMPROVEMENT)}
    tested = {c.method: c for c in cells if c.metric == "rank_test"}
    body = []
    for method in dict.fromkeys(c.method for c in cells if c.panel == RANK):
        entries = [_entry(by_place[p, method], notes) if (p, method) in by_place else EMPTY for p in panels]
        if tested:
            entries.append(_p_entry(tested[method]) if method in tested else EMPTY)
        body.append(Row((Label.method(str(method)),), tuple(entries)))
    columns = [Label.plain(names[p]) for p in panels]
    if tested:
        columns.append(Label.plain(f"p of the rank against {plain_name(str(against))}'s (Holm)"))
    return [
        Table(("Method",), tuple(columns), tuple(body), title="Over all rows"),
        _scale_table([c for c in cells if c.panel == ROWS], plan, notes),
    ]


def over(against: str | None) -> str:
    """Heading of the probability of improvement."""
    return f"better than {plain_name(against)}, %" if against else ""


def remarks_of(cells: list[Cell], against: str | None) -> list[str]:
    """Over how many rows, what was tested, what the measures and intervals are."""
    ranks = [c for c in cells if c.panel == RANK]
    if not ranks:
        return []
    used, planned = ranks[0].n, ranks[0].planned
    out = [c for c in cells if c.panel == ROWS and c.column == "zero" and c.value is None]
    said = [f"Over {used} of {planned} row{'s' * (planned != 1)}."]
    if out:
        said.append("Rows in which a planned run of any method is absent or failed are left out for all methods.")
    if 0 < used < FEWEST_ROWS:
        said.append(f"{used} row{'s are few' if used != 1 else ' says little'}: another task may reverse the order.")
    methods = {str(c.method) for c in ranks}
    if twins := [(m, t) for m in sorted(methods) if (t := get_method(m).twin) in methods]:
        pairs = "; ".join(f"{plain_name(m)} and {plain_name(str(t))}" for m, t in twins)
        said.append(f"Methods that are one up to rounding have a place each in ranks: {pairs}.")
    said += _test_remarks(cells)
    said.append(
        "IQM, interquartile mean: the mean of the middle half of all runs' scores, each as a share of the way from its row's "
        "zero (the constant answer; where none has a score the worst method) to the row's best method."
    )
    if any(c.panel == IMPROVEMENT for c in cells):
        name = plain_name(str(against))
        said.append(f"Better than {name}: the share of pairs of runs, one of either, that {name} loses; a tie is half.")
    if any(c.low is not None for c in cells):
        said.append(
            "Intervals: 95 %, seeds drawn anew within rows (stratified bootstrap). They are for these rows, not for other tasks, and "
            "with three seeds somewhat narrow: they hold in 80 to 95 of 100 cases."
        )
    elif used:
        said.append(f"Fewer than {FEWEST} seeds: no intervals.")
    return said


def _test_remarks(cells: list[Cell]) -> list[str]:
    test = next((c for c in cells if c.panel == TEST and c.column == TEST), None)
    if test is None or not test.n:
        return []
    if test.value is None:
        return [f"Friedman's test is not made: {test.reason}."]
    p = "p < 0.0001" if (test.p or 0) < 1e-4 else f"p = {test.p:.2g}"
    said = f"Friedman's test over {test.n} rows: {test.text}, {p}"
    if (test.p or 0) >= ALPHA:
        return [f"{said}: the ranks do not tell the methods apart."]
    return [
        f"{said}: some methods differ. Mean ranks that lie {fixed(test.value, 2)} apart or more differ at 5 % (Nemenyi). It "
        "takes rows for independent, which rows of one model or data set are not quite."
    ]


def _entry(cell: Cell, notes: Footnotes) -> Entry:
    """The value with its interval beside it, which is what this table is read for."""
    shown = entry(cell, notes)
    if cell.low is None or cell.high is None:
        return replace(shown, lines={})
    digits = 1 if cell.digits == 2 else cell.digits
    return replace(shown, text=f"{shown.text} [{fixed(cell.low, digits)}, {fixed(cell.high, digits)}]", lines={})


def _p_entry(cell: Cell) -> Entry:
    p = cell.p_adjusted or 0.0
    return Entry("<0.001" if p < 1e-3 else f"{p:.3f}", title=f"before the correction {cell.p:.3g}")


def _scale_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    lines: dict[tuple, dict[str, Cell]] = {}
    for c in cells:
        lines.setdefault((c.model, c.dataset, c.row), {})[c.column] = c
    body = []
    for task, line in lines.items():
        ends = tuple(
            Entry(
                "\u2013" if c.value is None else f"{fixed(c.number, c.digits)} ({c.text})",
                status="empty" if c.value is None else "ok", notes=notes.mark(c.reason),
            )
            for c in (line["zero"], line["best"])
        )  # fmt: skip
        body.append(Row((task_name(plan, *task),), ends))
    columns = (Label.plain("zero of the scale"), Label.plain("best method: 100 %"))
    return Table(("Row",), columns, tuple(body), title="The scale of each row")
