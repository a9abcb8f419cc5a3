"""Sentences of the findings where the metric is no percentage: units, directions, nothing said of nothing."""

from dataclasses import replace

import pytest

from peft_lib.report.findings import findings
from peft_lib.results.cells import Cell
from peft_lib.study.expand import plan_study
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import quantity
from tests.runs import ROOT


def plan_of(task: str) -> Plan:
    return plan_study(
        {
            "id": "x", "title": "X", "question": "X?",
            "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 64, "rank": 2},
            "grids": {"main": {"tasks": [task], "methods": ["lora", "asym_lora", "cla"], "seeds": [0, 1, 2]}},
            "artefacts": [
                {"id": "table", "kind": "methods", "grid": "main", "title": "T"},
                {"id": "cost", "kind": "cost", "grid": "main", "title": "C"},
            ],
        }, ROOT,
    )  # fmt: skip


def said(task: str, values: dict[str, tuple[float, float, float]], floor: float | None = None) -> tuple[str, str]:
    """Headline and sentences for methods with a mean and an interval; costs are 3, 2, 1 CPU-s in their order."""
    plan = plan_of(task)
    model, dataset = task.split("/")
    what = quantity("test_metric", plan.datasets[dataset].metric)
    cells, paid = [], []
    for place, (method, (value, low, high)) in enumerate(values.items()):
        cell = Cell(
            "table", "methods", "", model, dataset, "", method, "test_metric", method=method, direction=what.direction,
            value=value, low=low, high=high, n=3, planned=3, unit=what.unit, digits=what.digits,
        )  # fmt: skip
        cells.append(cell)
        cost = replace(
            cell, artefact="cost", panel="cost", value=3.0 - place, direction="lower", unit="CPU-s", digits=1
        )
        paid.append(cost)
    if floor is not None:
        cells.append(replace(cells[0], column="baseline", method=None, value=floor, low=None, high=None))
    found = findings(plan, {"table": cells, "cost": paid})[0]
    return found.headline, " ".join(found.sentences)


def test_a_perplexity_is_not_counted_in_points() -> None:
    """3.40 is within 1 of 3.00, and 13 % above it."""
    values = {"lora": (3.0, 2.9, 3.1), "asym_lora": (3.02, 3.0, 3.05), "cla": (3.4, 3.3, 3.5)}
    headline, text = said("stories260k/e2e", values)
    assert headline == "LoRA: 3.00 test perplexity (95 % interval 2.9 to 3.1, 3 seeds)"
    assert "Cheapest within 1\u00a0% of the best: Asym, 3.02 test perplexity for 2.0 CPU-s" in text.replace(
        "1 %", "1\u00a0%"
    )
    assert "cLA +0.38 against Asym (test perplexity, lower is better)" in text and "point" not in text


def test_an_rmse_keeps_its_digits_and_a_correlation_has_points() -> None:
    headline, text = said("minilm_l1/stsb", {"lora": (80.0, 79.0, 81.0), "cla": (79.5, 79.0, 80.0)})
    assert "80.00\u00a0% test Pearson correlation" in headline and "within 1 point of the best: cLA" in text
    assert "their order is not settled" in text


def test_no_overlap_settles_the_order() -> None:
    _, text = said("stories260k/e2e", {"lora": (3.0, 2.9, 3.1), "cla": (4.0, 3.9, 4.1)})
    assert "No other method's interval overlaps with the leader's." in text
    assert "not settled" not in text


def test_a_mean_above_the_constant_answer_is_not_an_interval_above_it() -> None:
    values = {"lora": (80.0, 70.0, 90.0), "asym_lora": (72.0, 60.0, 80.0), "cla": (60.0, 50.0, 69.0)}
    assert (
        "2 of 3 methods beat the majority class (69.00\u00a0%), 1 of them with their whole interval."
        in said("minilm_l1/mrpc", values, 69.0)[1]
    )
    assert "All 3 methods beat the majority class (40.00\u00a0%)." in said("minilm_l1/mrpc", values, 40.0)[1]
    lower = {"lora": (3.0, 2.9, 3.1), "cla": (3.4, 3.2, 3.6)}
    assert "All 2 methods beat" in (text := said("stories260k/e2e", lower, 3.5)[1]) and "1 of them with" in text


@pytest.mark.parametrize(
    ("metric", "unit"), [("accuracy", "nats"), ("pearson", "squared error"), ("bleu", "nats/token")]
)
def test_a_loss_has_the_unit_of_its_task(metric: str, unit: str) -> None:
    assert {quantity(name, metric).unit for name in ("gap", "gap_absolute", "test_loss", "val_loss", "train_loss")} == {
        unit
    }
    assert quantity("wall_s", metric).unit == "s"
