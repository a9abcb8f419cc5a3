"""docs/adding_a_diagnostic.md followed in a copy of the repository: jobs, what is computed again, and what is said where it cannot."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file

from peft_lib.results.diagnostic_files import read, read_facts
from tests.runs import ROOT
from tests.workflow.repository import copy_repository, planned, snakemake, snakemake_process

PAGE = (ROOT / "docs" / "adding_a_diagnostic.md").read_text(encoding="utf-8")
DIAGNOSTIC, KIND = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(LINES,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
STUDY = "drift.yaml"


def write_study(folder: Path, **changes: object) -> None:
    tiny = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    study = {**tiny, "id": "drift", **yaml.safe_load(LINES), "runs_per_diagnosis": 2, **changes}
    (folder / STUDY).write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = copy_repository(tmp_path_factory.mktemp("repository"))
    (folder / "peft_lib/diagnostics/drift.py").write_text(DIAGNOSTIC, encoding="utf-8")
    (folder / "peft_lib/artefacts/drift.py").write_text(KIND, encoding="utf-8")
    write_study(folder)
    snakemake(folder, study=STUDY)
    return folder


def files(folder: Path) -> dict[str, Path]:
    """Method -> the file of its one run."""
    return {p.parts[-4]: p for p in (folder / "results/runs").glob("*/*/*/*/diagnostics/drift-*.parquet")}


def cells(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "reports/drift/tables/drift.csv").open(encoding="utf-8", newline="") as file:
        return {row["method"]: row for row in csv.DictReader(file)}


def test_every_run_has_its_numbers(copy: Path) -> None:
    found = files(copy)
    assert sorted(found) == ["c3la", "fft", "lora"]
    rows, facts = read(found["fft"])
    before = load_file(next(copy.glob("resources/models/*/model.safetensors")))
    after = load_file(found["fft"].parent.parent / "delta.safetensors")
    first = next(r for r in rows if r.place and "blocks.0" in r.place and "[0:" in r.place)
    stop = int(first.place.rstrip("]").rpartition(":")[2]) if first.place else 0
    w0 = before["blocks.0.attn.qkv.weight"][:stop]
    w = after["trained/selected/blocks.0.attn.qkv.weight"][:stop]
    assert first.value == pytest.approx(float(torch.norm(w - w0) / torch.norm(w0)), rel=1e-5)
    assert facts.status == "ok" and json.loads(facts.diagnostic) == {"kind": "drift"}
    shown = cells(copy)
    for method, path in found.items():
        scalar = next(r.value for r in read(path)[0] if r.quantity == "drift")
        assert float(shown[method]["value"]) == pytest.approx(scalar) and shown[method]["status"] == "ok"


def test_nothing_is_computed_twice(copy: Path) -> None:
    assert planned(copy, study=STUDY) == {}
    marks = {p: p.stat().st_mtime_ns for p in files(copy).values()}
    mark = next((copy / "results/tables/drift/diagnosed").rglob("*.done"))
    mark.unlink()
    snakemake(copy, study=STUDY)
    assert {p: p.stat().st_mtime_ns for p in files(copy).values()} == marks


def test_its_code_makes_it_stale_and_no_run(copy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(copy, tmp_path / "edited", symlinks=True)
    file = folder / "peft_lib/diagnostics/drift.py"
    file.write_text(DIAGNOSTIC.replace("w0.norm())", "(1e-9 + w0.norm()))"), encoding="utf-8")
    todo = planned(folder, study=STUDY)
    assert todo == {"diagnose": 2, "artefact": 1, "report": 1}
    snakemake(folder, "--cores", "1", "render", study=STUDY)
    assert {c["status"] for c in cells(folder).values()} == {"stale"}
    before = {m: read_facts(p) for m, p in files(folder).items()}
    snakemake(folder, study=STUDY)
    after = {m: read_facts(p) for m, p in files(folder).items()}
    assert all(before[m].fingerprint != after[m].fingerprint for m in before)  # type: ignore[union-attr]
    assert {c["status"] for c in cells(folder).values()} == {"ok"}


def test_another_run_adds_its_own_alone(copy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(copy, tmp_path / "more", symlinks=True)
    grid = yaml.safe_load((folder / STUDY).read_text())["grids"]["main"]
    write_study(folder, grids={"main": {**grid, "methods": ["fft", "cla", "lora", "c3la"]}})
    old = {p: p.stat().st_mtime_ns for p in files(folder).values()}
    snakemake(folder, study=STUDY)
    assert {p: p.stat().st_mtime_ns for p in old} == old and sorted(files(folder)) == ["c3la", "cla", "fft", "lora"]


def test_a_damaged_file_and_a_run_without_delta(copy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(copy, tmp_path / "damaged", symlinks=True)
    found = files(folder)
    found["lora"].write_bytes(b"PAR1")
    result = found["fft"].parent.parent / "result.parquet"
    table = pq.read_table(result)
    row = table.to_pylist()[0]
    pq.write_table(table.from_pylist([{**row, "keep": "none"}], schema=table.schema), result)
    found["fft"].unlink()
    snakemake(folder, "--cores", "1", "render", study=STUDY)
    assert {m: c["status"] for m, c in cells(folder).items()} == {"fft": "missing", "lora": "unreadable", "c3la": "ok"}
    for mark in (folder / "results/tables/drift/diagnosed").rglob("*.done"):
        mark.unlink()
    snakemake(folder, study=STUDY)
    shown = cells(folder)
    assert {m: c["status"] for m, c in shown.items()} == {"fft": "not_available", "lora": "ok", "c3la": "ok"}
    assert "kept no delta (keep: none)" in shown["fft"]["reason"]


def test_a_study_whose_runs_keep_too_little_is_refused(copy: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(copy, tmp_path / "none", symlinks=True)
    write_study(folder, keep="none")
    done = snakemake_process(folder, "--configfile", STUDY, "-n")
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert "artefacts[0] (drift.yaml" in said and "drift needs what its runs do not keep (keep: none): fft on" in said
    assert "set keep: selected for them" in said


def test_the_plan_counts_them(copy: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.plan", "--configfile", STUDY, "--json"],
        cwd=copy, check=True, capture_output=True, text=True,
    )  # fmt: skip
    (seen,) = json.loads(done.stdout)["diagnostics"]
    assert (json.loads(seen["options"]), seen["runs"], seen["done"], seen["todo"]) == ({"kind": "drift"}, 3, 3, 0)


def test_data_that_are_gone_are_prepared_again(copy: Path, tmp_path: Path) -> None:
    """A diagnostic may take losses on them; results that are there do not ask for them by themselves."""
    folder = shutil.copytree(copy, tmp_path / "bare", symlinks=True)
    shutil.rmtree(folder / "resources/prepared")
    for path in files(folder).values():
        path.unlink()
    for mark in (folder / "results/tables/drift/diagnosed").rglob("*.done"):
        mark.unlink()
    table = "results/tables/drift/drift.parquet"
    (folder / table).unlink()
    todo = planned(folder, "--cores", "1", table, study=STUDY)
    assert todo.get("prepare") == 1, todo
    snakemake(folder, "--cores", "1", table, study=STUDY)
    assert sorted(files(folder)) == ["c3la", "fft", "lora"]


def test_numbers_of_runs_that_another_part_asks_for_are_shown_anew(copy: Path, tmp_path: Path) -> None:
    """As their results are: parts of a study share its tables."""
    folder = shutil.copytree(copy, tmp_path / "part", symlinks=True)
    write_study(folder, only={"method": ["lora"]})
    snakemake(folder, study=STUDY)
    assert planned(folder, study=STUDY) == {}
    other = files(folder)["fft"]
    os.utime(other, ns=(0, other.stat().st_mtime_ns + 10**9))
    assert planned(folder, study=STUDY).get("artefact") == 1
