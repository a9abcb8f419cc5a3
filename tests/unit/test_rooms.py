"""What the rooms promise each other: facts about methods are fields of Method, and no report or results code names one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from peft_lib.display import style
from peft_lib.display.tables import FAMILIES, family_name
from peft_lib.methods.method import Method
from peft_lib.methods.registry import available, get_method, register, unregister
from peft_lib.names import first_line

ROOMS = ("peft_lib/results", "peft_lib/artefacts", "peft_lib/display", "peft_lib/report", "reports/templates")


def test_no_code_of_results_and_report_names_a_method(root: Path):
    ids = set(available())
    families = {get_method(m).family for m in ids}
    named = []
    for path in (p for room in ROOMS for p in (root / room).rglob("*") if p.suffix in (".py", ".j2")):
        for line in path.read_text(encoding="utf-8").splitlines():
            quoted = re.findall(r"""(["'])([a-z0-9_]+)\1(:?)""", line)
            # A family may be called like a method: as a key of the looks and headings of families it stands for all.
            named += [
                f"{path.name}: {word}" for _, word, key in quoted if word in ids and not (key and word in families)
            ]
    assert not named


def test_every_family_has_a_heading_and_a_look_and_so_has_a_new_one():
    families = {get_method(m).family for m in available()}
    assert families <= set(FAMILIES) == set(style.MARKERS) == set(style.COLOURS)
    assert family_name("frozen_pairs") == "Frozen pairs"
    assert style.look("frozen_pairs") == {"marker": style.OTHER_MARKER, "color": style.OTHER_COLOUR}
    assert style.OTHER_MARKER not in style.MARKERS.values()


@pytest.fixture
def stranger():
    yield register(Method("stranger", "Stranger", "f", "ours", "elsewhere", (), lr_group="own"))  # type: ignore[arg-type]
    unregister("stranger")


def test_a_learning_rate_group_of_one_s_own_is_called_by_its_methods(stranger, tmp_path: Path):
    from peft_lib.results.collect import collect
    from peft_lib.results.context import build
    from tests.unit import synthetic

    data = synthetic.study()
    data["grids"] = {
        "main": {"tasks": ["vit_digits/digits"], "methods": ["lora", "lora_plus", "stranger"], "seeds": [0]}
    }
    data["rules"].append({"when": {"method": "stranger"}, "set": {"lr": 0.5}, "source": "ours"})
    data["artefacts"] = [{"id": "settings", "kind": "hyperparameters", "grid": "main", "title": "Settings"}]
    plan = synthetic.make_plan(tmp_path, data)
    cells = build(plan, plan.study.artefacts[0], collect(plan, tmp_path / "results"), tmp_path / "results")
    assert {c.row: c.text for c in cells if c.column == "lr"} == {"A and B train": "0.00316", "Stranger": "0.5"}


@pytest.mark.parametrize(
    ("error", "line"),
    [(ValueError("one\ntwo"), "one"), (OSError(), "OSError"), (KeyError(""), "''"), (RuntimeError("\n x\ny"), "x")],
)
def test_the_gist_of_an_error(error: Exception, line: str):
    assert first_line(error) == line


def test_planning_loads_nothing_heavy(root: Path):
    """Every job of a cluster plans again; kinds of artefacts are part of that, and what they compute with is not."""
    heavy = ["torch", "pandas", "pyarrow", "scipy", "statsmodels", "matplotlib", "plotly", "jinja2"]
    code = "import sys; from peft_lib.study.expand import plan_file; plan_file('config/paper.yaml')"
    code += f"; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
