"""docs/adding_a_kind.md, followed to the letter in a copy of the repository: one file, its template, a line of a study."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_kind.md").read_text(encoding="utf-8")
(FILE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
(TEMPLATE,) = re.findall(r"```jinja\n(.*?)```", PAGE, flags=re.DOTALL)
(LINES,) = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
STUDY = {
    "id": "seeds", "title": "Seeds", "question": "How far apart?",
    "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 16},
    "grids": {"main": {"tasks": ["vit_digits/digits"], "methods": ["lora", "cla"], "seeds": [1, 2, 3]}},
    **yaml.safe_load(LINES),
}  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    for name in ("peft_lib", "workflow_scripts", "config", "reports/templates", "reports/reference"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "peft_lib/artefacts/extremes.py").write_text(FILE, encoding="utf-8")
    (folder / "reports/templates/kinds/extremes.html.j2").write_text(TEMPLATE, encoding="utf-8")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_page_works_as_written(copy: Path) -> None:
    done = run(copy, "-m", "workflow_scripts.synthetic", "--config", "study.yaml", "--out", "made")
    assert done.returncode == 0, done.stderr
    (report,) = (copy / "made/reports").iterdir()
    with (report / "tables/seeds.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    assert [(c["row"], c["column"]) for c in cells] == [
        (row, method) for method in ("lora", "cla") for row in ("lowest", "highest")
    ]
    for lowest, highest in zip(cells[::2], cells[1::2], strict=True):
        assert float(lowest["value"]) < float(highest["value"])
    page, latex = (report / "index.html").read_text(), (report / "tables/seeds.tex").read_text()
    assert TEMPLATE.splitlines()[-1] in page and "Single seeds, not means." in page and "Single seeds" in latex
    for cell in cells:
        assert f"{float(cell['value']):.3f}" in page and f"{float(cell['value']):.3f}" in latex


def test_its_options_are_checked_and_documented_like_any_other(copy: Path) -> None:
    text = yaml.safe_dump(STUDY).replace("metric: test_loss", "metric: tset_loss\n  highlight: 2")
    (copy / "bad.yaml").write_text(text, encoding="utf-8")
    refused = run(copy, "-c", "from peft_lib.study.expand import plan_file; plan_file('bad.yaml')").stderr
    assert "did you mean test_loss" in refused and "kind extremes does not use highlight" in refused
    table = run(copy, "-c", "from peft_lib.study.settings_page import tables; print(tables())").stdout
    assert "**Options of kind `extremes`**" in table
