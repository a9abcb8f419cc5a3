"""Kinds overall and tuning: cells against the runs they are made of, what is left out, page and LaTeX."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.statistics.across import interquartile_mean, normalised
from peft_lib.statistics.tuning import expected_best
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from tests.unit.test_artefact_kinds import METHODS, TASKS, cells_of, grid, make_plan, report, write

OVERALL = {"id": "all", "kind": "overall", "grid": "main", "title": "Overall", "against": "lora"}
MORE = ["vit_base/cifar10", "vit_base/officehome", "roberta_base/mrpc", "roberta_base/cola", "deberta_v3_base/mrpc",
        "deberta_v3_base/rte", "deberta_v3_base/trec50", "deberta_v3_base/stsb", "gpt2_small/e2e"]  # fmt: skip


def scores(runs: pd.DataFrame, task: str, methods: list[str] = METHODS) -> np.ndarray:
    model, dataset = task.split("/")
    of_task = runs[(runs["model"] == model) & (runs["dataset"] == dataset)].sort_values("seed")
    return np.array([of_task[of_task["method"] == m]["test_metric"].astype(float).tolist() for m in methods])


def panel(cells: list[Cell], name: str) -> dict[str, Cell]:
    return {c.column: c for c in cells if c.panel == name}


class TestOverall:
    def test_cells_against_the_runs(self, tmp_path: Path):
        plan = make_plan([OVERALL], main=grid())
        runs = write(plan, tmp_path)
        cells = cells_of(plan, "all", runs, tmp_path)
        rows = [scores(runs, task) for task in TASKS]
        ranks = np.mean([rankdata(-row.mean(axis=1)) for row in rows], axis=0)
        assert [panel(cells, "mean_rank")[m].value for m in METHODS] == pytest.approx(ranks)
        floors = [runs[runs["dataset"] == t.split("/")[1]]["baseline"].iloc[0] for t in TASKS]
        middle = interquartile_mean(normalised(rows, floors))
        assert [panel(cells, "interquartile_mean")[m].value for m in METHODS] == pytest.approx(100 * middle)
        better = panel(cells, "improvement")
        assert "lora" not in better
        wins = [np.mean([a > b for a in row[1] for b in row[0]]) for row in rows]
        assert better["cola"].value == pytest.approx(100 * np.mean(wins))
        for name in ("mean_rank", "interquartile_mean", "improvement"):
            for cell in panel(cells, name).values():
                assert cell.low <= cell.value + 1e-9 and cell.value <= cell.high + 1e-9
                assert (cell.n, cell.planned) == (2, 2)
        first = {m for m, c in panel(cells, "mean_rank").items() if c.rank_in_row == 1}
        assert first == {m for m, rank in zip(METHODS, ranks, strict=True) if rank == min(ranks)}

    @pytest.mark.parametrize("methods", [["lora", "paca", "r_cla"], ["lora", "paca", "cla"]])
    def test_twins_that_both_take_a_place_are_named(self, methods: list[str], tmp_path: Path):
        plan = make_plan([OVERALL], main=grid(methods=methods))
        cells = cells_of(plan, "all", write(plan, tmp_path), tmp_path)
        said = " ".join(plan.study.artefacts[0].remarks(cells, []))
        assert ("one up to rounding have a place each in ranks: PaCA and r-cLA." in said) == ("r_cla" in methods)

    def test_where_less_is_better_the_order_turns(self, tmp_path: Path):
        plan = make_plan(
            [OVERALL, OVERALL | {"id": "loss", "metric": "test_loss"}], main=grid(tasks=["gpt2_small/e2e"])
        )
        # Perplexity: less is better; it has no constant answer, so that the worst method is the zero.
        runs = write(
            plan, tmp_path, lambda s: {"test_metric": 2.0 + METHODS.index(s.method), "test_loss": 1.0 / s.seed}
        )
        cells = cells_of(plan, "all", runs, tmp_path)
        assert [panel(cells, "mean_rank")[m].value for m in METHODS] == [1, 2, 3, 4, 5]
        assert [panel(cells, "interquartile_mean")[m].value for m in METHODS] == pytest.approx([100, 75, 50, 25, 0])
        zero = next(c for c in cells if c.panel == "rows" and c.column == "zero")
        assert (zero.value, zero.text) == (6, "worst method")
        equal = cells_of(plan, "loss", runs, tmp_path)
        assert {c.value for c in panel(equal, "mean_rank").values()} == {3}
        assert {c.value for c in panel(equal, "improvement").values()} == {50}
        # No method is better than the worst: there is no scale, and it is said.
        assert {c.status for c in panel(equal, "interquartile_mean").values()} == {"not_available"}

    def test_a_row_with_a_failed_run_is_left_out_for_all(self, tmp_path: Path):
        plan = make_plan([OVERALL], main=grid())

        def change(spec) -> dict[str, Any] | None:
            failed = (spec.dataset.id, spec.method, spec.seed) == ("cifar10", "cla", 2)
            return {"status": "diverged", "reason": "loss is nan"} if failed else {}

        runs = write(plan, tmp_path, change)
        cells = cells_of(plan, "all", runs, tmp_path)
        ranks = rankdata(-scores(runs, TASKS[1]).mean(axis=1))
        assert [panel(cells, "mean_rank")[m].value for m in METHODS] == pytest.approx(ranks)
        assert {(c.n, c.planned) for c in panel(cells, "mean_rank").values()} == {(1, 2)}
        page, latex = report(plan, runs, tmp_path)
        for text in (page, latex["all"]):
            assert "Over 1 of 2 rows." in text and "no value from all planned runs of cLA" in text

    def test_methods_that_are_named_are_compared_whatever_became_of_others(self, tmp_path: Path):
        named = ["lora", "cola", "asym_lora"]
        plan = make_plan([OVERALL | {"methods": named}], main=grid())
        runs = write(plan, tmp_path, lambda s: None if s.method == "cla" else {})
        cells = cells_of(plan, "all", runs, tmp_path)
        rows = [scores(runs, task, named) for task in TASKS]
        ranks = np.mean([rankdata(-row.mean(axis=1)) for row in rows], axis=0)
        assert {m: c.value for m, c in panel(cells, "mean_rank").items()} == dict(zip(named, ranks, strict=True))

    def test_nothing_is_ranked_without_a_complete_row(self, tmp_path: Path):
        plan = make_plan([OVERALL], main=grid())
        runs = write(plan, tmp_path, lambda s: None if (s.method, s.seed) == ("lora", 1) else {})
        cells = cells_of(plan, "all", runs, tmp_path)
        assert {c.value for c in cells} == {None}
        page, _ = report(plan, runs, tmp_path)
        assert "Over 0 of 2 rows." in page

    def test_one_seed_has_no_interval(self, tmp_path: Path):
        plan = make_plan([OVERALL], main=grid(seeds=[1]))
        runs = write(plan, tmp_path)
        cells = cells_of(plan, "all", runs, tmp_path)
        assert all(c.value is not None and c.low is None for c in panel(cells, "mean_rank").values())
        page, _ = report(plan, runs, tmp_path)
        assert "Fewer than 3 seeds: no intervals." in page and "Intervals: 95 %" not in page

    def test_few_rows_have_no_friedman_test_and_many_have(self, tmp_path: Path):
        few = make_plan([OVERALL], main=grid(seeds=[1]))
        runs = write(few, tmp_path / "few")
        cells = cells_of(few, "all", runs, tmp_path / "few")
        assert panel(cells, "friedman")["friedman"].value is None
        assert "Friedman" in " ".join(few.study.artefacts[0].remarks(cells, []))
        many = make_plan([OVERALL], main=grid(seeds=[1], tasks=[*TASKS, *MORE]))
        place = {"lora": 0.9, "cola": 0.8, "asym_lora": 0.7, "lora_plus": 0.6, "cla": 0.5}
        runs = write(many, tmp_path / "many", lambda s: {
            "test_metric": place[s.method] if s.dataset.id != "e2e" else 3 - place[s.method]})  # fmt: skip
        cells = cells_of(many, "all", runs, tmp_path / "many")
        test = panel(cells, "friedman")
        assert test["friedman"].p < 1e-6 and test["friedman"].n == 11
        assert test["cla"].p <= test["cla"].p_adjusted < 0.001
        assert test["cola"].p < test["cola"].p_adjusted or test["cola"].p_adjusted > 0.05
        assert "lora" not in test
        page, latex = report(many, runs, tmp_path / "many")
        assert "some methods differ" in page and "some methods differ" in latex["all"]

    def test_options_are_checked(self):
        with pytest.raises(StudyError, match="does not run that method"):
            make_plan([OVERALL | {"against": "fft"}], main=grid())
        with pytest.raises(StudyError, match="does not run that method"):
            make_plan([OVERALL | {"methods": ["lora", "fft"]}], main=grid())
        with pytest.raises(StudyError, match="is one of them"):
            make_plan([OVERALL | {"methods": ["cla", "cola"]}], main=grid())
        with pytest.raises(StudyError, match="more, or less, is better"):
            make_plan([OVERALL | {"metric": "gap"}], main=grid())


TUNING = {"id": "tuned", "kind": "tuning", "grid": "rates", "title": "Fair tuning"}
RATES = [1e-4, 1e-3, 1e-2, 1e-1]
QUALITY = {"lora": [0.5, 0.9, 0.7, 0.1], "cla": [0.3, 0.6, 0.95, 0.9]}
"""On validation and, ten points lower, on test."""


def tuning_plan(artefact: dict[str, Any] = TUNING, **changes: Any) -> Plan:
    rates = {"tasks": TASKS[:1], "methods": ["lora", "cla"], "seeds": [1, 2, 3], "vary": {"lr": RATES}} | changes
    return make_plan([artefact], main=grid(), rates=rates)


def quality(spec) -> dict[str, Any]:
    values = QUALITY.get(spec.method, [0.5] * 4)
    value = values[RATES.index(spec.lr)]
    return {"val_loss": 1 - value, "val_metric": value, "test_metric": value - 0.1, "cpu_s": 10.0}


def tuned(cells: list[Cell], method: str) -> dict[str, Cell]:
    return {c.column: c for c in cells if c.panel == "tuned" and c.method == method}


class TestTuning:
    def test_cells_by_hand(self, tmp_path: Path):
        plan = tuning_plan()
        runs = write(plan, tmp_path, quality)
        cells = cells_of(plan, "tuned", runs, tmp_path)
        lora, cla = tuned(cells, "lora"), tuned(cells, "cla")
        assert (lora["best"].text, cla["best"].text) == ("learning rate 0.001", "learning rate 0.01")
        assert lora["best"].edge is None
        assert lora["validation"].value == pytest.approx(0.1) and lora["validation"].metric == "val_loss"
        assert lora["test"].value == pytest.approx(80) and cla["test"].value == pytest.approx(85)
        # The default is the rate of the main grid, 1e-3 by the study's defaults.
        assert (lora["default"].value, cla["default"].value) == (pytest.approx(80), pytest.approx(50))
        assert (lora["gain"].value, cla["gain"].value) == (pytest.approx(0), pytest.approx(35))
        # Within a decade of 1e-3 are 1e-4, 1e-3, 1e-2; of 1e-2 are 1e-3, 1e-2, 1e-1.
        assert lora["decade"].value == pytest.approx(40) and cla["decade"].value == pytest.approx(35)
        assert lora["spread"].value == pytest.approx(80)
        assert (lora["settings"].value, lora["runs"].value, lora["cost"].value) == (4, 12, 120)

    def test_test_plays_no_part_in_the_choice(self, tmp_path: Path):
        plan = tuning_plan()
        runs = write(plan, tmp_path, lambda s: quality(s) | {"test_metric": 1 - quality(s)["val_metric"]})
        assert tuned(cells_of(plan, "tuned", runs, tmp_path), "lora")["best"].text == "learning rate 0.001"

    def test_choice_by_validation_metric_on_request_and_by_the_runs_own_selection(self, tmp_path: Path):
        def change(spec) -> dict[str, Any]:  # loss and metric disagree
            return quality(spec) | {"val_loss": spec.lr}

        for name, artefact, more in (
            ("option", TUNING | {"select_by": "val_metric"}, {}),
            ("runs", TUNING, {"set": {"selection": "val_metric"}}),
        ):
            plan = tuning_plan(artefact, **more)
            runs = write(plan, tmp_path / name, change)
            best = tuned(cells_of(plan, "tuned", runs, tmp_path / name), "lora")
            assert best["best"].text == "learning rate 0.001" and best["validation"].metric == "val_metric"
            assert best["validation"].value == pytest.approx(90)
        plan = tuning_plan()
        runs = write(plan, tmp_path / "loss", change)
        best = tuned(cells_of(plan, "tuned", runs, tmp_path / "loss"), "lora")["best"]
        assert best.text == "learning rate 0.0001" and best.edge == "smallest lr"

    def test_equal_metrics_are_told_apart_by_loss_and_what_is_equal_in_both_is_said(self, tmp_path: Path):
        plan = tuning_plan(TUNING | {"select_by": "val_metric"})
        runs = write(plan, tmp_path / "loss", lambda s: quality(s) | {"val_metric": 0.5, "val_loss": abs(s.lr - 1e-2)})
        best = tuned(cells_of(plan, "tuned", runs, tmp_path / "loss"), "lora")["best"]
        assert best.text == "learning rate 0.01" and not best.tied
        runs = write(plan, tmp_path / "both", lambda s: quality(s) | {"val_metric": 0.5, "val_loss": 1.0})
        best = tuned(cells_of(plan, "tuned", runs, tmp_path / "both"), "lora")["best"]
        assert best.text == "learning rate 0.0001" and "4 settings are equally good on validation" in best.reason

    def test_curves_are_the_expected_best(self, tmp_path: Path):
        for replacement in (True, False):
            plan = tuning_plan(TUNING | {"replacement": replacement, "select_by": "val_metric"})
            runs = write(plan, tmp_path / str(replacement), quality)
            cells = cells_of(plan, "tuned", runs, tmp_path / str(replacement))
            for panel_name, away in (("expected_best", 0), ("expected_test", 10)):
                line = [c.value for c in cells if c.panel == panel_name and c.column == "cla"]
                values = [100 * v for v in QUALITY["cla"]]
                assert line == pytest.approx([expected_best(values, n, replacement) - away for n in (1, 2, 3, 4)])

    def test_the_default_of_the_artefact_wins_and_one_that_is_not_tried_is_said(self, tmp_path: Path):
        plan = tuning_plan(TUNING | {"default": {"lr": "1e-2"}})
        runs = write(plan, tmp_path / "own", quality)
        lora = tuned(cells_of(plan, "tuned", runs, tmp_path / "own"), "lora")
        assert (lora["default"].text, lora["default"].value) == ("learning rate 0.01", pytest.approx(60))
        plan = tuning_plan(vary={"lr": [1e-4, 1e-2]})
        runs = write(plan, tmp_path / "absent", quality)
        cells = cells_of(plan, "tuned", runs, tmp_path / "absent")
        lora = tuned(cells, "lora")
        assert lora["default"].value is None and "learning rate 0.001) is not among" in lora["default"].reason
        assert lora["gain"].value is None and lora["test"].value == pytest.approx(60)
        page, _ = report(plan, runs, tmp_path / "absent")
        assert (
            "tuned cLA &gt; LoRA, 25.00 points from first to last; too few methods have a value at the default" in page
        )

    def test_alpha_as_a_multiple_of_the_rank_is_found(self, tmp_path: Path):
        vary = {"rank": [4, 8], "alpha": ["r", "2r"]}
        plan = tuning_plan(vary=vary)
        runs = write(plan, tmp_path / "rules")
        found = tuned(cells_of(plan, "tuned", runs, tmp_path / "rules"), "lora")
        assert found["default"].text == "rank 8, alpha 2r" and "decade" not in found
        plan = tuning_plan(TUNING | {"default": {"rank": 4, "alpha": "r"}}, vary=vary)
        runs = write(plan, tmp_path / "own")
        assert tuned(cells_of(plan, "tuned", runs, tmp_path / "own"), "lora")["default"].text == "rank 4, alpha r"

    def test_a_setting_that_diverged_is_tried_and_one_that_is_missing_is_said(self, tmp_path: Path):
        def failed(spec) -> dict[str, Any] | None:
            diverged = {"status": "diverged", "reason": "nan", "test_metric": None, "val_loss": None}
            return quality(spec) | (diverged if (spec.lr, spec.seed) == (1e-1, 2) else {})

        plan = tuning_plan()
        runs = write(plan, tmp_path / "diverged", failed)
        lora = tuned(cells_of(plan, "tuned", runs, tmp_path / "diverged"), "lora")
        assert lora["best"].status == "ok" and "1 of 4 settings diverged" in lora["best"].reason
        assert (lora["settings"].value, lora["cost"].value) == (4, 120)
        runs = write(plan, tmp_path / "missing", lambda s: None if (s.lr, s.seed) == (1e-1, 2) else quality(s))
        cells = cells_of(plan, "tuned", runs, tmp_path / "missing")
        lora = tuned(cells, "lora")
        assert not lora["test"].complete and "1 of 4 settings have runs that are absent" in lora["test"].reason
        assert lora["cost"].status == "partial"
        page, _ = report(plan, runs, tmp_path / "missing")
        assert "LoRA &gt; cLA" not in page and "cLA &gt; LoRA" not in page  # an unfinished search is not put in order

    def test_orders_in_words_on_the_page_and_in_latex(self, tmp_path: Path):
        plan = tuning_plan()
        page, latex = report(plan, write(plan, tmp_path, quality), tmp_path)
        text = (
            "at the default (learning rate 0.001) LoRA > cLA, 30.00 points from first to last; tuned cLA > LoRA, 5.00"
        )
        assert text.replace(">", "&gt;") in page
        assert "The order is another one." in latex["tuned"]
        assert (tmp_path / "report/figures/tuned.svg").is_file()
        for value in ("85.00", "120", "0.100"):
            assert value in page and value in latex["tuned"]

    def test_grids_may_have_other_methods_of_a_task(self, tmp_path: Path):
        def part(methods: list[str], rates: list[float], tasks: list[str]) -> dict[str, Any]:
            return {"tasks": tasks, "methods": methods, "seeds": [1], "vary": {"lr": rates}}

        grids = {"a": part(["lora"], RATES[:3], TASKS[:1]), "b": part(["lora"], RATES[1:], TASKS[1:]),
                 "c": part(["cla"], RATES[1:], TASKS[:1])}  # fmt: skip
        plan = make_plan([TUNING | {"grid": ["a", "b", "c"]}], **grids)
        cells = cells_of(plan, "tuned", write(plan, tmp_path, quality), tmp_path)
        best = {(c.dataset, c.method): c.text for c in cells if c.column == "best"}
        assert list(best) == [("cifar10", "lora"), ("cifar10", "cla"), ("officehome", "lora")]
        assert best["cifar10", "cla"] == "learning rate 0.01"
        page, _ = report(plan, collect(plan, tmp_path), tmp_path)
        assert "gain by tuning" not in page and "too few methods have a value at the default" in page
        with pytest.raises(StudyError, match=r"different tasks or methods; a has vit_tiny/cifar10 with lora too"):
            make_plan([TUNING | {"grid": ["a", "d"]}], **grids | {"d": part(["cla", "lora"], RATES[:2], TASKS[:1])})

    def test_without_results_there_is_a_table_and_no_figure(self, tmp_path: Path):
        plan = tuning_plan()
        page, _ = report(plan, write(plan, tmp_path, lambda s: None), tmp_path)
        assert "missing" in page and not (tmp_path / "report/figures/tuned.svg").exists()

    @pytest.mark.parametrize(
        ("change", "words"),
        [({"grid": "main"}, "a grid that varies settings"), ({"default": {"rank": 8}}, "grid rates varies lr"),
         ({"default": {"lr": 5e-3}}, "0.0001, 0.001, 0.01, 0.1"), ({"cost": "samples_per_s"}, "cpu_s")],
    )  # fmt: skip
    def test_options_are_checked(self, change: dict[str, Any], words: str):
        with pytest.raises(StudyError, match=words):
            tuning_plan(TUNING | change)
