"""Facts of a study computed from its runs: how many went well, do counts fit formulas, where it ran."""

import json
from collections import Counter
from typing import Any

import pandas as pd

from peft_lib.results.parameter_counts import counts
from peft_lib.results.statuses import RECORDED
from peft_lib.study.plan import Plan

STATUSES = (*RECORDED, "stale", "missing", "unreadable")


def status_counts(runs: pd.DataFrame) -> dict[str, int]:
    """Status -> number of runs; statuses that do not occur are left out, but for ok."""
    numbers = runs["status"].value_counts().to_dict()
    return {s: int(numbers.get(s, 0)) for s in STATUSES if s == "ok" or numbers.get(s)}


def parameter_check(plan: Plan, runs: pd.DataFrame) -> tuple[int, list[str]]:
    """Number of ok runs whose count of trainable parameters equals the formula, and the run ids where it does not."""
    wrong, right = [], 0
    for run_id, count in _column(runs[runs["status"] == "ok"], "trainable_parameters").items():
        if count == counts(plan.runs[run_id], plan).trainable:
            right += 1
        else:
            wrong.append(run_id)
    return right, wrong


def _column(runs: pd.DataFrame, name: str) -> dict[str, Any]:
    """Run id -> value of a column."""
    return {str(run_id): value for run_id, value in runs[name].items()}


def environment(runs: pd.DataFrame) -> dict[str, str]:
    """What the results were made with; several values are listed with the number of runs of each."""
    made = runs[runs["fingerprint"].notna()]
    if made.empty:
        return {}
    wall, cpu = made["wall_s"].dropna().sum(), made["cpu_s"].dropna().sum()
    facts = {
        "Device": _values(made["device_name"]), "Kind": _values(made["device"]),
        "Threads per run": _values(made["threads"]),
        "Processes per run": _values(made["processes"]), "Host": _values(made["host"]),
        "Commit": _values(made["git_commit"]),
        "Uncommitted changes": _values(made["git_dirty"].map({True: "yes", False: "no"})),
        "Versions": _values(made["versions"].map(_versions)),
        "Trained": f"{made['started'].dropna().min()} to {made['finished'].dropna().max()}",
        "Time of all runs": f"{wall:,.0f} s of wall time, {cpu:,.0f} CPU-s",
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value}


def _values(column: pd.Series) -> str:
    counts_of = Counter(str(value) for value in column.dropna())
    if len(counts_of) <= 1:
        return next(iter(counts_of), "")
    return "; ".join(f"{value} ({count} runs)" for value, count in sorted(counts_of.items()))


def _versions(text: Any) -> str:
    if not isinstance(text, str):
        return ""
    try:
        versions = json.loads(text)
    except json.JSONDecodeError:
        return text
    return ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
