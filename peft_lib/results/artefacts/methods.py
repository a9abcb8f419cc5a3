"""Kind `methods`: rows are tasks, columns are methods. Tables 2/18, 3/16 and, with `normalise_to`, 17."""

from dataclasses import replace
from typing import Any

from peft_lib.results.artefacts import marks
from peft_lib.results.artefacts.context import Context, Group
from peft_lib.results.cells import Cell


def build(context: Context) -> list[Cell]:
    artefact = context.artefact
    cells: list[Cell] = []
    for row in context.rows():
        found = [context.cell(group, artefact.metric) for group in row]
        if artefact.normalise_to:
            found = marks.normalise(found, artefact.normalise_to)
        found = marks.rank(found, artefact.highlight)
        if artefact.change_vs_best:
            found = marks.change_against_best(found)
        found = [marks.beside(c, context.printed(g), c.value) for c, g in zip(found, row, strict=True)]
        if artefact.metric == "test_metric" and not artefact.normalise_to:
            found.append(majority(context, row))
        cells += found
    return cells


def majority(context: Context, row: list[Group]) -> Cell:
    """What always answering with the most frequent training label scores. It is no method and takes no place."""
    runs = context.runs.loc[[run_id for group in row for run_id in group.run_ids]]
    shares = runs.loc[(runs["status"] == "ok") & runs["majority"].notna(), "majority"]
    pattern = context.cell(row[0], "test_metric", column="majority")
    blank: dict[str, Any] = {
        "sd": None,
        "low": None,
        "high": None,
        "n": len(shares),
        "planned": len(runs),
        "run_ids": (),
        "method": None,
    }
    if shares.empty:
        return replace(pattern, **blank, value=None, status="not_available", reason="no run recorded it")
    # Test items may depend on the seed (carved-out splits), so the share is a mean too.
    return replace(pattern, **blank, value=100 * float(shares.mean()), status="ok", reason=None)
