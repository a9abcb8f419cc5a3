"""What a row says about its cells: the best three, sparse methods' change against the best, difference to the paper.

Only complete cells take part in a comparison: every planned run is there, fresh, and good.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.published import Value

ROUNDING_DIGITS = 6
"""Decimals beyond the printed ones that still count: what differs less is the rounding of a mean, and is a tie."""


def goodness(cell: Cell) -> float:
    """Larger for better cells, equal for ties; without a direction the nearest to zero is best, as the paper marks gaps."""
    value = round(cell.number, cell.digits + ROUNDING_DIGITS)
    return {"higher": value, "lower": -value}.get(cell.direction, -abs(value))


def best_of(cells: Iterable[Cell]) -> list[Cell]:
    """The complete cells that share the first place; none if no cell is complete."""
    complete = [c for c in cells if c.complete]
    top = max(map(goodness, complete), default=None)
    return [c for c in complete if goodness(c) == top]


def rank(cells: list[Cell], highlight: int) -> list[Cell]:
    """Marks the best `highlight` cells of one row, and ties among them.

    Equal values share a place, and the places that they use up are not given again: 1, 1, 3. The first place is given
    to all who share it, however many, unless every complete cell of the row does; a later place that more cells share
    than there are marks left is not given, so that a row in which ten methods tie for second has one mark.
    """
    shared = Counter(goodness(c) for c in cells if c.complete)
    places: dict[float, int] = {}
    taken = 0
    for value, count in sorted(shared.items(), reverse=True):
        first = taken == 0 and (len(shared) > 1 or count == 1)
        if taken < highlight and (first or 0 < taken <= highlight - count):
            places[value] = taken + 1
        taken += count
    return [_placed(c, places, shared) for c in cells]


def _placed(cell: Cell, places: dict[float, int], shared: Counter[float]) -> Cell:
    place = places.get(goodness(cell)) if cell.complete else None
    return replace(cell, rank_in_row=place, tied=place is not None and shared[goodness(cell)] > 1)


def change_against_best(cells: list[Cell]) -> list[Cell]:
    """Sparse methods: 100 (value - best) / |best|, where best is over all methods of the row. The sign is that of the difference.

    The best itself carries none, as in the paper's Table 2.
    """
    best = best_of(cells)
    return [_changed(c, best[0]) for c in cells] if best else cells


def _changed(cell: Cell, best: Cell) -> Cell:
    sparse = cell.method is not None and get_method(cell.method).sparse
    if not (sparse and cell.complete and best.value) or goodness(cell) == goodness(best):
        return cell
    return replace(cell, change_vs_best=100 * (cell.number - best.number) / abs(best.number))


def beside(cell: Cell, printed: Value | None, value: float | None) -> Cell:
    """The cell with the paper's number and the difference of `value` to it."""
    if printed is None or printed.number is None:
        return cell
    difference = value - printed.number if value is not None and cell.measured else None
    return replace(
        cell, published=printed.number, published_text=printed.text, published_also=printed.also,
        published_note=printed.note, difference=difference, caveat=printed.caveat,
    )  # fmt: skip


def reference_value(cells: Iterable[Cell], method: str) -> float | None:
    """What ratios of a row divide by: the method's mean if all its planned runs are good, and it is not zero."""
    return next((c.value for c in cells if c.method == method and c.complete and c.value), None)


def with_ratios(cells: Iterable[Cell], reference: str | None) -> list[Cell]:
    """The cells with each value's ratio to the reference method's; none without a reference or its value."""
    cells = list(cells)
    base = reference_value(cells, reference) if reference else None
    return [replace(c, ratio=c.value / base) if base and c.measured and c.value is not None else c for c in cells]


def normalise(cells: Iterable[Cell], reference: str) -> list[Cell]:
    """Each cell divided by the reference method's mean: a ratio of means as in Table 17, without an interval.

    None by a negative mean where larger or smaller is better (a correlation below zero): it would turn the order around.
    """
    cells = list(cells)
    base = next((c for c in cells if c.method == reference), None)
    divisor = reference_value(cells, reference)
    if divisor is not None and divisor < 0 and base is not None and base.direction != "none":
        divisor = None
    return [_divided(c, divisor, _why_not(base, reference)) for c in cells]


def _divided(cell: Cell, divisor: float | None, why_not: str) -> Cell:
    plain: dict[str, Any] = {"unit": "", "sd": None, "low": None, "high": None, "values": (), "digits": 2}
    if not cell.measured:  # it keeps its own status: missing, diverged
        return replace(cell, value=None, n=0, **plain)
    if divisor is None:
        return replace(cell, value=None, status="not_available", reason=why_not, **plain)
    return replace(cell, value=None if cell.value is None else cell.value / divisor, **plain)


def _why_not(base: Cell | None, reference: str) -> str:
    """Why there is no ratio to the reference method."""
    name = get_method(reference).name
    if base is not None and base.value is not None and not base.complete:
        return f"no ratio to {name}, which has no value from all its planned runs: {base.reason}"
    if base is not None and base.value is not None and base.value < 0:
        return f"no ratio to {name}: its value is negative, which would turn the order of the methods around"
    zero = " but zero" if base is not None and base.value == 0 else ""
    return f"no value of {name}{zero} to divide by"
