"""workflow_scripts/synthetic.py: what it makes up beside results. Answers amount to the recorded metrics, whatever the task; all
diagnostics that artefacts ask for are there, so that a report misses nothing. No torch."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.registry import diagnostics
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.diagnostic_files import file_of, read
from peft_lib.results.predictions import read_items
from peft_lib.study.diagnoses import wanted
from peft_lib.study.expand import plan_study
from peft_lib.study.plan import Plan
from tests.runs import ROOT
from workflow_scripts import synthetic
from workflow_scripts.synthetic_diagnostics import MADE, PLACE

METHODS = ["fft", "lora", "cola", "cla", "r_cla", "paca"]
TEXT = ["roberta_base/cola", "roberta_base/mrpc", "deberta_v3_base/stsb", "deepseek_coder/django", "gpt2_small/e2e"]
"""Matthews correlation; accuracy and F1; Pearson's; exact match and BLEU; perplexity and what is of whole texts."""
SETTINGS = {"rank": 8, "alpha": "2r", "lr": 0.001, "epochs": 4, "batch_size": 64, "chain_period": 2}


def study(**artefacts: dict[str, Any]) -> Plan:
    """One image task and five of text; artefacts are of the first unless they say otherwise."""
    made = [{"id": id, "title": id, "grid": "images", **options} for id, options in artefacts.items()]
    return plan_study(
        {
            "id": "made_up", "title": "Small", "question": "Is all there?", "defaults": {**SETTINGS, "input_size": 224},
            "keep": "dense_trajectory",
            "rules": [{"when": {"dataset": [t.split("/")[1] for t in TEXT]}, "set": {"input_size": 128}, "source": "ours"}],
            "grids": {
                "images": {"tasks": ["vit_tiny/cifar10"], "methods": METHODS, "seeds": [1, 2, 3]},
                "text": {"tasks": TEXT, "methods": METHODS, "seeds": [1, 2, 3]},
            },
            "artefacts": made,
        },
        ROOT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def plan() -> Plan:
    around = {"points": 5}
    return study(
        tested={"kind": "comparisons", "grid": ["images", "text"], "against": "lora"},
        chaining={"kind": "chaining", "grid": ["images", "text"]},
        noise={"kind": "noise_floor", "grid": ["images", "text"]},
        surfaces={"kind": "landscape", "methods": ["fft", "lora"], **around},
        paths={"kind": "landscape", "directions": "pca", "range": "auto", "views": "contour", **around},
        sharpness={"kind": "sharpness", "eigenvalue": True},
        intruders={"kind": "intruders", "at": "final", "thresholds": [0.3, 0.7, 1], "table": [0.7]},
        spectra={"kind": "spectrum", "values": 4},
        bounds={"kind": "bounds", "norms": True},
        predictors={"kind": "predictors", "candidates": [{"kind": name} for name in sorted(diagnostics())]},
    )


@pytest.fixture(scope="module")
def results(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made_up") / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peft_lib.files.flush", lambda path: None)
        made = synthetic.write_results(plan, folder)
    assert made["results"] == made["answers"] == len(plan.runs) == 18 * len(["vit_tiny/cifar10", *TEXT])
    assert not [kind for kind in made if kind.endswith("missing")]
    return folder


@pytest.fixture(scope="module")
def cells(plan: Plan, results: Path) -> dict[str, list[Cell]]:
    runs = collect(plan, results)
    return {a.id: build(plan, a, runs, results) for a in plan.study.artefacts}


def test_every_kind_of_diagnostic_can_be_made_up() -> None:
    assert set(MADE) == set(diagnostics().values())


def test_no_diagnostic_is_missing(cells: dict[str, list[Cell]]) -> None:
    for name in ("surfaces", "paths", "sharpness", "intruders", "spectra", "bounds", "predictors"):
        assert cells[name]
        assert {c.status for c in cells[name]} <= {"ok", "not_available"}, name
    for name in ("surfaces", "paths", "sharpness", "intruders", "spectra"):
        assert {c.status for c in cells[name]} == {"ok"}, name
    (path,) = [c for c in cells["paths"] if c.panel == "path" and c.method == "fft"]
    assert len(path.points) == 2 * (SETTINGS["epochs"] + 1) and path.points[-2:] == (0, 0)
    assert {len(c.points) for c in cells["paths"] if c.panel == "surface"} == {25}


def test_every_row_is_tested(cells: dict[str, list[Cell]]) -> None:
    """Answers and recorded metrics belong together, or a comparison refuses them."""
    tested = {(c.model, c.dataset) for c in cells["tested"] if c.p is not None}
    assert tested == {tuple(task.split("/")) for task in ["vit_tiny/cifar10", *TEXT]}
    assert not [c.reason for name in ("tested", "chaining") for c in cells[name] if "belong" in str(c.reason)]
    assert [c for c in cells["noise"] if c.value is not None]


def test_recorded_numbers_are_those_of_the_answers(plan: Plan, results: Path) -> None:
    for spec in plan.runs.values():
        folder = results / "runs" / spec.folder
        (row,) = pq.read_table(folder / "result.parquet").to_pylist()
        items, measures = read_items(folder), dict(row["test_measures"])
        assert row["test_metric"] == measures[row["metric"]] and 50 <= len(items) <= 400
        assert row["test_loss"] == pytest.approx(items.loss.sum() / items.weight.sum())
        assert row["gap"] == pytest.approx(row["test_loss"] - row["train_loss"])
        for name in {"accuracy", "exact_match"} & measures.keys():
            assert measures[name] == np.mean(items.label == items.prediction)
        if "pearson" in measures:
            assert measures["pearson"] == pytest.approx(np.corrcoef(items.label.astype(float), items.score)[0, 1])
        if "perplexity" in measures:
            assert measures["perplexity"] == pytest.approx(math.exp(row["test_loss"]))
        assert all(str(i).startswith("made up") for i in items.ids)


def test_rows_are_what_their_kinds_say(plan: Plan, results: Path) -> None:
    """Finite; numbers of the whole run are those that may predict; places say that they are made up."""
    for diagnostic, run_ids in wanted(plan).items():
        for run_id in run_ids[:: len(run_ids) // 2]:
            rows, facts = read(file_of(results / "runs" / plan.runs[run_id].folder, diagnostic))
            assert (facts.status, facts.reason) == ("ok", "made up")
            assert all(math.isfinite(r.value) for r in rows) and len({r[:1] + r[2:] for r in rows}) == len(rows)
            once = {r.quantity for r in rows if r.place is None and r.x is None and r.y is None}
            lacking = set(diagnostic.scalars) - once
            assert lacking <= ({"eigenvalue"} if diagnostic.kind == "sharpness" else set())
            assert all(r.place.startswith(PLACE) for r in rows if r.place is not None)


def test_intruders_grow_with_the_threshold_to_all_vectors(plan: Plan, results: Path) -> None:
    (diagnostic,) = [
        d for d in wanted(plan) if d.id == next(a for a in plan.study.artefacts if a.id == "intruders").diagnostic.id
    ]
    for run_id in wanted(plan)[diagnostic]:
        rows, _ = read(file_of(results / "runs" / plan.runs[run_id].folder, diagnostic))
        by_place: dict[tuple[Any, Any], list[Row]] = {}
        for row in rows:
            if row.quantity == "intruders" and row.place:
                by_place.setdefault((row.place, row.y), []).append(row)
        vectors = {(r.place, r.y): r.value for r in rows if r.quantity == "vectors"}
        assert by_place.keys() == vectors.keys()
        for place, counts in by_place.items():
            assert [c.x for c in counts] == [0.3, 0.7, 1]
            assert [c.value for c in counts] == sorted(c.value for c in counts) and counts[-1].value == vectors[place]


def test_numbers_do_not_depend_on_what_else_is_made(plan: Plan, results: Path, tmp_path: Path) -> None:
    """Stateless: one run alone has the files that it has among all."""
    run_id = list(plan.runs)[-1]
    synthetic.write_results(plan, tmp_path, [run_id])
    for path in sorted((tmp_path / "runs").rglob("*.parquet")):
        assert pq.read_table(path).equals(pq.read_table(results / path.relative_to(tmp_path))), path
