"""The registry: names, near names, clashes, versions, and no torch anywhere in planning."""

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import peft_lib.methods as package
from peft_lib.methods.method import METHOD_API, LowRank, Method, MethodError
from peft_lib.methods.registry import SHARED, available, get_method, load_plugin, method_file, register, unregister
from tests.unit.zoo import PROMISES

ROOT = Path(__file__).parents[2]
GLOSSARY = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
FIELDS: dict[str, Any] = {
    "id": "mine", "name": "Mine", "formula": "-", "source": "test", "family": "future", "trains": ("B",),
    "start": lambda link, options: LowRank(link.normal(1.0)),
}  # fmt: skip


def method(**changes: Any) -> Method:
    return Method(**{**FIELDS, **changes})


def test_unknown_ids_are_answered_with_near_ones_and_all():
    with pytest.raises(MethodError) as caught:
        get_method("r_c3al")
    text = str(caught.value)
    near, everything = re.fullmatch(r"Unknown method 'r_c3al'\. Did you mean: (.*)\? Available: (.*)", text).groups()
    assert near.split(", ")[0] == "r_c3la"
    assert tuple(everything.split(", ")) == available()


@pytest.mark.parametrize("wrong", ["zzzzzzzz", "", "LoRA", "method", "registry", "selectors", "../cla"])
def test_what_is_no_method_is_refused(wrong: str):
    with pytest.raises(MethodError, match="Unknown method"):
        get_method(wrong)


def test_built_in_ids_are_listed_in_order_with_their_files():
    built_in = tuple(name for name in available() if method_file(name).parent == Path(package.__path__[0]).resolve())
    assert built_in == tuple(sorted(PROMISES)) == available()[: len(built_in)]
    for name in built_in:
        assert get_method(name).id == name
        assert method_file(name) == (Path(package.__path__[0]) / f"{name}.py").resolve()


def test_every_planning_module_imports_without_torch():
    """Planning reads capabilities and counts from the methods, and reports are rendered where there is no torch."""
    code = f"""
import importlib, pkgutil, sys
import peft_lib
names = ["peft_lib.seeds"]
for part in {["methods", "study", "results", "report"]!r}:
    try:
        package = importlib.import_module("peft_lib." + part)
    except ModuleNotFoundError:
        continue
    names += [m.name for m in pkgutil.iter_modules(package.__path__, package.__name__ + ".")]
for name in names[1:]:
    importlib.import_module(name)
    assert "torch" not in sys.modules, name
from peft_lib.methods.registry import SHARED, available, get_method
assert len(available()) >= {len(PROMISES)}
assert [get_method(m).trained_size([(8, 8, 1)], 2) for m in ("lora", "cla", "head_only")] == [32, 16, 0]
assert "torch" not in sys.modules
print(len(names))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > len(PROMISES) + 8


def test_registering_and_forgetting():
    made = register(method())
    try:
        assert get_method("mine") is made
        assert "mine" in available()
        assert method_file("mine") is None
        with pytest.raises(MethodError, match="'mine' is taken"):
            register(method())
    finally:
        unregister("mine")
    assert "mine" not in available()
    unregister("mine")


@pytest.mark.parametrize("taken", sorted(PROMISES))
def test_built_in_names_cannot_be_taken(taken: str):
    with pytest.raises(MethodError, match=rf"method id '{taken}' is taken by .*{taken}\.py\. Choose another"):
        register(method(id=taken))
    unregister(taken)
    assert taken in available()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"api": METHOD_API + 1}, rf"made for method API {METHOD_API + 1}, this is {METHOD_API}"),
        ({"api": 0}, "made for method API 0"),
        ({"id": "Mine"}, "lower-case letters"),
        ({"id": "my-method"}, "lower-case letters"),
        ({"id": "3la"}, "starting with a letter"),
        ({"start": None}, "if and only if"),
        ({"trains": ()}, "if and only if"),
        ({"start": None, "trains": (), "chains": True}, "a chain needs links"),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(MethodError, match=message):
        method(**changes)


def test_files_that_define_no_method(tmp_path: Path):
    with pytest.raises(MethodError, match="no such file"):
        load_plugin(tmp_path / "absent.py")
    (tmp_path / "text.txt").write_text("METHOD = 1")
    with pytest.raises(MethodError, match=r"ends in \.py"):
        load_plugin(tmp_path / "text.txt")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(MethodError, match=r"must define METHOD = Method\(\.\.\.\)"):
        load_plugin(tmp_path / "empty.py")


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_counts_are_linear_in_rank_and_shapes(name: str):
    found = get_method(name)
    one, other = found.trained_size([(12, 24, 1)], 1), found.trained_size([(24, 12, 1)], 1)
    assert one == ("A" in PROMISES[name].trains) * 12 + (PROMISES[name].trains in ("AB", "B", "P")) * 24
    assert found.trained_size([(12, 24, 3), (24, 12, 2)], 5) == 5 * (3 * one + 2 * other)


@pytest.mark.parametrize("name", sorted(PROMISES))
def test_the_glossary_has_every_method_and_option(name: str):
    """A section of its own per id, with its names for people and every option in code type."""
    found = get_method(name)
    sections = re.split(r"^### ", GLOSSARY, flags=re.MULTILINE)[1:]
    section = next((s for s in sections if s.startswith(f"`{name}`")), None)
    assert section is not None, f"docs/methods.md has no section '### `{name}`'"
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    assert found.name in section
    missing = [option for option in found.options.model_fields if f"`{option}`" not in section]
    assert not missing, f"options of {name} that its section does not name: {missing}"


def test_the_glossary_has_nothing_else():
    ids = re.findall(r"^### `([a-z0-9_]+)`", GLOSSARY, flags=re.MULTILINE)
    assert sorted(ids) == sorted(PROMISES)
    files = {m.name for m in pkgutil.iter_modules(package.__path__)} - SHARED
    assert set(ids) == files


def test_the_glossarys_selector_values_are_the_options():
    for name, option in (("r_cla", "selector"), ("paca", "selector"), ("r_c3la", "draw"), ("c3la", "remainder")):
        schema = get_method(name).options.model_json_schema()["properties"][option]
        assert all(f"`{value}`" in GLOSSARY for value in schema["enum"])
