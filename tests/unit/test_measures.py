"""Metrics that are not the headline, as quantities of artefacts: `test_f1` beside `test_metric`."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import DATASET_METRICS, MEASURES, QUANTITIES, quantity, value_of
from tests.unit import synthetic

KIND = pa.map_(pa.string(), pa.float64())


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """A table of the Matthews correlation, which the entry of one of two data sets lists."""
    digits = {**synthetic.DATASETS["digits"], "measures": ["mcc"]}
    monkeypatch.setattr(synthetic, "DATASETS", {**synthetic.DATASETS, "digits": digits})
    data = synthetic.study()
    data["grids"] = {
        "main": {"tasks": ["minilm_l3/clutrr_gen", "vit_digits/digits"], "methods": ["lora"], "seeds": [0, 1]}
    }
    data["artefacts"] = [{"id": "table", "kind": "methods", "grid": "main", "title": "T", "metric": "test_mcc"}]
    return synthetic.make_plan(tmp_path, data)


def results(folder: Path, plan: Plan, measures: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Runs whose files hold these measures, by data set."""
    for run_id, spec in plan.runs.items():
        synthetic.write_run(folder, plan, run_id, fingerprint=plan.fingerprint(run_id))
        path = folder / "runs" / spec.folder / "result.parquet"
        table = pq.read_table(path)
        if MEASURES in table.schema.names:
            table = table.drop_columns([MEASURES])
        held = list(measures.get(spec.dataset.id, {}).items())
        pq.write_table(table.append_column(MEASURES, pa.array([held], KIND)), path)
    return collect(plan, folder)


def test_a_measure_is_shown_where_it_was_measured_and_its_absence_is_said(plan: Plan, tmp_path: Path) -> None:
    runs = results(tmp_path / "results", plan, {"digits": {"accuracy": 0.9, "mcc": 0.75}})
    cells = {c.dataset: c for c in build(plan, plan.study.artefacts[0], runs, tmp_path / "results")}
    there, absent = cells["digits"], cells["clutrr_gen"]
    assert (there.value, there.unit, there.direction, there.n, there.status) == (75.0, "%", "higher", 2, "ok")
    assert (absent.value, absent.status, absent.reason) == (None, "not_available", "not measured for this data set")


def test_a_measure_that_cannot_be_is_a_damaged_result(plan: Plan, tmp_path: Path) -> None:
    runs = results(tmp_path / "results", plan, {"digits": {"mcc": 1.5}, "clutrr_gen": {"mcc": -1.0}})
    assert set(runs[runs["dataset"] == "digits"]["status"]) == {"unreadable"}
    assert set(runs[runs["dataset"] == "clutrr_gen"]["status"]) == {"ok"}


def test_results_of_before_have_no_measures(plan: Plan, tmp_path: Path) -> None:
    for run_id in plan.runs:
        synthetic.write_run(tmp_path / "results", plan, run_id, fingerprint=plan.fingerprint(run_id))
    runs = collect(plan, tmp_path / "results")
    assert set(runs["status"]) == {"ok"} and runs["test_measures.mcc"].isna().all()


@pytest.mark.parametrize("name", DATASET_METRICS)
def test_every_metric_is_a_quantity_with_the_facts_of_the_headline(name: str) -> None:
    one, headline = quantity(f"test_{name}", "accuracy"), quantity("test_metric", name)
    assert one.column == f"{MEASURES}.{name}" and headline.column == "test_metric"
    for fact in ("label", "unit", "direction", "scale", "digits", "low", "high"):
        assert getattr(one, fact) == getattr(headline, fact)
    assert one.task in ("classification", "regression", "generation")


def test_a_column_is_read_by_name_or_as_an_entry_of_a_map() -> None:
    row = {"test_loss": 0.5, MEASURES: [("f1", 0.25)]}
    assert value_of(row, "test_loss") == 0.5 and value_of(row, f"{MEASURES}.f1") == 0.25
    assert value_of(row, f"{MEASURES}.mcc") is None and value_of({MEASURES: None}, f"{MEASURES}.f1") is None
    assert all(value_of({}, what.column) is None for what in QUANTITIES.values())
