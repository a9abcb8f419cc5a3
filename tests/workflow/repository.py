"""A copy of the repository in which a test may run and edit things, and a reading of what Snakemake plans."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.runs import ROOT


def copy_repository(folder: Path) -> Path:
    """Tracked files and new ones that git does not ignore, as a fresh clone would have them."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def snakemake(folder: Path, *arguments: str, study: str = "tests/workflow/tiny.yaml") -> str:
    """Runs Snakemake in the copy; returns what it printed. Raises AssertionError, with the output, if it failed."""
    done = snakemake_process(folder, "--configfile", study, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def snakemake_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )


def planned(folder: Path, *arguments: str, study: str = "tests/workflow/tiny.yaml") -> dict[str, int]:
    """Rule -> number of jobs that a call would run now."""
    output = snakemake(folder, "-n", "--quiet", "rules", *arguments, study=study)
    jobs = {m[1]: int(m[2]) for m in re.finditer(r"^([a-z_]+) +([0-9]+)$", output, re.MULTILINE)}
    return {rule: n for rule, n in jobs.items() if rule not in ("total", "all", "runs")}


def planned_methods(folder: Path, *arguments: str, study: str = "tests/workflow/tiny.yaml") -> list[str]:
    """Methods of the runs that a call would train now."""
    return sorted(
        re.findall(r"^Job [0-9]+: ([a-z0-9_]+) on ", snakemake(folder, "-n", *arguments, study=study), re.MULTILINE)
    )
