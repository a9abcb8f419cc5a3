"""Settings that rest on no printed word: those whose source says that they are ours, or inferred, and the runs that have them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from peft_lib.study.labels import setting_text

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

KINDS = {
    "ours": "Chosen by us: the paper does not state it",
    "inferred": "Inferred from the paper's numbers or its released code",
}
"""First word of a source -> what it means."""


@dataclass(frozen=True)
class Choice:
    """A setting, its values, where they come from, and whose they are. `runs`: how many of the study's runs have it so."""

    kind: str
    setting: str
    values: tuple[str, ...]
    source: str
    models: tuple[str, ...]
    runs: int


def choices(plan: "Plan") -> list[Choice]:
    """Every setting of a run that is ours or inferred: ours first, then by setting, in the order of the study.

    Values of one source for the same models stand together. A run that grids share counts where it is named first, with the source
    that it has there.
    """
    runs: dict[tuple[str, str, str], dict[str, list[str]]] = {}
    for run_id in dict.fromkeys(point.run_id for points in plan.points.values() for point in points):
        spec = plan.runs[run_id]
        for setting, source in plan.provenance[run_id].items():
            kind = next((kind for kind in KINDS if source.startswith(kind)), None)
            if kind is not None and setting in type(spec).model_fields:
                said = source.removeprefix(kind).lstrip(":, ")
                runs.setdefault((kind, setting, said), {}).setdefault(setting_text(getattr(spec, setting)), []).append(
                    run_id
                )
    order = list(dict.fromkeys(setting for _, setting, _ in runs))
    found = [choice for key, values in runs.items() for choice in _of_models(plan, key, values)]
    return sorted(found, key=lambda c: (list(KINDS).index(c.kind), order.index(c.setting)))


def _of_models(plan: "Plan", key: tuple[str, str, str], values: dict[str, list[str]]) -> Iterator[Choice]:
    by_models: dict[tuple[str, ...], dict[str, int]] = {}
    for value, ids in values.items():
        models = tuple(dict.fromkeys(plan.runs[i].model.id for i in ids))
        by_models.setdefault(models, {})[value] = len(ids)
    kind, setting, source = key
    for models, counted in by_models.items():
        yield Choice(kind, setting, tuple(counted), source, models, sum(counted.values()))
