"""What a run has to beat: the score of the best constant answer, as a cell of its row."""

from dataclasses import replace
from typing import Any

from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.quantities import quantity


def baseline(context: Context, row: list[Group]) -> Cell:
    """What the best constant answer scores (the most frequent training class, say). It is no method and takes no place.

    The value depends on the test items, which may depend on the seed (carved-out splits), and on nothing else: any good
    run of a seed tells that seed's, and the value is the mean over seeds. `n` and `planned` count seeds.
    """
    runs = context.runs.loc[[run_id for group in row for run_id in group.run_ids]]
    known = runs[(runs["status"] == "ok") & runs["baseline"].notna()]
    by_seed = known["baseline"].astype(float).groupby(known["seed"].astype(int)).mean()
    seeds = runs["seed"].nunique()
    blank: dict[str, Any] = {
        "sd": None, "low": None, "high": None, "values": (), "n": len(by_seed), "planned": seeds, "run_ids": (),
        "method": None,
    }  # fmt: skip
    pattern = replace(context.cell(row[0], "test_metric", column="baseline"), **blank)
    if by_seed.empty:
        good = (runs["status"] == "ok").any()
        reason = "no constant answer has one" if good else "no run recorded it"
        return replace(pattern, value=None, status="not_available", reason=reason)
    value = quantity("test_metric", context.plan.datasets[row[0].dataset].metric).scale * float(by_seed.mean())
    if len(by_seed) < seeds:
        reason = f"{len(by_seed)} of {seeds} seeds: no good run of the others tells it"
        return replace(pattern, value=value, status="partial", reason=reason)
    return replace(pattern, value=value, status="ok", reason=None)
