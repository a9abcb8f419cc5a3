"""Kind `choices`: every run whose setting comes from such a source is counted once, and its value is the run's."""

from pathlib import Path

from peft_lib.artefacts.registry import kinds
from peft_lib.display.view import Footnotes
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.expand import plan_study
from peft_lib.study.plan import Plan

ROOT = Path(__file__).parents[2]
STUDY = {
    "id": "chosen", "title": "Chosen", "question": "By whom?",
    "defaults": {"epochs": 1, "batch_size": 8, "input_size": 16, "targets": "qv", "rank": 2, "alpha": "2r"},
    "rules": [
        {"set": {"lr": 1e-3}, "source": "paper: printed"},
        {"when": {"method": "fft"}, "set": {"lr": 1e-4, "weight_decay": 0.1}, "source": "ours: it diverged"},
        {"when": {"method": ["lora", "cla"], "dataset": "digits_few"}, "set": {"lr": 2e-3}, "source": "ours: it diverged"},
        {"set": {"selection": "last"}, "source": "inferred: from a file name"},
    ],
    "grids": {
        "main": {"tasks": ["vit_digits/digits", "vit_digits/digits_few"], "methods": ["fft", "lora", "cla"], "seeds": [1, 2]}
    },
}  # fmt: skip


def chosen(**options: object) -> tuple[Plan, list[Cell]]:
    artefact = {"id": "choices", "kind": "choices", "title": "Choices", **options}
    shown = {"id": "scores", "kind": "methods", "grid": "main", "title": "Scores"}
    plan = plan_study({**STUDY, "artefacts": [artefact, shown]}, ROOT)
    return plan, plan.study.artefacts[0].build(Context(plan, plan.study.artefacts[0], None, Path()))


def test_runs_are_counted_by_source_setting_and_value():
    plan, cells = chosen()
    assert plan.study.artefacts[0].run_ids(plan) == ()
    told = {(c.panel, c.row): c.text for c in cells if c.column == "runs"}
    assert told == {
        ("ours: it diverged", "lr 0.0001"): "4", ("ours: it diverged", "lr 0.002"): "4",
        ("ours: it diverged", "weight_decay 0.1"): "4",
    }  # fmt: skip
    where = {c.row: c.text for c in cells if c.column == "where"}
    few = plan.datasets["digits_few"].name
    assert where["lr 0.0001"] == "methods: FFT" and where["lr 0.002"] == f"data sets: {few}; methods: LoRA, cLA"


def test_other_sources_and_all_of_them():
    told = {(c.panel, c.row): c.text for c in chosen(sources_of=["paper", "inferred"])[1]}
    assert set(told) == {("paper: printed", "lr 0.001"), ("inferred: from a file name", "selection last")}


def test_the_table_has_a_part_per_source():
    plan, cells = chosen(sources_of=["ours", "inferred"])
    (table,) = plan.study.artefacts[0].tables(cells, plan, Footnotes())
    assert [(r.group, *r.labels) for r in table.rows] == [
        ("ours: it diverged", "learning rate", "0.0001"), ("ours: it diverged", "learning rate", "0.002"),
        ("ours: it diverged", "weight decay", "0.1"), ("inferred: from a file name", "reported epoch by", "last"),
    ]  # fmt: skip
    assert kinds()["choices"].layout == "settings"
