"""The quantities that a table can show: label, unit, direction, and where the value lies in a result row."""

from dataclasses import dataclass
from typing import Literal

Direction = Literal["higher", "lower", "none", "task"]


@dataclass(frozen=True)
class Metric:
    """`column`: column of result.parquet. `direction` 'task': that of the data set's own metric."""

    label: str
    column: str
    unit: str
    direction: Direction
    scale: float = 1.0
    digits: int = 2


METRICS = {
    "test_metric": Metric("test metric", "test_metric", "%", "task", scale=100.0),
    "gap": Metric("generalization gap", "gap", "nats", "none", digits=3),
    "gap_absolute": Metric("absolute generalization gap", "gap_absolute", "nats", "lower", digits=3),
    "test_loss": Metric("test loss", "test_loss", "nats", "lower", digits=3),
    "val_loss": Metric("validation loss", "val_loss", "nats", "lower", digits=3),
    "train_loss": Metric("clean train loss", "train_loss", "nats", "lower", digits=3),
    "trainable_parameters": Metric("trainable parameters", "trainable_parameters", "", "lower", digits=0),
    "samples_per_s": Metric("throughput", "samples_per_s", "samples/s", "higher", digits=1),
    "wall_s": Metric("run time", "wall_s", "s", "lower", digits=1),
    "cpu_s": Metric("processor time", "cpu_s", "CPU-s", "lower", digits=1),
    "peak_memory_bytes": Metric("peak memory", "peak_memory_bytes", "MiB", "lower", scale=2.0**-20, digits=0),
}
"""`gap` is signed (test minus clean train), so it has no direction; `peak_memory_bytes` is the accelerator's peak of
allocated bytes, or the peak resident set of the process on a CPU."""
