"""What a run leaves in its folder: columns of result.parquet, and the files."""

import shutil
import socket
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from peft_lib.layers.delta_file import Snapshot, write_delta
from peft_lib.run_files import EPOCHS, PREDICTIONS, RESULT, write_rows
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.build import Built
from peft_lib.training.clock import PHASES
from peft_lib.training.evaluation import DIRECTION
from peft_lib.training.state import State


@dataclass(frozen=True)
class Outcome:
    """How a run ended; `columns`, `predictions` and `final` (the last epoch's state) only if it ended well."""

    status: str
    reason: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)
    final: Snapshot | None = None


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_run(out_dir: Path, run: Built, state: State, outcome: Outcome) -> None:
    """Writes the run's files, result.parquet last, and removes the checkpoint."""
    progress, execution = state.progress, run.request.execution
    with state.clock.phase("save"):
        kept = {"selected": state.selected} if outcome.status == "ok" and execution.keep != "none" else {}
        if outcome.final is not None:
            kept["final"] = replace(outcome.final, epoch=progress.epoch)
        facts = {**run.adapter.header, "run_id": run.request.spec.run_id}
        write_delta(out_dir / "delta.safetensors", facts, {k: s for k, s in kept.items() if s is not None})
        write_rows(out_dir / "epochs.parquet", progress.rows, EPOCHS)
        write_rows(out_dir / "predictions.parquet", outcome.predictions, PREDICTIONS)
    write_rows(out_dir / "result.parquet", [result_row(run, state, outcome)], RESULT)
    shutil.rmtree(out_dir / "checkpoint", ignore_errors=True)


def result_row(run: Built, state: State, outcome: Outcome) -> dict[str, Any]:
    """The row of result.parquet."""
    request, rows, progress, seconds = run.request, run.task.rows, state.progress, state.clock.read()
    accelerator = request.accelerator
    trained = progress.epoch * len(rows["train"])
    return {
        **identity_columns(request.spec, request.inputs.dataset),
        **machine_columns(accelerator.device),
        "status": outcome.status,
        "reason": outcome.reason,
        "execution": run.adapter.execution,
        "epochs": progress.epoch,
        "steps": progress.step,
        "attempts": progress.attempts,
        "started": progress.started,
        **{f"n_{split}": len(rows[split]) for split in rows},
        **{f"{kind}_parameters": count for kind, count in run.counts.items()},
        "samples_per_s": trained / seconds["train"] if outcome.status == "ok" else None,
        "wall_s": sum(seconds[p] for p in PHASES),
        **{f"{p}_s": seconds[p] for p in (*PHASES, "cpu")},
        "threads": request.execution.threads,
        "processes": accelerator.num_processes,
        "fingerprint": request.inputs.fingerprint,
        "data_sha256": run.task.data.manifest["sha256"],
        "command": request.inputs.command,
        **outcome.columns,
    }


def identity_columns(spec: RunSpec, dataset: DatasetEntry) -> dict[str, Any]:
    return {
        "run_id": spec.run_id,
        "spec": spec.canonical,
        "model": spec.model.id,
        "dataset": spec.dataset.id,
        "method": spec.method,
        "seed": spec.seed,
        "metric": dataset.metric,
        "metric_direction": DIRECTION[dataset.metric],
    }


def machine_columns(device: torch.device) -> dict[str, Any]:
    """Device, memory peaks so far, library versions, state of the working tree."""
    commit, dirty = machine.git_state()
    return {
        **machine.memory_peaks(device),
        "device": device.type,
        "device_name": machine.device_name(device),
        "versions": machine.versions(),
        "git_commit": commit,
        "git_dirty": dirty,
        "host": socket.gethostname(),
        "finished": now(),
    }
