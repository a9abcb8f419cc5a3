"""Tables of predictors: correlations, shares of wrong pairs, and the gap against its rivals."""

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from peft_lib.display.entries import entry, fixed
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.statistics.families import ALPHA
from peft_lib.study.quantities import QUANTITIES

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

CORRELATION, WRONG, VERDICT = "correlation", "wrong", "verdict"
"""Panels; the first two with the outcome behind a stroke."""
ALL = "all tasks"
"""Column of what is of all tasks together."""
FEW_TASKS = 4
"""Up to so many tasks have columns of their own in the tables; the figure and the data files have all."""


def outcome_name(panel: str) -> str:
    """The outcome of a panel in words."""
    return QUANTITIES[panel.partition("/")[2]].label


def correlation_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """A row per predictor; under each outcome a column of all tasks together, and of each where they are few."""
    return _table(
        [c for c in cells if c.panel.startswith(CORRELATION)], plan, notes, "Rank correlation with the outcome"
    )


def wrong_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """The same of wrong pairs."""
    title = "Pairs of methods that the number puts the wrong way round, %"
    return _table([c for c in cells if c.panel.startswith(WRONG)], plan, notes, title)


def _table(cells: list[Cell], plan: "Plan", notes: Footnotes, title: str) -> Table:
    tasks = {(c.model, c.dataset) for c in cells if c.model}
    if len(tasks) > FEW_TASKS:
        cells = [c for c in cells if not c.model]
    columns = dict.fromkeys((c.panel, c.model, c.dataset) for c in cells)
    lines: dict[str, dict[tuple[str, str, str], Cell]] = {}
    for cell in cells:
        lines.setdefault(cell.row, {})[cell.panel, cell.model, cell.dataset] = cell
    rows = []
    for line in lines.values():
        entries = tuple(shown(line[place], notes) if place in line else EMPTY for place in columns)
        rows.append(Row((str(next(iter(line.values())).text),), entries))
    labels = tuple(Label.plain(task_name(plan, m, d) if m else ALL) for _, m, d in columns)
    spans = tuple((outcome_name(panel), len(list(part))) for panel, part in groupby(columns, key=lambda c: c[0]))
    return Table(("Number of a run",), labels, tuple(rows), spans, title=title)


def verdict_table(cells: list[Cell], notes: Footnotes) -> Table:
    """Share of wrong pairs of the gap less that of each rival."""
    rows = []
    for cell in (c for c in cells if c.panel == VERDICT):
        p = "" if cell.p_adjusted is None else "< 0.001" if cell.p_adjusted < 0.001 else fixed(cell.p_adjusted, 3)
        rows.append(Row((str(cell.text),), (shown(cell, notes), Entry(p))))
    title = "Wrong pairs of the gap less those of a rival, against the test metric (points; below 0: the gap is better)"
    return Table(("Rival",), (Label.plain("difference"), Label.plain("p after Holm")), tuple(rows), title=title)


def shown(cell: Cell, notes: Footnotes) -> Entry:
    """A value with its interval and how many pairs or runs are in it; correlations with a star."""
    plain = replace(entry(replace(cell, low=None, high=None), notes, single=True), run=None, lines={})
    if cell.value is None:
        return plain
    lines = {}
    if cell.low is not None and cell.high is not None:
        lines["bounds"] = f"[{fixed(cell.low, cell.digits)}, {fixed(cell.high, cell.digits)}]"
    if cell.panel.startswith(WRONG) or cell.status == "partial":
        lines["n"] = f"{cell.n} of {cell.planned}"
    star = cell.panel.startswith(CORRELATION) and cell.p_adjusted is not None and cell.p_adjusted < ALPHA
    return replace(plain, text=f"{plain.text}{'*' * star}", lines=lines)
