"""train(): same numbers every time, resumed or not; selection, failures and files as promised."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from peft_lib.layers.delta_file import read_delta
from peft_lib.layers.targets import TargetError
from peft_lib.methods.registry import available
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.spec import RunSpec
from peft_lib.tasks.loading import get_task
from peft_lib.training import loop as loop_module
from peft_lib.training.run import Execution, RunError, train
from peft_lib.training.schedule import lr_factor
from tests.runs import ROOT, assert_same, inputs_for, run, spec_of


@pytest.mark.parametrize("method", available())
def test_every_method_trains_and_learns(method: str, tmp_path: Path, resources: Path) -> None:
    lr = {"fft": 3e-3, "head_only": 3e-2}.get(method, 2e-2)
    row = run(spec_of(method, epochs=3, lr=lr, train_limit=None, rank=8, alpha=16.0), tmp_path, resources)
    # 64 items, 10 classes: guessing stays below 0.25 in all but 1 of 1,000 draws
    assert row["status"] == "ok" and row["test_metric"] > 0.25 > row["baseline"]
    assert row["gap"] == pytest.approx(row["test_loss"] - row["train_loss"])
    assert row["n_test"] == 64 == len(pq.read_table(tmp_path / "predictions.parquet"))
    assert not (tmp_path / "checkpoint/epoch.safetensors").exists()


def test_the_same_spec_gives_the_same_bits_in_one_process(tmp_path: Path, resources: Path) -> None:
    spec = spec_of("c3la")
    run(spec, tmp_path / "a", resources)
    run(spec_of("fft", precision="bf16", epochs=1), tmp_path / "between", resources)  # leaves nothing behind
    run(spec, tmp_path / "b", resources)
    assert_same(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("method", ["fft", "cola", "c3la", "c_paca", "lora_plus"])
def test_a_run_cut_between_epochs_ends_with_the_same_bits(
    method: str, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(
        method, lr=1e-3 if method == "fft" else 1e-2, chain_period=2 if method in ("cola", "c3la", "c_paca") else None
    )
    run(spec, tmp_path / "whole", resources)
    train_epoch = loop_module.train_epoch

    def cut(run: Any, state: Any, epoch: int) -> float:
        if epoch == 4:
            raise KeyboardInterrupt
        return train_epoch(run, state, epoch)

    monkeypatch.setattr(loop_module, "train_epoch", cut)
    with pytest.raises(KeyboardInterrupt):
        run(spec, tmp_path / "cut", resources)
    assert not (tmp_path / "cut/result.parquet").exists()
    monkeypatch.setattr(loop_module, "train_epoch", train_epoch)
    row = run(spec, tmp_path / "cut", resources)
    assert row["attempts"] == 2
    assert_same(tmp_path / "whole", tmp_path / "cut")


def test_a_killed_process_ends_with_the_same_bits(tmp_path: Path, resources: Path) -> None:
    spec = spec_of("c3la", epochs=60)
    command = [
        sys.executable, "-m", "workflow_scripts.train", "--spec", spec.canonical, "--models", "tests/workflow/models.yaml",
        "--resources", str(resources), "--device", "cpu", "--fingerprint", "test",
    ]  # fmt: skip
    killed = tmp_path / "killed"
    process = subprocess.Popen([*command, "--out", str(killed)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("epoch 20/"):
            os.kill(process.pid, signal.SIGKILL)
            break
    process.wait()
    checkpoint = killed / "checkpoint/epoch.safetensors"
    assert process.returncode == -signal.SIGKILL and checkpoint.exists() and not (killed / "result.parquet").exists()
    time.sleep(0.1)
    resumed = subprocess.run([*command, "--out", str(killed)], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "resuming after epoch" in resumed.stdout
    run(spec, tmp_path / "whole", resources)
    assert_same(tmp_path / "whole", killed)


def test_chains_chain(tmp_path: Path, resources: Path) -> None:
    """Windows move by r, every closed link learnt something, and the selected weights are their sum."""
    run(spec_of("c3la", selection="last"), tmp_path, resources)
    snapshot = read_delta(tmp_path / "delta.safetensors").snapshot("selected")
    for key, closed in snapshot.closed.items():
        links = [*closed, snapshot.open[key]]
        assert [link.columns.tolist() for link in links] == [list(range(4 * j, 4 * j + 4)) for j in range(4)]
        assert all(link.B.abs().max() > 1e-4 for link in links)


def test_only_the_adapters_optimizer_state_is_cleared(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a reset the factors' Adam state goes, step counts included; the head's stays; the schedule goes on."""
    seen = []
    clear = loop_module.clear_state

    def watch(optimizer: Any, adapter: Any, which: str) -> None:
        factors = list(adapter.factors().values())
        head = list(adapter.head_parameters().values())
        before = [float(optimizer.state[p]["step"]) for p in [*factors, *head]]
        clear(optimizer, adapter, which)
        seen.append(
            (before, [p in optimizer.state for p in factors], [float(optimizer.state[p]["step"]) for p in head])
        )

    monkeypatch.setattr(loop_module, "clear_state", watch)
    spec = spec_of("c3la")
    run(spec, tmp_path, resources)
    assert len(seen) == 3
    for number, (before, factors, head) in enumerate(seen, start=1):
        assert set(before) == {4.0, 4.0 * number} and not any(factors) and set(head) == {4.0 * number}
    rates = [r["value"] for r in pq.read_table(tmp_path / "epochs.parquet").to_pylist() if r["metric"] == "lr"]
    assert rates == [pytest.approx(spec.lr * lr_factor(spec, 4 * e - 1, 16)) for e in (1, 2, 3, 4)]
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize(("selection", "best"), [("val_loss", min), ("val_metric", max)])
def test_the_reported_epoch_is_the_best_on_validation(
    selection: str, best: Any, tmp_path: Path, resources: Path
) -> None:
    row = run(spec_of("lora", lr=0.3, schedule="constant", epochs=5, selection=selection), tmp_path, resources)
    name = "loss" if selection == "val_loss" else "accuracy"
    rows = pq.read_table(tmp_path / "epochs.parquet").to_pylist()
    curve = {r["epoch"]: r["value"] for r in rows if r["split"] == "validation" and r["metric"] == name}
    assert row["selected_epoch"] == best(curve, key=curve.get)
    assert row["val_loss" if selection == "val_loss" else "val_metric"] == pytest.approx(best(curve.values()), rel=1e-6)


