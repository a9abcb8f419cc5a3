"""What a run records of its test items is what its stored answers give: real runs of every task, every measure."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from peft_lib.results.predictions import checked_measure, read_items
from peft_lib.statistics.items import NotComparable
from peft_lib.study.declared import declared
from peft_lib.training.run import Execution, train
from tests.unit.test_families_train import DATA, SIZES, Bench, spec_of


@pytest.mark.parametrize(
    ("name", "task"), [("tiny_bert", "classification"), ("tiny_bert", "regression"), ("tiny_llama", "generation")]
)
def test_every_measure_of_a_run_follows_from_its_answers(
    name: str, task: str, tiny_dir: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peft_lib.statistics.measures.FEWEST_ITEMS", 1)  # the made-up data sets are small
    inputs = Bench(tmp_path / "bench", tiny_dir).inputs(name, task)
    assert train(spec_of(inputs, "lora"), tmp_path / "run", inputs, Execution(device="cpu")) == "ok"
    row = pq.read_table(tmp_path / "run" / "result.parquet").to_pylist()[0]
    items = read_items(tmp_path / "run")
    labels = declared("data", inputs.dataset.loader, "LABELS")
    positive = str(labels[1]) if isinstance(labels, tuple) and len(labels) == 2 else None
    recorded = {**dict(row["test_measures"]), "test_loss": row["test_loss"], "gap": row["gap"]}
    assert len(recorded) >= 4
    for metric, value in recorded.items():
        checked_measure(metric, items, value, positive, row["train_loss"])  # raises where they differ
        with pytest.raises(NotComparable, match="the run recorded"):
            checked_measure(metric, items, value + 0.01, positive, row["train_loss"])


def test_references_of_one_input_are_stored_together(
    tiny_dir: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """E2E: BLEU counts one answer against all its references, and so does what the file gives."""
    monkeypatch.setattr("peft_lib.statistics.measures.FEWEST_ITEMS", 1)
    monkeypatch.setitem(DATA, "generation", "e2e")
    monkeypatch.setitem(SIZES, "e2e", {"train": 4, "validation": 2, "test": 2})
    inputs = Bench(tmp_path / "bench", tiny_dir).inputs("tiny_llama", "generation")
    spec = spec_of(inputs, "lora", eval_limit=None)
    assert train(spec, tmp_path / "run", inputs, Execution(device="cpu")) == "ok"
    row = pq.read_table(tmp_path / "run" / "result.parquet").to_pylist()[0]
    items = read_items(tmp_path / "run")
    assert len(set(items.units)) < len(items)
    for metric in ("bleu", "perplexity"):
        checked_measure(metric, items, dict(row["test_measures"])[metric])
