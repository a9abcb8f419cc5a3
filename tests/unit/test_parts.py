"""Parts of a study: `only` asks for exactly the runs that fit, and changes neither runs nor points."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from peft_lib.study.expand import plan_config, plan_study
from tests.unit.synthetic import make_plan, study

VALUES: dict[str, Any] = {
    "artefact": ["performance", "ablation"],
    "grid": "ablation",
    "model": ["vit_digits"],
    "dataset": "digits",
    "method": ["lora", "fft"],
    "seed": 1,
}


@pytest.mark.parametrize("keys", [k for n in range(4) for k in itertools.combinations(VALUES, n)])
def test_a_part_has_the_runs_whose_points_fit(keys: tuple[str, ...], tmp_path: Path) -> None:
    """The second opinion goes over the points; a run that several grids share fits by any of them."""
    only = {key: VALUES[key] for key in keys}
    wanted = {key: set(value) if isinstance(value, list) else {value} for key, value in only.items()}
    whole = make_plan(tmp_path / "whole")
    shows = {a.id: set(a.grid or ()) for a in whole.study.artefacts}
    facts: dict[str, dict[str, set[Any]]] = {}
    for grid, points in whole.points.items():
        for point in points:
            known = facts.setdefault(point.run_id, {key: set() for key in VALUES})
            known["grid"].add(grid)
            known["artefact"] |= {a for a, grids in shows.items() if grid in grids}
            for key in ("model", "dataset", "method", "seed"):
                known[key].add(getattr(point, key))
    expected = {run for run, known in facts.items() if all(known[key] & values for key, values in wanted.items())}
    data = study(only=only)
    if not expected:
        with pytest.raises(ValueError, match="no run of the study fits"):
            make_plan(tmp_path / "part", data)
        return
    part = make_plan(tmp_path / "part", data)
    assert part.asked == expected
    assert list(part.runs) == list(whole.runs) and part.points == whole.points


def test_a_value_that_adds_nothing_is_warned_of(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, study(only={"dataset": "digits", "model": ["vit_digits", "minilm_l3"]}))
    assert [w.path for w in plan.warnings if w.path.startswith("only")] == ["only.model[1]"]


def test_an_artefact_without_runs_is_a_part(tmp_path: Path) -> None:
    data = study()
    data["artefacts"] = [
        *data["artefacts"],
        {"id": "counts", "kind": "counts", "title": "C", "published": "table_6.csv"},
    ]
    plan = make_plan(tmp_path, {**data, "only": {"artefact": "counts"}})
    assert plan.asked == frozenset() and plan.runs


def test_a_part_of_the_file_and_one_of_the_command_line_are_merged(tmp_path: Path) -> None:
    """As Snakemake merges them: mappings key by key; nested values of the command line come as texts."""
    make_plan(tmp_path)
    data = json.loads((tmp_path / "study.json").read_text()) | {"only": {"dataset": "digits", "seed": 0}}
    (tmp_path / "study.json").write_text(json.dumps(data))
    merged = {**data, "only": {"dataset": "digits", "seed": ["1"], "method": "lora"}}
    plan = plan_config(merged, [tmp_path / "study.json"], tmp_path)
    specs = [plan.runs[run_id] for run_id in plan.asked]
    assert [(s.dataset.id, s.method, s.seed) for s in specs] == [("digits", "lora", 1)]
    assert plan_study({**data, "only": {}}, tmp_path).asked == frozenset(plan.runs)
