"""Chains beside the methods that they are without their resets, as a table and in words."""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from peft_lib.display.entries import entry, fixed
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import ALIKE, DIFFERS, WEAK
from peft_lib.statistics.intervals import FEWEST

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

BASE, CHAIN, DIFFERENCE, VERDICT = "base", "chain", "difference", "verdict"
RESETS, LINKS, TOUCHED, BASE_TOUCHED = "resets", "links", "touched", "touched by the base"
HEADINGS = {
    BASE: "without", CHAIN: "chained", DIFFERENCE: "difference", VERDICT: "does it help?", RESETS: "resets of a run",
    LINKS: "links at the reported epoch", TOUCHED: "columns touched, chained", BASE_TOUCHED: "columns touched, without",
}  # fmt: skip
HELPS, HURTS, UNKNOWN = "helps", "hurts", "not tested"


def tables_of(cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
    """A part per task, a row per pair."""
    lines: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for c in cells:
        lines.setdefault((c.model, c.dataset, c.row, c.panel), {})[c.column] = c
    body = []
    for (*task, _), line in lines.items():
        entries = tuple(_entry(name, line, notes) for name in HEADINGS)
        body.append(Row((_label(line),), entries, task_name(plan, *task)))
    columns = tuple(Label.plain(text) for text in HEADINGS.values())
    return [Table(("Chain and base",), columns, tuple(body))] if body else []


def remarks_of(cells: list[Cell]) -> list[str]:
    """What the pairs come to, what was tested, and what else the pairs differ in."""
    found = [c for c in cells if c.column == DIFFERENCE]
    if not found:
        return ["No method of these grids chains beside the method that it is without its resets."]
    counted = Counter(c.text for c in found)
    tested = len(found) - counted[UNKNOWN]
    said = [overall] if (overall := outcome(cells)) else []
    if counted[WEAK]:
        said.append(f"{WEAK[0].upper()}{WEAK[1:]}: p alone is below 0.05, among so many pairs it may be chance.")
    seeds = {c.n for c in found if c.p is not None}
    if seeds:
        over = "test items and seeds" if min(seeds) >= FEWEST else "test items alone, so the statement is of these runs"
        said.append(
            f"Difference: chained minus without, with its 95 % interval over {over} (paired; kind comparisons)."
        )
        questions = len({question(c) for c in found if c.p is not None})
        once = (
            ""
            if questions == tested
            else f", of which {tested - questions} repeat another up to rounding and count once"
        )
        said.append(f"p after Holm's correction over the {tested} pairs of this table{once}.")
    links = [c for c in cells if c.column == LINKS and c.values]
    unchained = sum(v <= 1 for c in links for v in c.values)
    if unchained:
        total = sum(len(c.values) for c in links)
        said.append(
            f"In {unchained} of {total} chained runs the reported epoch lies before the first reset: up to there the chain is its base."
        )
    if any(c.text and "of" in c.text for c in cells if c.column == TOUCHED):
        said.append(
            "Columns of an adapted weight that the links up to the reported epoch touch: counted for fixed windows, expected "
            "for random selections; all where A is dense."
        )
    if any(c.reason and "against" in c.reason for c in found):
        said.append("Where the two also differ in another setting, it is noted: then chaining is not all that differs.")
    return said


def outcome(cells: list[Cell]) -> str:
    """What the tested pairs come to, in a sentence; empty if none was tested."""
    counted = Counter(c.text for c in cells if c.column == DIFFERENCE)
    tested = counted.total() - counted[UNKNOWN]
    pairs = f"{tested} pair{'s' * (tested != 1)} of a chained method and the same one without resets"
    if parts := [f"{word} in {counted[word]}" for word in (HELPS, HURTS, DIFFERS) if counted[word]]:
        rest = counted[ALIKE] + counted[WEAK]
        return f"Chaining {' and '.join(parts)} of {pairs}; in {rest} the difference is not told from chance at 5 % (Holm)."
    return f"Chaining: no difference beyond chance (5 %, Holm) was found in {pairs}." if tested else ""


def question(cell: Cell) -> tuple:
    """What two pairs of a task have in common that are one: every seed's difference, interval and p."""
    ends = (cell.low or 0.0, cell.high or 0.0, cell.p or 0.0)
    return cell.model, cell.dataset, cell.row, *(round(x, 6) for x in (*cell.values, *ends))


def _label(line: dict[str, Cell]) -> Label:
    """CoLA against LoRA, in both languages."""
    chain, base = (Label.method(str(line[column].method)) for column in (CHAIN, BASE))
    return Label(chain.html + " against " + base.html, f"{chain.latex} against {base.latex}")


def _entry(name: str, line: dict[str, Cell], notes: Footnotes) -> Entry:
    if name == VERDICT:
        cell = line[DIFFERENCE]
        if cell.p_adjusted is None:
            return Entry(cell.text or "")
        p = "p < 0.001" if cell.p_adjusted < 1e-3 else f"p = {cell.p_adjusted:.3f}"
        return Entry(f"{cell.text}, {p}", title=f"p before the correction {cell.p:.3g}")
    if name not in line:
        return EMPTY
    cell = line[name]
    shown = entry(cell, notes)
    if name == DIFFERENCE:
        lines = {}
        if cell.low is not None and cell.high is not None:
            digits = 1 if cell.digits == 2 else cell.digits
            lines = {"bounds": f"[{fixed(cell.low, digits)}, {fixed(cell.high, digits)}]"}
        text = fixed(cell.value, cell.digits, signed=True) if cell.value is not None else shown.text
        return replace(shown, text=text, lines=lines, run=None)
    if cell.text:
        percent = f"{cell.value:.1f} % on average over places" if cell.metric == "columns_touched" else shown.title
        return replace(shown, text=cell.text, lines={}, title=percent)
    keep = {k: v for k, v in shown.lines.items() if k in ("n", "sd", "values")}
    return replace(shown, lines=keep if name in (BASE, CHAIN) else {})
