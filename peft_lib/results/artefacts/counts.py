"""Kind `counts`: every printed count of parameters beside what the formula gives. No run is needed (Tables 6, 14, 15).

Each count is computed under the reading that gives it (readings.py). Where that is not our own reading, the value that our
reading gives stands beside it as the intended one, and the note says what was counted in its place.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from peft_lib.results.artefacts.context import Context
from peft_lib.results.cells import Cell
from peft_lib.results.readings import Reading, ReadingError, Readings, at_printed_digits, method_of
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.counts import Counts

QUANTITIES = {"trainable_parameters": ("", 0), "trainable_pct": ("%", 3)}
"""Quantity -> unit and decimals."""
SIZES, RATIO = "trainable", "trainable_ratio_to_"
"""Panels: counts and percentages as the paper prints them; multiples of the count of the method that the panel names."""


def build(context: Context) -> list[Cell]:
    """One cell per printed count, one per printed ratio of counts, in the order of the file.

    Raises ReadingError for a printed count that counts.csv has no reading for, or several.
    """
    assert context.published is not None  # planning asks for it
    readings = Readings(context.published.name, context.references)
    rows = [row for row in context.published.rows.values() if row["quantity"] in QUANTITIES]
    cells = [cell for row in rows for cell in _cells(context, readings, row)]
    return sorted(cells, key=lambda cell: cell.panel != SIZES)


def _cells(context: Context, readings: Readings, row: dict[str, str]) -> Iterator[Cell]:
    model, dataset, method = row["model"], row["dataset"], row["method"]
    explained = readings.find(model, dataset, method)
    unit, digits = QUANTITIES[row["quantity"]]
    blank = Cell(
        artefact=context.artefact.id, kind=context.artefact.kind, panel=SIZES, model=model, dataset=dataset, row="",
        column=method, metric=row["quantity"], method=method_of(method), unit=unit, digits=digits,
        source=explained.read.words, caveat=explained.note or None,
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
