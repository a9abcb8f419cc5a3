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
        values = [context.cell(group, artefact.metric) for group in row]
        if artefact.normalise_to:
            values = marks.normalise(values, artefact.normalise_to)
        values = marks.rank(values, artefact.highlight)
        if artefact.change_vs_best:
            values = marks.change_against_best(values)
        cells += [marks.beside(c, context.printed(g), c.value) for c, g in zip(values, row, strict=True)]
        if artefact.metric == "test_metric" and not artefact.normalise_to:
            cells.append(majority(context, row))
    return cells


def majority(context: Context, row: list[Group]) -> Cell:
    """What always answering with the most frequent training label scores. It is no method and takes no place.

    The share depends on the test items, which may depend on the seed (carved-out splits), and on nothing else: any good
    run of a seed tells that seed's share, and the value is the mean over seeds. `n` and `planned` count seeds.
    """
    runs = context.runs.loc[[run_id for group in row for run_id in group.run_ids]]
    known = runs[(runs["status"] == "ok") & runs["majority"].notna()]
    by_seed = known["majority"].astype(float).groupby(known["seed"].astype(int)).mean()
    seeds = runs["seed"].nunique()
    blank: dict[str, Any] = {
        "sd": None, "low": None, "high": None, "values": (), "n": len(by_seed), "planned": seeds, "run_ids": (),
        "method": None,
    }  # fmt: skip
    pattern = replace(context.cell(row[0], "test_metric", column="majority"), **blank)
    if by_seed.empty:
        return replace(pattern, value=None, status="not_available", reason="no run recorded it")
    share = 100 * float(by_seed.mean())
    if len(by_seed) < seeds:
        reason = f"{len(by_seed)} of {seeds} seeds: no good run of the others tells it"
        return replace(pattern, value=share, status="partial", reason=reason)
    return replace(pattern, value=share, status="ok", reason=None)
