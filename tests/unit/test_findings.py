"""Sentences of the findings: from tests where there are any, with units and directions, and nothing said of nothing."""

from dataclasses import replace
from typing import Any

import pytest

from peft_lib.report.findings import across, basis, findings
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


def plan_of(task: str, kind: str = "comparisons", more: tuple[dict[str, Any], ...] = ()) -> Plan:
    methods = ["lora", "asym_lora", "cla", *["head_only"] * (not task.endswith("e2e"))]
    return plan_study(
        {
            "id": "x", "title": "X", "question": "X?",
            "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 64, "rank": 2},
            "grids": {"main": {"tasks": [task], "methods": methods, "seeds": [0, 1, 2]}},
            "artefacts": [
                {"id": "table", "kind": kind, "grid": "main", "title": "Tested here"},
                {"id": "cost", "kind": "cost", "grid": "main", "title": "C"},
                *more,
            ],
        }, ROOT,
    )  # fmt: skip


def said(
    task: str, values: dict[str, float], letters: dict[str, str] | None = None, tests: dict[str, tuple] | None = None,
    against: dict[str, tuple] | None = None, limits: dict[str, float] | None = None, floor: float | None = None,
    kind: str = "comparisons", seeds: int = SEEDS, rounding: float | None = None, **statuses: dict[str, Any],
) -> tuple[str, str]:  # fmt: skip
    """Headline and sentences. tests, against: method -> (low, high, p, p adjusted), differences to the first method; costs are 3,
    2, 1 CPU-s in the order of the methods."""
    noise = {"id": "noise", "kind": "noise_floor", "grid": "main", "title": "N"}
    plan = plan_of(task, kind, () if rounding is None else (noise,))
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
    like = replace(cells[0], artefact="noise", kind="noise_floor", panel="task", value=rounding)
    noisy = [replace(like, column=name) for name in ("largest", "floor")]
    found = findings(plan, {"table": cells, "cost": paid, "noise": noisy})[0]
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
    assert "cLA \u22121.00 against Asym (not told apart)" in text and "Not told apart" not in text


