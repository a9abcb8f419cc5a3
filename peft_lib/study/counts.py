"""Parameters of a run by formula, from the catalogs' dimensions: what trains, and what a percentage of it is of."""

from dataclasses import dataclass

from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.known_methods import method_of
from peft_lib.study.spec import RunSpec


@dataclass(frozen=True)
class Counts:
    """Parameters of one run by formula.

    trainable: all that trains. in_full: of these, the ones that every method trains: the head, and what the model's entry
    adds (`also_trained`). model: the model with its head. total: the same with A and B, whether they train or not.
    """

    trainable: int
    total: int
    in_full: int
    model: int

    @property
    def percent(self) -> float:
        return 100 * self.trainable / self.total


def counts(spec: RunSpec, model: ModelEntry, data: DatasetEntry) -> Counts:
    """Raises KeyError for a target set that the model's entry does not have."""
    return count(spec.method, model, data.outputs, spec.targets, spec.rank)


def count(method_id: str, entry: ModelEntry, outputs: int | None, targets: str, rank: int) -> Counts:
    """The same for any number of outputs; None: the model generates text. Raises KeyError as `counts` does."""
    method = method_of(method_id)
    body, head = entry.body_size(outputs), entry.head_size(outputs)
    in_full = head - (entry.head_frozen if outputs is not None else 0) + entry.also_trained
    model = body + head
    if "backbone" in method.trains:
        return Counts(body + in_full - entry.also_trained, model, in_full, model)
    if not method.has_factors:
        return Counts(in_full, model, in_full, model)
    shapes = [(s.d_in, s.d_out, s.count) for s in entry.targets[targets]]
    trainable = method.trained_size(shapes, rank) + in_full
    return Counts(trainable, model + method.counted_size(shapes, rank), in_full, model)
