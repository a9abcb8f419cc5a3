"""The quantities that a table can show: label, unit, direction, and where the value lies in a result row; and the same
facts about the metrics of data sets, for the quantity that differs between them."""

from dataclasses import dataclass, replace
from typing import Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Quantity:
    """`column`: column of result.parquet; `scale`: from there to what is shown. `direction` says which way is better;
    'none': nearest to zero is best."""

    label: str
    column: str
    unit: str
    direction: Direction
    scale: float = 1.0
    digits: int = 2


QUANTITIES = {
    "test_metric": Quantity("test metric", "test_metric", "", "none"),
    "gap": Quantity("generalization gap", "gap", "nats", "none", digits=3),
    "gap_absolute": Quantity("absolute generalization gap", "gap_absolute", "nats", "lower", digits=3),
    "test_loss": Quantity("test loss", "test_loss", "nats", "lower", digits=3),
    "val_loss": Quantity("validation loss", "val_loss", "nats", "lower", digits=3),
    "train_loss": Quantity("clean train loss", "train_loss", "nats", "lower", digits=3),
    "trainable_parameters": Quantity("trainable parameters", "trainable_parameters", "", "lower", digits=0),
    "samples_per_s": Quantity("throughput", "samples_per_s", "samples/s", "higher", digits=1),
    "wall_s": Quantity("run time", "wall_s", "s", "lower", digits=1),
    "cpu_s": Quantity("processor time", "cpu_s", "CPU-s", "lower", digits=1),
    "peak_memory_bytes": Quantity("peak memory", "peak_memory_bytes", "MiB", "lower", scale=2.0**-20, digits=0),
}
"""`gap` is signed (test minus clean train), so it has no direction; `peak_memory_bytes` is the accelerator's peak of
allocated bytes, or the peak resident set of the process on a CPU."""

DATASET_METRICS = {
    "accuracy": Quantity("accuracy", "test_metric", "%", "higher", scale=100.0),
    "mcc": Quantity("Matthews correlation", "test_metric", "%", "higher", scale=100.0),
    "pearson": Quantity("Pearson correlation", "test_metric", "%", "higher", scale=100.0),
    "exact_match": Quantity("exact match", "test_metric", "%", "higher", scale=100.0),
    "perplexity": Quantity("perplexity", "test_metric", "", "lower"),
}
"""Metric of a data set (its catalog entry's `metric`) as `test_metric` shows it."""


def quantity(name: str, dataset_metric: str) -> Quantity:
    """The quantity of that name on data of that metric. Raises KeyError for an unknown one."""
    if name != "test_metric":
        return QUANTITIES[name]
    shown = DATASET_METRICS[dataset_metric]
    return replace(shown, label=f"test {shown.label}")
