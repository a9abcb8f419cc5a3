"""Several Accelerate processes train the same run: same steps, links and selectors, losses equal to rounding."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from torch import distributed

from peft_lib.layers.delta_file import read_delta
from peft_lib.study.spec import RunSpec
from peft_lib.training.peers import Peers
from tests.runs import ROOT, run, spec_of

TORCHRUN = [str(Path(sys.executable).parent / "torchrun"), "--standalone", "--nproc_per_node", "2"]


def launched(spec: RunSpec, out: Path, resources: Path, *flags: str) -> dict[str, Any]:
    """The result row of the run in two processes."""
    command = [*TORCHRUN, "--module", "workflow_scripts.train", "--spec", spec.canonical]
    command += ["--models", "tests/workflow/models.yaml", "--resources", str(resources), "--device", "cpu"]
    command += ["--processes", "2", "--out", str(out), *flags]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("--- ") == 1  # one header an attempt
    return pq.read_table(out / "result.parquet").to_pylist()[0]


@pytest.mark.parametrize("method", ["c3la", "fft"])
def test_two_processes_train_the_run_of_one(method: str, tmp_path: Path, resources: Path) -> None:
    """The ViT has no dropout, so only the order of fp32 sums differs: losses agree to 1e-3 after 8 Adam steps, as with
    micro-batches. 128 items in batches of 31 leave a last batch of 4, and an odd batch is split unevenly."""
    spec = spec_of(method, lr=1e-3 if method == "fft" else 1e-2, epochs=2, batch_size=31)
    alone = run(spec, tmp_path / "one", resources)
    both = launched(spec, tmp_path / "two", resources)
    assert both["processes"] == 2 and both["steps"] == alone["steps"] == 10
    assert both["distributed_type"] == "MULTI_CPU"
    for name in ("train_loss_running", "val_loss", "test_loss", "train_loss"):
        assert both[name] == pytest.approx(alone[name], rel=1e-3)
    assert len(pq.read_table(tmp_path / "two/predictions.parquet")) == 64
    links = [read_delta(tmp_path / f"{n}/delta.safetensors").snapshot().open for n in ("one", "two")]
    for key, link in links[0].items():
        assert link.columns is not None and link.columns.equal(links[1][key].columns)


def test_every_process_takes_the_same_number_of_micro_batches(tmp_path: Path, resources: Path) -> None:
    """35 items in batches of 17, 17 and 1, micro-batches of 8: 9 rows are two, 8 rows would be one, and the other process
    would wait for ever; in the last batch one process has no row. SGD, so that rounding is not divided by Adam's small
    second moments: losses agree to 1e-5."""
    spec = spec_of("lora", epochs=1, batch_size=17, optimizer="sgd", lr=1e-2, train_limit=35)
    alone = run(spec, tmp_path / "one", resources, micro_batch=8)
    both = launched(spec, tmp_path / "two", resources, "--micro-batch", "8")
    assert both["steps"] == alone["steps"] == 3 and both["micro_batch"] == 8
    for name in ("train_loss_running", "val_loss", "test_loss", "train_loss"):
        assert both[name] == pytest.approx(alone[name], rel=1e-5)


@pytest.mark.parametrize(("items", "micro_batch"), [(1, 8), (17, 8)])
def test_processes_may_have_different_numbers_of_evaluation_batches(
    items: int, micro_batch: int, tmp_path: Path, resources: Path
) -> None:
    """One item for two processes; nine and eight in batches of eight. Columns are buffers, which DDP would broadcast."""
    spec = spec_of("cla", epochs=1, optimizer="sgd", eval_limit=items, train_limit=32)
    alone = run(spec, tmp_path / "one", resources, micro_batch=micro_batch)
    both = launched(spec, tmp_path / "two", resources, "--micro-batch", str(micro_batch))
    for name in ("val_loss", "test_loss", "train_loss"):
        assert both[name] == pytest.approx(alone[name], rel=1e-5)
    ids = [[r["id"] for r in pq.read_table(tmp_path / n / "predictions.parquet").to_pylist()] for n in ("one", "two")]
    assert ids[0] == ids[1] and len(ids[0]) == items


DRIVER = """
import os, sys
from pathlib import Path
from peft_lib.study.spec import RunSpec
from peft_lib.training import loop
from peft_lib.training.run import Execution, train
from tests.runs import inputs_for

rank, where = os.environ["RANK"], sys.argv[1]
spec = RunSpec.from_canonical(sys.argv[2])
backward, steps = loop.backward, [0]

def full(*given):
    steps[0] += 1
    if rank == where and steps[0] == 7:  # of four an epoch
        raise MemoryError("no room here")
    return backward(*given)

loop.backward = full
status = train(spec, sys.argv[3], inputs_for(spec, Path(sys.argv[4])), Execution(device="cpu", processes=2))
print(f"rank {rank} ended with {status}", flush=True)
"""


@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_process_without_memory_ends_all_in_good_order(rank: str, tmp_path: Path, resources: Path) -> None:
    """In the middle of a step, where the other waits for its gradients: within seconds, not after gloo's 30 minutes."""
    spec = spec_of("c3la", epochs=4)
    (tmp_path / "driver.py").write_text(DRIVER)
    start = time.monotonic()
    done = subprocess.run(
        [*TORCHRUN, str(tmp_path / "driver.py"), rank, spec.canonical, str(tmp_path / "run"), str(resources)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(f"rank {n} ended with out_of_memory" in done.stdout for n in (0, 1))
    assert time.monotonic() - start < 90
    row = pq.read_table(tmp_path / "run/result.parquet").to_pylist()[0]
    assert row["status"] == "out_of_memory" and row["reason"].startswith("no room here (on ") and row["processes"] == 2
    assert row["epochs"] == 1 and (tmp_path / "run/checkpoint/epoch.safetensors").is_file()


def test_where_a_lost_peer_ends_no_wait_a_thread_aborts_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """NCCL, which no test here can run: the thread looks at the store while the process waits."""
    peers = object.__new__(Peers)
    peers.key, peers.store, peers.nccl = "key", distributed.HashStore(), True
    aborted = threading.Event()
    monkeypatch.setattr("peft_lib.training.peers.POLL_SECONDS", 0.01)
    monkeypatch.setattr(Peers, "abort", lambda self: aborted.set())
    with peers.watched():
        assert peers.failure is None and not aborted.wait(0.1)
        peers.store.set("key", "no room")
        assert aborted.wait(10) and peers.failure == "no room"
    with peers.watched():  # ends at once, whatever was said
        pass
