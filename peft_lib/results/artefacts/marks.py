"""What a row says about its cells: the best three, sparse methods' change against the best, difference to the paper."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.published import Value


def goodness(cell: Cell) -> float:
    """Larger for better cells; without a direction the nearest to zero is best, as the paper marks gaps."""
    return {"higher": cell.number, "lower": -cell.number}.get(cell.direction, -abs(cell.number))


def rank(cells: list[Cell], highlight: int) -> list[Cell]:
    """Marks the best `highlight` cells of one row. Failed and stale cells take no part.

    Equal values share a place; a place shared by more cells than there are marks left is not given, so that a row in
    which ten methods tie for second has one mark.
    """
    values = sorted((goodness(c) for c in cells if c.trusted), reverse=True)
    places = {
        value: values.index(value) + 1 for value in values if values.index(value) + values.count(value) <= highlight
    }
    return [replace(c, rank_in_row=places.get(goodness(c)) if c.trusted else None) for c in cells]


def change_against_best(cells: list[Cell]) -> list[Cell]:
    """Sparse methods: 100 (value - best) / best, where best is over all methods of the row.

    The best itself carries none, as in the paper's Table 2.
    """
    trusted = [c for c in cells if c.trusted]
    if not trusted:
        return cells
    best = max(trusted, key=goodness)
    return [_changed(c, best) for c in cells]


def _changed(cell: Cell, best: Cell) -> Cell:
    sparse = cell.method is not None and get_method(cell.method).sparse
    if not (sparse and cell.trusted and best.value) or goodness(cell) == goodness(best):
        return cell
    return replace(cell, change_vs_best=100 * (cell.number - best.number) / best.number)


def beside(cell: Cell, printed: Value | None, value: float | None) -> Cell:
    """The cell with the paper's number and the difference of `value` to it."""
    if printed is None or printed.number is None:
        return cell
    difference = value - printed.number if value is not None and cell.trusted else None
    return replace(cell, published=printed.number, difference=difference, caveat=printed.caveat)


def normalise(cells: Iterable[Cell], reference: str) -> list[Cell]:
    """Each cell divided by the reference method's mean: a ratio of means as in Table 17, without an interval."""
    cells = list(cells)
    base = next((c for c in cells if c.method == reference), None)
    return [_divided(c, base, reference) for c in cells]


def _divided(cell: Cell, base: Cell | None, reference: str) -> Cell:
    plain: dict[str, Any] = {"unit": "", "sd": None, "low": None, "high": None, "digits": 2}
    if base is None or not base.trusted or not base.value:
        reason = f"no value of {reference} to divide by"
        return replace(cell, value=None, status="not_available", reason=reason, **plain)
    if cell.value is None:
        return replace(cell, **plain)
    return replace(cell, value=cell.value / base.value, **plain)
