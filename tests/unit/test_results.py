"""From runs to cells: statistics, statuses, marks, published values."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from peft_lib.artefacts.heatmap import ends as axis_ends
from peft_lib.results.cell_files import CELLS, read_cells, write_cells
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.marks import change_against_best, normalise, rank
from peft_lib.results.parameter_counts import counts
from peft_lib.results.published import REFERENCE, Published
from peft_lib.results.reference_file import PublishedError
from peft_lib.run_files import RESULT
from peft_lib.study.plan import Plan
from tests.unit import synthetic
from workflow_scripts import tables


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
    return synthetic.make_plan(tmp_path)


def cells_of(plan: Plan, results: Path, artefact: str) -> list[Cell]:
    wanted = next(a for a in plan.study.artefacts if a.id == artefact)
    return build(plan, wanted, collect(plan, results), results)


def by_method(cells: list[Cell], dataset: str = "digits") -> dict[str, Cell]:
    return {c.column: c for c in cells if c.dataset == dataset}


def cell(column: str, value: float | None, **fields) -> Cell:
    return Cell(
        "a",
        "methods",
        "",
        "m",
        "d",
        "",
        column,
        "test_metric",
        method=column,
        direction="higher",
        value=value,
        **fields,
    )


class TestCollect:
    def test_every_planned_run_has_a_row_and_a_status(self, plan: Plan, tmp_path: Path):
        results = tmp_path / "results"
        ids = list(plan.runs)
        changes = {
            ids[0]: {"status": "diverged", "reason": "loss is nan at step 3"}, ids[1]: {"status": "out_of_memory",
            "reason": "12 GiB"},
            ids[2]: {"fingerprint": "0" * 16}, ids[3]: None,
        }  # fmt: skip
        synthetic.write_results(results, plan, lambda spec: changes.get(spec.run_id, {}))
        (results / "runs" / plan.runs[ids[4]].folder / "result.parquet").write_bytes(b"PAR1 not a table")
        (results / "runs" / plan.runs[ids[5]].folder / "result.parquet").write_bytes(
            (results / "runs" / plan.runs[ids[6]].folder / "result.parquet").read_bytes()
        )
        frame = collect(plan, results)
        assert list(frame.index) == ids
        expected = ["diverged", "out_of_memory", "stale", "missing", "unreadable", "unreadable"]
        assert list(frame["status"].iloc[:6]) == expected
        assert set(frame["status"].iloc[6:]) == {"ok"}
        assert all(frame["reason"].iloc[:6])
        assert ids[6] in frame["reason"].iloc[5]

    def test_stale_values_are_kept(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan, lambda spec: {"fingerprint": "0" * 16})
        frame = collect(plan, tmp_path / "results")
        assert set(frame["status"]) == {"stale"}
        assert frame["test_metric"].notna().all()
        assert "0" * 16 in frame["reason"].iloc[0] and synthetic.FINGERPRINT in frame["reason"].iloc[0]

    def test_a_result_of_another_release_is_said_to_be_one(self, plan: Plan, tmp_path: Path):
        run_id = next(iter(plan.runs))
        synthetic.write_run(tmp_path / "results", plan, run_id)
        path = tmp_path / "results" / "runs" / plan.runs[run_id].folder / "result.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["gap"]), path)
        frame = collect(plan, tmp_path / "results")
        assert frame.loc[run_id, "status"] == "unreadable" and "gap" in frame.loc[run_id, "reason"]


class TestMarks:
    def test_best_three_in_the_metric_s_direction(self):
        row = [cell(m, v) for m, v in zip("abcd", (1.0, 4.0, 3.0, 2.0), strict=True)]
        assert [c.rank_in_row for c in rank(row, 3)] == [None, 1, 2, 3]
        assert [c.rank_in_row for c in rank([replace(c, direction="lower") for c in row], 1)] == [1, None, None, None]

    def test_without_direction_the_nearest_to_zero_is_best(self):
        row = [cell(m, v) for m, v in zip("abc", (-0.1, 0.3, -2.0), strict=True)]
        assert [c.rank_in_row for c in rank([replace(c, direction="none") for c in row], 3)] == [1, 2, 3]

    def test_ties_share_a_place_if_there_are_marks_enough(self):
        row = [cell(m, v) for m, v in zip("abcde", (2.0, 2.0, 1.0, 1.0, 0.0), strict=True)]
        marked = rank(row, 3)
        assert [c.rank_in_row for c in marked] == [1, 1, None, None, None]
        assert [c.tied for c in marked] == [True, True, False, False, False]

    def test_the_best_are_marked_however_many_tie_unless_all_do(self):
        assert [c.rank_in_row for c in rank([cell(m, 1.0 - (m == "e")) for m in "abcde"], 3)] == [1, 1, 1, 1, None]
        assert [c.rank_in_row for c in rank([cell(m, 2.0) for m in "abcd"], 3)] == [None] * 4
        pair = rank([cell("a", 1.0), cell("b", 1.0), cell("c", 0.5)], 1)
        assert [(c.rank_in_row, c.tied) for c in pair] == [(1, True), (1, True), (None, False)]

    def test_places_after_a_tie_are_not_given_twice(self):
        row = rank([cell(m, v) for m, v in zip("abcd", (3.0, 2.0, 2.0, 1.0), strict=True)], 3)
        assert [c.rank_in_row for c in row] == [1, 2, 2, None]

    def test_the_rounding_of_a_mean_is_no_difference(self):
        a, b = (93.1 + 94.2 + 95.3) / 3, (95.3 + 94.2 + 93.1) / 3
        row = rank([cell("a", a), cell("b", b + 1e-12), cell("c", a + 1e-4)], 3)
        assert [(c.rank_in_row, c.tied) for c in row] == [(2, True), (2, True), (1, False)]

    def test_a_method_that_lost_a_seed_does_not_win(self):
        row = [cell("lora", 80.0), cell("cla", 90.0, status="partial", n=1, planned=2), cell("r_cla", 70.0)]
        marked = change_against_best(rank(row, 3))
        assert [c.rank_in_row for c in marked] == [1, None, 2]
        assert [c.change_vs_best for c in marked] == [None, None, -12.5]

    @pytest.mark.parametrize("status", ["partial", "stale", "mismatch"])
    def test_nothing_is_divided_by_a_value_that_is_not_whole(self, status: str):
        row = normalise([cell("lora", 2.0, status=status, reason="why"), cell("cla", 3.0)], "lora")
        assert [c.value for c in row] == [None, None] and row[1].status == "not_available" and "LoRA" in row[1].reason

    def test_a_run_that_is_missing_stays_missing_among_ratios(self):
        row = normalise([cell(m, None, status="missing", reason="not run") for m in ("lora", "cla")], "lora")
        assert [(c.value, c.status, c.reason) for c in row] == [(None, "missing", "not run")] * 2

    @pytest.mark.parametrize(("status", "value"), [("partial", 1.5), ("stale", None), ("mismatch", None)])
    def test_what_is_divided(self, status: str, value: float | None):
        row = normalise([cell("lora", 2.0), cell("cla", 3.0, status=status, values=(3.0,))], "lora")
        assert (row[1].value, row[1].status, row[1].values) == (value, status, ())

    def test_failed_and_stale_cells_take_no_part(self):
        row = [
            cell("a", None, status="diverged"),
            cell("b", 9.0, status="stale"),
            cell("c", 1.0),
            cell("d", 2.0, status="partial"),
        ]
        assert [c.rank_in_row for c in rank(row, 3)] == [None, None, 1, None]

    def test_change_is_for_sparse_methods_against_the_best_of_all(self):
        # The printed row of Table 2, ViT-Tiny OfficeHome: cLA 78.01 against LoRA 80.13 is -2.65 %.
        row = change_against_best([cell("lora", 80.13), cell("cla", 78.01), cell("paca", 78.0)])
        assert [c.change_vs_best and round(c.change_vs_best, 2) for c in row] == [None, -2.65, None]

    def test_ratio_of_means(self):
        row = normalise([cell("lora", 2.0, sd=1.0), cell("cla", 3.0), cell("fft", None, status="diverged")], "lora")
        assert [c.value for c in row] == [1.0, 1.5, None]
        assert row[0].sd is None and row[2].status == "diverged"

    def test_a_negative_value_does_not_turn_the_order_around(self):
        """Correlations: 7.7 is best and -9.8 worst, whatever LoRA's -5.4 makes of them."""
        row = [cell("lora", -5.4), cell("cla", -9.8), cell("c3la", -4.8), cell("fft", 7.7)]
        assert {c.status for c in normalise(row, "lora")} == {"not_available"}
        assert "negative" in str(normalise(row, "lora")[1].reason)
        assert [c.change_vs_best and round(c.change_vs_best) for c in change_against_best(row)] == [
            None,
            -227,
            -162,
            None,
        ]
        below = change_against_best([cell("lora", -4.0), cell("cla", -6.0)])
        assert below[1].change_vs_best == -50.0
        gaps = [replace(c, direction="none") for c in (cell("lora", -0.1), cell("cla", 0.2))]
        assert [c.value for c in normalise(gaps, "lora")] == [1.0, -2.0]

    def test_no_reference_no_ratio(self):
        row = normalise([cell("lora", None, status="missing"), cell("cla", 3.0)], "lora")
        assert [c.status for c in row] == ["missing", "not_available"] and "LoRA" in row[1].reason


