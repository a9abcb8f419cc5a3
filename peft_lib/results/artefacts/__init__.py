"""Builders of artefacts: plan and runs in, cells out. A new kind is a new file here and a word in study/schema.py."""

from pathlib import Path

import pandas as pd

from peft_lib.results.artefacts import cost, counts, curves, efficiency, heatmap, hyperparameters, methods, parameters
from peft_lib.results.artefacts.context import Context
from peft_lib.results.cells import Cell
from peft_lib.results.published import REFERENCE
from peft_lib.study.plan import Plan
from peft_lib.study.schema import Artefact

BUILDERS = {
    "methods": methods.build,
    "efficiency": efficiency.build,
    "parameters": parameters.build,
    "hyperparameters": hyperparameters.build,
    "heatmap": heatmap.build,
    "curves": curves.build,
    "cost": cost.build,
    "counts": counts.build,
}


def build(
    plan: Plan, artefact: Artefact, runs: pd.DataFrame, results: Path | str, references: Path | str = REFERENCE
) -> list[Cell]:
    """Cells of an artefact. `runs` is what `collect(plan, results)` returned."""
    return BUILDERS[artefact.kind](Context(plan, artefact, runs, Path(results), Path(references)))
