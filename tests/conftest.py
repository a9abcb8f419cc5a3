"""Shared by all tests: one thread, no network, and skips that CI turns into failures."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


def need(condition: object, reason: str) -> None:
    """Skips with a reason; in CI (REQUIRE_SUITES=1) a suite that cannot run is a failure."""
    if not condition:
        if os.environ.get("REQUIRE_SUITES") == "1":
            pytest.fail(f"REQUIRE_SUITES=1, but {reason}")
        pytest.skip(reason)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    programs = {"latex": ["pdflatex"], "slurm": ["slurmctld", "slurmd", "munged"], "browser": ["chromium"]}
    for marker, names in programs.items():
        if item.get_closest_marker(marker):
            for name in names:
                path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
                need(shutil.which(name, path=path), f"{name} is not installed (Debian: see .ci/run)")
    if item.get_closest_marker("mirror"):
        need(mirror_folder(), "there is no data mirror: set BEYOND_LORA_MIRROR")


def mirror_folder() -> Path | None:
    """The data mirror, or None."""
    candidates = [os.environ.get("BEYOND_LORA_MIRROR"), ROOT.parent / "shared" / "hub_mirror"]
    return next((Path(c) for c in candidates if c and Path(c).is_dir()), None)


@pytest.fixture(scope="session")
def resources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepared data and weights for tests/runs.py, made once per session."""
    from tests.runs import make_resources

    return make_resources(tmp_path_factory.mktemp("resources"))


@pytest.fixture(scope="session")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a model of tests/unit/tiny_models.yaml (every family, random weights), made when it is first asked for."""
    from peft_lib.backbones.assets import fetch_asset
    from tests.unit.tiny import TINY

    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("tiny") / name
            fetch_asset(TINY[name], made[name])
        return made[name]

    return folder
