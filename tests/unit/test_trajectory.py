"""keep: trajectory: a delta of every epoch, whole chains from open links alone, and nothing that is not of the result."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from peft_lib.layers.delta_file import DeltaError, read_delta
from peft_lib.layers.trajectory import Trajectory, epoch_file
from peft_lib.training import loop
from tests.runs import assert_same, entries, run, spec_of

METHODS = ("lora", "cola", "c3la", "c_paca", "head_only")


def states(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The adapter's snapshot after every epoch, as the loop has it."""
    seen: list[Any] = []
    note = loop.note_epoch

    def watched(run: Any, state: Any, epoch: int, *rest: Any) -> None:
        seen.append(run.adapter.snapshot())
        note(run, state, epoch, *rest)

    monkeypatch.setattr(loop, "note_epoch", watched)
    return seen


def assert_equal(one: Any, other: Any) -> None:
    assert one.open.keys() == other.open.keys() and one.trained.keys() == other.trained.keys()
    for name, value in one.trained.items():
        assert torch.equal(value, other.trained[name]), name
    for place in one.open:
        chains = [(*s.closed[place], s.open[place]) for s in (one, other)]
        assert len(chains[0]) == len(chains[1])
        for a, b in zip(*chains, strict=True):
            assert a.index == b.index and a.stored().keys() == b.stored().keys()
            assert all(torch.equal(a.stored()[name], b.stored()[name]) for name in a.stored())


@pytest.mark.parametrize("method", METHODS)
def test_every_epoch_comes_back_whole(method, tmp_path, resources, monkeypatch):
    """Links that a chain has closed are read from the epochs in which they were open."""
    seen = states(monkeypatch)
    row = run(spec_of(method), tmp_path, resources, keep="trajectory")
    found = Trajectory(tmp_path / "trajectory")
    assert found.epochs == (0, 1, 2, 3, 4) and len(seen) == 4
    for epoch, state in enumerate(seen, 1):
        assert_equal(found.snapshot(epoch), state)
    assert_equal(found.snapshot(row["selected_epoch"]), read_delta(tmp_path / "delta.safetensors").snapshot("selected"))
    if method == "c3la":
        assert {len(found.snapshot(4).closed[place]) for place in found.snapshot(4).open} == {3}
    assert found.header(2)["run_id"] == row["run_id"] and found.header(2)["started"] == row["started"]


def test_no_number_depends_on_it(tmp_path, resources):
    run(spec_of(), tmp_path / "plain", resources)
    run(spec_of(), tmp_path / "followed", resources, keep="trajectory")
    shutil.rmtree(tmp_path / "followed" / "trajectory")
    for name in ("plain", "followed"):
        assert not (tmp_path / name / "checkpoint" / "trajectory").exists()
    followed, plain = (tmp_path / n for n in ("followed", "plain"))
    rows = [numbers_without_keep(f) for f in (plain, followed)]
    assert rows[0] == rows[1]


def numbers_without_keep(folder: Path) -> Any:
    from tests.runs import numbers

    row, epochs, predictions, delta = numbers(folder)
    return {**row, "keep": ""}, epochs, predictions, {name: value.tolist() for name, value in delta.items()}


def test_full_fine_tuning_keeps_one_on_request_alone(tmp_path, resources):
    """All weights of every epoch are a lot: `trajectory` is not enough."""
    run(spec_of("fft", epochs=2), tmp_path / "a", resources, keep="trajectory")
    assert not (tmp_path / "a" / "trajectory").exists()
    run(spec_of("fft", epochs=2), tmp_path / "b", resources, keep="dense_trajectory")
    found = Trajectory(tmp_path / "b" / "trajectory")
    before, after = found.snapshot(0).trained, found.snapshot(2).trained
    assert found.epochs == (0, 1, 2)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_an_interrupted_run_goes_on_with_it(tmp_path, resources, monkeypatch):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(spec_of(), whole, resources, keep="trajectory")
    stop(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(spec_of(), broken, resources, keep="trajectory")
    assert not (broken / "trajectory").exists()
    monkeypatch.undo()
    assert run(spec_of(), broken, resources, keep="trajectory")["attempts"] == 2
    assert_same(whole, broken)
    for epoch in range(5):
        assert_equal(
            Trajectory(whole / "trajectory").snapshot(epoch), Trajectory(broken / "trajectory").snapshot(epoch)
        )


def test_an_attempt_without_one_is_not_gone_on_with(tmp_path, resources, monkeypatch):
    """The epochs before would be missing from it."""
    stop(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(spec_of(), tmp_path, resources)
    monkeypatch.undo()
    assert run(spec_of(), tmp_path, resources, keep="trajectory")["attempts"] == 1
    assert Trajectory(tmp_path / "trajectory").epochs == (0, 1, 2, 3, 4)


def stop(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    train_epoch = loop.train_epoch

    def stopped(run: Any, state: Any, now: int) -> float:
        if now == epoch:
            raise KeyboardInterrupt
        return train_epoch(run, state, now)

    monkeypatch.setattr(loop, "train_epoch", stopped)


def test_a_repeat_takes_the_old_one_away(tmp_path, resources):
    run(spec_of(epochs=2), tmp_path, resources, keep="trajectory")
    assert (tmp_path / "trajectory").is_dir()
    run(spec_of(epochs=2), tmp_path, resources)
    assert not (tmp_path / "trajectory").exists()


def test_a_gap_is_named(tmp_path, resources):
    run(spec_of("lora", epochs=2), tmp_path, resources, keep="trajectory")
    epoch_file(tmp_path / "trajectory", 1).unlink()
    with pytest.raises(DeltaError, match=r"one file for each epoch from 0 on, it has \[0, 2\].*keep: trajectory"):
        Trajectory(tmp_path / "trajectory").snapshot(0)
    with pytest.raises(DeltaError, match="it has none"):
        _ = Trajectory(tmp_path / "elsewhere").epochs


def test_its_size_is_foreseen(tmp_path, resources):
    """The estimate of the disk that a run takes counts a snapshot for each epoch."""
    from peft_lib.study.cost import run_bytes
    from peft_lib.study.how import How

    model, digits = entries()
    spec = spec_of("lora")
    plain, followed = (run_bytes(spec, model, digits, How(keep=keep)) for keep in ("selected", "trajectory"))
    run(spec, tmp_path, resources, keep="trajectory")
    grown = sum(path.stat().st_size for path in (tmp_path / "trajectory").iterdir())
    assert followed - plain == pytest.approx(grown, rel=0.5)
