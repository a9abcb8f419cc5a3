"""Every family of models, with every method, on every task that it can do: trains, evaluates, writes, saves and loads.

Tiny models with random weights (tiny_models.yaml), and data sets of a few made-up rows read by the product's own loaders.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from peft_lib.data.prepare import prepare
from peft_lib.data.text import TextError, text_columns
from peft_lib.layers.delta_file import read_delta
from peft_lib.methods.registry import built_in
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.declared import declared
from peft_lib.study.loading import load_datasets
from peft_lib.study.spec import RunSpec
from peft_lib.tasks import generation
from peft_lib.training import decoding, evaluation
from peft_lib.training.assemble import Inputs, assemble
from peft_lib.training.run import Execution, RunError, train
from tests.unit.tiny import TINY
from tests.unit.tiny_mirror import locked, write_mirror

ROOT = Path(__file__).resolve().parents[2]
CATALOG = load_datasets(ROOT / "config/datasets.yaml")
DATA = {"classification": "mrpc", "regression": "stsb", "generation": "django"}
SIZES = {
    "mrpc": {"train": 24, "validation": 11, "test": 8},
    "stsb": {"train": 24, "validation": 5, "test": 6},
    "django": {"train": 24, "validation": 11, "test": 8},
}
METHODS = sorted(built_in())
STYLES = {name: declared("backbones", entry.backbone, "STYLE") for name, entry in TINY.items()}
FAMILIES = {"tiny_bert", "tiny_roberta", "tiny_deberta_v3", "tiny_gpt2", "tiny_llama", "tiny_vit", "tiny_timm"}
SOME = ("c3la", "c_paca", "fft", "lora")
"""Every method on one task of every family; these on its other tasks and on variants of a family."""
PAIRS = [
    (name, task)
    for name in TINY
    for task in ("classification", "regression", "generation")
    if task == "classification" or STYLES[name] == "prompt" or (task == "regression" and STYLES[name] == "pair")
]
CASES = [
    (name, task, method)
    for name, task in PAIRS
    for method in METHODS
    if method in SOME
    or (
        (name in FAMILIES and task == ("generation" if STYLES[name] == "prompt" else "classification"))
        and (task, method) != ("generation", "head_only")
    )  # there is no head: see the last test
]


@dataclass
class Bench:
    """Prepared data and model folders, made when they are first asked for."""

    folder: Path
    tiny_dir: Callable[[str], Path]

    def __post_init__(self) -> None:
        self.mirror = write_mirror(self.folder / "mirror")
        self.made: dict[tuple[str, str], Inputs] = {}

    def inputs(self, name: str, task: str) -> Inputs:
        if (name, task) not in self.made:
            model, out = TINY[name], self.folder / f"{name}-{task}"
            if model.modality == "image":
                entry = CATALOG["digits"]
                prepare(entry, model, None, image_size(name), out, self.tiny_dir(name))
            else:
                entry = self.entry(DATA[task])
                prepare(entry, model, 48, None, out, self.tiny_dir(name), self.mirror)
            self.made[name, task] = Inputs(model, entry, self.tiny_dir(name), out, "test")
        return self.made[name, task]

    def entry(self, dataset: str) -> DatasetEntry:
        return locked(CATALOG[dataset].model_copy(update={"sizes": SIZES[dataset]}), self.mirror)


def image_size(name: str) -> int:
    architecture = TINY[name].architecture
    return int(architecture.get("image_size", architecture.get("img_size", 0)))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, tiny_dir: Callable[[str], Path]) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"), tiny_dir)


def spec_of(inputs: Inputs, method: str, **changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "model": inputs.model.ref(), "dataset": inputs.dataset.ref(), "method": method, "seed": 3, "lr": 1e-2, "epochs": 2,
        "batch_size": 8, "input_size": 48 if inputs.model.modality == "text" else image_size(inputs.model.id),
        "rank": 4, "alpha": 8.0, "train_limit": 16, "eval_limit": 5, "chain_period": 1,
    }  # fmt: skip
    return RunSpec(**{**fields, **changes})


@pytest.mark.parametrize(("name", "task", "method"), CASES)
def test_a_run_is_whole_and_its_delta_brings_the_model_back(
    name: str, task: str, method: str, bench: Bench, tmp_path: Path
) -> None:
    inputs = bench.inputs(name, task)
    spec = spec_of(inputs, method)
    assert train(spec, tmp_path, inputs, Execution(device="cpu")) == "ok"
    row = pq.read_table(tmp_path / "result.parquet").to_pylist()[0]
    entry = inputs.dataset
    assert row["task"] == task and row["steps"] == 4
    measures = dict(row["test_measures"])
    assert set(measures) == {entry.metric, *entry.measures} and np.isfinite(list(measures.values())).all()
    assert row["test_metric"] == measures[entry.metric]

    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert row["test_loss"] == pytest.approx(sum(r["loss"] for r in rows) / sum(r["weight"] for r in rows))
    assert len(rows) == row["n_test"] and all((r["weight"] == 1) == (task != "generation") for r in rows)

    # the same model from its catalog entry, weights and delta, under another seed: head and adapter are in the file
    other = assemble(spec.with_seed(99) if method != "fft" else spec, inputs, items=None)
    other = replace(other, items=assemble(spec, inputs).items)
    other.adapter.load(tmp_path / "delta.safetensors", "selected")
    other.model.eval()
    chosen = other.rows["test"]
    with torch.no_grad():
        outputs = other.backbone.forward(other.model, other.data.collate(chosen))
        losses = other.task.losses(outputs, other.data.targets(chosen))
    assert losses.tolist() == pytest.approx([r["loss"] for r in rows], rel=1e-4, abs=1e-5)
    tags = read_delta(tmp_path / "delta.safetensors").header
    assert tags["method"] == method


@pytest.mark.parametrize("name", [n for n, s in STYLES.items() if s == "prompt"])
def test_written_text_is_what_the_trained_model_writes(name: str, bench: Bench, tmp_path: Path) -> None:
    """Predictions of a run, decoded again one prompt at a time, without padding, from the model that the delta restores."""
    from tokenizers import Tokenizer

    inputs = bench.inputs(name, "generation")
    spec = spec_of(inputs, "c3la", epochs=3, lr=3e-2)
    train(spec, tmp_path, inputs, Execution(device="cpu"))
    parts = assemble(spec, inputs)
    parts.adapter.load(tmp_path / "delta.safetensors", "selected")
    parts.model.eval()
    tokenizer = Tokenizer.from_file(str(inputs.model_dir / "tokenizer.json"))
    eos = parts.data.manifest["eos_token_id"]
    ends = frozenset(i for i in range(tokenizer.get_vocab_size()) if "\n" in tokenizer.decode([i]))
    texts = []
    for row in parts.rows["test"]:
        batch = parts.data.prompts([row], 32)
        with torch.no_grad():
            ids = parts.backbone.generate(parts.model, batch, 16, eos, ends)[0].tolist()
        texts.append(tokenizer.decode(ids[: ids.index(eos)] if eos in ids else ids).partition("\n")[0])
    written = [r["prediction"] for r in pq.read_table(tmp_path / "predictions.parquet").to_pylist()]
    assert [long[: len(short)] for long, short in zip(written, texts, strict=True)] == texts and any(texts)


@pytest.mark.parametrize(("name", "task"), [("tiny_vit", "classification"), ("tiny_llama", "generation")])
def test_micro_batches_change_rounding_alone(name: str, task: str, bench: Bench, tmp_path: Path) -> None:
    """Of a batch with items of different weight (target tokens) the mean is over tokens, however it is cut."""
    inputs = bench.inputs(name, task)
    spec = spec_of(inputs, "lora", lr=1e-3)
    found = []
    for size in (None, 3):
        train(spec, tmp_path / str(size), inputs, Execution(device="cpu", micro_batch=size))
        found.append(pq.read_table(tmp_path / str(size) / "result.parquet").to_pylist()[0])
    for column in ("train_loss_running", "test_loss", "train_loss"):
        assert found[1][column] == pytest.approx(found[0][column], rel=1e-5), column


@pytest.mark.parametrize(
    "name", ["tiny_roberta", "tiny_gpt2", "tiny_llama", "tiny_vit", "tiny_timm", "tiny_deberta_v3"]
)
def test_recomputed_activations_give_the_same_run(name: str, bench: Bench, tmp_path: Path) -> None:
    task = "generation" if STYLES[name] == "prompt" else "classification"
    inputs = bench.inputs(name, task)
    spec = spec_of(inputs, "cola", lr=1e-3)
    found = []
    for recompute in (False, True):
        folder = tmp_path / str(recompute)
        train(spec, folder, inputs, Execution(device="cpu", gradient_checkpointing=recompute))
        found.append(pq.read_table(folder / "result.parquet").to_pylist()[0])
    assert found[1]["gradient_checkpointing"] and not found[0]["gradient_checkpointing"]
    for column in ("train_loss_running", "test_loss", "val_loss"):
        assert found[1][column] == pytest.approx(found[0][column], rel=1e-5), column


@pytest.mark.parametrize("method", ["lora", "fft"])
def test_storage_in_bf16_is_of_frozen_weights_alone(method: str, bench: Bench, tmp_path: Path) -> None:
    inputs = bench.inputs("tiny_llama", "classification")
    spec = spec_of(inputs, method, precision="bf16")
    parts = assemble(spec, inputs, storage="bf16")
    trained = [p.dtype for p in parts.model.parameters() if p.requires_grad]
    frozen = {p.dtype for p in parts.model.parameters() if not p.requires_grad and p.ndim > 1}
    assert set(trained) == {torch.float32}
    assert frozen == (set() if method == "fft" else {torch.bfloat16})
    if method != "fft":
        with pytest.raises(RunError, match="storage bf16 needs precision bf16, the spec has fp32"):
            assemble(spec_of(inputs, method), inputs, storage="bf16")
    train(spec, tmp_path, inputs, Execution(device="cpu", storage="bf16"))
    row = pq.read_table(tmp_path / "result.parquet").to_pylist()[0]
    assert row["status"] == "ok" and row["storage"] == ("fp32" if method == "fft" else "bf16")


def test_prompts_are_cut_on_the_left_and_targets_kept(bench: Bench) -> None:
    """24 tokens are read of prompts of about 40 and their answers: the answer whole, the prompt's last tokens."""
    inputs, short = bench.inputs("tiny_llama", "generation"), bench.folder / "short"
    prepare(inputs.dataset, inputs.model, 24, None, short, inputs.model_dir, bench.mirror)
    assert json.loads((short / "manifest.json").read_text())["fraction_truncated"] == 1.0
    inputs = replace(inputs, prepared_dir=short)
    parts = assemble(spec_of(inputs, "lora"), inputs)
    data, rows = parts.data, parts.rows["train"]
    batch, targets = data.collate(rows), data.targets(rows)
    assert batch["input_ids"].shape[1] == 24 == data.n_tokens[rows].max()
    assert batch["input_ids"][batch["target_mask"]].tolist() == targets["target_ids"].tolist()
    assert torch.bincount(targets["target_item"]).tolist() == data.n_targets[rows].tolist()
    assert parts.items.weights[rows].tolist() == data.n_targets[rows].tolist()
    assert not batch["target_mask"][:, 0].any()
    eos = data.manifest["eos_token_id"]
    ends = [row[mask == 1][-1].item() for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)]
    assert set(ends) == {eos}
    prompts = data.prompts(rows, 20)
    assert prompts["attention_mask"][:, -1].all() and prompts["input_ids"].shape == (len(rows), 20)


