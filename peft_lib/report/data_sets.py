"""The data sets of a study as a table: what is learnt, how it is measured, how many rows, and what differs from what was
published."""

from dataclasses import dataclass

from peft_lib.study.plan import Plan
from peft_lib.study.quantities import DATASET_METRICS


@dataclass(frozen=True)
class DataSet:
    """One row. `measures`: the headline first. `carve_out` is None where the splits are the published ones."""

    name: str
    task: str
    measures: str
    sizes: str
    description: str
    carve_out: str | None


def data_sets(plan: Plan) -> list[DataSet]:
    """Those that the study's runs read, in the order of the catalog; sizes without the limits of single runs."""
    used = {spec.dataset.id for spec in plan.runs.values()}
    rows = []
    for entry in (e for e in plan.datasets.values() if e.id in used):
        labels = [DATASET_METRICS[name].label for name in (entry.metric, *entry.measures)]
        task = f"{entry.task}, {entry.num_labels} classes" if entry.num_labels else entry.task
        sizes = " / ".join(f"{entry.sizes[s]:,}" for s in ("train", "validation", "test") if s in entry.sizes)
        carve_out = entry.carve_out.rstrip(".") if entry.carve_out else None
        rows.append(DataSet(entry.name, task, ", ".join(labels), sizes, entry.description, carve_out))
    return rows
