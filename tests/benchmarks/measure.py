"""Processor seconds of commands, as ratios to named baselines: `python -m tests.benchmarks` prints the table."""

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from peft_lib.study.expand import plan_file
from peft_lib.study.plan import Plan
from peft_lib.study.plan_cache import FOLDER
from tests.benchmarks.made import finish, write_study
from tests.workflow.repository import copy_repository

SNAKEMAKE = [sys.executable, "-m", "snakemake"]
ALONE = "snakemake --version"


@dataclass(frozen=True)
class Taken:
    """Seconds of a command: of processors, by the clock; and what it is compared with."""

    what: str
    cpu_s: float
    wall_s: float
    baseline: str | None = None


def take(what: str, command: list[str], folder: Path, baseline: str | None = None) -> tuple[Taken, str]:
    """Runs a command; what it printed. Raises AssertionError, with that, if it failed."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stdout + done.stderr
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(what, cpu, wall, baseline), done.stdout + done.stderr


def job_command(plan: Plan, study: str) -> list[str]:
    """What the Slurm executor starts on a node for one run, as a dry run: the Snakefile is read, the job's part of the graph
    built, nothing trained."""
    spec = list(plan.runs.values())[len(plan.runs) // 2]
    wildcards = f"model={spec.model.id},dataset={spec.dataset.id},method={spec.method},run_id={spec.run_id}"
    usage = ["persistence", "software-deployment", "sources", "storage-local-copies", "input-output", "source-cache"]
    return [
        *SNAKEMAKE, "--snakefile", "Snakefile", "--target-jobs", f"train:{wildcards}", "--allowed-rules", "train",
        "--cores", "1", "--attempt", "1", "--force-use-threads", "--force", "--target-files-omit-workdir-adjustment",
        "--max-inventory-time", "0", "--retries", "0", "--nocolor", "--no-hooks", "--nolock", "--ignore-incomplete",
        "--rerun-triggers", "mtime", "params", "input", "--shared-fs-usage", *usage, "--latency-wait", "5",
        "--scheduler", "greedy", "--configfiles", study, "--mode", "remote", "--dryrun", "--quiet", "all",
    ]  # fmt: skip


def measure(folder: Path, runs: int, study: str) -> Iterator[Taken]:
    """All benchmarks, in a copy of the repository. `runs`: of the finished study; `study`: the one that is planned."""
    copy_repository(folder)
    yield take(ALONE, [*SNAKEMAKE, "--version"], folder)[0]
    yield from _planning(folder, study)
    yield from _finished(folder, runs)


def _planning(folder: Path, study: str) -> Iterator[Taken]:
    plan = plan_file(folder / study, folder)
    size = f"{len(plan.runs):,} runs"
    program = (
        "import sys; from peft_lib.study.plan_cache import plan_file; p = plan_file(sys.argv[1]).plan; "
        "[p.fingerprint(r) for r in p.runs]"
    )
    plain = [sys.executable, "-c", program, study]
    dry = [*SNAKEMAKE, "-n", "--quiet", "all", "--cores", "1", "--configfile", study]
    job = job_command(plan, study)
    for name, command in ((f"plan of {size}", plain), (f"dry run of {size}", dry), (f"a job of {size}", job)):
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        yield take(f"{name}, no cache", command, folder, ALONE)[0]
        yield take(f"{name}, cached", command, folder, f"{name}, no cache")[0]


def _finished(folder: Path, runs: int) -> Iterator[Taken]:
    study = write_study(folder, runs)
    plan = plan_file(study, folder)
    finish(plan, folder)
    shutil.copy(folder / "tests/benchmarks/recorded.smk", folder / "recorded.smk")
    common = ["--cores", "1", "--configfile", study.name]
    take("records", [*SNAKEMAKE, "-s", "recorded.smk", *common, "--force-use-threads", "recorded"], folder)
    size = f"{len(plan.runs):,} finished runs"
    taken, said = take(f"nothing to do for {size}", [*SNAKEMAKE, "-n", *common], folder, ALONE)
    assert "Nothing to be done" in said and "missing provenance" not in said, said
    yield taken
    program = (
        "import sys; from peft_lib.results.collect import collect; from peft_lib.study.plan_cache import plan_file; "
        "assert set(collect(plan_file(sys.argv[1]).plan, 'results')['status']) == {'ok'}"
    )
    command = [sys.executable, "-c", program, study.name]
    yield take(f"collect {size}, no index", command, folder)[0]
    yield take(f"collect {size}, index", command, folder, f"collect {size}, no index")[0]
