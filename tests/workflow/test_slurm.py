"""`snakemake --cores all --profile slurm` on a real Slurm of one node gives the numbers of a local run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from tests.runs import ROOT
from tests.workflow.repository import copy_repository

pytestmark = pytest.mark.slurm

TARGETS: list[str] = []  # the default target: everything, report included
SCRIPT = ROOT / "envs/one_node_slurm.sh"
# what a clock or a memory gauge says; everything else must be equal
MEASURED = {
    "samples_per_s", "wall_s", "setup_s", "train_s", "eval_s", "save_s", "cpu_s", "peak_rss_bytes", "peak_memory_bytes",
    "started", "finished",
}  # fmt: skip


def slurm(action: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SCRIPT, action, "--dir", folder], capture_output=True, text=True, check=False, timeout=200)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a running one-node Slurm; other test processes wait, since a machine can hold one."""
    folder = tmp_path_factory.mktemp("slurm")
    with FileLock("/tmp/one_node_slurm.lock"):
        started = slurm("start", folder)
        assert started.returncode == 0, started.stderr
        assert started.stdout == f"export SLURM_CONF={folder}/slurm.conf\n"
        try:
            yield folder
        finally:
            stopped = slurm("stop", folder)
        assert stopped.returncode == 0, stopped.stderr
        assert slurm("status", folder).returncode != 0 and not running(folder)


def running(folder: Path) -> list[str]:
    """Command lines of the processes that were started with this folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:  # it has ended meanwhile
            continue
    return [line for line in lines if f"{folder}/" in line]


def repository(folder: Path) -> Path:
    """A fresh copy whose default study is the tiny one."""
    folder.mkdir()
    copy_repository(folder)
    (folder / "config.yaml").write_text((folder / "tests/workflow/tiny.yaml").read_text())
    return folder


def call(folder: Path, command: str, **environment: str) -> str:
    """Types a command in the folder, in an environment whose `python` is this one."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **environment}
    words = [*command.split(), *TARGETS]
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def finished_jobs(cluster: Path, folder: Path) -> list[str]:
    """States of the jobs that Slurm ran in a folder."""
    path = cluster / "jobs.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    fields = [dict(f.partition("=")[::2] for f in line.split() if "=" in f) for line in lines]
    return [f["JobState"] for f in fields if f["WorkDir"] == str(folder)]


def numbers(folder: Path) -> dict[str, object]:
    """All that the runs of a study found: file -> rows, or bytes of the weights."""
    found: dict[str, object] = {}
    for path in sorted(folder.glob("results/runs/**/*.parquet")):
        rows = pq.read_table(path).to_pylist()
        found[str(path.relative_to(folder))] = [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]
    for path in [*folder.glob("results/runs/**/*.safetensors"), *folder.glob("resources/models/*/*.safetensors")]:
        found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_a_study_on_slurm_has_the_numbers_of_a_local_one(cluster: Path, tmp_path: Path) -> None:
    here, there = repository(tmp_path / "here"), repository(tmp_path / "there")
    call(here, "snakemake --cores 2")
    conf = f"{cluster}/slurm.conf"
    output = call(there, "snakemake --cores all --profile slurm", SLURM_CONF=conf)

    expected, got = numbers(here), numbers(there)
    assert sum(name.endswith("/result.parquet") for name in expected) == 3
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == value, name

    submitted = output.count("has been submitted with SLURM jobid")
    assert submitted >= 6  # two data sets, pre-training, three runs; and what renders
    assert finished_jobs(cluster, there) == ["COMPLETED"] * submitted
    assert finished_jobs(cluster, here) == []

    assert "Nothing to be done" in call(there, "snakemake --cores all --profile slurm", SLURM_CONF=conf)
    assert len(finished_jobs(cluster, there)) == submitted


def test_a_part_reaches_the_nodes_and_every_job_finds_the_plan(cluster: Path, tmp_path: Path) -> None:
    """`only`, nested as it is, goes through the command lines of jobs; one plan of the call, one of the recorded study."""
    folder = repository(tmp_path / "part")
    command = ["snakemake", "--cores", "all", "--profile", "slurm"]
    part = ["--config", "only={artefact: table2, method: [lora], seed: [0]}"]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_CONF": f"{cluster}/slurm.conf"}
    done = subprocess.run([*command, *part], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [p.parts[-3] for p in folder.glob("results/runs/**/result.parquet")] == ["lora"]
    assert len(list((folder / ".snakemake/plans").glob("*.plan"))) == 2


def test_values_of_the_site_reach_the_jobs(cluster: Path, tmp_path: Path) -> None:
    folder = repository(tmp_path / "site")
    # `all` is also a function of Python's, for which Snakemake would take it
    (folder / "slurm/site.yaml").write_text("slurm_partition: all\n")
    output = call(folder, "snakemake --cores all --profile slurm --dry-run", SLURM_CONF=f"{cluster}/slurm.conf")
    assert "slurm_partition=all" in output


def test_the_script_can_be_called_again_and_leaves_others_alone(cluster: Path, tmp_path: Path) -> None:
    before = running(cluster)
    again = slurm("start", cluster)
    assert again.returncode == 0 and again.stdout == f"export SLURM_CONF={cluster}/slurm.conf\n"
    assert slurm("status", cluster).returncode == 0
    assert slurm("stop", tmp_path).returncode == 0  # nothing of that folder runs
    other = slurm("start", tmp_path)
    assert other.returncode == 1 and "another Slurm runs here" in other.stderr
    assert running(cluster) == before and len(before) == 3
