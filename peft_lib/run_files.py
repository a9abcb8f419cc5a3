"""Parquet schemas of a run's files. A sentence per column; units in the name or the sentence."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peft_lib.files import atomic_path

RESULT_VERSION = 1

RUN_FILES = ("delta.safetensors", "epochs.parquet", "predictions.parquet", "spec.json", "result.parquet")
"""What a run leaves in its folder. result.parquet is put in place last: its presence means a whole run."""


def _schema(fields: dict[str, tuple[pa.DataType, str]], version: int = RESULT_VERSION) -> pa.Schema:
    columns = [pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in fields.items()]
    return pa.schema(columns, metadata={"schema_version": str(version)})


S, N, F, B = pa.string(), pa.int64(), pa.float64(), pa.bool_()

RESULT = _schema(
    {
        "run_id": (S, "first 12 hex digits of the SHA-256 of `spec`"),
        "spec": (S, "canonical JSON of the run's specification"),
        "model": (S, "model id"),
        "dataset": (S, "data set id"),
        "method": (S, "method id"),
        "seed": (N, "run seed"),
        "execution": (S, "how the adapted layers computed: dense, gather, inplace; 'none' without factors"),
        "status": (S, "ok, diverged, out_of_memory"),
        "reason": (S, "why the status is not ok; null otherwise"),
        "task": (S, "classification, regression, generation"),
        "metric": (S, "name of the data set's headline metric (docs/results.md)"),
        "metric_direction": (S, "higher or lower is better"),
        "carve_out": (S, "how the splits differ from the published ones; null where they do not"),
        "selected_epoch": (N, "epoch (1-based) whose weights are reported"),
        "epochs": (N, "epochs trained"),
        "steps": (N, "optimiser steps taken"),
        "links": (N, "links of the chain at the selected epoch (1 without a chain, 0 without factors)"),
        "test_metric": (F, "headline metric on test at the selected epoch; shares and correlations as fractions"),
        "val_metric": (F, "headline metric on validation at the selected epoch"),
        "test_measures": (pa.map_(S, F), "all measures on test at the selected epoch, the headline included"),
        "test_loss": (
            F,
            "mean eval-mode loss on test at the selected epoch: nats per item or target token, or squared error",
        ),
        "val_loss": (F, "mean eval-mode loss on validation at the selected epoch"),
        "train_loss": (F, "mean eval-mode loss on the clean training items at the selected epoch"),
        "train_loss_running": (F, "mean train-mode loss during the selected epoch (weights moving, dropout on)"),
        "gap": (F, "test_loss - train_loss, signed"),
        "baseline": (
            F,
            "headline metric on test of the best constant answer (most frequent class or text, mean number)",
        ),
        "n_train": (N, "training items"),
        "n_validation": (N, "validation items"),
        "n_test": (N, "test items"),
        "trainable_parameters": (N, "parameters that the optimiser holds, head included"),
        "adapter_parameters": (N, "of these, in adapters (or in the backbone under full fine-tuning)"),
        "head_parameters": (N, "of these, in the head and other parts that every method trains in full"),
        "total_parameters": (N, "all parameters of the adapted model, frozen ones and factors included"),
        "samples_per_s": (F, "training items per second of training time, evaluation excluded"),
        "wall_s": (F, "wall time of the run without imports, all attempts, seconds"),
        "setup_s": (F, "of it: building the model and reading data"),
        "train_s": (F, "of it: training steps, data loading included, synchronised at epoch ends"),
        "eval_s": (F, "of it: validation, test and clean training loss"),
        "save_s": (F, "of it: checkpoints and results"),
        "cpu_s": (F, "processor time of the process, all attempts, without imports"),
        "peak_allocated_bytes": (N, "peak of allocated accelerator memory during training; null on a CPU"),
        "peak_reserved_bytes": (N, "peak of reserved accelerator memory during training; null on a CPU"),
        "peak_rss_bytes": (N, "peak resident set of the process"),
        "peak_memory_bytes": (N, "peak_allocated_bytes, or peak_rss_bytes on a CPU"),
        "device": (S, "cpu or cuda"),
        "device_name": (S, "processor or accelerator, as its driver names it"),
        "threads": (N, "processor threads"),
        "processes": (N, "Accelerate processes"),
        "micro_batch": (N, "items that one forward pass took, per process; null: the whole batch"),
        "deterministic": (B, "whether deterministic kernels were asked for (an accelerator; a CPU's are)"),
        "mixed_precision": (S, "of Accelerate: no, bf16"),
        "distributed_type": (S, "of Accelerate: NO, MULTI_CPU, MULTI_GPU"),
        "storage": (S, "format of the weights that do not train: fp32, bf16 (full fine-tuning: always fp32)"),
        "gradient_checkpointing": (B, "whether activations were computed again in the backward pass"),
        "keep": (
            S,
            "what delta.safetensors has: selected, both, none; trajectory, dense_trajectory: also a file for each epoch",
        ),
        "attempts": (N, "1, and 1 for each resume from a checkpoint: attempts that the result rests on"),
        "versions": (S, "JSON: versions of python, torch and the libraries that computed the numbers"),
        "git_commit": (S, "commit of this repository when the run started; null: see git_note"),
        "git_dirty": (B, "whether tracked files differed from the commit; null: see git_note"),
        "git_note": (S, "why commit or dirty is null: not a git checkout, no git, time-out; null otherwise"),
        "fingerprint": (S, "source code and data that the numbers depend on (docs/architecture.md)"),
        "data_sha256": (S, "SHA-256 of the prepared data"),
        "weights_sha256": (S, "SHA-256 of the model's weights file, as checked against its manifest"),
        "host": (S, "machine name"),
        "started": (S, "ISO 8601, UTC, of the first attempt"),
        "finished": (S, "ISO 8601, UTC"),
        "command": (S, "what repeats this one run from the repository root"),
    }
)

EPOCHS = _schema(
    {
        "epoch": (N, "1-based; 0 is before the first step"),
        "step": (N, "optimiser steps taken so far"),
        "split": (S, "train (running, train mode) or validation (eval mode)"),
        "metric": (S, "loss, a measure of the data set, lr (at the epoch's last step), link (index of the open link)"),
        "value": (F, "its value"),
    }
)

PREDICTIONS = _schema(
    {
        "id": (S, "stable id of the test item"),
        "group": (S, "items of one name ask the same (E2E: references of one input) and have one answer; null: alone"),
        "label": (S, "true label, number or reference text"),
        "prediction": (S, "predicted label, number or decoded text"),
        "score": (F, "probability of the predicted label; the number itself; mean token probability of the reference"),
        "loss": (F, "loss of the item, not divided by its weight: nats, or squared error"),
        "weight": (F, "what the item counts in a mean loss: 1, or its target tokens"),
        "n_tokens": (N, "tokens of the item (1 for images)"),
    }
)

DIAGNOSTIC_VERSION = 1
DIAGNOSTIC = _schema(
    {
        "quantity": (S, "what the number is; the kind of diagnostic says which it has (docs/diagnostics.md)"),
        "value": (F, "the number"),
        "place": (S, "adapted place that it is of; null: the whole run"),
        "x": (F, "coordinate: threshold, point of a grid, index, epoch; null where it has none"),
        "y": (F, "second coordinate"),
    },
    DIAGNOSTIC_VERSION,
)
"""Rows of <run folder>/diagnostics/<diagnostic>.parquet. Its metadata: `facts`, a JSON object with status (ok, not_available),
reason, diagnostic (kind and options), fingerprint, result (the `started` and `finished` of the result that it is of), seconds."""


def write_rows(path: Path | str, rows: list[dict[str, Any]], schema: pa.Schema) -> None:
    """Writes rows atomically. Raises pyarrow.ArrowInvalid for a value that does not fit; unknown keys are an error."""
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise KeyError(f"columns {sorted(unknown)} are not in the schema; known: {schema.names}")
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)


def read_rows(path: Path | str) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()
