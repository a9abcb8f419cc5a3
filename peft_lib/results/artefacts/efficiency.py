"""Kind `efficiency`: throughput, run time, peak memory, trainable parameters and their ratios to LoRA (Table 15)."""

from dataclasses import replace

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context
from peft_lib.results.cells import Cell

QUANTITIES = ("samples_per_s", "wall_s", "peak_memory_bytes", "trainable_parameters")


def build(context: Context) -> list[Cell]:
    reference = context.artefact.normalise_to or "lora"
    cells: list[Cell] = []
    for name in QUANTITIES:
        for row in context.rows():
            found = [context.cell(group, name, panel=name) for group in row]
            base = next((c.value for c in found if c.method == reference and c.trusted), None)
            found = [replace(c, ratio=c.value / base) if base and c.value is not None else c for c in found]
            found = marks.rank(found, context.artefact.highlight)
            # Another machine's seconds compare with ours only as multiples of LoRA's.
            cells += [_compared(context, c, g, name) for c, g in zip(found, row, strict=True)]
    return cells


def _compared(context: Context, cell: Cell, group, name: str) -> Cell:
    printed = context.printed(group, quantity=name)
    if printed is None or printed.ratio is None:
        return cell
    return marks.beside(cell, replace(printed, number=printed.ratio), cell.ratio)
