"""Planning: settings, provenance, and every kind of bad configuration refused before any job."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peft_lib.study.expand import plan_file
from peft_lib.study.loading import parse_study, read_yaml
from peft_lib.study.problems import StudyError
from tests.runs import ROOT, TINY, tiny_plan

GRID = {"tasks": ["vit_tiny_test/digits"], "methods": ["lora"], "seeds": [0]}


def with_rule(**settings: Any) -> dict[str, Any]:
    return {"rules": [{"set": settings, "source": "test"}]}


def with_grid(**changes: Any) -> dict[str, Any]:
    return {"grids": {"main": {**GRID, **changes}}}


BAD = {
    "unknown key": ({"sedes": [1]}, "sedes", "unknown key", "known keys|did you mean"),
    "misspelt setting": (with_rule(learning_rte=1.0), "rules[0].set.learning_rte", "unknown key", "known keys"),
    "near setting": (with_rule(weight_decy=1.0), "rules[0].set.weight_decy", "unknown key", "did you mean weight_decay"),
    "wrong type": (with_rule(epochs="many"), "rules[0].set.epochs", "valid integer", ""),
    "negative rate": (with_rule(lr=-1e-3), "rules[0].set.lr", "greater than 0", ""),
    "NaN rate": (with_rule(lr=float("nan")), "rules[0].set.lr", "finite", ""),
    "unknown method": (with_grid(methods=["lora", "clla"]), "grids.main.methods[1]", "Did you mean: cla", ""),
    "unknown model": (with_grid(tasks=["vit/digits"]), "grids.main.tasks[0]", "no model of that id", "known: vit_tiny_test"),
    "unknown data set": (with_grid(tasks=["vit_tiny_test/digit"]), "grids.main.tasks[0]", "no data set of that id", "digits"),
    "wrong modality": (with_grid(tasks=["vit_tiny_test/clutrr_gen"]), "grids.main.tasks[0]", "cannot read text", "pair"),
    "path in an id": (with_grid(tasks=["../../etc/digits"]), "grids.main.tasks[0]", "pattern", ""),
    "no seeds": (with_grid(seeds=[]), "grids.main.seeds", "at least 1", ""),
    "seed twice": (with_grid(seeds=[1, 1]), "grids.main", "twice", ""),
    "rank too large": (with_rule(rank=64), "grids.main.lora.rank", "larger than the smallest adapted layer", "at most 32"),
    "bad sweep": (with_grid(vary={"colour": [1]}), "grids.main", "cannot be varied", ""),
    "bad swept value": (with_grid(vary={"rank": [0]}), "grids.main.vary.rank", "greater than or equal to 1", ""),
    "bad alpha": (with_rule(alpha="2x"), "rules[0].set.alpha", "multiple of the rank", ""),
    "unknown targets": (with_rule(targets="all"), "grids.main.lora.targets", "no target set", "use one of qv"),
    "unknown option": (with_rule(options={"window": 1}), "grids.main.lora.options.window", "unknown key", ""),
    "image size": (with_rule(input_size=32), "grids.main.lora.input_size", "reads images of 16", "use 16"),
    "batch too large": (with_rule(batch_size=500), "grids.main.lora.batch_size", "larger than the training set", "at most 128"),
    "bad execution": ({"execution": "gather"}, "execution", "lora cannot run as gather", "dense"),
    "artefact grid": ({"artefacts": [{"id": "t", "kind": "methods", "grid": "x", "title": "T"}]}, "artefacts[0].grid", "no grid", "main"),
    "artefact metric": (
        {"artefacts": [{"id": "t", "kind": "methods", "grid": "main", "title": "T", "metric": "acc"}]},
        "artefacts[0]", "unknown quantity 'acc'", "",
    ),
    "duplicate artefacts": (
        {"artefacts": [{"id": "t", "kind": "methods", "grid": "main", "title": "T"}] * 2}, "", "ids must differ", "",
    ),
    "plug-in absent": ({"plugins": ["no/such.py"]}, "plugins[0]", "no such file", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_configuration_names_path_rule_and_remedy(case: str) -> None:
    changes, path, rule, remedy = BAD[case]
    with pytest.raises(StudyError) as caught:
        tiny_plan(**{**with_grid(), **changes})
    matching = [p for p in caught.value.problems if p.path == path and rule in p.rule]
    assert matching, str(caught.value)
    assert any(word in matching[0].remedy for word in remedy.split("|"))


def test_chain_methods_need_one_kind_of_chain_number() -> None:
    with pytest.raises(StudyError, match="exactly one of chain_period and chain_count"):
        tiny_plan(defaults={"lr": 1e-2, "epochs": 2, "batch_size": 32, "input_size": 16})


def test_a_missing_setting_says_where_to_put_it() -> None:
    with pytest.raises(StudyError, match=r"set lr under defaults, a rule or grids\.main\.set"):
        tiny_plan(defaults={"epochs": 2, "batch_size": 32, "input_size": 16}, rules=[], **with_grid())


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        tiny_plan(threads=0, device="tpu", **with_rule(lr=-1))
    assert {p.path for p in caught.value.problems} == {"threads", "device", "rules[0].set.lr"}


def test_problems_have_lines() -> None:
    data, lines = read_yaml(TINY)
    data["defaults"]["rank"] = 0
    with pytest.raises(StudyError) as caught:
        parse_study(data, lines)
    text = TINY.read_text().splitlines()
    assert text[caught.value.problems[0].line - 1].strip() == "rank: 4"


def test_repeated_keys_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("id: a\ndefaults:\n  lr: 1\n  lr: 2\n")
    with pytest.raises(StudyError, match=r"defaults.lr \(line 4\)"):
        read_yaml(path)


@pytest.mark.parametrize("text", ["", "- a\n", "id: [\n", "\xff"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(StudyError):
        read_yaml(path)


def test_later_rules_win_and_are_named_as_the_source() -> None:
    plan = tiny_plan(
        rules=[
            {"set": {"lr": 0.1}, "source": "first"},
            {"when": {"method": "lora"}, "set": {"lr": "1e-2.5"}, "source": "second"},
        ]
    )
    run_id, spec = next((k, s) for k, s in plan.runs.items() if s.method == "lora")
    assert spec.lr == pytest.approx(10**-2.5, rel=1e-5)
    assert plan.provenance[run_id]["lr"] == "second" and plan.provenance[run_id]["epochs"] == "defaults"


def test_every_shipped_study_plans() -> None:
    """Walks the folder, so that no shipped study is forgotten."""
    catalogs = {"models.yaml", "datasets.yaml"}
    studies = [ROOT / "config.yaml", *(p for p in (ROOT / "config").rglob("*.yaml") if p.name not in catalogs), TINY]
    for path in studies:
        assert plan_file(path, ROOT).runs


def test_planning_needs_no_torch() -> None:
    """A job of a cluster plans anew: torch would cost it seconds."""
    code = (
        "import sys, pkgutil, importlib, peft_lib\n"
        "for package in ('study', 'methods', 'results', 'report'):\n"
        "    root = importlib.import_module(f'peft_lib.{package}')\n"
        "    for m in pkgutil.walk_packages(root.__path__, root.__name__ + '.'): importlib.import_module(m.name)\n"
        "assert 'torch' not in sys.modules, [m for m in sys.modules if 'torch' in m][:5]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
