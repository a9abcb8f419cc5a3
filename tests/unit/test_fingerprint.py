"""Fingerprints follow code that numbers depend on, and nothing else."""

import shutil
from pathlib import Path

import pytest

from peft_lib.study import fingerprint as module
from peft_lib.study.fingerprint import closure
from tests.runs import ROOT, tiny_plan


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of peft_lib that the fingerprints read in place of the real one."""
    copy = tmp_path / "peft_lib"
    shutil.copytree(ROOT / "peft_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    forget()
    yield copy
    forget()


def forget() -> None:
    module.syntax_hash.cache_clear()
    module._imports.cache_clear()


def prints(package: Path) -> dict[str, str]:
    forget()
    return {
        m: module.fingerprint(
            [package / f"methods/{m}.py", package / "backbones/timm_vit.py", package / "training/run.py"]
        )
        for m in ("lora", "cola", "cla", "c3la", "d_paca")
    }


def changed(package: Path, file: str, old: str, new: str) -> set[str]:
    before = prints(package)
    path = package / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    after = prints(package)
    return {m for m in before if before[m] != after[m]}


def test_a_method_edit_reaches_the_methods_built_on_it(package: Path) -> None:
    assert changed(package, "methods/cla.py", "window(0, link.rank)", "window(1, link.rank)") == {"cla", "d_paca"}
    assert changed(package, "methods/c3la.py", '= "wrap"', '= "drop"') == {"c3la"}


def test_shared_code_reaches_all(package: Path) -> None:
    everything = set(prints(package))
    assert changed(package, "layers/links.py", "self.scale * self.B.to", "1.0 * self.B.to") == everything
    assert changed(package, "training/schedule.py", "0.5 *", "0.6 *") == everything
    assert changed(package, "backbones/timm_vit.py", 'HEAD = ("head",)', 'HEAD = ("head", "norm")') == everything


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("layers/links.py", "import torch\n", "# a comment\n\nimport torch\n"),
        ("methods/lora.py", '"""LoRA:', '"""LoRA, reworded:'),
        ("layers/linear.py", "        return y\n", "\n        return (y)\n"),
        ("study/plan.py", "def prepared_folder", "def folder_of_prepared"),
        ("report/__init__.py", '"""', '"""More. '),
        ("data/clutrr_stories.py", "import numpy as np", "import numpy as np  # fine"),
    ],
)
def test_what_cannot_change_numbers_changes_nothing(package: Path, file: str, old: str, new: str) -> None:
    assert changed(package, file, old, new) == set()


def test_a_new_method_file_changes_no_other(package: Path) -> None:
    before = prints(package)
    (package / "methods/new_one.py").write_text(
        (package / "methods/lora.py").read_text().replace('"lora"', '"new_one"')
    )
    assert prints(package) == before


def test_a_run_depends_on_its_own_data_set_and_backbone() -> None:
    names = {p.name for p in closure([ROOT / "peft_lib/methods/lora.py", ROOT / "peft_lib/training/run.py"])}
    assert {"lora.py", "place.py", "links.py", "run.py", "schedule.py", "seeds.py", "prepared.py"} <= names
    assert not names & {"bert.py", "timm_vit.py", "clutrr_stories.py", "cla.py", "plan.py", "collect.py"}


def test_the_plan_includes_data_and_pretraining() -> None:
    plan = tiny_plan()
    ids = list(plan.runs)
    assert len({plan.fingerprint(i) for i in ids}) == 3  # one per method
    other = tiny_plan(catalogs={"models": "tests/workflow/models.yaml", "datasets": "config/datasets.yaml"}, threads=2)
    assert [other.fingerprint(i) for i in ids] == [plan.fingerprint(i) for i in ids]
