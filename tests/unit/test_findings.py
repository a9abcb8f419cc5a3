"""Sentences of the findings: from tests where there are any, with units and directions, and nothing said of nothing."""

from dataclasses import replace
from typing import Any

import pytest

from peft_lib.report.findings import basis, findings
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import (
    AGAINST,
    CORRECTED,
    LAST_EPOCH,
    LEADER,
    LIMITS,
    MORE_SEEDS,
    NOT_LEARNT,
    SINGLE,
    VALUE,
    verdict,
)  # fmt: skip
from peft_lib.study.expand import plan_study
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import quantity
from tests.runs import ROOT

SEEDS = 3


def plan_of(task: str, kind: str = "comparisons") -> Plan:
    methods = ["lora", "asym_lora", "cla", *["head_only"] * (not task.endswith("e2e"))]
    return plan_study(
        {
            "id": "x", "title": "X", "question": "X?",
            "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 64, "rank": 2},
            "grids": {"main": {"tasks": [task], "methods": methods, "seeds": [0, 1, 2]}},
            "artefacts": [
                {"id": "table", "kind": kind, "grid": "main", "title": "Tested here"},
                {"id": "cost", "kind": "cost", "grid": "main", "title": "C"},
            ],
        }, ROOT,
    )  # fmt: skip


def said(
    task: str, values: dict[str, float], letters: dict[str, str] | None = None, tests: dict[str, tuple] | None = None,
    against: dict[str, tuple] | None = None, limits: dict[str, float] | None = None, floor: float | None = None,
    kind: str = "comparisons", seeds: int = SEEDS, **statuses: dict[str, Any],
) -> tuple[str, str]:  # fmt: skip
    """Headline and sentences. tests, against: method -> (low, high, p, p adjusted), differences to the first method; costs are 3,
    2, 1 CPU-s in the order of the methods."""
    plan = plan_of(task, kind)
    model, dataset = task.split("/")
    what = quantity("test_metric", plan.datasets[dataset].metric)
    cells, paid = [], []
    first = next(iter(values))
    for place, (method, value) in enumerate(values.items()):
        cell = Cell(
            "table", kind, VALUE if kind == "comparisons" else "", model, dataset, "", method, "test_metric", method=method,
            direction=what.direction, value=value, low=value - 1, high=value + 1, n=seeds, planned=seeds, unit=what.unit,
            digits=what.digits, text=(letters or {}).get(method), **statuses.get(method, {}),
        )  # fmt: skip
        cells.append(cell)
        for panel, part in ((LEADER, tests), (AGAINST, against)):
            if part and method in part:
                low, high, p, adjusted = part[method]
                test = replace(cell, panel=panel, low=low, high=high, p=p, p_adjusted=adjusted, value=(low + high) / 2)
                cells.append(replace(test, source=first if panel == LEADER else "asym_lora", text=verdict(test)))
        cost = replace(
            cell, artefact="cost", panel="cost", value=3.0 - place, direction="lower", unit="CPU-s", digits=1
        )
        paid.append(cost)
    if kind == "comparisons":
        cells.append(replace(cells[0], panel=LEADER, value=0.0, low=None, high=None, text="leader"))
    for name, number in (limits or {}).items():
        blank = replace(cells[0], panel=LIMITS, column=name, method=None, value=number, n=9, text="cla 2")
        cells.append(blank)
    if floor is not None:
        cells.append(replace(cells[0], column="baseline", method=None, value=floor, low=None, high=None, text=None))
    found = findings(plan, {"table": cells, "cost": paid})[0]
    return found.headline, " ".join(found.sentences)


def test_a_leader_that_is_ahead_of_all_says_by_how_much_and_at_what_cost():
    headline, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 80.0, "cla": 79.0}, {"lora": "a", "asym_lora": "b", "cla": "b"},
        {"asym_lora": (-12, -8, 2e-4, 6e-4), "cla": (-14, -8, 0.004, 0.012)},
    )  # fmt: skip
    assert headline.startswith(
        "LoRA: 90.00\u00a0% test accuracy (95 % interval 89.0 to 91.0, 3 seeds), ahead of all 2 other"
    )
    assert (
        "Ahead of the other methods by 10.00 points (Asym; 95 % interval 8.00 to 12.00) to 11.00 points (cLA)" in text
    )
    assert "p at most 0.012 after correction" in text
    assert (
        "LoRA takes 3.0 CPU-s; the cheapest of those next behind, cLA, 11.00 points behind, takes 1.0 CPU-s, 67 % less."
        in text
    )
    assert "cLA \u22121.00 against Asym (not told apart)" in text and "Within the noise" not in text


def test_what_is_not_told_apart_is_named_and_its_cheapest():
    headline, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 89.0, "cla": 88.0, "head_only": 60.0},
        {"lora": "a", "asym_lora": "a", "cla": "a", "head_only": "b"},
        {"asym_lora": (-3, 1, 0.4, 1.0), "cla": (-4, -0.1, 0.04, 0.3), "head_only": (-33, -27, 2e-4, 8e-4)},
    )  # fmt: skip
    assert headline.endswith("not told apart from Asym and cLA")
    assert (
        "Within the noise: Asym \u22121.00 [\u22123.00, +1.00]; cLA \u22122.05 [\u22124.00, \u22120.10], only before"
        in text
    )
    assert "Ahead of Head only by 30.00 points (95 % interval 27.00 to 33.00), p <0.001 after correction." in text
    assert "Cheapest of those not told apart: cLA, 1.0 CPU-s against LoRA's 3.0 CPU-s, 67 % less." in text
    assert "All 3 others are above training the head alone (60.00\u00a0%), all beyond chance." in text


