"""Augmentation in whole runs: of training items only, and the same however a run is executed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peft_lib.data.pixels import Pixels
from peft_lib.training import loop
from tests.runs import run, spec_of
from tests.unit.test_processes import launched

EVERYTHING = {"flip": True, "rand_augment": "2x9", "mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}
LOSSES = ("train_loss_running", "val_loss", "test_loss", "train_loss")


def sgd(**changes: Any) -> Any:
    """SGD, so that rounding is not divided by Adam's small second moments."""
    return spec_of("lora", epochs=2, optimizer="sgd", lr=1e-2, **changes)


def test_augmentation_is_of_training_items_alone(tmp_path: Path, resources: Path, monkeypatch) -> None:
    """Every item that is evaluated is as it is: validation, test, and the clean loss over train."""
    asked: list[tuple[int, bool]] = []
    start = Pixels._start

    def seen(self, rows, plans):
        asked.append((len(rows), plans is not None))
        return start(self, rows, plans)

    monkeypatch.setattr(Pixels, "_start", seen)
    row = run(sgd(**EVERYTHING), tmp_path / "run", resources)
    assert row["status"] == "ok"
    assert sum(count for count, planned in asked if planned) == 2 * 128  # two epochs of 128 items
    plain = sum(count for count, planned in asked if not planned)
    assert plain >= 3 * 64 + 128  # two validations and a test of 64, the clean loss of 128


@pytest.mark.parametrize("setting", EVERYTHING)
def test_every_setting_changes_what_is_learnt_and_nothing_else(setting: str, tmp_path: Path, resources: Path) -> None:
    """No learning: the model stays what it was, so all clean losses are those of the plain run, the training loss is not."""
    plain = run(spec_of("lora", epochs=1, lr=1e-30), tmp_path / "plain", resources)
    other = run(spec_of("lora", epochs=1, lr=1e-30, **{setting: EVERYTHING[setting]}), tmp_path / "other", resources)
    assert other["train_loss_running"] != pytest.approx(plain["train_loss_running"], rel=1e-4)
    for name in ("val_loss", "test_loss", "train_loss"):
        assert other[name] == pytest.approx(plain[name], rel=1e-6)


def test_micro_batches_and_workers_change_nothing(tmp_path: Path, resources: Path, monkeypatch) -> None:
    whole = run(sgd(**EVERYTHING), tmp_path / "whole", resources)
    cut = run(sgd(**EVERYTHING), tmp_path / "cut", resources, micro_batch=7)
    for name in LOSSES:
        assert cut[name] == pytest.approx(whole[name], rel=1e-5)
    make = Pixels.__init__
    monkeypatch.setattr(Pixels, "__init__", lambda self, *given: make(self, *given, keep_bytes=0, workers=4))
    threads = run(sgd(**EVERYTHING), tmp_path / "threads", resources)
    assert [threads[name] for name in LOSSES] == [whole[name] for name in LOSSES]  # bit for bit


def test_two_processes_train_on_the_same_pictures(tmp_path: Path, resources: Path) -> None:
    alone = run(sgd(**EVERYTHING), tmp_path / "one", resources)
    both = launched(sgd(**EVERYTHING), tmp_path / "two", resources)
    assert both["processes"] == 2
    for name in LOSSES:
        assert both[name] == pytest.approx(alone[name], rel=1e-5)


def test_a_resumed_run_sees_the_pictures_that_it_would_have_seen(tmp_path: Path, resources: Path, monkeypatch) -> None:
    spec = sgd(**EVERYTHING)
    whole = run(spec, tmp_path / "whole", resources)
    train_epoch = loop.train_epoch

    def stopped(built, state, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(built, state, epoch)

    monkeypatch.setattr(loop, "train_epoch", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cut", resources)
    monkeypatch.setattr(loop, "train_epoch", train_epoch)
    resumed = run(spec, tmp_path / "cut", resources)
    assert resumed["attempts"] == 2 and np.array_equal([resumed[n] for n in LOSSES], [whole[n] for n in LOSSES])
