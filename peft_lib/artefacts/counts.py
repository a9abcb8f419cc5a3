"""Kind `counts`: every printed count of parameters beside what the formula gives. No run is needed (Tables 6, 14, 15).

Each count is computed under the reading that gives it (readings.py). Where that is not our own reading, the value that our
reading gives stands beside it as the intended one, and the note says what was counted in its place.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Artefact
from peft_lib.artefacts.published_files import DESCRIPTION
from peft_lib.display.entries import LONG, SHORT, entry, fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import published_remarks
from peft_lib.display.tables import method_heading
from peft_lib.display.view import EMPTY, Entry, Footnotes, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.readings import Reading, ReadingError, Readings, at_printed_digits, method_of
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.counts import Counts
from peft_lib.study.types import Name

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

QUANTITIES = {"trainable_parameters": ("", 0), "trainable_pct": ("%", 3)}
"""Quantity -> unit and decimals."""
SIZES, RATIO = "trainable", "trainable_ratio_to_"
"""Panels: counts and percentages as the paper prints them; multiples of the count of the method that the panel names."""


class PrintedCounts(Artefact):
    """Every count of a file of reports/reference by formula, the printed one beside it, and what differs."""

    kind: Literal["counts"]
    published: Name = Field(description=DESCRIPTION, examples=["table_6.csv"])

    not_null: ClassVar[tuple[str, ...]] = ("published",)
    reads_catalogs = True
    published_by = frozenset({"quantity"})

    def build(self, context: Context) -> list[Cell]:
        """One cell per printed count, one per printed ratio of counts, in the order of the file.

        Raises ReadingError for a printed count that counts.csv has no reading for, or several.
        """
        assert context.published is not None  # planning asks for it
        readings = Readings(context.published.name, context.references)
        rows = [row for row in context.published.rows.values() if row["quantity"] in QUANTITIES]
        cells = [cell for row in rows for cell in _cells(context, readings, row)]
        return sorted(cells, key=lambda cell: cell.panel != SIZES)

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One table: each count by formula, the printed one below it, and the intended one where the paper counted otherwise."""
        columns = list(dict.fromkeys(c.column for c in cells))
        rows = []
        for (panel, model, dataset, _), part in groupby(cells, key=lambda c: c.key):
            in_row = {c.column: c for c in part}
            entries = tuple(_entry(in_row[c], notes) if c in in_row else EMPTY for c in columns)
            labels = tuple(of[i].name if i in of else i for of, i in ((plan.models, model), (plan.datasets, dataset)))
            rows.append(Row(labels, entries, _panel(panel, cells)))
        return [Table(("Model", "Data set"), tuple(map(method_heading, columns)), tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
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
        return [*said, *published_remarks(cells, self.published)]


def _cells(context: Context, readings: Readings, row: dict[str, str]) -> Iterator[Cell]:
    model, dataset, method = row["model"], row["dataset"], row["method"]
    explained = readings.find(model, dataset, method)
    unit, digits = QUANTITIES[row["quantity"]]
    blank = Cell(
        artefact=context.artefact.id, kind=context.artefact.kind, panel=SIZES, model=model, dataset=dataset, row="",
        column=method, metric=row["quantity"], method=method_of(method), unit=unit, digits=digits,
        source=explained.read.words, published_note=explained.note or None,
    )  # fmt: skip
    entry = context.plan.datasets.get(dataset)
    try:
        if entry is None:
            raise ReadingError(f"the data set catalog has no {dataset}: add it, or use config/datasets.yaml")
        value, meant = (_value(context, r, method, row["quantity"], entry) for r in (explained.read, explained.meant))
        yield _compared(blank, value, meant, row["value"])
        if row.get("ratio"):
            to = row["ratio_to"]
            bases = (_value(context, r, to, row["quantity"], entry) for r in (explained.read, explained.meant))
            ratio, meant_ratio = (v / base for v, base in zip((value, meant), bases, strict=True))
            pattern = replace(blank, panel=f"{RATIO}{to}", digits=3)
            yield _compared(pattern, ratio, meant_ratio, row["ratio"])
    except ReadingError as error:
        yield replace(blank, status="not_available", reason=str(error), published=float(row["value"]))


def _value(context: Context, reading: Reading, method: str, quantity: str, data: DatasetEntry) -> float:
    counted: Counts = reading.counts(method, context.plan.models, data)
    return float(reading.trainable(counted)) if quantity == "trainable_parameters" else reading.percent(counted)


def _compared(cell: Cell, value: float, meant: float, printed: str) -> Cell:
    """The cell with its value, the printed one, and their difference at the printed digits: anything but 0 is a mismatch."""
    difference = float(at_printed_digits(value, printed)) - float(printed)
    wrong: dict[str, Any] = {}
    if difference:
        wrong = {
            "status": "mismatch",
            "reason": f"the paper prints {printed}, its reading gives {value:,.{cell.digits}f}",
        }
    return replace(
        cell, value=value, published=float(printed), published_text=printed, difference=difference,
        intended=meant if meant != value else None, **wrong,
    )  # fmt: skip


def _panel(panel: str, cells: list[Cell]) -> str:
    if panel != SIZES:
        return f"as a multiple of the count of {plain_name(panel.removeprefix(RATIO))}"
    percent = any(c.unit == "%" for c in cells)
    return "trainable parameters" + ", in percent where the paper has percent" * percent


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
