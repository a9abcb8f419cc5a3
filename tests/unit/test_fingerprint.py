"""Fingerprints follow code that numbers depend on, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_lib.methods import c3la
from peft_lib.methods.method import Method
from peft_lib.study import fingerprint as module
from peft_lib.study import plan as plan_module
from peft_lib.study.expand import plan_study
from peft_lib.study.fingerprint import FOR_PEOPLE, closure, syntax_hash, tree_hash
from peft_lib.study.plan import Plan
from tests.runs import ROOT, tiny_plan


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of peft_lib that the fingerprints read in place of the real one."""
    copy = tmp_path / "peft_lib"
    shutil.copytree(ROOT / "peft_lib", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PACKAGE", copy)
    module.forget()
    yield copy
    module.forget()


def prints(package: Path) -> dict[str, str]:
    module.forget()
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
    # when chains are reset decides numbers: it must not hide in study/
    assert (
        changed(package, "training/schedule.py", "range(spec.chain_period + 1", "range(spec.chain_period + 2")
        == everything
    )
    assert changed(package, "backbones/timm_vit.py", 'return ("head",)', 'return ("head", "norm")') == everything


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("layers/links.py", "import torch\n", "# a comment\n\nimport torch\n"),
        ("methods/lora.py", '"""LoRA:', '"""LoRA, reworded:'),
        ("layers/linear.py", "        return y\n", "\n        return (y)\n"),
        ("study/plan.py", "def prepared_folder", "def folder_of_prepared"),
        ("report/__init__.py", '"""', '"""More. '),
        ("data/clutrr_stories.py", "import numpy as np", "import numpy as np  # fine"),
        ("names.py", "cutoff=0.5", "cutoff=0.6"),
        ("run_files.py", "run seed", "seed of the run"),
        ("methods/c3la.py", 'html="c<sup>3</sup>LA"', 'html="C<sup>3</sup>LA"'),
        ("methods/c3la.py", 'latex="c$^3$LA"', 'latex="C"'),
        ("methods/cla.py", 'dense_parent="asym_lora"', 'dense_parent="rac_lora"'),
        ("methods/cla.py", 'name="cLA"', 'name="cheap"'),
        ("methods/lora.py", 'family="past"', 'family="baseline"'),
        ("methods/lora.py", 'source="paper, section 2.2"', 'source="elsewhere"'),
        ("methods/lora.py", 'formula="W0 + s B A"', 'formula=""'),
        ("methods/d_paca.py", 'twin="cla"', "twin=None"),
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
    assert {"lora.py", "place.py", "links.py", "run.py", "schedule.py", "seeds.py", "batches.py"} <= names
    assert not names & {
        "bert.py",
        "timm_vit.py",
        "clutrr_stories.py",
        "cla.py",
        "plan.py",
        "collect.py",
        "names.py",
        "run_files.py",
        "classification.py",
        "regression.py",
        "generation.py",
        "text_measures.py",
    }


def test_the_plan_includes_data_and_pretraining() -> None:
    plan = tiny_plan()
    ids = list(plan.runs)
    assert len({plan.fingerprint(i) for i in ids}) == 3  # one per method
    other = tiny_plan(catalogs={"models": "tests/workflow/models.yaml", "datasets": "config/datasets.yaml"}, threads=2)
    assert [other.fingerprint(i) for i in ids] == [plan.fingerprint(i) for i in ids]


SOURCES = {
    "f-strings": ("f'{a!r:>{width}} {b=} {{}}' f'{c}' 'd' u'e' '\\u2028\\U0001f389'", "5fb998601949"),
    "nested formats": ("f'{x:{y}.{z}}{w:%H:%M}{v!s:{u}}'", "c389f1359341"),
    "walrus": ("if (n := len(a)) > 10 and not (m := 1_000): pass", "1f44585446f0"),
    "match": (
        "match p:\n case {'x': 0, **rest} if rest: y = 1\n case A(1, b=None) | [2, *_]: y = -1\n case _: pass\n", "858b392cba87"
    ),
    "decorators": ("@cache\n@d.e(1, *a, k=2, **b)\nasync def f(a, /, b: int = 3, *c, d=None, **e) -> 'str': yield", "3d4c55fe70c5"),
    "types": ("class A(B, metaclass=C):\n    x: dict[str, int | None] = {**y, 'z': ...}\n    t: tuple[()] = ()\n", "e761a8157a69"),
    "rest": ("try:\n    a[1:, ::2] = b'c', 1.5e-3, 2j, True\nexcept* (D, E) as e:\n    raise F from e\n", "7997f06ee451"),
}  # fmt: skip
"""Source and the first digits of its hash, as Pythons 3.11.7, 3.12.1 and 3.13.0 gave it."""


@pytest.mark.parametrize("name", SOURCES)
def test_hashes_are_those_of_every_python(tmp_path: Path, name: str) -> None:
    source, digits = SOURCES[name]
    (tmp_path / "source.py").write_text(source, encoding="utf-8")
    assert syntax_hash(tmp_path / "source.py")[:12] == digits


def test_the_pythons_of_this_machine_agree_on_all_files(tmp_path: Path) -> None:
    found = {name: shutil.which(name) for name in ("python3.11", "python3.12", "python3.13")}
    installed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    for name in found:
        found[name] = next(map(str, sorted(installed.glob(f"{name[6:]}.*/bin/python"))), found[name])
    others = [path for name, path in found.items() if path and name != f"python3.{sys.version_info.minor}"]
    if not others:
        pytest.skip("this machine has no second Python from 3.11 to 3.13")
    sources = tmp_path / "sources"
    sources.mkdir()
    for name, (source, _) in SOURCES.items():
        (sources / f"{name}.py").write_text(source, encoding="utf-8")
    script = tmp_path / "hashes"
    script.write_text(
        "import importlib.util, json, pathlib, sys\n"
        f"spec = importlib.util.spec_from_file_location('fingerprint', {module.__file__!r})\n"
        "fingerprint = importlib.util.module_from_spec(spec); spec.loader.exec_module(fingerprint)\n"
        "files = [p for folder in sys.argv[1:] for p in sorted(pathlib.Path(folder).rglob('*.py'))]\n"
        "print(json.dumps([fingerprint.syntax_hash(p) for p in files]))\n"
    )
    answers = [
        json.loads(subprocess.check_output([python, script, ROOT / "peft_lib", sources]))
        for python in (sys.executable, *others)
    ]
    assert len(answers[0]) > 80 and all(answer == answers[0] for answer in answers)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("x = 'a'", 'x = """a"""', True),
        ("x = f'{a}' 'b'", "x = f'{a}b'", True),
        ("f(a,\n  b)", "f(a, b,)", True),
        ("def f():\n    'text'\n    return 1", "def f():\n    return 1  # text", True),
        ("class A:\n    x: int = 1\n    'what x is'", "class A:\n    x: int = 1", True),
        ("x = Field(1, description='a')", "x = Field(1, description='b')", True),
        ("x = Field(1, ge=0)", "x = Field(1, ge=1)", False),
        ("METHOD = m.Method(id='a', name='b')", "METHOD = m.Method(id='a', name='c')", True),
        ("METHOD = Method(id='a')", "METHOD = Method(id='b')", False),
        ("METHOD = Method(lr_group='a')", "METHOD = Method(lr_group='b')", False),
        ("call(name='a')", "call(name='b')", False),
        ("x = 1", "x = 1.0", False),
        ("x = None", "x = ()", False),
        ("x = [a for a in b if c]", "x = [a for a in b]", False),
        ("x = f'{a}'", "x = f'{a!r}'", False),
        ("return_ = 'None'", "return_ = None", False),
        ("x = {**a}", "x = {None: a}", False),
        ("del x[0]", "x[0]", False),
    ],
)
def test_what_counts_as_the_same_source(tmp_path: Path, one: str, other: str, same: bool) -> None:
    for name, text in (("one.py", one), ("other.py", other)):
        (tmp_path / name).write_text(text)
    assert (syntax_hash(tmp_path / "one.py") == syntax_hash(tmp_path / "other.py")) is same


