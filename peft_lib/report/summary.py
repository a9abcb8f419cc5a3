"""A study in single sentences: what was compared, how many runs went well, whether counts fit the formula."""

import pandas as pd

from peft_lib.report import facts
from peft_lib.study.plan import Plan


def summary(plan: Plan, runs: pd.DataFrame) -> str:
    """What was compared on what, in one line."""
    specs = plan.runs.values()
    methods = len({s.method for s in specs})
    tasks = len({(s.model.id, s.dataset.id) for s in specs})
    if not specs:
        return "no run: all its values are by formula"
    seeds = sorted({len(grid.seeds) for grid in plan.study.grids.values()})
    parts = [_count(methods, "method"), _count(tasks, "task"), _count(seeds[-1], "seed"), _count(len(runs), "run")]
    parts[2] = parts[2] if len(seeds) == 1 else f"up to {parts[2]}"
    bad = {k: v for k, v in facts.status_counts(runs).items() if k != "ok"}
    state = "all ok" if not bad else ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in bad.items())
    machines = ", ".join(sorted(runs["device_name"].dropna().unique()))
    return " \u00b7 ".join([*parts, state, *([machines] if machines else [])])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def runs_sentence(counted: dict[str, int], total: int) -> str:
    if not total:
        return "The study plans no run: its tables are by formula, from the catalogs and the paper's printed numbers."
    bad = ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in counted.items() if k != "ok")
    good = f"{counted['ok']} of {_count(total, 'planned run')} finished well and with the present code and data"
    return f"{good}; {bad}." if bad else f"{good}."


def parameters_sentence(right: int, wrong: list[str]) -> str:
    if not right and not wrong:
        return "No run has counted its trainable parameters yet."
    total = _count(right + len(wrong), "run")
    text = f"Trainable parameters, counted by the optimiser, equal the formula in {right} of {total}."
    return text if not wrong else f"{text} They differ in {len(wrong)}."
