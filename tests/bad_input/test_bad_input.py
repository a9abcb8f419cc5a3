"""Every kind of broken study, catalog and plug-in is refused in words: where, what, the rule, the remedy, once."""

import copy
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_lib.methods.registry import available, unregister
from peft_lib.study.expand import plan_file
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from tests.bad_input.cases import CASES, FILES

LIBRARY_WORDS = (
    "Input should",
    "Value error",
    "string_pattern",
    "type=",
    "pydantic",
    "^[a-z",
    "Traceback",
    "Extra inputs",
)


@pytest.fixture(autouse=True)
def _no_plugin_stays() -> Iterator[None]:
    before = set(available())
    yield
    for method in set(available()) - before:
        unregister(method)


def write(folder: Path, edit: dict) -> Path:
    for name in (*FILES, *(edit.keys() - FILES.keys())):
        good = FILES.get(name)
        change = edit.get(name, good) if name in edit else good
        if isinstance(change, list):
            text = good
            for old, new in change:
                assert old in text, old
                text = text.replace(old, new, 1)
            change = text
        if isinstance(change, bytes):
            (folder / name).write_bytes(change)
        elif change is not None:
            (folder / name).write_text(change, encoding="utf-8")
    return folder / "study.yaml"


def plan(folder: Path, edit: dict) -> Plan:
    return plan_file(write(folder, edit), folder)


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_refused_in_words(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    started = time.process_time()
    with pytest.raises(StudyError) as caught:
        plan(tmp_path, case.edit)
    assert time.process_time() - started < 2
    text, problems = str(caught.value), caught.value.problems
    matching = [p for p in problems if p.path == case.where]
    assert matching, text
    problem = matching[0]
    assert all(word in f"{problem.rule} {problem.remedy}" for word in case.words), text
    assert case.line is None or problem.line == case.line, text
    assert case.line is None or Path(problem.file).parent == tmp_path
    assert len(problems) == case.count, text
    assert not any(word in text for word in LIBRARY_WORDS), text
    assert all(p.rule.strip() and p.remedy.strip() for p in problems)
    assert len({(p.path, p.rule) for p in problems}) == len(problems)


def test_the_good_files_plan(tmp_path: Path) -> None:
    assert len(plan(tmp_path, {}).runs) == 23 and not plan(tmp_path, {}).warnings


ODD = (None, [{}], "\u00e9{x}")


def places(value: Any, above: tuple = ()) -> Iterator[tuple]:
    if above:
        yield above
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*above, key))


@pytest.mark.parametrize("name", ["study.yaml", "models.yaml", "datasets.yaml"])
def test_no_other_exception_escapes(name: str, tmp_path: Path) -> None:
    """Every value of every file in turn replaced by odd ones: planned, or refused in words."""
    write(tmp_path, {})
    good = yaml.safe_load(FILES[name])
    for place in places(good):
        for odd in ODD:
            data = copy.deepcopy(good)
            inner = data
            for part in place[:-1]:
                inner = inner[part]
            inner[place[-1]] = odd
            (tmp_path / name).write_text(json.dumps(data), encoding="utf-8")
            try:
                plan_file(tmp_path / "study.yaml", tmp_path)
            except StudyError as error:
                told = [(p.path, p.rule) for p in error.problems]
                assert len(set(told)) == len(told), str(error)
                assert not any(word in str(error) for word in LIBRARY_WORDS), str(error)
