"""How far a study is while it runs: read from what runs leave in their folders, nothing is locked or written.

A run has ended when it has a result of the present code. Before that its log tells who is at work on it (host, process, since
when: the line that starts each attempt) and its last epoch. A run is active if that process is alive, or, on another machine,
if its folder has changed lately; otherwise it was interrupted, and goes on when it is started again.
"""

import os
import re
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from peft_lib.results.index import ResultIndex
from peft_lib.results.statuses import RECORDED
from peft_lib.study.plan import Plan
from peft_lib.study.spec import RunSpec

LATELY_S = 900.0
"""On another machine a run counts as active if its log or checkpoint is younger than this, or than three of its epochs."""
ATTEMPT = re.compile(r"^--- (\S+) (\S+) pid (\d+) run ", re.MULTILINE)
EPOCH = re.compile(r"^epoch (\d+)/(\d+) ", re.MULTILINE)
TAIL = 20_000
"""Bytes of a log that are read, from its end."""


@dataclass(frozen=True)
class Active:
    """A run at work: its last finished epoch."""

    run_id: str
    name: str
    epoch: int
    epochs: int
    host: str


@dataclass(frozen=True)
class Progress:
    """Runs that are asked for, by what has become of them, and what is left."""

    asked: int
    outcomes: Mapping[str, int]
    """ok, diverged, out_of_memory -> runs that ended so"""
    stale: int
    interrupted: int
    waiting: int
    active: tuple[Active, ...]
    hours_left: float
    """Of all processors together: of whole runs as estimated, of active ones the epochs that are left."""
    seconds_left: float | None
    """Wall time, if as many runs stay active as there are now; None while none is."""

    @property
    def ended(self) -> int:
        return sum(self.outcomes.values())

    @property
    def over(self) -> bool:
        return self.ended == self.asked


def progress(plan: Plan, index: ResultIndex, hours: Mapping[str, float], now: float | None = None) -> Progress:
    """Looks at the folders of all runs that are asked for. `hours`: run -> what it takes (outlook.hours_of); `index` keeps what
    was read, so that the next look opens no result again."""
    now = time.time() if now is None else now
    outcomes: Counter[str] = Counter()
    states: Counter[str] = Counter()
    active: list[Active] = []
    left: dict[str, float] = {}
    for run_id in (run_id for run_id in plan.runs if run_id in plan.asked):
        spec = plan.runs[run_id]
        folder = index.results / "runs" / spec.folder
        found = _outcome(plan, run_id, index, folder)
        if found in RECORDED:
            outcomes[found] += 1
            continue
        at_work = _at_work(spec, folder, now)
        done = at_work.epoch / at_work.epochs if at_work else 0.0
        left[run_id] = hours[run_id] * (1 - done)
        if at_work:
            active.append(at_work)
        else:
            states[found or ("interrupted" if (folder / "log.txt").is_file() else "waiting")] += 1
    together = sum(left.values())
    seconds = None
    if active:
        seats = sum(plan.how(one.run_id).processes for one in active)
        longest = max(left[one.run_id] / plan.how(one.run_id).processes for one in active)
        seconds = 3600 * max(together / seats, longest)
    return Progress(
        len(plan.asked), dict(outcomes), states["stale"], states["interrupted"], states["waiting"], tuple(active), together,
        seconds if left else 0.0,
    )  # fmt: skip


def _outcome(plan: Plan, run_id: str, index: ResultIndex, folder: Path) -> str | None:
    """The status of a run's result, 'stale' for one of other code; None where there is none that can be read."""
    try:
        rows = index.read(folder / "result.parquet")
    except (OSError, pa.ArrowException):
        return None
    if not rows or rows[0].get("run_id") != run_id:
        return None
    return str(rows[0].get("status")) if rows[0].get("fingerprint") == plan.fingerprint(run_id) else "stale"


def _at_work(spec: RunSpec, folder: Path, now: float) -> Active | None:
    """What the log says of the last attempt, if somebody is at work on it."""
    text = _tail(folder / "log.txt")
    attempts = list(ATTEMPT.finditer(text))
    if not attempts:
        return None
    last = attempts[-1]
    resumes = (folder / "checkpoint" / "epoch.safetensors").is_file()
    epochs = [int(match[1]) for match in EPOCH.finditer(text, 0 if resumes else last.end())]
    host, pid = last[2], int(last[3])
    if host == socket.gethostname():
        alive = _is_alive(pid)
    else:
        times = [_time(folder / name) for name in ("log.txt", "checkpoint/epoch.safetensors")]
        patience = max(LATELY_S, 3 * _epoch_s(folder, epochs[-1] if epochs else 0))
        alive = now - max(times) < patience
    if not alive:
        return None
    name = f"{spec.method} on {spec.model.id}/{spec.dataset.id}, seed {spec.seed}"
    return Active(spec.run_id, name, epochs[-1] if epochs else 0, spec.epochs, host)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL))
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _epoch_s(folder: Path, epochs: int) -> float:
    """Seconds of an epoch so far: from the folder's lock, which the first attempt made, to the last line of the log."""
    started = _time(folder / ".lock")
    return (_time(folder / "log.txt") - started) / epochs if epochs and started else 0.0
