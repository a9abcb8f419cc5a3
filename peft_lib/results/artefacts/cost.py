"""Kind `cost`: what a method scores against what it costs, one point per method and task."""

from dataclasses import replace

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context
from peft_lib.results.artefacts.methods import baseline
from peft_lib.results.cells import Cell


def build(context: Context) -> list[Cell]:
    """Two cells per point, in the panels `value` (the artefact's metric) and `cost`."""
    artefact = context.artefact
    cells: list[Cell] = []
    for row in context.rows():
        cells += marks.rank([context.cell(g, artefact.metric, panel="value") for g in row], artefact.highlight)
        cells += [context.cell(g, artefact.cost, panel="cost") for g in row]
        if artefact.metric == "test_metric":
            cells.append(replace(baseline(context, row), panel="value"))
    return cells
