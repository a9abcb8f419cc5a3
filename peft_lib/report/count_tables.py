"""Table of printed counts: rows are the paper's tasks, columns its methods; ours, the paper's, what differs, what was meant."""

from dataclasses import replace
from itertools import groupby

from peft_lib.report.entries import LONG, SHORT, entry, fixed
from peft_lib.report.latex_text import latex_text
from peft_lib.report.markup import plain_name
from peft_lib.report.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.artefacts.counts import RATIO, SIZES
from peft_lib.results.cells import Cell
from peft_lib.results.readings import method_of
from peft_lib.study.plan import Plan
from peft_lib.study.schema import Artefact


def counted(artefact: Artefact, cells: list[Cell], plan: Plan, notes: Footnotes) -> list[Table]:
    """One table: each count by formula, the printed one below it, and the intended one where the paper counted otherwise."""
    columns = list(dict.fromkeys(c.column for c in cells))
    rows = []
    for (panel, model, dataset, _), part in groupby(cells, key=lambda c: c.key):
        in_row = {c.column: c for c in part}
        entries = tuple(_entry(in_row[c], notes) if c in in_row else EMPTY for c in columns)
        labels = tuple(of[i].name if i in of else i for of, i in ((plan.models, model), (plan.datasets, dataset)))
        rows.append(Row(labels, entries, _panel(panel, cells)))
    return [Table(("Model", "Data set"), tuple(map(_label, columns)), tuple(rows))]


def remarks(cells: list[Cell]) -> list[str]:
    """How many printed counts are met, and how many of these need another reading than ours."""
    known = [c for c in cells if c.value is not None]
    met = sum(c.status == "ok" for c in known)
    read = sum(c.intended is not None for c in known)
    said = [f"{met} of {len(cells)} printed values are met by formula at all their digits (difference 0)."]
    if wrong := len(known) - met:
        said.append(f"{wrong} are not: they are marked, with the difference below.")
    if absent := len(cells) - len(known):
        said.append(f"{absent} could not be computed: the notes say why.")
    if read:
        said.append(
            f"{read} are met only by the reading that their note tells; there, the value of our own reading (adapters and head; of "
            "model, head, A and B) stands below as the intended one."
        )
    return said


def _panel(panel: str, cells: list[Cell]) -> str:
    if panel != SIZES:
        return f"as a multiple of the count of {plain_name(panel.removeprefix(RATIO))}"
    percent = any(c.unit == "%" for c in cells)
    return "trainable parameters" + ", in percent where the paper has percent" * percent


def _label(column: str) -> Label:
    """A method's name; the paper's s-variants are methods under another execution."""
    label = Label.method(method_of(column))
    if method_of(column) == column:
        return label
    return replace(label, html="s-" + label.html, latex=latex_text("s-") + label.latex)


def _entry(cell: Cell, notes: Footnotes) -> Entry:
    shown = entry(replace(cell, difference=cell.difference or None), notes)
    lines = dict(shown.lines)
    if cell.published_text:
        lines["paper"] = f"{cell.published_text}{cell.unit}"
    if cell.intended is not None:
        lines["intended"] = f"{fixed(cell.intended, cell.digits)}{cell.unit}"
    title = f"{cell.source}; {LONG[cell.status]}" if cell.status in ("mismatch", "not_available") else str(cell.source)
    text = shown.text if cell.value is None else _with_unit(shown.text, cell.unit)
    return replace(shown, text=text or SHORT[cell.status], lines=lines, title=title)


def _with_unit(text: str, unit: str) -> str:
    """The unit before the sign of a mismatch."""
    return f"{text[:-1]}{unit}{text[-1]}" if text.endswith("\u2260") else f"{text}{unit}"
