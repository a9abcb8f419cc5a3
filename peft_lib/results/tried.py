"""Settings of a method that a study tried: which of them is its default, which lie near the best one."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.marks import goodness
from peft_lib.statistics.tuning import within_decade
from peft_lib.study.known_methods import method_of
from peft_lib.study.settings import OPTION
from peft_lib.study.spec import RunSpec, rounded
from peft_lib.study.types import parse_number


@dataclass(frozen=True)
class Setting:
    """One setting of a method that was tried: its runs, what it is chosen by, its validation loss, its score on test."""

    group: Group
    spec: RunSpec
    chosen_by: Cell
    loss: Cell
    test: Cell

    @property
    def complete(self) -> bool:
        """Whether all its runs are good: only then may it be chosen."""
        return self.chosen_by.complete and self.loss.complete and self.test.complete

    @property
    def goodness(self) -> tuple[float, float]:
        """The larger the better: by what it is chosen by, then by validation loss, as epochs of a run are."""
        return goodness(self.chosen_by), goodness(self.loss)

    @property
    def values(self) -> tuple[Any, ...]:
        """The varied settings as the run has them: alpha as a number."""
        return tuple(value_in(self.spec, name) for name, _ in self.group.varied)


def default_values(context: Context, like: Setting, given: Mapping[str, Any]) -> dict[str, Any]:
    """Varied setting -> its default: what the artefact gives, else that of the first other grid of the study that runs the
    method on the task without varying it; a setting that neither says is absent."""
    varied = dict(like.group.varied)
    other = _elsewhere(context, like.group, varied.keys() - given.keys())
    return {
        name: given[name] if name in given else value_in(other, name)
        for name in varied
        if name in given or other is not None
    }


def setting_at(settings: list[Setting], values: Mapping[str, Any], given: Mapping[str, Any]) -> Setting | None:
    """The one of the settings that has these values. What is `given` is written as the grid has it (2r), the rest is a run's."""
    for setting in settings:
        varied = dict(setting.group.varied)
        if all(same(v, varied[n] if n in given else value_in(setting.spec, n)) for n, v in values.items()):
            return setting
    return None


def _elsewhere(context: Context, group: Group, names: Set[str]) -> RunSpec | None:
    """The method's run on the task in the first other grid of the study that does not vary these settings."""
    for grid, points in context.plan.points.items():
        if grid in context.artefact.grids() or names & context.plan.study.grids[grid].vary.keys():
            continue
        for p in points:
            if (p.model, p.dataset, p.method) == (group.model, group.dataset, group.method):
                return context.plan.runs[p.run_id]
    return None


def value_in(spec: RunSpec | None, setting: str) -> Any:
    """A varied setting's value in a run, numbers as the run's id has them."""
    if spec is None:
        return None
    if setting.startswith(OPTION):
        options = method_of(spec.method).parse_options(spec.options)  # with the method's own defaults
        return getattr(options, setting.removeprefix(OPTION), None)
    return rounded(getattr(spec, setting))


def same(one: Any, other: Any) -> bool:
    """Whether two spellings of a setting's value are the same: 1e-3 and 0.001."""
    return bool(rounded(parse_number(one)) == rounded(parse_number(other)))


def near(best: Setting, known: list[Setting]) -> list[Setting]:
    """Settings that differ from the best one in the learning rate alone, by at most a factor of ten."""
    place = [name for name, _ in best.group.varied].index("lr")

    def rest(s: Setting) -> tuple[Any, ...]:
        return s.values[:place] + s.values[place + 1 :]

    line = [s for s in known if rest(s) == rest(best)]
    inside = within_decade([s.spec.lr for s in line], best.spec.lr)
    return [s for s, close in zip(line, inside, strict=True) if close]
