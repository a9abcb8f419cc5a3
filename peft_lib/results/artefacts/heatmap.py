"""Kind `heatmap`: a panel per task and method, two settings along the axes, the best cell marked (Tables 8-11)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context, number
from peft_lib.results.cells import Cell
from peft_lib.study.settings import resolve_alpha
from peft_lib.study.types import parse_number


def build(context: Context) -> list[Cell]:
    """Settings that the grid varies beyond the two axes become part of the panel's name.

    A best cell that has the smallest or largest value of a setting says so in `edge`.
    """
    artefact = context.artefact
    axes: dict[str, set[Any]] = {artefact.rows: set(), artefact.columns: set()}
    panels: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
    for group in context.groups:
        varied = dict(group.varied)
        place = {name: varied.pop(name) for name in axes}
        for name, value in place.items():
            axes[name].add(value)
        rest = "".join(f", {k} {number(v)}" for k, v in varied.items())
        panel = f"{group.model}/{group.dataset}/{group.method}{rest}"
        row, column = (number(value) for value in place.values())
        cell = context.cell(group, artefact.metric, panel=panel, row=row, column=column)
        panels.setdefault(panel, []).append((marks.beside(cell, context.printed(group), cell.value), place))
    grid_ends = {name: ends(values) for name, values in axes.items()}
    return [cell for panel in panels.values() for cell in _marked(panel, grid_ends, min(artefact.highlight, 1))]


Ends = dict[str, dict[Any, str]]


def _marked(panel: list[tuple[Cell, dict[str, Any]]], grid_ends: Ends, highlight: int) -> list[Cell]:
    """The panel's cells with the best ones marked, and among these the ones at an edge of the grid."""
    cells = marks.rank([cell for cell, _ in panel], highlight)
    return [
        replace(cell, edge=_edge(place, grid_ends)) if cell.rank_in_row else cell
        for cell, (_, place) in zip(cells, panel, strict=True)
    ]


def _edge(place: dict[str, Any], grid_ends: Ends) -> str | None:
    at = [f"{grid_ends[name][value]} {name}" for name, value in place.items() if value in grid_ends[name]]
    return ", ".join(at) or None


def ends(values: Iterable[Any]) -> dict[Any, str]:
    """The first and last value of an axis and what to call them; nothing for one value and for values without order."""
    sizes = {value: _size(value) for value in values}
    if len(sizes) < 2 or None in sizes.values() or len({kind for kind, _ in filter(None, sizes.values())}) > 1:
        return {}
    ordered = sorted(sizes, key=lambda value: sizes[value] or ("", 0.0))
    return {ordered[0]: "smallest", ordered[-1]: "largest"}


def _size(value: Any) -> tuple[str, float] | None:
    """(kind, size) of a setting's value: a number, or alpha as a multiple of the rank ('2r'); None without a size.

    A multiple and a number have no order between them: it depends on the rank.
    """
    value = parse_number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", float(value)
    try:
        return "multiple", resolve_alpha(value, rank=1)
    except (TypeError, ValueError):
        return None
