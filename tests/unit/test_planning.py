"""Planning: settings, provenance, and every kind of bad configuration refused before any job."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_lib.study.expand import plan_file, plan_study
from peft_lib.study.launch import diagnosis_arguments
from peft_lib.study.loading import parse_study, read_yaml
from peft_lib.study.problems import StudyError
from peft_lib.study.settings_page import PAGE, page
from tests.runs import ROOT, TINY, tiny_plan

GRID = {"tasks": ["vit_tiny_test/digits"], "methods": ["lora"], "seeds": [0]}


SHIPPED = (("tests/workflow/tiny.yaml", 3, "96de8ebe4370"),)
"""Study, number of its runs, first digits of the SHA-256 over their sorted ids."""


def with_rule(**settings: Any) -> dict[str, Any]:
    return {"rules": [{"set": settings, "source": "test"}]}


def with_grid(**changes: Any) -> dict[str, Any]:
    return {"grids": {"main": {**GRID, **changes}}}


def test_bad_configuration_names_path_rule_and_remedy() -> None:
    """One of each kind is in tests/bad_input; here, that data without a file are refused alike."""
    with pytest.raises(StudyError) as caught:
        tiny_plan(**with_rule(learning_rte=1.0, epochs=True), **with_grid(methods=["lora", "clla"]), artefacts=[])
    assert {(p.path, p.rule.split(",")[0]) for p in caught.value.problems} == {
        ("rules[0].set.learning_rte", "unknown key"),
        ("rules[0].set.epochs", "epochs is a whole number of at least 1 and at most 10"),
        ("grids.main.methods[1]", "no method of that id"),
    }


def test_chain_methods_need_one_kind_of_chain_number() -> None:
    with pytest.raises(StudyError, match="exactly one of chain_period and chain_count"):
        tiny_plan(defaults={"lr": 1e-2, "epochs": 2, "batch_size": 32, "input_size": 16})


@pytest.mark.parametrize(
    ("task", "size", "rule"),
    [("vit_tiny/cifar10_4k", 64, "images of 224 pixels"), ("stories260k/e2e", 7, "at least 8")],
)
def test_an_input_that_a_model_cannot_take_is_refused(task: str, size: int, rule: str) -> None:
    """Also of models of transformers, whose size is called image_size."""
    defaults = {"lr": 1e-2, "epochs": 2, "batch_size": 32, "input_size": size}
    with pytest.raises(StudyError, match=rule):
        tiny_plan(catalogs={}, defaults=defaults, rules=[], **with_grid(tasks=[task]))


def test_a_missing_setting_says_where_to_put_it() -> None:
    with pytest.raises(StudyError, match=r"set lr under defaults, a rule or grids\.main\.set"):
        tiny_plan(defaults={"epochs": 2, "batch_size": 32, "input_size": 16}, rules=[], **with_grid())


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(StudyError) as caught:
        tiny_plan(threads=0, device="tpu", **with_rule(lr=-1), **with_grid(methods=["clla"]))
    assert {p.path for p in caught.value.problems} == {"threads", "device", "rules[0].set.lr", "grids.main.methods[0]"}


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
    with pytest.raises(StudyError, match=r"defaults.lr \(.*s.yaml:4\)"):
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
        plan = plan_file(path, ROOT)
        assert plan.runs or (path.name == "paper_counts.yaml" and {a.kind for a in plan.study.artefacts} == {"counts"})


def test_run_ids_are_what_they_were() -> None:
    """Finished runs of readers are found by them. A digest over all ids, and one id that one can look up."""
    for name, count, digest in SHIPPED:
        ids = sorted(plan_file(ROOT / name, ROOT).runs)
        assert len(ids) == count
        assert hashlib.sha256(" ".join(ids).encode()).hexdigest()[:12] == digest


def test_seven_thousand_runs_plan_in_seconds() -> None:
    """6,032 runs took 1.2 s before settings were resolved once for all seeds, and half of it since; 10 s is the limit."""
    data, lines = read_yaml(ROOT / "config.yaml")
    main = data["grids"]["main"]
    vary = {"lr": [1e-3, 2e-3, 4e-3, 8e-3], "rank": [2, 8]}
    data |= {"grids": {"big": {**main, "seeds": list(range(29)), "vary": vary}}, "artefacts": []}
    started = time.perf_counter()
    plan = plan_study(data, ROOT, lines)
    assert time.perf_counter() - started < 10
    assert len(plan.points["big"]) == 29 * 8 * len(main["tasks"]) * len(main["methods"])


def test_the_page_has_every_field_of_the_schema() -> None:
    """Make it anew with: python -m peft_lib.study.settings_page"""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


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


def test_diagnoses_are_as_deterministic_as_the_study():
    """A kernel that CUDA has in no deterministic form would end them where it does not end the runs."""
    study = yaml.safe_load((ROOT / "tests/workflow/tiny.yaml").read_text(encoding="utf-8"))
    assert "--nondeterministic" not in diagnosis_arguments(plan_study(study, ROOT))
    assert "--nondeterministic" in diagnosis_arguments(plan_study({**study, "deterministic": False}, ROOT))
