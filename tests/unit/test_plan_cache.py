"""The plan cache: the same plan without planning, another plan after any edit, never a wrong one."""

import ast
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from peft_lib.methods.method import Method
from peft_lib.methods.registry import get_method, register, unregister
from peft_lib.study import expand, fingerprint, plan_cache
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from tests.bad_input.cases import FILES, PLUGIN
from tests.runs import ROOT

STUDY = FILES["study.yaml"].replace("lr: 1e-2\n", "lr: 3\n") + "rules_from: [rules.csv]\n"
"""With a warning: the rate is above 1."""
RULES = "model,dataset,method,lr_group,grid,setting,value,source,note\n,,lora,,,rank,2,ours,\n"


@pytest.fixture
def folder(tmp_path: Path):
    for name, text in {**FILES, "study.yaml": STUDY, "rules.csv": RULES}.items():
        (tmp_path / name).write_text(text)
    yield tmp_path
    unregister("mine")
    fingerprint.forget()


def found(folder: Path) -> plan_cache.Found:
    return plan_cache.plan_file(folder / "study.yaml", folder, folder / "plans")


def facts(plan: Plan) -> dict[str, Any]:
    """All that a plan says, by value."""
    return {
        "runs": {run_id: (spec.canonical, spec.run_id, spec.folder, spec) for run_id, spec in plan.runs.items()},
        "points": plan.points, "hows": plan.hows, "provenance": plan.provenance, "data": plan.data,
        "study": plan.study, "models": plan.models, "datasets": plan.datasets, "asked": plan.asked,
        "locks": {name: entry.lock for name, entry in plan.datasets.items()}, "shown": plan.shown_facts(),
        "warnings": [str(warning) for warning in plan.warnings],
        "fingerprints": {run_id: plan.fingerprint(run_id) for run_id in plan.runs},
        "prepared": {name: plan.prepare_fingerprint(*key) for name, key in plan.prepared.items()},
    }  # fmt: skip


def test_a_second_call_finds_the_same_plan(folder: Path) -> None:
    first, second = found(folder), found(folder)
    assert (first.hit, second.hit) == (False, True) and not first.notes and not second.notes
    plain = expand.plan_file(folder / "study.yaml", folder)
    assert facts(first.plan) == facts(second.plan) == facts(plain) and plain.warnings


