"""Columns of result.parquet that say what a run was, and on what it ran."""

import socket
from datetime import UTC, datetime
from typing import Any

import torch

from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.evaluation import DIRECTION


def now() -> str:
    """ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


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