def test_texts_left_out_are_fields_of_a_method() -> None:
    assert FOR_PEOPLE["Method"] <= set(Method.__dataclass_fields__)


MODELS = ROOT / "tests/workflow/models.yaml"
DATASETS = ROOT / "config/datasets.yaml"


def catalog_plan(folder: Path, model: dict[str, Any], data: dict[str, Any]) -> Plan:
    """The tiny study, its catalogs rewritten with other values of the model and the data set."""
    models, datasets = (yaml.safe_load(path.read_text()) for path in (MODELS, DATASETS))
    models["vit_tiny_test"].update(model)
    datasets["digits"].update(data)
    (folder / "models.yaml").write_text(yaml.safe_dump(models))
    (folder / "datasets.yaml").write_text(yaml.safe_dump(datasets))
    study = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text())
    return plan_study({**study, "catalogs": {n: f"{folder}/{n}.yaml" for n in ("models", "datasets")}}, ROOT)


QV = yaml.safe_load(MODELS.read_text())["vit_tiny_test"]["targets"]["qv"]


@pytest.mark.parametrize(
    ("model", "data", "stale"),
    [
        ({"name": "Another", "license": "X", "homepage": "https://example.org"}, {}, set()),
        ({}, {"name": "Another", "license": "X", "homepage": None, "description": "Reworded."}, set()),
        ({"targets": {"qv": QV, "spare": QV}}, {}, set()),  # no run names it
        ({"targets": {"qv": QV[:1]}}, {}, {"lora", "c3la"}),
        ({"targets": {"qv": [QV[0], {**QV[1], "rows": [32, 64]}]}}, {}, {"lora", "c3la"}),
        ({"hidden": 16}, {}, {"fft", "lora", "c3la"}),
        ({"head_parameters": 7}, {}, {"fft", "lora", "c3la"}),
        ({}, {"num_labels": 11}, {"fft", "lora", "c3la"}),
    ],
)
def test_catalog_values_that_decide_numbers_count(tmp_path: Path, model: dict, data: dict, stale: set) -> None:
    before, after = catalog_plan(tmp_path, {}, {}), catalog_plan(tmp_path, model, data)
    assert list(after.runs) == list(before.runs)
    changed = {s.method for run_id, s in before.runs.items() if before.fingerprint(run_id) != after.fingerprint(run_id)}
    assert changed == stale
    assert (before.shown_facts() == after.shown_facts()) is (model == data == {})


