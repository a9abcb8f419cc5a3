"""From runs to cells: statistics, statuses, marks, published values."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from peft_lib.results.artefacts import build
from peft_lib.results.artefacts.marks import change_against_best, normalise, rank
from peft_lib.results.artefacts.parameters import counts
from peft_lib.results.cells import CELLS, Cell, read_cells, write_cells
from peft_lib.results.collect import collect
from peft_lib.results.published import Published
from peft_lib.results.statistics import intervals_overlap, summarise
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


class TestStatistics:
    def test_known_interval(self):
        # 4.303 is the 97.5 % quantile of t with two degrees of freedom in any printed table; sd 1, n 3.
        found = summarise([1.0, 2.0, 3.0])
        assert (found.mean, found.sd, found.n) == (2.0, 1.0, 3)
        assert found.high - found.mean == pytest.approx(4.303 / 3**0.5, rel=1e-4)
        assert found.mean - found.low == pytest.approx(found.high - found.mean)

    def test_two_seeds_use_t_of_one_degree(self):
        assert summarise([0.0, 2.0]).high == pytest.approx(1 + 12.706 * 2**0.5 / 2**0.5, rel=1e-4)

    def test_one_value_has_no_spread_and_none_has_no_mean(self):
        assert summarise([5.0]) == summarise([5.0]).__class__(5.0, None, 1, None, None)
        assert summarise([]).mean is None

    def test_failed_values_are_refused(self):
        with pytest.raises(ValueError, match="finite"):
            summarise([1.0, float("nan")])

    def test_overlap(self):
        assert intervals_overlap((0, 1), (1, 2)) is True
        assert intervals_overlap((0, 1), (1.1, 2)) is False
        assert intervals_overlap((0, 1), (None, None)) is None


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
        assert [c.rank_in_row for c in rank(row, 3)] == [1, 1, None, None, None]

    def test_failed_and_stale_cells_take_no_part(self):
        row = [
            cell("a", None, status="diverged"),
            cell("b", 9.0, status="stale"),
            cell("c", 1.0),
            cell("d", 2.0, status="partial"),
        ]
        assert [c.rank_in_row for c in rank(row, 3)] == [None, None, 2, 1]

    def test_change_is_for_sparse_methods_against_the_best_of_all(self):
        # The printed row of Table 2, ViT-Tiny OfficeHome: cLA 78.01 against LoRA 80.13 is -2.65 %.
        row = change_against_best([cell("lora", 80.13), cell("cla", 78.01), cell("paca", 78.0)])
        assert [c.change_vs_best and round(c.change_vs_best, 2) for c in row] == [None, -2.65, None]

    def test_ratio_of_means(self):
        row = normalise([cell("lora", 2.0, sd=1.0), cell("cla", 3.0), cell("fft", None, status="diverged")], "lora")
        assert [c.value for c in row] == [1.0, 1.5, None]
        assert row[0].sd is None and row[2].status == "diverged"

    def test_no_reference_no_ratio(self):
        row = normalise([cell("lora", None, status="missing"), cell("cla", 3.0)], "lora")
        assert [c.status for c in row] == ["not_available", "not_available"] and "lora" in row[1].reason


class TestArtefacts:
    def test_performance(self, plan: Plan, tmp_path: Path):
        synthetic.write_results(tmp_path / "results", plan)
        cells = cells_of(plan, tmp_path / "results", "performance")
        row = by_method(cells)
        assert list(row) == [*synthetic.METHODS, "majority"]
        lora = row["lora"]
        values = [100 * synthetic.result(plan.runs[i], plan)["test_metric"] for i in lora.run_ids]
        assert (
            lora.value == pytest.approx(sum(values) / 2)
            and lora.n == lora.planned == 2
            and lora.low < lora.value < lora.high
        )
        assert sorted(c.rank_in_row for c in row.values() if c.rank_in_row) == [1, 2, 3]
        assert row["majority"].value == pytest.approx(11) and row["majority"].rank_in_row is None
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
            and not row["fft"].trusted
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
        found = {
            s.method: counts(s, synthetic.make_plan(tmp_path, data))
            for s in synthetic.make_plan(tmp_path, data).runs.values()
        }
        assert found["lora"].trainable == 1_181_954
        assert [round(found[m].percent, 3) for m in ("lora", "asym_lora", "cla")] == [0.944, 0.708, 0.708]

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
        assert all(c.n == 1 and c.sd is None and "single seed" in c.reason for c in cells)

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
        for artefact in (a for a in plan.study.artefacts if a.published):
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

    @pytest.mark.parametrize(
        ("name", "rows"),
        [("table_2_18", 240), ("table_3_16", 220), ("table_17", 220), ("table_8", 1134), ("table_15", 320)],
    )
    def test_reference_files_are_whole(self, name: str, rows: int):
        assert len(Published(f"{name}.csv").rows) == rows


class TestFiles:
    def test_cells_survive_a_file(self, tmp_path: Path):
        cells = [cell("lora", 1.5, run_ids=("a", "b"), n=2), cell("cla", None, status="missing", reason="not run")]
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
    modules = "peft_lib.results.artefacts, peft_lib.report.build, peft_lib.report.compile"
    code = f"import sys, json, {modules}; print(json.dumps('torch' in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) is False
