"""examples/plain_pytorch.py runs as it stands and does what its comments say."""

import os
import re
import subprocess
import sys
from pathlib import Path

from peft_lib import read_delta

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "plain_pytorch.py"


def test_the_plain_example_runs(tmp_path: Path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:peft_lib", str(EXAMPLE)],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    counts, result = done.stdout.splitlines()
    promised = re.search(r"# (\{'trainable': \d+, 'adapter': \d+, 'head': \d+)", EXAMPLE.read_text(encoding="utf-8"))
    assert promised is not None
    assert counts.startswith(promised[1])
    # a coin is right 50 % of the time on x0 * x1 > 0, and a linear model no more often
    assert float(result.rpartition(" ")[2]) > 0.9
    assert [p.name for p in tmp_path.iterdir()] == ["delta.safetensors"]
    delta = read_delta(tmp_path / "delta.safetensors")
    assert delta.header["method"] == "r_cla"
    assert set(delta.snapshot().trained) == {"4.weight", "4.bias"}


def test_the_plain_example_is_short():
    lines = [line for line in EXAMPLE.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 21  # twenty, and the line that says what it is