def test_what_is_not_told_apart_is_named_and_its_cheapest():
    headline, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 89.0, "cla": 88.0, "head_only": 60.0},
        {"lora": "a", "asym_lora": "a", "cla": "a", "head_only": "b"},
        {"asym_lora": (-3, 1, 0.4, 1.0), "cla": (-4, -0.1, 0.04, 0.3), "head_only": (-33, -27, 2e-4, 8e-4)},
    )  # fmt: skip
    assert headline.endswith("not told apart from Asym and cLA")
    assert (
        "Not told apart: Asym \u22121.00 [\u22123.00, +1.00]; cLA \u22122.05 [\u22124.00, \u22120.10] (beyond chance before"
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
    assert "Against Asym: ahead LoRA (+5.00 [+3.00, +7.00]); one not told apart." in text
    assert "All 9 runs were best on validation at their last epoch" in text
    assert (
        "1 run is not above the constant answer and so did not learn; its method's mean includes it: cLA, seed 2."
        in text
    )
    assert (
        "A true difference of 2.00 points would be found four times in five by a single comparison, of 4.00 after"
        in text
    )
    assert "with 10 seeds, of 1.50" in text and "All 3 methods are above the majority class (68.00\u00a0%)" in text


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
    assert "Tested here" in basis(plan_of("minilm_l1/mrpc")) and "named method" not in basis(plan_of("minilm_l1/mrpc"))
    named = {"id": "named", "kind": "comparisons", "grid": "main", "title": "N", "against": "lora"}
    assert "against a named method over the comparisons with it" in basis(plan_of("minilm_l1/mrpc", more=(named,)))


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


def test_a_difference_within_the_noise_floor_is_no_finding():
    """Twins drift 3 points apart by rounding: a lead of 2 is told apart by its p, and is none."""
    tests = {"asym_lora": (-2.5, -1.5, 2e-4, 6e-4), "cla": (-12, -8, 2e-4, 6e-4)}
    letters = {"lora": "a", "asym_lora": "b", "cla": "c"}
    values = {"lora": 90.0, "asym_lora": 88.0, "cla": 80.0}
    against = {"lora": (1.5, 2.5, 2e-4, 6e-4), "cla": (-10, -6, 2e-4, 6e-4)}
    headline, text = said("minilm_l1/mrpc", values, letters, tests, against, rounding=3.0)
    assert headline.endswith("not told apart from Asym")
    assert (
        "Asym \u22122.00 [\u22122.50, \u22121.50] (within the noise floor)" in text and "Ahead of cLA by 10.00" in text
    )
    assert "Rounding alone takes means of one method up to 3.00 points apart" in text
    assert "Against Asym: behind cLA" in text and "ahead LoRA" not in text
    headline, text = said("minilm_l1/mrpc", values, letters, tests, against, rounding=1.0)
    assert headline.endswith("ahead of all 2 other methods") and "within the noise floor" not in text
    assert "Rounding alone takes means of one method up to 1.00 points apart" in text
    _, text = said("minilm_l1/mrpc", values, letters, tests, rounding=0.0)
    assert "Rounding" not in text


def test_all_other_methods_are_those_that_were_tested():
    """Asym has a result and could not be tested: LoRA is not ahead of all."""
    headline, _ = said(
        "minilm_l1/mrpc", {"lora": 90.0, "asym_lora": 80.0, "cla": 79.0}, {"lora": "a", "cla": "b"},
        {"cla": (-14, -8, 0.004, 0.012)},
    )  # fmt: skip
    assert headline.endswith("ahead of the one other method that was tested")


def test_a_method_that_shares_the_first_place_is_not_counted_among_the_others():
    names = ["lora", "asym_lora", "cla", "head_only"]
    tests = {"asym_lora": (0, 0, 1.0, 1.0), "cla": (-14, -8, 0.004, 0.012), "head_only": (-34, -28, 0.004, 0.012)}
    headline, text = said(
        "minilm_l1/mrpc", dict(zip(names, (90.0, 90.0, 79.0, 59.0), strict=True)), dict(zip(names, "aabc", strict=True)), tests
    )  # fmt: skip
    assert headline.startswith("LoRA and Asym: 90.00") and headline.endswith("ahead of all 2 other methods")
    assert "Not told apart" not in text


def test_an_interval_on_both_sides_of_zero_keeps_its_signs():
    """One seed: p is McNemar's, the interval is the bootstrap's, and the two need not agree."""
    _, text = said(
        "minilm_l1/mrpc", {"lora": 90.0, "cla": 86.0}, {"lora": "a", "cla": "b"}, {"cla": (-9, 1, 0.04, 0.04)}, seeds=1
    )  # fmt: skip
    assert "95 % interval \u22121.00 to 9.00" in text


def test_over_all_tasks_chains_and_predictors_are_said():
    more = (
        {"id": "chains", "kind": "chaining", "grid": "main", "title": "C"},
        {"id": "which", "kind": "predictors", "grid": "main", "title": "W"},
    )
    plan = plan_of("minilm_l1/mrpc", more=more)
    blank = Cell("chains", "chaining", "cola", "minilm_l1", "mrpc", "", "difference", "test_metric", method="cola", value=1.0,
                 n=3, planned=3, low=-1.0, high=3.0, p=0.3, p_adjusted=0.3, direction="higher", text="not told apart")  # fmt: skip
    assert across(plan, {"chains": [blank], "which": []}) == [
        "Chaining: no difference beyond chance (5 %, Holm) was found in 1 pair of a chained method and the same one without resets."
    ]
    assert across(plan, {"chains": [replace(blank, p=None, p_adjusted=None, text="not tested")], "which": []}) == []
    gap = Cell("which", "predictors", "wrong/test_metric", "minilm_l1", "mrpc", "gap", "task", "wrong", value=10.0, n=9)
    rival = replace(gap, panel="verdict", row="intruders.intruders", value=-5.0)
    found = across(plan, {"chains": [], "which": [gap, rival]})
    assert len(found) == 1 and "not decidable with these runs" in found[0]
    assert found[0].startswith("MiniLM-L6 (first layer), MRPC: The paper's claim")
    overall = [replace(c, model="", dataset="", column="all tasks") for c in (gap, rival)]
    assert across(plan, {"chains": [], "which": overall})[0].startswith("The paper's claim")
    assert across(plan, {"chains": [], "which": [gap, replace(rival, value=None, status="not_available")]}) == []