def test_a_plan_that_was_found_reads_no_code(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a run's fingerprint nor that of tables needs a syntax tree; the plug-in is loaded all the same."""
    found(folder)
    trees = fingerprint.tree_hash("peft_lib/results", "peft_lib/study/quantities.py")
    fingerprint.forget()
    unregister("mine")
    monkeypatch.setattr(ast, "parse", lambda *given, **named: pytest.fail("a file was parsed"))
    plan = found(folder).plan
    assert plan.fingerprints and all(plan.fingerprint(run_id) for run_id in plan.runs)
    assert fingerprint.tree_hash("peft_lib/results", "peft_lib/study/quantities.py") == trees
    assert get_method("mine").id == "mine"


def package(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code and of what artefacts are checked against, which the key is made of."""
    for name in ("peft_lib", *plan_cache.CHECKED):
        shutil.copytree(ROOT / name, folder / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(plan_cache, "PACKAGE", folder / "copy/peft_lib")
    return folder / "copy"


def key(folder: Path) -> str | None:
    data = expand.read_document(folder / "study.yaml").data
    return plan_cache.key_of(data, [folder / "study.yaml"], folder)


EDITS = {
    "a comment in the study": ("study.yaml", "\n# a comment\n"),
    "the model catalog": ("models.yaml", "\n"),
    "the data set catalog": ("datasets.yaml", "\n"),
    "a lock where there was none": ("datasets.lock.json", "{}"),
    "a rule file": ("rules.csv", ",,fft,,,weight_decay,0.1,ours,\n"),
    "a plug-in": ("plug.py", "\n"),
    "a method": ("copy/peft_lib/methods/cla.py", "\n# a comment\n"),
    "training": ("copy/peft_lib/training/loop.py", "\nX = 1\n"),
    "planning": ("copy/peft_lib/study/expand.py", "\n"),
    "a new file": ("copy/peft_lib/methods/new.py", "X = 1\n"),
    "published values": ("copy/reports/reference/table_6.csv", "\n"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_every_edit_is_another_plan_and_a_touch_is_none(edit: str, folder: Path, monkeypatch) -> None:
    package(folder, monkeypatch)
    before = key(folder)
    for path in folder.rglob("*.*"):
        path.touch()
    assert before is not None and key(folder) == before
    name, added = EDITS[edit]
    path = folder / name
    path.write_text((path.read_text() if path.exists() else "") + added)
    assert key(folder) != before


def test_what_a_plugin_imports_is_part_of_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "helper_of_mine.py").write_text("RATE = 0.1\n")
    (folder / "plug.py").write_text("import helper_of_mine\n" + PLUGIN)
    before = key(folder)
    (folder / "helper_of_mine.py").write_text("RATE = 0.2\n")
    assert key(folder) != before
    sys.modules.pop("helper_of_mine")


def test_what_is_on_the_command_line_is_part_of_the_key(folder: Path) -> None:
    data = expand.read_document(folder / "study.yaml").data
    keys = [
        plan_cache.key_of(config, [folder / "study.yaml"], folder)
        for config in (
            data,
            {**data, "only": {"seed": 0}},
            {**data, "title": "Other"},
            {**data, "assets": {"mirror": "m"}},
        )
    ]
    (folder / "m").mkdir()
    keys.append(plan_cache.key_of({**data, "assets": {"mirror": "m"}}, [folder / "study.yaml"], folder))
    assert len({*keys}) == 5  # whether there is a mirror is said in a warning


def test_the_order_on_the_command_line_is_the_order_of_the_plan(folder: Path) -> None:
    """Mappings have the order in which they were written: that of tables, and of who names a shared run first."""
    data = expand.read_document(folder / "study.yaml").data
    for names in (("zeta", "alpha"), ("alpha", "zeta")):
        config = {**data, "grids": {**data["grids"], **dict.fromkeys(names, data["grids"]["main"])}}
        plan = plan_cache.plan_config(config, [folder / "study.yaml"], folder, folder / "plans").plan
        assert tuple(plan.points)[-2:] == names


def test_an_edit_while_it_is_planned_leaves_no_plan_of_another_text(folder: Path) -> None:
    """The file is read for the key, edited, and read for the plan; then it is set back (git stash, say)."""
    catalog = folder / "models.yaml"
    old = catalog.read_text()
    good = facts(expand.plan_file(folder / "study.yaml", folder))

    def edited() -> Plan:
        catalog.write_text(old.replace("name: ", "name: New "))
        return expand.plan_file(folder / "study.yaml", folder)

    data = expand.read_document(folder / "study.yaml").data
    given = (data, [folder / "study.yaml"], folder, folder / "plans")
    other = plan_cache._found(*given, edited, b"file")
    assert not other.hit and facts(other.plan) != good
    catalog.write_text(old)
    assert facts(found(folder).plan) == good


DAMAGES = {
    "cut off": lambda raw: raw[:-100],
    "a flipped bit": lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:],
    "empty": lambda raw: b"",
    "of another release": lambda raw: raw.replace(b"plan 1", b"plan 0", 1),
    "something else": lambda raw: pickle.dumps({"plan": 1}),
    "a text": lambda raw: b"<html>",
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_planned_over(damage: str, folder: Path) -> None:
    good = facts(found(folder).plan)
    [path] = (folder / "plans").iterdir()
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    again = found(folder)
    assert not again.hit and len(again.notes) == 1 and "is damaged and not used" in again.notes[0]
    assert "\n" not in again.notes[0] and facts(again.plan) == good
    assert found(folder).hit


def test_a_foreign_object_with_a_good_checksum_is_planned_over(folder: Path) -> None:
    found(folder)
    [path] = (folder / "plans").iterdir()
    plan_cache._write(path, {"plan": 1})  # type: ignore[arg-type]
    again = found(folder)
    assert not again.hit and "holds no plan" in again.notes[0]


def test_where_nothing_can_be_written_it_is_planned(folder: Path) -> None:
    (folder / "plans").write_text("a file in the way")
    again = found(folder)
    assert not again.hit and again.plan.runs and "not kept" in again.notes[-1]


def test_the_latest_plans_stay(folder: Path) -> None:
    for seed in range(plan_cache.KEPT + 3):
        (folder / "study.yaml").write_text(STUDY.replace("seeds: [0, 1]", f"seeds: [{seed}]"))
        last = found(folder)
    assert len(list((folder / "plans").iterdir())) == plan_cache.KEPT
    assert not last.hit and found(folder).hit


def test_what_cannot_be_planned_is_refused_as_ever(folder: Path) -> None:
    (folder / "study.yaml").write_text(STUDY.replace("seeds: [0]", "seeds: [-1]"))
    with pytest.raises(StudyError) as one:
        expand.plan_file(folder / "study.yaml", folder)
    for _ in range(2):
        with pytest.raises(StudyError) as other:
            found(folder)
        assert str(other.value) == str(one.value)
    (folder / "plug.py").write_text("1 / 0")
    with pytest.raises(StudyError, match="ZeroDivisionError"):
        found(folder)


def test_methods_that_are_in_no_file_are_not_kept(folder: Path) -> None:
    made = Method(id="made", name="Made", formula="W", source="me", family="future", trains=(), api=1)
    register(made)
    try:
        assert not found(folder).hit and not found(folder).hit
    finally:
        unregister("made")
    assert not (folder / "plans").exists()


def test_calls_at_the_same_time_have_the_same_plan(folder: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from peft_lib.study.plan_cache import plan_file; f = Path(sys.argv[1])\n"
        "for _ in range(3):\n"
        "    found = plan_file(f / 'study.yaml', f, f / 'plans')\n"
        "    print(len(found.plan.runs), sorted(found.plan.runs)[0], found.notes)\n"
        "    [p.unlink(missing_ok=True) for p in (f / 'plans').glob('*.plan')]"
    )
    calls = [
        subprocess.Popen([sys.executable, "-c", program, str(folder)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = {line for call in calls for line in call.communicate()[0].splitlines()}
    assert all(call.returncode == 0 for call in calls)
    plan = expand.plan_file(folder / "study.yaml", folder)
    assert said == {f"{len(plan.runs)} {min(plan.runs)} ()"}
