"""How far a study is: what the folders of runs say, in every state that a run may be in."""

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from peft_lib.results.index import ResultIndex
from peft_lib.results.progress import LATELY_S, Progress, progress
from peft_lib.study.plan import Plan
from tests.runs import ROOT
from tests.unit import synthetic
from workflow_scripts import progress as command

HERE = socket.gethostname()


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
    return synthetic.make_plan(tmp_path / "study")


def log(results: Path, plan: Plan, place: int, *attempts: tuple[str, int, int], checkpoint: bool = False) -> Path:
    """The folder of an unfinished run: an attempt is a host, a process and the epochs of it."""
    spec = list(plan.runs.values())[place]
    folder = results / "runs" / spec.folder
    folder.mkdir(parents=True)
    lines = []
    for host, pid, epochs in attempts:
        lines.append(f"--- 2026-01-01T00:00:00+00:00 {host} pid {pid} run {spec.run_id}")
        lines += [f"epoch {e + 1}/{spec.epochs}  train loss 1.0  validation loss 1.0" for e in range(epochs)]
    (folder / "log.txt").write_text("\n".join(lines) + "\n")
    if checkpoint:
        (folder / "checkpoint").mkdir()
        (folder / "checkpoint/epoch.safetensors").write_bytes(b"")
    return folder


def look(plan: Plan, results: Path, **more: float) -> Progress:
    return progress(plan, ResultIndex(results), dict.fromkeys(plan.runs, 1.0), **more)


@pytest.fixture
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_every_state_is_told_apart(plan: Plan, tmp_path: Path, dead: int) -> None:
    results, ids = tmp_path / "results", list(plan.runs)
    synthetic.write_run(results, plan, ids[0])
    synthetic.write_run(results, plan, ids[1], status="diverged", reason="x")
    synthetic.write_run(results, plan, ids[2], fingerprint="0" * 16)
    log(results, plan, 3, (HERE, os.getpid(), 2))
    log(results, plan, 4, (HERE, dead, 3))
    log(results, plan, 5, ("elsewhere", 1, 0))
    old = log(results, plan, 6, ("elsewhere", 1, 1))
    os.utime(old / "log.txt", (1, 1))
    log(results, plan, 7, (HERE, dead, 4), (HERE, os.getpid(), 0), checkpoint=True)
    log(results, plan, 8, (HERE, dead, 4), (HERE, os.getpid(), 0))  # its checkpoint was no good: from the start
    log(results, plan, 9)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
    seen = look(plan, results)
    assert seen.outcomes == {"ok": 1, "diverged": 1} and seen.ended == 2 and not seen.over
    assert {one.run_id: one.epoch for one in seen.active} == {ids[3]: 2, ids[5]: 0, ids[7]: 4, ids[8]: 0}
    assert (seen.stale, seen.interrupted, seen.waiting) == (1, 3, len(ids) - 10)
    assert seen.ended + len(seen.active) + seen.stale + seen.interrupted + seen.waiting == seen.asked == len(ids)
    total = {one.run_id: one.epoch / one.epochs for one in seen.active}
    assert seen.hours_left == pytest.approx(len(ids) - 2 - sum(total.values()))
    assert seen.seconds_left == pytest.approx(3600 * seen.hours_left / 4)
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()} == before


def test_patience_with_other_machines_follows_their_epochs(plan: Plan, tmp_path: Path) -> None:
    folder = log(tmp_path / "results", plan, 0, ("elsewhere", 1, 2))
    (folder / ".lock").touch()
    os.utime(folder / ".lock", (1_000_000, 1_000_000))
    os.utime(folder / "log.txt", (1_004_000, 1_004_000))  # an epoch takes 2000 s
    assert [len(look(plan, tmp_path / "results", now=now).active) for now in (1_009_900, 1_010_100)] == [1, 0]
    os.utime(folder / ".lock", (1_003_990, 1_003_990))
    times = (1_004_000 + LATELY_S - 1, 1_004_000 + LATELY_S + 1)
    assert [len(look(plan, tmp_path / "results", now=now).active) for now in times] == [1, 0]


def test_the_longest_run_is_waited_for(plan: Plan, tmp_path: Path) -> None:
    """The last runs: more are active than hours are left together."""
    ids = list(plan.runs)
    synthetic.write_results(tmp_path / "results", plan, lambda spec: None if spec.run_id in ids[:2] else {})
    for place in (0, 1):
        log(tmp_path / "results", plan, place, (HERE, os.getpid(), 0))
    hours = dict.fromkeys(ids, 1.0) | {ids[0]: 5.0}
    seen = progress(plan, ResultIndex(tmp_path / "results"), hours)
    assert seen.seconds_left == pytest.approx(5 * 3600)


def test_nothing_is_left_when_all_have_ended(plan: Plan, tmp_path: Path, capsys) -> None:
    synthetic.write_results(tmp_path / "results", plan)
    seen = look(plan, tmp_path / "results")
    assert seen.over and seen.seconds_left == 0 and "nothing left" in command.summary(seen)


def finish(plan: Plan, results: Path) -> None:
    """The last run's result, put in place as a run does it."""
    last = list(plan.runs)[-1]
    synthetic.write_run(results, plan, last, fingerprint=plan.fingerprint(last))


@pytest.mark.parametrize("terminal", [False, True])
def test_watching_ends_with_the_study(terminal: bool, tmp_path: Path) -> None:
    """Plain lines into a file, bars on a terminal."""
    plan = synthetic.make_plan(tmp_path / "study", synthetic.study())
    results, last = tmp_path / "results", list(plan.runs)[-1]
    synthetic.write_results(
        results, plan, lambda s: None if s.run_id == last else {"fingerprint": plan.fingerprint(s.run_id)}
    )
    arguments = ["--configfile", "study/study.json", "--root", "study", "--watch", "0.2"]
    code = "import sys; from workflow_scripts.progress import main; sys.exit(main(sys.argv[1:]))"
    mine, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "TERM": "xterm"},
        stdout=its if terminal else subprocess.PIPE,
    )  # fmt: skip
    os.close(its)
    said, finished = b"", False
    while True:
        try:
            part = os.read(mine if terminal else process.stdout.fileno(), 10_000)
        except OSError:  # how a terminal ends
            break
        if not part:
            break
        said += part
        if b"1 waiting" in said and not finished:
            finish(plan, results)
            finished = True
    assert process.wait() == 0
    os.close(mine)
    text = said.decode()
    if terminal:
        assert "\x1b[" in text and f"{len(plan.runs)}/{len(plan.runs)}" in text
    else:
        assert "\x1b" not in text and "1 waiting" in text.splitlines()[0] and "nothing left" in text.splitlines()[-1]
