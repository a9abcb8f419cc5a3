"""Tables of predictors: correlations, shares of wrong pairs, and the gap against its rivals."""

from dataclasses import replace
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


def outcome_name(panel: str) -> str:
    """The outcome of a panel in words."""
    return QUANTITIES[panel.partition("/")[2]].label


def correlation_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """A part per outcome, a row per predictor; columns are all tasks together, then each."""
    title = "Rank correlation with the outcome"
    return _table([c for c in cells if c.panel.startswith(CORRELATION)], plan, notes, title, "with the")


def wrong_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """The same of wrong pairs."""
    title = "Pairs of methods that the number puts the wrong way round, %"
    return _table([c for c in cells if c.panel.startswith(WRONG)], plan, notes, title, "against the")


def _table(cells: list[Cell], plan: "Plan", notes: Footnotes, title: str, word: str) -> Table:
    columns = dict.fromkeys((c.column, c.model, c.dataset) for c in cells)
    lines: dict[tuple[str, str], dict[tuple[str, str, str], Cell]] = {}
    for cell in cells:
        lines.setdefault((cell.panel, cell.row), {})[cell.column, cell.model, cell.dataset] = cell
    rows = []
    for (panel, _), line in lines.items():
        entries = tuple(shown(line[place], notes) if place in line else EMPTY for place in columns)
        rows.append(Row((str(next(iter(line.values())).text),), entries, f"{word} {outcome_name(panel)}"))
    labels = tuple(Label.plain(task_name(plan, m, d) if m else column) for column, m, d in columns)
    return Table(("Number of a run",), labels, tuple(rows), title=title)


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
