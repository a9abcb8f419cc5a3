"""Per-run details: what was asked for, what came out, how to repeat it."""

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd

from peft_lib.display.entries import LONG, fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import task_name
from peft_lib.methods.registry import get_method
from peft_lib.study.labels import number
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import quantity


@dataclass(frozen=True)
class RunDetails:
    """One run as the report shows it. Plain text throughout."""

    run_id: str
    name: str
    status: str
    word: str
    reason: str
    score: str
    facts: dict[str, str]
    settings: dict[str, str]
    spec: str
    command: str
    folder: str


def run_details(plan: Plan, runs: pd.DataFrame) -> dict[str, list[RunDetails]]:
    """Task -> its runs, in the order of the study."""
    rows = {str(run_id): row for run_id, row in runs.iterrows()}
    by_task: dict[str, list[RunDetails]] = {}
    for run_id, spec in plan.runs.items():
        by_task.setdefault(task_name(plan, spec.model.id, spec.dataset.id), []).append(
            _details(plan, run_id, rows[run_id])
        )
    return by_task


def _details(plan: Plan, run_id: str, row: pd.Series) -> RunDetails:
    spec = plan.runs[run_id]
    what = quantity("test_metric", plan.datasets[spec.dataset.id].metric)
    settings = {k: v for k, v in spec.model_dump(exclude_none=True).items() if _says_something(k, spec.method)}
    sources = plan.provenance.get(run_id, {})
    short = {k: _text(v) + (f"  ({sources[k]})" if k in sources else "") for k, v in settings.items() if v != {}}
    varied = ", ".join(f"{k} {_text(settings[k])}" for k in ("rank", "lr") if k in sources)
    return RunDetails(
        run_id=run_id, name=f"{plain_name(spec.method)}, seed {spec.seed}{f', {varied}' if varied else ''}",
        status=row["status"], word=LONG.get(row["status"], row["status"]),
        reason=_text(row["reason"]) if row["reason"] else "",
        score=_scaled(row["test_metric"], what.scale, what.digits, what.unit), facts=_facts(row), settings=short,
        spec=json.dumps(json.loads(spec.canonical), indent=1), command=row["command"] if isinstance(row["command"],
        str) else "",
        folder=f"results/runs/{spec.folder}",
    )  # fmt: skip


def _says_something(setting: str, method_id: str) -> bool:
    """Whether a setting is worth a line: not what the run's name says, nor what its method has no use for."""
    return setting not in ("model", "dataset", "method", "seed") and get_method(method_id).uses(setting)


def _facts(row: pd.Series) -> dict[str, str]:
    """What was measured, leaving out what was not."""
    facts = {
        "selected epoch": _ratio(row["selected_epoch"], row["epochs"]), "optimiser steps": _scaled(row["steps"], 1, 0),
        "links": _scaled(row["links"], 1, 0), "execution": _text(row["execution"]),
        "test loss": _scaled(row["test_loss"], 1, 4),
        "validation loss": _scaled(row["val_loss"], 1, 4), "clean train loss": _scaled(row["train_loss"], 1, 4),
        "gap": _scaled(row["gap"], 1, 4), "trainable parameters": _scaled(row["trainable_parameters"], 1, 0),
        "wall time": _scaled(row["wall_s"], 1, 1, "s"), "processor time": _scaled(row["cpu_s"], 1, 1, "s"),
        "peak memory": _scaled(row["peak_memory_bytes"], 2**-20, 0, "MiB"), "device": _text(row["device_name"]),
        "attempts": _scaled(row["attempts"], 1, 0), "fingerprint": _text(row["fingerprint"]),
    }  # fmt: skip
    return {name: value for name, value in facts.items() if value}


def _ratio(a: Any, b: Any) -> str:
    return f"{int(a)} of {int(b)}" if pd.notna(a) and pd.notna(b) else ""


def _scaled(value: Any, scale: float, digits: int, unit: str = "") -> str:
    return f"{fixed(float(value) * scale, digits)}{' ' * (unit not in ('', '%'))}{unit}" if pd.notna(value) else ""


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} = {_text(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(_text(v) for v in value)
    return "" if value is None or value != value else number(value)
