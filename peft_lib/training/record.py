"""What a run leaves in its folder: columns of result.parquet, and the files."""

import shutil
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from peft_lib.files import write_text
from peft_lib.layers.delta_file import write_delta
from peft_lib.run_files import EPOCHS, PREDICTIONS, RESULT, write_rows
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.assemble import TaskData
from peft_lib.training.build import Built, Request
from peft_lib.training.clock import PHASES
from peft_lib.training.folder import RunFolder
from peft_lib.training.state import State


@dataclass
class Attempt:
    """What is known of an attempt at a run, and how it ended. `items` and `run` are None where it ended before them."""

    request: Request
    git: machine.GitState
    state: State
    items: TaskData | None = None
    run: Built | None = None
    status: str = "ok"
    reason: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)
    predictions: list[dict[str, Any]] = field(default_factory=list)


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def write_run(folder: RunFolder, attempt: Attempt) -> None:
    """Writes every declared file of the run and puts them in place together.

    The checkpoint of a run that ended for good is removed; its finished copy stays. After out of memory it is the other
    way round: the run can go on where there is more; and a repeat that ran out of memory replaces no good result.
    """
    request, state, status = attempt.request, attempt.state, attempt.status
    if status == "out_of_memory":
        good = folder.good_result(request.identity if attempt.run is None else attempt.run.identity)
        if good is not None:
            print(f"{attempt.reason}; the result of {good['finished']} stays in place", flush=True)
            return
    folder.forget_finished()
    with state.clock.phase("save"):
        header = {"method": request.spec.method} if attempt.run is None else attempt.run.adapter.header
        kept = state.kept(request.execution.keep) if status == "ok" else {}
        facts = {**header, "run_id": request.spec.run_id}
        write_delta(folder.finished("delta.safetensors"), facts, kept)
        write_rows(folder.finished("epochs.parquet"), state.progress.rows, EPOCHS)
        write_rows(folder.finished("predictions.parquet"), attempt.predictions, PREDICTIONS)
        write_text(folder.finished("spec.json"), request.spec.canonical + "\n")
    write_rows(folder.finished("result.parquet"), [result_row(attempt)], RESULT)
    folder.publish("new" if status == "ok" else "none")
    if status == "out_of_memory":
        folder.forget_finished()
    else:
        folder.checkpoint.unlink(missing_ok=True)
        if folder.growing_trajectory.is_dir():  # of a run that diverged
            shutil.rmtree(folder.growing_trajectory)


def result_row(attempt: Attempt) -> dict[str, Any]:
    """The row of result.parquet; what the attempt did not come to is null."""
    request, items, run, progress = attempt.request, attempt.items, attempt.run, attempt.state.progress
    seconds = attempt.state.clock.read()
    row: dict[str, Any] = {
        **identity_columns(request.spec, request.inputs.dataset),
        **request.identity,
        **execution_columns(request),
        **machine_columns(request),
        "git_commit": attempt.git.commit,
        "git_dirty": attempt.git.dirty,
        "git_note": attempt.git.note,
        "status": attempt.status,
        "reason": attempt.reason,
        "epochs": progress.epoch,
        "steps": progress.step,
        "attempts": progress.attempts,
        "started": progress.started,
        "wall_s": sum(seconds[p] for p in PHASES),
        **{f"{p}_s": seconds[p] for p in (*PHASES, "cpu")},
        "command": request.inputs.command,
    }
    if items is not None:
        row |= {"data_sha256": items.data.manifest["sha256"]}
        row |= {f"n_{split}": len(rows) for split, rows in items.rows.items()}
    if run is not None:
        row |= {**run.identity, **{f"{kind}_parameters": count for kind, count in run.counts.items()}}
        if attempt.status == "ok":
            row["samples_per_s"] = progress.epoch * len(run.items.rows["train"]) / seconds["train"]
    return {**row, **attempt.columns}


def identity_columns(spec: RunSpec, dataset: DatasetEntry) -> dict[str, Any]:
    return {
        "run_id": spec.run_id,
        "model": spec.model.id,
        "dataset": spec.dataset.id,
        "method": spec.method,
        "seed": spec.seed,
        "task": dataset.task,
        "metric": dataset.metric,
        "metric_direction": DATASET_METRICS[dataset.metric].direction,
        "carve_out": dataset.carve_out,
    }


def execution_columns(request: Request) -> dict[str, Any]:
    """How the run was executed, Accelerate's effective configuration included."""
    execution, accelerator = request.execution, request.accelerator
    return {
        "device": accelerator.device.type,
        "threads": execution.threads,
        "processes": accelerator.num_processes,
        "micro_batch": execution.micro_batch,
        "deterministic": execution.deterministic,
        "mixed_precision": accelerator.mixed_precision,
        "distributed_type": accelerator.distributed_type.value,
        "keep": execution.keep,
        "gradient_checkpointing": execution.gradient_checkpointing,
    }


def machine_columns(request: Request) -> dict[str, Any]:
    """Memory peaks so far, device and host, the end."""
    device = request.accelerator.device
    return {
        **machine.memory_peaks(device),
        "device_name": machine.device_name(device),
        "host": socket.gethostname(),
        "finished": now(),
    }
