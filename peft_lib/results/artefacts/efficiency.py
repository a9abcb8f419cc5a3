"""Kind `efficiency`: throughput, run time, peak memory, trainable parameters (Table 15).

With `normalise_to`, also each value's ratio to that method's.
"""

from dataclasses import replace

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context, Group
from peft_lib.results.artefacts.parameters import checked_against_formula
from peft_lib.results.cells import Cell

QUANTITIES = ("samples_per_s", "wall_s", "peak_memory_bytes", "trainable_parameters")


def build(context: Context) -> list[Cell]:
    cells: list[Cell] = []
    for name in QUANTITIES:
        for row in context.rows():
            values = marks.rank([_value(context, g, name) for g in row], context.artefact.highlight)
            cells += [_compared(context, c, g, name) for c, g in zip(_with_ratios(context, values), row, strict=True)]
    return cells


def _value(context: Context, group: Group, name: str) -> Cell:
    cell = context.cell(group, name, panel=name)
    return checked_against_formula(context, group, cell) if name == "trainable_parameters" else cell


def _with_ratios(context: Context, cells: list[Cell]) -> list[Cell]:
    reference = context.artefact.normalise_to
    base = marks.reference_value(cells, reference) if reference else None
    return [replace(c, ratio=c.value / base) if base and c.measured and c.value is not None else c for c in cells]


def _compared(context: Context, cell: Cell, group: Group, name: str) -> Cell:
    """Another machine's seconds compare with ours only as multiples of the same method's."""
    printed = context.printed(group, quantity=name)
    if printed is None or printed.ratio is None or printed.ratio_to != context.artefact.normalise_to:
        return cell
    return marks.beside(cell, replace(printed, number=printed.ratio), cell.ratio)
