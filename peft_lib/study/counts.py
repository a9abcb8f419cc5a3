"""Parameters of a run by formula, from the catalogs' dimensions: what trains, and what a percentage of it is of."""

from dataclasses import dataclass

from peft_lib.methods.registry import get_method
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.spec import RunSpec


@dataclass(frozen=True)
class Counts:
    """Parameters of one run by formula. `total`: the model with its head, A and B whether they train or not."""

    trainable: int
    total: int

    @property
    def percent(self) -> float:
        return 100 * self.trainable / self.total


def counts(spec: RunSpec, model: ModelEntry, data: DatasetEntry) -> Counts:
    """Raises KeyError for a target set that the model's entry does not have."""
    method = get_method(spec.method)
    body, head = model.body_size(data.outputs), model.head_size(data.outputs)
    in_full = head - (model.head_frozen if data.outputs is not None else 0) + model.also_trained
    if "backbone" in method.trains:
        return Counts(body + in_full - model.also_trained, body + head)
    if not method.has_factors:
        return Counts(in_full, body + head)
    shapes = [(s.d_in, s.d_out, s.count) for s in model.targets[spec.targets]]
    trainable = method.trained_size(shapes, spec.rank) + in_full
    return Counts(trainable, body + head + method.counted_size(shapes, spec.rank))