def test_of_epochs_that_match_nothing_the_lower_loss_is_chosen(bench: Bench, tmp_path: Path) -> None:
    """Exact match is 0 in every epoch of an untrained decoder; the first epoch would be no choice."""
    inputs = bench.inputs("tiny_llama", "generation")
    spec = spec_of(inputs, "lora", lr=1e-3, epochs=3, selection="val_metric")
    train(spec, tmp_path, inputs, Execution(device="cpu"))
    row = pq.read_table(tmp_path / "result.parquet").to_pylist()[0]
    epochs = [r for r in pq.read_table(tmp_path / "epochs.parquet").to_pylist() if r["split"] == "validation"]
    found = {name: [r["value"] for r in epochs if r["metric"] == name] for name in ("exact_match", "loss")}
    assert set(found["exact_match"]) == {0.0} and row["val_metric"] == 0.0
    assert row["selected_epoch"] == 1 + int(np.argmin(found["loss"])) > 1


def test_a_perplexity_beyond_all_numbers_is_a_divergence(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its loss is a number: without a rule of its own, a table would have averaged infinity."""
    inputs = bench.inputs("tiny_llama", "generation")
    losses = generation.losses
    monkeypatch.setattr(generation, "losses", lambda *given: 1e5 * losses(*given))
    assert train(spec_of(inputs, "lora", lr=1e-9), tmp_path, inputs, Execution(device="cpu")) == "diverged"
    row = pq.read_table(tmp_path / "result.parquet").to_pylist()[0]
    assert "'perplexity': inf" in row["reason"] and row["test_metric"] is None


def test_a_head_that_is_not_there_cannot_train(bench: Bench, tmp_path: Path) -> None:
    inputs = bench.inputs("tiny_llama", "generation")
    with pytest.raises(RunError, match="head_only trains nothing on tiny_llama/django"):
        train(spec_of(inputs, "head_only"), tmp_path, inputs, Execution(device="cpu"))


def test_a_length_that_cuts_most_targets_is_refused(bench: Bench) -> None:
    """Three items: one, then two of them too long for 8 tokens with one of the prompt and EOS."""
    folder = bench.inputs("tiny_llama", "generation").model_dir
    columns = {"id": ["a", "b", "c"], "split": ["train"] * 3, "text": ["say"] * 3}
    short, long = "a", " ".join("abcdefghijkl")
    rows = pa.table({**columns, "target": [short, short, long]})
    assert text_columns(rows, "prompt", "generation", 8, folder)[1]["fraction_target_truncated"] == pytest.approx(1 / 3)
    rows = pa.table({**columns, "target": [short, long, long]})
    with pytest.raises(TextError, match=r"67% .* more than 6 tokens, .* at input_size 8 .* fit whole into \d+ tokens"):
        text_columns(rows, "prompt", "generation", 8, folder)


@pytest.mark.parametrize(("metric", "times"), [("exact_match", 3), ("perplexity", 1)])
def test_text_is_written_in_every_epoch_only_where_it_chooses(
    metric: str, times: int, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Validation of two epochs and test, or test alone."""
    inputs, asked = bench.inputs("tiny_llama", "generation"), []
    measures = ("bleu", {"exact_match": "perplexity", "perplexity": "exact_match"}[metric])
    entry = inputs.dataset.model_copy(update={"metric": metric, "measures": measures})
    monkeypatch.setattr(evaluation, "decode", lambda *given: asked.append(1) or decoding.decode(*given))
    inputs = replace(inputs, dataset=entry)
    train(spec_of(inputs, "lora", selection="val_metric", epochs=2), tmp_path, inputs, Execution(device="cpu"))
    assert len(asked) == times
