"""Several Accelerate processes train the same run: same steps, links and selectors, losses equal to rounding."""

import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from peft_lib.layers.delta_file import read_delta
from peft_lib.study.launch import launcher
from tests.runs import ROOT, run, spec_of, tiny_plan


@pytest.mark.parametrize("method", ["c3la", "fft"])
def test_two_processes_train_the_run_of_one(method: str, tmp_path: Path, resources: Path) -> None:
    """The ViT has no dropout, so only the order of fp32 sums differs: losses agree to 1e-3 after 8 Adam steps, as with
    micro-batches. 128 items in batches of 31 leave a last batch of 4, and an odd batch is split unevenly."""
    spec = spec_of(method, lr=1e-3 if method == "fft" else 1e-2, epochs=2, batch_size=31)
    alone = run(spec, tmp_path / "one", resources)
    command = launcher(tiny_plan(processes=2))
    command = [str(Path(sys.executable).parent / command[0]), *command[1:], "--spec", spec.canonical]
    command += [
        "--models",
        "tests/workflow/models.yaml",
        "--resources",
        str(resources),
        "--device",
        "cpu",
        "--processes",
        "2",
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    both = pq.read_table(tmp_path / "two/result.parquet").to_pylist()[0]
    assert both["processes"] == 2 and both["steps"] == alone["steps"] == 10
    for name in ("train_loss_running", "val_loss", "test_loss", "train_loss"):
        assert both[name] == pytest.approx(alone[name], rel=1e-3)
    assert len(pq.read_table(tmp_path / "two/predictions.parquet")) == 64
    links = [read_delta(tmp_path / f"{n}/delta.safetensors").snapshot().open for n in ("one", "two")]
    for key, link in links[0].items():
        assert link.columns is not None and link.columns.equal(links[1][key].columns)