@pytest.mark.parametrize(("task", "stale"), [("e2e", True), ("cola", False)])
def test_the_longest_sequence_counts_where_text_is_written(tmp_path: Path, task: str, stale: bool) -> None:
    """Decoding stops at half of it."""
    models = yaml.safe_load((ROOT / "config/models.yaml").read_text())

    def fingerprint(max_length: int) -> str:
        models["stories260k"]["max_length"] = max_length
        (tmp_path / "models.yaml").write_text(yaml.safe_dump(models))
        study = {
            "id": "x", "title": "X", "question": "X?", "grids": {"main": {
                "tasks": [f"stories260k/{task}"], "methods": ["lora"], "seeds": [0]}},
            "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 64, "rank": 2},
            "catalogs": {"models": f"{tmp_path}/models.yaml", "datasets": "config/datasets.yaml"},
        }  # fmt: skip
        plan = plan_study(study, ROOT)
        return plan.fingerprint(next(iter(plan.runs)))

    assert (fingerprint(512) != fingerprint(128)) is stale


def test_the_direction_of_a_metric_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = tiny_plan()
    before = {run_id: plan.fingerprint(run_id) for run_id in plan.runs}
    metrics = plan_module.DATASET_METRICS
    monkeypatch.setitem(metrics, "accuracy", replace(metrics["accuracy"], direction="lower"))
    after = tiny_plan()
    assert all(after.fingerprint(run_id) != digits for run_id, digits in before.items())


def test_how_runs_are_executed_does_not_count() -> None:
    plan = tiny_plan()
    other = tiny_plan(device="auto", processes=2, micro_batch=8, deterministic=False, keep="none", execution="dense")
    assert {i: other.fingerprint(i) for i in plan.runs} == {i: plan.fingerprint(i) for i in plan.runs}


def test_tables_follow_the_quantities(package: Path) -> None:
    def tables() -> str:
        module.forget()
        return tree_hash("peft_lib/results", "peft_lib/study/quantities.py")

    before = tables()
    path = package / "study/quantities.py"
    path.write_text(path.read_text().replace('"%", "higher"', '"%", "lower"'))
    assert tables() != before
    with pytest.raises(FileNotFoundError, match="quantity"):
        tree_hash("peft_lib/study/quantity.py")


def test_tables_follow_the_texts_of_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    before = tiny_plan().shown_facts()
    monkeypatch.setattr(c3la, "METHOD", replace(c3la.METHOD, html="another"))
    assert tiny_plan().shown_facts() != before
