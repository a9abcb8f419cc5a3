"""A study of seconds from end to end, and then: what reruns and what does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.workflow.repository import copy_repository, planned, planned_methods, snakemake, snakemake_process

pytestmark = pytest.mark.xdist_group("workflow")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the tiny study finished."""
    folder = copy_repository(tmp_path_factory.mktemp("repository"))
    snakemake(folder)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def restore(done: Path):
    """Files edited through this come back with their old content and time, so that tests do not see each other."""
    kept: list[tuple[Path, bytes, os.stat_result]] = []

    def keep(name: str) -> Path:
        path = done / name
        kept.append((path, path.read_bytes(), path.stat()))
        return path

    yield keep
    for path, content, stat in kept:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def study_with(folder: Path, name: str, **main: object) -> str:
    """A variant of the tiny study with changes to its grid; returns its path."""
    study = yaml.safe_load((folder / "tests/workflow/tiny.yaml").read_text())
    study["grids"]["main"].update(main)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study))
    return path.name


def test_the_study_ends_in_a_page_with_its_numbers(done: Path) -> None:
    page = (done / "reports/tiny/index.html").read_text()
    assert "Tiny study" in page and "LoRA" in page
    rows = [pq.read_table(p).to_pylist()[0] for p in (done / "results/runs").rglob("result.parquet")]
    assert sorted(r["method"] for r in rows) == ["c3la", "fft", "lora"] and all(r["status"] == "ok" for r in rows)
    for row in rows:
        assert f"{100 * row['test_metric']:.2f}" in page
    assert (done / "reports/tiny/appendix.tex").is_file()


def test_a_second_call_does_nothing(done: Path) -> None:
    assert planned(done) == {}
    assert "Nothing to be done" in snakemake(done)


@pytest.mark.parametrize("change", [{"seeds": [0, 1]}, {"methods": ["fft", "lora", "c3la", "cla", "paca", "cola"]}])
def test_an_addition_runs_exactly_the_new_runs(done: Path, change: dict) -> None:
    study = study_with(done, "more", **change)
    jobs = planned(done, study=study)
    assert jobs == {"train": 3, "study": 1, "tables": 1, "report": 1}
    new = ["c3la", "fft", "lora"] if "seeds" in change else ["cla", "cola", "paca"]
    assert planned_methods(done, study=study) == new


def test_a_new_rank_leaves_full_fine_tuning_alone(done: Path) -> None:
    assert planned_methods(done, study=study_with(done, "ranks", vary={"rank": [4, 8]})) == ["c3la", "lora"]


def test_editing_a_method_reruns_its_runs_only(done: Path, restore) -> None:
    edit(restore("peft_lib/methods/c3la.py"), "link.index % len(starts)", "(link.index + 1) % len(starts)")
    assert planned_methods(done) == ["c3la"]


def test_editing_shared_code_reruns_all(done: Path, restore) -> None:
    edit(restore("peft_lib/layers/links.py"), "update = self.scale", "update = 1.0 * self.scale")
    assert planned_methods(done) == ["c3la", "fft", "lora"]


def test_formatting_and_touching_rerun_nothing(done: Path, restore) -> None:
    path = restore("peft_lib/methods/c3la.py")
    path.write_text("# a comment\n" + path.read_text().replace("    return window(", "    return window (  "))
    edit(restore("peft_lib/training/run.py"), "import json\n", "import json  # noqa\n\n")
    for name in ("peft_lib/methods/lora.py", "workflow_scripts/train.py", "rules/training.smk", "Snakefile"):
        os.utime(restore(name))
    for found in (done / "resources").rglob("*"):  # ancient(): prepared data and weights are known by their hash
        os.utime(found)
    assert planned(done) == {}


def test_changing_a_template_only_renders(done: Path, restore) -> None:
    template = next((done / "reports/templates").glob("*.html*"))
    path = restore(str(template.relative_to(done)))
    path.write_text(path.read_text() + "\n<!-- changed -->\n")
    assert planned(done) == {"report": 1}


def test_stale_results_are_marked_without_snakemakes_records(done: Path, restore, tmp_path: Path) -> None:
    """The tables themselves compare fingerprints: Snakemake's records can be lost or overridden."""
    edit(restore("peft_lib/methods/c3la.py"), "link.index % len(starts)", "(link.index + 1) % len(starts)")
    config = ["--config", "results/tables/tiny/study.json", "--out-dir", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "workflow_scripts.tables", *config], cwd=done, check=True, capture_output=True
    )
    cells = pq.read_table(tmp_path / "table2.parquet").to_pylist()
    status = {c["method"]: c["status"] for c in cells if c["method"] in ("lora", "fft", "c3la")}
    assert status == {"lora": "ok", "fft": "ok", "c3la": "stale"}


def test_one_run_by_hand_gives_the_same_numbers(done: Path, tmp_path: Path) -> None:
    result = next((done / "results/runs").glob("*/*/c3la/*/result.parquet"))
    command = [sys.executable, "-m", "workflow_scripts.train", "--study", "tests/workflow/tiny.yaml"]
    command += ["--run", result.parent.name[:6], "--out", str(tmp_path)]
    subprocess.run(command, cwd=done, check=True, capture_output=True)
    mine, its = (pq.read_table(p).to_pylist()[0] for p in (tmp_path / "result.parquet", result))
    for name in ("test_metric", "test_loss", "train_loss", "gap", "selected_epoch", "fingerprint"):
        assert mine[name] == its[name]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"defaults": {"lr": -1}}, ["defaults.lr", "a number above 0"]),
        (
            {"grids": {"main": {"tasks": ["vit_tiny_test/digits"], "methods": ["clla"], "seeds": [0]}}},
            ["did you mean cla"],
        ),
        ({"colour": 1}, ["colour", "unknown key"]),
    ],
)
def test_bad_configuration_is_refused_before_any_job(done: Path, changes: dict, expected: list[str]) -> None:
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    (done / "bad.yaml").write_text(yaml.safe_dump({**study, **changes}))
    failed = snakemake_process(done, "--configfile", "bad.yaml")
    output = failed.stdout + failed.stderr
    assert failed.returncode != 0 and "nothing was run" in output and "Traceback" not in output
    assert all(text in output for text in expected)


def test_command_line_overrides_reach_the_plan(done: Path) -> None:
    assert planned(done, "--config", "title=Another title") == {"study": 1, "tables": 1, "report": 1}


def test_specs_on_disk_are_the_plans(done: Path) -> None:
    for path in (done / "results/runs").rglob("spec.json"):
        assert json.loads(path.read_text())["method"] == path.parts[-3]
