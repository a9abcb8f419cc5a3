"""The quantities that a table can show: label, unit, direction, range, and where the value lies in a result row; and
the same facts about the metrics of data sets, for the quantity that differs between them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Direction = Literal["higher", "lower", "none"]


@dataclass(frozen=True)
class Quantity:
    """One measured quantity: what it is called, in which unit and range it is shown, and which way is better.

    Shown value = `scale` * value in `column` of result.parquet (`column.key` of a map), in `unit`, with `digits` decimals. `low` and `high` bound
    the shown value (None: no bound on that side); intervals over seeds stay within them. `direction` 'none': nearest to
    zero is best. `task` and `classes`: of a data set's metric, the task and the only number of classes that it is for.
    """

    label: str
    column: str
    unit: str
    direction: Direction
    scale: float = 1.0
    digits: int = 2
    low: float | None = None
    high: float | None = None
    task: str | None = None
    classes: int | None = None


QUANTITIES = {
    "test_metric": Quantity("test metric", "test_metric", "", "none"),
    "val_metric": Quantity("validation metric", "val_metric", "", "none"),
    "gap": Quantity("generalization gap", "gap", "nats", "none", digits=3),
    "gap_absolute": Quantity("absolute generalization gap", "gap_absolute", "nats", "lower", digits=3, low=0),
    "gap_running": Quantity("running generalization gap", "gap_running", "nats", "none", digits=3),
    "test_loss": Quantity("test loss", "test_loss", "nats", "lower", digits=3, low=0),
    "val_loss": Quantity("validation loss", "val_loss", "nats", "lower", digits=3, low=0),
    "train_loss": Quantity("clean train loss", "train_loss", "nats", "lower", digits=3, low=0),
    "trainable_parameters": Quantity("trainable parameters", "trainable_parameters", "", "lower", digits=0, low=0),
    "samples_per_s": Quantity("throughput", "samples_per_s", "samples/s", "higher", digits=1, low=0),
    "wall_s": Quantity("run time", "wall_s", "s", "lower", digits=1, low=0),
    "cpu_s": Quantity("processor time", "cpu_s", "CPU-s", "lower", digits=1, low=0),
    "peak_memory_bytes": Quantity("peak memory", "peak_memory_bytes", "MiB", "lower", scale=2.0**-20, digits=0, low=0),
}
"""`gap` is signed (test minus clean train), so it has neither direction nor bounds, and so is `gap_running` (test minus the
mean training loss while the weights of the selected epoch were moving, dropout on: the paper's reading in one code base,
PROTOCOL 9); `peak_memory_bytes` is the accelerator's peak of allocated bytes, or the peak resident set of the process on a
CPU."""


def _of(task: str, **metrics: Quantity) -> dict[str, Quantity]:
    return {name: replace(what, task=task) for name, what in metrics.items()}


DATASET_METRICS = {
    **_of(
        "classification",
        accuracy=Quantity("accuracy", "test_metric", "%", "higher", scale=100.0, low=0, high=100),
        f1=Quantity("F1 of the positive class", "test_metric", "%", "higher", scale=100.0, low=0, high=100, classes=2),
        mcc=Quantity("Matthews correlation", "test_metric", "%", "higher", scale=100.0, low=-100, high=100),
    ),
    **_of(
        "regression",
        pearson=Quantity("Pearson correlation", "test_metric", "%", "higher", scale=100.0, low=-100, high=100),
        spearman=Quantity("Spearman correlation", "test_metric", "%", "higher", scale=100.0, low=-100, high=100),
        rmse=Quantity("root mean square error", "test_metric", "", "lower", digits=3, low=0),
    ),
    **_of(
        "generation",
        exact_match=Quantity("exact match", "test_metric", "%", "higher", scale=100.0, low=0, high=100),
        bleu=Quantity("BLEU", "test_metric", "", "higher", scale=100.0, low=0, high=100),
        chrf=Quantity("chrF", "test_metric", "", "higher", scale=100.0, low=0, high=100),
        nist=Quantity("NIST", "test_metric", "", "higher", low=0),
        perplexity=Quantity("perplexity", "test_metric", "", "lower", low=1),
    ),
}
"""Metric of a data set (its catalog entry's `metric`) as `test_metric` shows it. A perplexity is exp(loss), at least 1."""

MEASURES = "test_measures"
"""Column of result.parquet with all metrics of the data set on test, name -> value."""
MEASURE_COLUMNS = tuple(f"{MEASURES}.{name}" for name in DATASET_METRICS)
QUANTITIES |= {
    f"test_{name}": replace(what, label=f"test {what.label}", column=f"{MEASURES}.{name}")
    for name, what in DATASET_METRICS.items()
}
"""One metric of a data set by name, the headline or another: `test_f1`. Only data sets that measure it have a value."""


LOSS_UNITS = {"classification": "nats", "regression": "squared error", "generation": "nats/token"}
"""Task -> the unit of its mean loss, and of differences of them."""


def value_of(row: Mapping[str, Any], column: str) -> Any:
    """The value of a quantity's column in a row of result.parquet; None where the run did not record it."""
    name, dot, measure = column.partition(".")
    return dict(row.get(name) or ()).get(measure) if dot else row.get(name)


def quantity(name: str, dataset_metric: str) -> Quantity:
    """The quantity of that name on data of that metric. Raises KeyError for an unknown one."""
    if name not in ("test_metric", "val_metric"):
        what = QUANTITIES[name]
        return (
            replace(what, unit=LOSS_UNITS[str(DATASET_METRICS[dataset_metric].task)]) if what.unit == "nats" else what
        )
    shown = DATASET_METRICS[dataset_metric]
    if name == "val_metric":
        return replace(shown, label=f"validation {shown.label}", column="val_metric")
    return replace(shown, label=f"test {shown.label}")


def baseline_name(metric: str) -> str:
    """What the constant answer is that a run has to beat on data of that metric."""
    return {"classification": "majority class", "regression": "mean of the labels"}.get(
        str(DATASET_METRICS[metric].task), "most frequent text"
    )
