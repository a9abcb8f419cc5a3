"""Out of memory is a result wherever it happens and however it is said; other errors stay errors."""

import errno
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from peft_lib.backbones import timm_vit
from peft_lib.layers.delta_file import read_delta
from peft_lib.run_files import RUN_FILES
from peft_lib.training import assemble as assemble_module
from peft_lib.training import loop
from peft_lib.training.run import Execution, train
from tests.runs import assert_same, inputs_for, run, spec_of

ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has ...\nmore"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    MemoryError(),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
]
SPEC = spec_of("c3la", epochs=3)


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["MemoryError"])[0]


def raiser(error: BaseException) -> Any:
    def fail(*arguments: Any, **names: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize("error", ERRORS, ids=first_line)
@pytest.mark.parametrize("where", ["data", "build", "move", "check", "step", "measure"])
def test_out_of_memory_is_a_result_bound_to_the_device(
    where: str, error: Exception, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = {
        "data": (assemble_module, "load_prepared"),
        "build": (timm_vit, "build"),
        "move": (torch.nn.Module, "to"),
        "check": (timm_vit, "forward"),  # before the first step, two items
        "step": (loop, "train_epoch"),
        "measure": (torch.Tensor, "double"),
    }[where]
    monkeypatch.setattr(module, name, raiser(error))
    row = run(SPEC, tmp_path, resources)
    assert row["status"] == "out_of_memory" and row["reason"].startswith(f"{first_line(error)} (on ")
    assert row["run_id"] == SPEC.run_id and row["fingerprint"] == "test" and row["test_metric"] is None
    assert (row["n_train"] is None) == (where == "data") and row["attempts"] == 1
    assert (row["trainable_parameters"] is None) == (where in ("data", "build", "move", "check"))
    assert all((tmp_path / file).is_file() for file in RUN_FILES)
    assert read_delta(tmp_path / "delta.safetensors").snapshots == {}


def test_after_out_of_memory_the_run_goes_on_from_its_checkpoint(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a larger machine, or in smaller micro-batches; not from the start."""
    train_epoch = loop.train_epoch

    def full(run: Any, state: Any, epoch: int) -> float:
        if epoch == 3:
            raise MemoryError("no room")
        return train_epoch(run, state, epoch)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_epoch", full)
        row = run(SPEC, tmp_path / "cut", resources)
    assert row["status"] == "out_of_memory" and row["epochs"] == 2
    assert pq.read_table(tmp_path / "cut/epochs.parquet")["epoch"].to_pylist()[-1] == 2
    with monkeypatch.context() as patch:  # once more, this time before anything is built
        patch.setattr(timm_vit, "build", raiser(MemoryError("no room")))
        assert run(SPEC, tmp_path / "cut", resources)["status"] == "out_of_memory"
    row = run(SPEC, tmp_path / "cut", resources)
    assert row["status"] == "ok" and row["attempts"] == 2
    run(SPEC, tmp_path / "whole", resources)
    assert_same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.parametrize("error", [RuntimeError("a defect"), ValueError("out of memory"), OSError(errno.EIO, "disk")])
def test_other_errors_stay_errors(
    error: Exception, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm_vit, "forward", raiser(error))
    with pytest.raises(type(error), match=str(error).replace("[", "\\[").replace("]", "\\]")):
        run(SPEC, tmp_path, resources)
    assert not (tmp_path / "result.parquet").exists()


def test_divergence_leaves_no_checkpoint(tmp_path: Path, resources: Path) -> None:
    spec = spec_of("lora", optimizer="sgd", lr=1e30, clip_norm=None, schedule="constant")
    train(spec, tmp_path, inputs_for(spec, resources), Execution(device="cpu"))
    assert pq.read_table(tmp_path / "result.parquet")["status"].to_pylist() == ["diverged"]
    assert not (tmp_path / "checkpoint/epoch.safetensors").exists()