def test_divergence_is_a_result(tmp_path: Path, resources: Path) -> None:
    row = run(spec_of("lora", optimizer="sgd", lr=1e30, clip_norm=None, schedule="constant"), tmp_path, resources)
    assert row["status"] == "diverged" and "not finite in epoch 1" in row["reason"] and row["test_metric"] is None
    assert pq.read_table(tmp_path / "predictions.parquet").num_rows == 0
    assert pq.read_table(tmp_path / "epochs.parquet").num_rows > 0 and (tmp_path / "delta.safetensors").exists()


def test_unknown_files_of_a_catalog_entry_name_the_entry(tmp_path: Path, resources: Path) -> None:
    spec = spec_of("lora")
    inputs = inputs_for(spec, resources)
    for name, entry, field in (("model", inputs.model, "backbone"), ("dataset", inputs.dataset, "loader")):
        wrong = replace(inputs, **{name: entry.model_copy(update={field: "digts"})})
        with pytest.raises(RunError, match=rf"'{entry.id}' of the catalog: Unknown .* 'digts'"):
            train(spec, tmp_path, wrong, Execution(device="cpu"))


def test_every_metric_of_a_data_set_has_a_measure_and_a_direction() -> None:
    measures = [name for task in ("classification", "regression", "generation") for name in get_task(task).MEASURES]
    assert sorted(measures) == sorted(DATASET_METRICS)
    assert all(DATASET_METRICS[name].direction in ("higher", "lower") for name in measures)


def test_inputs_must_fit_the_spec(tmp_path: Path, resources: Path) -> None:
    spec = spec_of("lora")
    other = spec.model_copy(update={"model": spec.model.model_copy(update={"source": "package:other"})})
    with pytest.raises(RunError, match="Plan the study anew"):
        train(other, tmp_path, inputs_for(spec, resources), Execution(device="cpu"))


def test_micro_batches_give_the_same_run(tmp_path: Path, resources: Path) -> None:
    """Losses are summed and divided by the effective batch; only the order of fp32 sums differs, so after 16 Adam steps
    of size 1e-2 losses agree to 1e-3."""
    whole = run(spec_of("cla"), tmp_path / "a", resources)
    parts = run(spec_of("cla"), tmp_path / "b", resources, micro_batch=5)
    assert parts["test_loss"] == pytest.approx(whole["test_loss"], rel=1e-3)
    assert parts["steps"] == whole["steps"] == 16


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_schedules(schedule: str) -> None:
    spec = RunSpec(**{**spec_of("lora").model_dump(), "schedule": schedule, "warmup_ratio": 0.2, "lr": 1e-3})
    factors = [lr_factor(spec, step, 50) for step in range(50)]
    assert factors[0] == pytest.approx(1e-3) and factors[10] == pytest.approx(1.0)
    assert np.allclose(np.diff(factors[:11]), (1 - 1e-3) / 10)
    assert factors[-1] == pytest.approx(1.0 if schedule == "constant" else 1e-3)
    if schedule == "cosine":
        middle = 0.5 * (factors[29] + factors[30])
        assert math.isclose(middle, 0.5 * (1 + 1e-3), rel_tol=1e-6)


def test_item_losses_and_predictions_agree_with_the_row(tmp_path: Path, resources: Path) -> None:
    row = run(spec_of("lora"), tmp_path, resources)
    items = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert np.mean([i["loss"] for i in items]) == pytest.approx(row["test_loss"])
    assert np.mean([i["label"] == i["prediction"] for i in items]) == row["test_metric"]
    assert len({i["id"] for i in items}) == len(items)


def test_kept_snapshots(tmp_path: Path, resources: Path) -> None:
    for keep, tags in (("selected", {"selected"}), ("both", {"selected", "final"}), ("none", set())):
        run(spec_of("cla", epochs=1), tmp_path / keep, resources, keep=keep)
        assert set(read_delta(tmp_path / keep / "delta.safetensors").snapshots) == tags


def test_a_layer_that_the_model_goes_round_stops_the_run_before_its_first_step(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As timm's BEiT does it: the weight is used, the module is not called."""
    from timm.layers import Attention

    def around(self, x, *unused, **also_unused):
        layer = dict(self.named_children())["qkv"]  # not by name: adapt() would read that in the code, and refuse
        return self.proj(torch.nn.functional.linear(x, layer.weight, layer.bias)[..., : x.shape[-1]])

    monkeypatch.setattr(Attention, "forward", around)
    with pytest.raises(TargetError, match=r"adapted places get no gradient: blocks\.0\.attn\.qkv\[0:32\]"):
        run(spec_of("cla"), tmp_path / "r", resources)
    assert not (tmp_path / "r/result.parquet").exists()