def test_the_named_method_and_what_limits_the_result():
    _, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 85.0, "cla": 84.0}, {"lora": "a", "asym_lora": "b", "cla": "b"},
        {"asym_lora": (-7, -3, 0.001, 0.003), "cla": (-8, -4, 0.001, 0.003)},
        {"lora": (3, 7, 0.001, 0.002), "cla": (-3, 1, 0.3, 0.3)},
        {SINGLE: 2.0, CORRECTED: 4.0, MORE_SEEDS: 1.5, LAST_EPOCH: 9.0, NOT_LEARNT: 1.0}, floor=68.0,
    )  # fmt: skip
    assert "Against Asym: ahead LoRA (+5.00 [+3.00, +7.00]); not told apart the other 1." in text
    assert "All 9 runs were best on validation at their last epoch" in text
    assert "1 run is not above the constant answer" in text and "cLA, seed 2" in text
    assert (
        "A true difference of 2.00 points would be found four times in five by a single comparison, of 4.00 after"
        in text
    )
    assert "with 10 seeds, of 1.50" in text and "All 3 methods beat the majority class (68.00\u00a0%)" in text


def test_a_perplexity_is_not_counted_in_points():
    headline, text = said(
        "stories260k/e2e", {"lora": 3.0, "asym_lora": 3.02, "cla": 3.4}, {"lora": "a", "asym_lora": "a", "cla": "b"},
        {"asym_lora": (-0.01, 0.05, 0.2, 0.2), "cla": (0.3, 0.5, 2e-4, 6e-4)},
    )  # fmt: skip
    assert headline == "LoRA: 3.00 test perplexity (95 % interval 2.0 to 4.0, 3 seeds), not told apart from Asym"
    assert "Ahead of cLA by 0.40 (95 % interval 0.30 to 0.50)" in text and "point" not in text
    assert "cLA +0.38 against Asym (told apart); in test perplexity, lower is better" in text


def test_below_three_seeds_it_says_what_the_tests_are_about():
    _, text = said(
        "minilm_l1/mrpc",
        {"lora": 90.0, "cla": 80.0},
        {"lora": "a", "cla": "b"},
        {"cla": (-12, -8, 1e-3, 1e-3)},
        seeds=1,
    )
    assert "With 1 seed the tests are over test items alone" in text


def test_without_comparisons_nothing_is_said_of_chance():
    headline, text = said("minilm_l1/mrpc", {"lora": 90.0, "cla": 80.0}, kind="methods")
    assert headline == "LoRA: 90.00\u00a0% test accuracy (95 % interval 89.0 to 91.0, 3 seeds)"
    assert "No test of the differences was asked for." in text and "told apart" not in text and "Ahead" not in text
    assert "no artefact of kind comparisons" in basis(plan_of("minilm_l1/mrpc", "methods"))
    assert "Tested here" in basis(plan_of("minilm_l1/mrpc"))


def test_methods_that_could_not_be_tested_or_lost_a_seed_are_named():
    lost = {"n": 2, "status": "partial", "reason": "2 of 3 runs"}
    headline, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 80.0, "cla": 91.0}, {"lora": "a", "asym_lora": "b"},
        {"asym_lora": (-12, -8, 1e-3, 1e-3)},
    )  # fmt: skip
    # cLA is the best and was not tested: LoRA's lead over the others is not its.
    assert headline.startswith("cLA: 91.00") and "ahead" not in headline and "Ahead" not in text
    plan = plan_of("minilm_l1/mrpc")
    base = Cell("table", "comparisons", VALUE, "minilm_l1", "mrpc", "", "lora", "test_metric", method="lora", direction="higher",
                value=90.0, n=3, planned=3, unit="%")  # fmt: skip
    other = replace(base, column="cla", method="cla", value=89.0)
    why = "predictions.parquet has an item twice"
    untested = [replace(c, panel=LEADER, value=None, status="not_available", reason=why) for c in (base, other)]
    partial = replace(base, column="asym_lora", method="asym_lora", **lost)
    found = findings(plan, {"table": [base, other, partial, *untested], "cost": []})[0]
    assert f"Differences not tested: {why}." in found.sentences
    assert "Left out of the order, having fewer runs than planned: Asym (2 of 3)." in found.sentences
    none = findings(plan, {"table": [replace(base, value=None, status="missing")], "cost": []})[0]
    assert none.headline == "No method has a result yet." and none.sentences == [
        "Without a usable result: LoRA (not run)."
    ]


@pytest.mark.parametrize(
    ("metric", "unit"), [("accuracy", "nats"), ("pearson", "squared error"), ("bleu", "nats/token")]
)
def test_a_loss_has_the_unit_of_its_task(metric: str, unit: str) -> None:
    assert {quantity(name, metric).unit for name in ("gap", "gap_absolute", "test_loss", "val_loss", "train_loss")} == {
        unit
    }
    assert quantity("wall_s", metric).unit == "s"