class TestArtefacts:
    def test_performance(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        cells = cells_of(plan, tmp_path / "results", "performance")
        row = by_method(cells)
        assert list(row) == [*synthetic.METHODS, "baseline"]
        lora = row["lora"]
        values = [100 * synthetic.result(plan.runs[i], plan)["test_metric"] for i in lora.run_ids]
        assert (
            lora.value == pytest.approx(sum(values) / 2)
            and lora.n == lora.planned == 2
            and lora.low is None
            and lora.values == pytest.approx(values)
        )
        assert sorted(c.rank_in_row for c in row.values() if c.rank_in_row) == [1, 2, 3]
        assert row["baseline"].value == pytest.approx(11) and row["baseline"].rank_in_row is None
        assert row["cla"].change_vs_best < 0 and row["paca"].change_vs_best is None

    def test_twins_show_the_same_numbers(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        row = by_method(cells_of(plan, tmp_path / "results", "performance"))
        assert row["paca"].value == row["r_cla"].value and row["d_paca"].value == row["cla"].value

    def test_fewer_runs_than_planned_is_said(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(
            tmp_path / "results", plan,
            lambda s: {"status": "diverged", "reason": "loss is inf"} if (s.method, s.seed) == ("lora", 1) else {},
        )  # fmt: skip
        lora = by_method(cells_of(plan, tmp_path / "results", "performance"))["lora"]
        assert (lora.status, lora.n, lora.planned, lora.sd) == ("partial", 1, 2, None)
        assert "1 of 2" in lora.reason and "loss is inf" in lora.reason and "seed 1" in lora.reason

    @pytest.mark.parametrize("status", ["diverged", "out_of_memory"])
    def test_failures_are_cells_with_a_reason(self, plan: Plan, tmp_path: Path, status: str):
        synthetic.write_results(
            tmp_path / "results", plan, lambda s: {"status": status, "reason": "why not"} if s.method == "fft" else {}
        )
        fft = by_method(cells_of(plan, tmp_path / "results", "performance"))["fft"]
        assert (fft.status, fft.value, fft.n) == (status, None, 0) and "why not" in fft.reason

    def test_stale_values_are_shown_apart(self, plan: Plan, tmp_path: Path):
        def change(spec):
            old = spec.method == "fft" or (spec.method, spec.seed) == ("lora", 0)
            return {"fingerprint": "0" * 16} if old else {}

        synthetic.write_results(tmp_path / "results", plan, change)
        row = by_method(cells_of(plan, tmp_path / "results", "performance"))
        assert (
            row["fft"].status == "stale"
            and row["fft"].value
            and not row["fft"].measured
            and row["fft"].rank_in_row is None
        )
        fresh = next(i for i in row["lora"].run_ids if plan.runs[i].seed == 1)
        expected = 100 * synthetic.result(plan.runs[fresh], plan)["test_metric"]
        assert row["lora"].status == "partial" and row["lora"].value == pytest.approx(expected)

    def test_parameters_agree_with_the_formula_or_say_so(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(
            tmp_path / "results",
            plan,
            lambda s: {"trainable_parameters": 7} if s.method == "cla" else None if s.method == "fft" else {},
        )
        cells = [c for c in cells_of(plan, tmp_path / "results", "parameters") if c.panel == "trainable_parameters"]
        row = by_method(cells)
        # 8 places of 96 x 96 at rank 8, A and B; head of 10 classes on 96 features.
        assert row["lora"].value == row["lora"].expected == 8 * 8 * 192 + 970
        assert row["cla"].status == "mismatch" and row["cla"].value == 7 and "7" in row["cla"].reason
        assert row["fft"].value == 460_970 and "by formula" in row["fft"].reason

    def test_percentages_of_table_6(self, tmp_path: Path):
        data = synthetic.study(
            grids={"main": {"tasks": ["roberta_base/mrpc"], "methods": ["lora", "asym_lora", "cla"], "seeds": [12]}},
            artefacts=[],
        )
        by_formula = {
            s.method: counts(s, synthetic.make_plan(tmp_path, data))
            for s in synthetic.make_plan(tmp_path, data).runs.values()
        }
        assert by_formula["lora"].trainable == 1_181_954
        assert [round(by_formula[m].percent, 3) for m in ("lora", "asym_lora", "cla")] == [0.944, 0.708, 0.708]

    def test_efficiency_is_also_a_multiple_of_lora(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        cells = [c for c in cells_of(plan, tmp_path / "results", "efficiency") if c.panel == "wall_s"]
        row = by_method(cells)
        assert row["lora"].ratio == 1 and row["fft"].ratio == pytest.approx(row["fft"].value / row["lora"].value)

    def test_heat_map_marks_one_cell_per_panel(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        cells = cells_of(plan, tmp_path / "results", "ablation")
        assert len(cells) == 3 * 3 * 4
        best = [(c.panel.split("/")[-1], c.row, c.column) for c in cells if c.rank_in_row]
        assert best == [(m, "8", "0.00316") for m in ("lora", "asym_lora", "cla")]
        assert {c.edge for c in cells if c.rank_in_row} == {"largest rank"}
        assert not any(c.edge for c in cells if not c.rank_in_row)
        assert all(c.n == 1 and c.sd is None and "single seed" in c.reason for c in cells)

    def test_a_tie_for_the_best_of_a_panel_marks_all_who_share_it(self, plan: Plan, tmp_path: Path):
        def change(spec):
            return {"test_metric": 0.95 if spec.lr == pytest.approx(1e-3) and spec.rank in (2, 4) else 0.9}

        synthetic.write_results(tmp_path / "results", plan, change)
        panel = [c for c in cells_of(plan, tmp_path / "results", "ablation") if c.method == "lora"]
        best = {(c.row, c.column, c.tied, c.edge) for c in panel if c.rank_in_row}
        assert best == {("2", "0.001", True, "smallest rank"), ("4", "0.001", True, None)}

    @pytest.mark.parametrize(
        ("values", "ends"),
        [
            ((0.001, 0.01, 0.1), {0.001: "smallest", 0.1: "largest"}), ((8, 2, 4), {2: "smallest", 8: "largest"}),
            (("r/2", "2r", "r"), {"r/2": "smallest", "2r": "largest"}), (("r", 16), {}), ((4,), {}),
            (("constant", "linear"), {}), (("alpha/r", "alpha/sqrt_r"), {}),
        ],
    )  # fmt: skip
    def test_ends_of_an_axis(self, values: tuple, ends: dict):
        assert axis_ends(values) == ends

    def test_the_baseline_needs_a_good_run_of_every_seed(self, plan: Plan, tmp_path: Path):
        """Shares differ by seed; failed runs of some methods must not weight one seed more than another."""

        def change(spec):
            if spec.seed == 1 and spec.method != "lora":
                return {"status": "diverged", "reason": "loss is nan"}
            return {"baseline": 0.1 + 0.1 * spec.seed}

        synthetic.write_results(tmp_path / "results", plan, change)
        floor = by_method(cells_of(plan, tmp_path / "results", "performance"))["baseline"]
        assert (floor.value, floor.n, floor.planned, floor.status) == (pytest.approx(15.0), 2, 2, "ok")
        synthetic.write_results(
            tmp_path / "results", plan, lambda s: {"status": "diverged", "reason": "nan"} if s.seed == 1 else {}
        )
        floor = by_method(cells_of(plan, tmp_path / "results", "performance"))["baseline"]
        assert (floor.n, floor.planned, floor.status) == (1, 2, "partial") and not floor.complete

    def test_a_ratio_needs_a_whole_base_and_a_fresh_value(self, plan: Plan, tmp_path: Path):
        def base_lost(spec):
            return {"status": "diverged", "reason": "nan"} if (spec.method, spec.seed) == ("lora", 1) else {}

        def old(spec):
            return {"fingerprint": "0" * 16} if spec.method == "cla" else {}

        synthetic.write_results(tmp_path / "results", plan, base_lost)
        cells = cells_of(plan, tmp_path / "results", "efficiency")
        assert all(c.ratio is None for c in cells)
        synthetic.write_results(tmp_path / "results", plan, old)
        cells = [c for c in cells_of(plan, tmp_path / "results", "efficiency") if c.panel == "wall_s"]
        assert by_method(cells)["cla"].ratio is None and by_method(cells)["fft"].ratio

    def test_a_count_against_the_formula_takes_no_place_in_the_efficiency_table(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(
            tmp_path / "results", plan, lambda s: {"trainable_parameters": 7} if s.method == "head_only" else {}
        )
        cells = [c for c in cells_of(plan, tmp_path / "results", "efficiency") if c.panel == "trainable_parameters"]
        head = by_method(cells)["head_only"]
        assert head.status == "mismatch" and head.rank_in_row is None and head.ratio is None

    @pytest.mark.parametrize(
        ("values", "said"),
        [({"test_metric": 1.7}, "0 to 100"), ({"test_loss": float("nan")}, "finite"), ({"wall_s": -1.0}, "at least 0")],
    )
    def test_an_impossible_value_is_a_damaged_result(self, plan: Plan, tmp_path: Path, values: dict, said: str):
        run_id = next(iter(plan.runs))
        synthetic.write_run(tmp_path / "results", plan, run_id, **values)
        row = collect(plan, tmp_path / "results").loc[run_id]
        assert row["status"] == "unreadable" and said in row["reason"]

    def test_settings_say_where_they_come_from(self, plan: Plan, tmp_path: Path):
        cells = cells_of(plan, tmp_path / "results", "hyperparameters")
        rates = {c.row: c for c in cells if c.column == "lr" and c.model == "minilm_l3"}
        assert rates["FFT"].text == "0.0001" and rates["FFT"].source == "ours: best of 3 on validation"
        assert rates["A and B train"].text == "0.00316" and rates["B alone trains, or the head"].text == "0.001"
        assert next(c for c in cells if c.column == "seeds").text == "0, 1"

    def test_curves_are_means_per_epoch(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        cells = [
            c for c in cells_of(plan, tmp_path / "results", "curves") if c.method == "cla" and c.dataset == "digits"
        ]
        losses = [c for c in cells if c.panel == "validation/loss"]
        assert [c.row for c in losses] == [str(e) for e in range(1, 7)] and all(
            c.n == 2 and c.sd is not None for c in losses
        )
        assert {c.panel for c in cells} == {"train/loss", "validation/loss", "validation/accuracy"}

    def test_an_unreadable_curve_is_a_cell_not_a_crash(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        run_id = next(i for i, s in plan.runs.items() if s.method == "cla")
        (tmp_path / "results/runs" / plan.runs[run_id].folder / "epochs.parquet").write_bytes(b"junk")
        broken = [c for c in cells_of(plan, tmp_path / "results", "curves") if c.status == "unreadable"]
        assert len(broken) == 1 and run_id in broken[0].reason

    def test_an_axis_is_data(self, plan: Plan, tmp_path: Path):
        """Another metric, another varied setting: no code, only the study."""
        data = synthetic.study()
        data["grids"]["alpha"] = {"tasks": ["vit_digits/digits"], "methods": ["lora"], "seeds": [0, 1],
                                  "vary": {"alpha": ["r/2", "r"], "rank": [2, 4]}}  # fmt: skip
        data["artefacts"] = [
            {"id": "alpha", "kind": "heatmap", "grid": "alpha", "title": "Alpha", "rows": "rank", "columns": "alpha",
            "metric": "test_loss"},
            {"id": "rows", "kind": "methods", "grid": "alpha", "title": "Rows", "metric": "train_loss"},
        ]  # fmt: skip
        other = synthetic.make_plan(tmp_path / "other", data)
        synthetic.write_results(tmp_path / "results", other)
        heat = cells_of(other, tmp_path / "results", "alpha")
        assert {(c.row, c.column) for c in heat} == {(r, a) for r in "24" for a in ("r/2", "r")}
        assert {c.direction for c in heat} == {"lower"}
        assert {c.row for c in cells_of(other, tmp_path / "results", "rows")} == {
            f"rank {r}, alpha {a}" for r in "24" for a in ("r/2", "r")
        }


class TestPublished:
    def test_quickstart_models_have_no_counterpart(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        for artefact in (a for a in plan.study.artefacts if getattr(a, "published", None)):
            assert all(c.published is None for c in cells_of(plan, tmp_path / "results", artefact.id))

    def test_the_paper_s_models_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
        data = synthetic.study()
        data["grids"]["main"] |= {"tasks": ["roberta_base/mrpc"], "seeds": [12, 22, 32]}
        plan = synthetic.make_plan(tmp_path, data)
        synthetic.write_results(tmp_path / "results", plan)
        row = by_method(cells_of(plan, tmp_path / "results", "performance"), "mrpc")
        assert row["lora"].published == 86.34 and row["lora"].difference == pytest.approx(row["lora"].value - 86.34)
        assert row["paca"].published is None and "256" in row["lora_plus"].caveat
        fast = {(c.panel, c.column): c for c in cells_of(plan, tmp_path / "results", "efficiency")}
        assert fast["samples_per_s", "lora"].published == 1.0
        percent = {(c.panel, c.column): c for c in cells_of(plan, tmp_path / "results", "parameters")}
        assert percent["trainable_pct", "lora"].published == 0.944
        assert abs(percent["trainable_pct", "lora"].difference) < 5e-4
        settings = {(c.column, c.row): c for c in cells_of(plan, tmp_path / "results", "hyperparameters")}
        assert settings["epochs", ""].published_text == "20" and settings["lr", "FFT"].published_text == "1e-5"

    def test_learning_rates_join_as_printed(self):
        table = Published("table_9.csv")
        assert (
            table.find(model="vit_tiny", dataset="cifar10", method="lora", rank=2, lr=3.16228e-05, seed=1).number
            == 90.91
        )
        assert table.find(model="vit_tiny", dataset="cifar10", method="lora", rank=2, lr=3e-05) is None

    def test_an_unknown_file_names_the_known_ones(self):
        with pytest.raises(FileNotFoundError, match=r"table_2_18\.csv"):
            Published("table_99.csv")

    def test_the_files_of_this_repository_are_whole(self):
        names = sorted(p.name for p in REFERENCE.glob("table*.csv"))
        assert {name: len(Published(name).rows) for name in names} == {
            "table_10.csv": 180, "table_11.csv": 143, "table_12.csv": 216, "table_13.csv": 108, "table_14.csv": 320, "table_15.csv": 320,
            "table_17.csv": 220, "table_2_18.csv": 240, "table_3_16.csv": 220, "table_4.csv": 96, "table_5.csv": 96, "table_6.csv": 72,
            "table_7.csv": 315, "table_8.csv": 1134, "table_9.csv": 756,
        }  # fmt: skip

    def test_a_varied_setting_that_the_file_does_not_key_by_joins_nothing(self, tmp_path: Path):
        data = synthetic.study()
        data["grids"]["ranks"] = {"tasks": ["roberta_base/mrpc"], "methods": ["lora"], "seeds": [12],
                                  "vary": {"rank": [2, 16]}}  # fmt: skip
        data["artefacts"] = [{"id": "ranks", "kind": "methods", "grid": "ranks", "title": "Ranks",
                              "published": "table_2_18.csv"}]  # fmt: skip
        cells = cells_of(synthetic.make_plan(tmp_path, data), tmp_path / "results", "ranks")
        assert len(cells) == 4 and all(c.published is None for c in cells)


HEAD = "model,dataset,method,rank,value,note\n"
GOOD = HEAD + "vit,cifar10,lora,2,90.5,\nvit,cifar10,cla,2,91.5,a note\n"


class TestReferenceFiles:
    def look(self, folder: Path, content: str | bytes, caveats: str | None = None) -> Published:
        folder.mkdir(exist_ok=True)
        (folder / "table_x.csv").write_bytes(content.encode() if isinstance(content, str) else content)
        if caveats is not None:
            (folder / "caveats.csv").write_text(caveats)
        return Published("table_x.csv", folder)

    @pytest.mark.parametrize(
        "content", [GOOD.encode(), b"\xef\xbb\xbf" + GOOD.encode(), GOOD.replace("\n", "\r\n").encode()]
    )
    def test_the_right_row_is_read_with_a_byte_order_mark_too(self, tmp_path: Path, content: bytes):
        table = self.look(tmp_path / "folder", content)
        assert table.keys == ("model", "dataset", "method", "rank")
        assert table.find(model="vit", dataset="cifar10", method="lora", rank=2).number == 90.5
        assert table.find(model="vit", dataset="cifar10", method="cla", rank=2).number == 91.5
        assert table.find(model="deit", dataset="cifar10", method="cla", rank=2) is None

    @pytest.mark.parametrize(
        ("content", "line", "said"),
        [
            (GOOD + "vit,cifar10,lora,2.0,80,\n", 4, "line 2 has the same"),
            ("model,method,rank,value\nvit,lora,2,1\n", 1, "no column dataset"),
            ("dataset,model,rank,value\nx,vit,2,1\n", 1, "no column method or setting"),
            (HEAD.replace("method", "metod") + "vit,cifar10,lora,2,90.5,\n", 1, "Did you mean: method"),
            (HEAD.replace("rank", "Rank") + "vit,cifar10,lora,2,90.5,\n", 1, "Did you mean: rank"),
            (HEAD.replace("note", "value") + "vit,cifar10,lora,2,90.5,1\n", 1, "stands twice"),
            (GOOD + "vit,cifar10,fft,2,ninety,\n", 4, "value is 'ninety'"),
            (GOOD + "vit,cifar10,fft,2,nan,\n", 4, "value is 'nan'"),
            (GOOD + 'vit,cifar10,fft,2,"90,5",\n', 4, "decimal point"),
            (GOOD + "vit,cifar10,fft,two,90.5,\n", 4, "rank is 'two'"),
            (GOOD + "vit,cifar10,fft\n", 4, "3 cells under 6 columns"),
            (GOOD + "vit,cifar10,fft,2,90.5,a,b\n", 4, "7 cells"),
            (GOOD + "vit,cifar10, fft,2,90.5,\n", 4, "method is ' fft'"),
            (GOOD + "vit,,fft,2,90.5,\n", 4, "dataset is ''"),
            (GOOD + 'vit,cifar10,"fft,2,90.5,\n', 4, "quotes"),
            (GOOD.replace(",", ";"), 1, "separate columns by commas"),
            (GOOD.encode() + "vit,cifar10,fft,2,90.5,\u00e9\n".encode("latin-1"), 4, "is not UTF-8"),
            (GOOD.encode("utf-16"), 1, "is not UTF-8"),
            (GOOD.encode() + b"vit,cifar10,fft,2,\x00,\n", 4, "NUL"),
            ("", None, "empty"),
            (HEAD, None, "no row"),
        ],
    )  # fmt: skip
    def test_a_bad_file_is_refused_by_name_and_line(self, tmp_path: Path, content, line: int | None, said: str):
        with pytest.raises(PublishedError) as caught:
            self.look(tmp_path / "folder", content)
        text = str(caught.value)
        assert "table_x.csv" in text and said in text and "rule:" in text and "remedy:" in text
        assert caught.value.faults[0].line == line and (line is None or f"table_x.csv, line {line}:" in text)

    @pytest.mark.parametrize(
        ("row", "said"),
        [
            ("table_y.csv,,,,no fair target,why", "Did you mean: table_x.csv"), ("table_x.csv,,,,with care,", "no caveat"),
            ("table_x.csv,vit ,,,with care,why", "no blanks"), ("table_x.csv,vit,why", "3 cells"),
            ("table_x.csv,,,,with car,why", "Did you mean: with care"),
            ("table_x.csv,,,,with care,why\ntable_x.csv,,,,with care,why", "repeats line 2"),
        ],
    )  # fmt: skip
    def test_caveats_are_checked_as_well(self, tmp_path: Path, row: str, said: str):
        with pytest.raises(PublishedError, match=r"caveats\.csv, line") as caught:
            self.look(tmp_path / "folder", GOOD, f"file,model,dataset,method,verdict,caveat\n{row}\n")
        assert said in str(caught.value)

    def test_a_value_with_care_is_a_target_and_its_caveat_a_note(self, tmp_path: Path):
        rows = "table_x.csv,,,,with care,one seed\ntable_x.csv,,,lora,no fair target,another head\n"
        found = self.look(tmp_path / "folder", GOOD, f"file,model,dataset,method,verdict,caveat\n{rows}")
        values = {row["method"]: found.find(**row) for row in found.rows.values()}
        assert values["lora"].caveat == "another head" and values["lora"].note.endswith("one seed")
        others = [value for method, value in values.items() if method != "lora"]
        assert others and all(v.caveat is None and v.note.endswith("one seed") for v in others)

    def test_a_file_elsewhere_is_no_reference(self, tmp_path: Path):
        self.look(tmp_path / "folder", GOOD)
        with pytest.raises(FileNotFoundError):
            Published("../folder/table_x.csv", tmp_path / "folder")


class TestFiles:
    def test_cells_survive_a_file(self, tmp_path: Path):
        cells = [
            cell("lora", 1.5, run_ids=("a", "b"), n=2, values=(1.0, 2.0), tied=True),
            cell("cla", None, status="missing", reason="not run"),
        ]
        write_cells(tmp_path / "cells.parquet", cells)
        assert read_cells(tmp_path / "cells.parquet") == cells

    def test_every_column_is_described(self):
        for schema in (CELLS, RESULT):
            assert all(field.metadata[b"description"] for field in schema)

    def test_cells_of_another_version_are_refused(self, tmp_path: Path):
        write_cells(tmp_path / "cells.parquet", [])
        table = pq.read_table(tmp_path / "cells.parquet")
        pq.write_table(table.replace_schema_metadata({"schema_version": "0"}), tmp_path / "cells.parquet")
        with pytest.raises(ValueError, match="version 0"):
            read_cells(tmp_path / "cells.parquet")

    def test_command_writes_one_file_per_artefact(self, plan: Plan, tmp_path: Path):
        common = [
            "--config",
            str(tmp_path / "study.json"),
            "--root",
            str(tmp_path),
            "--results",
            str(tmp_path / "results"),
        ]
        assert tables.main([*common, "--out-dir", str(tmp_path / "all")]) == 0
        assert {p.stem for p in (tmp_path / "all").iterdir()} == {a.id for a in plan.study.artefacts}
        assert tables.main([*common, "--artefact", "performance", "--out", str(tmp_path / "one.parquet")]) == 0
        assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "all/performance.parquet").read_bytes()
        with pytest.raises(SystemExit):
            tables.main([*common, "--artefact", "nonesuch", "--out", str(tmp_path / "x.parquet")])


def test_no_torch_in_results_and_report():
    modules = "peft_lib.results.context, peft_lib.report.build, peft_lib.report.compile"
    code = f"import sys, json, {modules}; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
