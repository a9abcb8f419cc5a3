"""Kind `heatmap`: a panel per task and method, two settings along the axes, the best cell marked (Tables 8-11)."""

from dataclasses import replace

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context, Group, number
from peft_lib.results.cells import Cell


def build(context: Context) -> list[Cell]:
    """Settings that the grid varies beyond the two axes become part of the panel's name."""
    artefact = context.artefact
    panels: dict[str, list[Cell]] = {}
    for group in context.groups:
        varied = dict(group.varied)
        row, column = varied.pop(artefact.rows), varied.pop(artefact.columns)
        rest = "".join(f", {k} {number(v)}" for k, v in varied.items())
        panel = f"{group.model}/{group.dataset}/{group.method}{rest}"
        cell = context.cell(group, artefact.metric, panel=panel, row=number(row), column=number(column))
        panels.setdefault(panel, []).append(_beside(context, cell, group))
    return [c for cells in panels.values() for c in marks.rank(cells, min(artefact.highlight, 1))]


def _beside(context: Context, cell: Cell, group: Group) -> Cell:
    return marks.beside(replace(cell), context.printed(group), cell.value)
