"""A quantity as a table shows it: `METRICS` with the data set's own metric filled in."""

from dataclasses import dataclass, replace

from peft_lib.study.metrics import METRICS, Direction, Metric
from peft_lib.study.plan import Plan

TASK_METRICS: dict[str, tuple[str, str, float, Direction]] = {
    "accuracy": ("accuracy", "%", 100.0, "higher"),
    "mcc": ("Matthews correlation", "%", 100.0, "higher"),
    "pearson": ("Pearson correlation", "%", 100.0, "higher"),
    "exact_match": ("exact match", "%", 100.0, "higher"),
    "perplexity": ("perplexity", "", 1.0, "lower"),
}
"""Metric of a data set -> label, unit, scale from result.parquet, which direction is better."""


@dataclass(frozen=True)
class Quantity(Metric):
    """A metric whose direction is settled: higher, lower, or none (nearest to zero is best)."""


def quantity(name: str, plan: Plan, dataset: str) -> Quantity:
    """The quantity of that name on a data set. Raises KeyError for an unknown metric."""
    metric = METRICS[name]
    found = Quantity(**vars(metric))
    if metric.direction != "task":
        return found
    label, unit, scale, direction = TASK_METRICS[plan.datasets[dataset].metric]
    return replace(found, label=f"test {label}", unit=unit, scale=scale, direction=direction)
