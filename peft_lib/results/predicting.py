"""What may predict a run's result, and the result, run by run: from rows of runs, diagnostics, and Table 1's bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.results.bound_terms import terms
from peft_lib.results.context import Context, Group
from peft_lib.statistics.prediction import Pairs, Runs, told_apart
from peft_lib.study.known_methods import method_of
from peft_lib.study.quantities import quantity

Better = Literal["lower", "higher", "none"]
Values = dict[str, float]
"""Run id -> a number that it has."""

CLAIMS: dict[str, dict[str, Better]] = {
    "landscape": {"volume": "higher"},
    "spectrum": {"effective_rank": "none", "stable_rank": "none", "columns_touched": "none"},
}
"""Kind of diagnostic -> quantity -> which way it says that a model is better, where that is not 'lower' (sharper, more intruders, a larger
bound or update are said to be worse). None: nobody says so, and no pair can be wrong."""
GAPS = ("gap", "gap_absolute")
RIVALS = {"landscape": "loss landscapes", "sharpness": "sharpness", "intruders": "intruder dimensions"}
"""Kinds of diagnostics that the paper holds the gap against (section 4.3), and what they are called."""
UNDEFINED = "number not defined"
"""Why a run has no number although its diagnostic was computed."""
OUTCOMES = ("test_metric", "gap")


@dataclass(frozen=True)
class Predictor:
    """One number of a run. key: its name in cells. kind: of the diagnostic, empty for the others. better: see CLAIMS."""

    key: str
    label: str
    better: Better
    kind: str = ""
    diagnostic: Diagnostic | None = None
    quantity: str = ""


def predictors(diagnostics: Sequence[Diagnostic]) -> list[Predictor]:
    """All of them: gaps, bound, size, and what each diagnostic has once per run."""
    found = [
        Predictor("gap", "gap", "lower"), Predictor("gap_absolute", "absolute gap", "lower"),
        Predictor("bound", "bound of Table 1", "lower"),
        Predictor("trainable_parameters", "trainable parameters", "lower"),
    ]  # fmt: skip
    kinds = [diagnostic.kind for diagnostic in diagnostics]
    for diagnostic in diagnostics:
        several = kinds.count(diagnostic.kind) > 1
        name = diagnostic.id if several else diagnostic.kind
        for what, label in diagnostic.scalars.items():
            better = CLAIMS.get(diagnostic.kind, {}).get(what, "lower")
            words = f"{label} ({diagnostic.id})" if several else label
            found.append(Predictor(f"{name}.{what}", words, better, diagnostic.kind, diagnostic, what))
    return found


@dataclass(frozen=True)
class TaskRuns:
    """The runs of one task whose methods adapt something, each with its method's cluster and its group of seeds."""

    model: str
    dataset: str
    groups: tuple[Group, ...]
    clusters: dict[str, int]
    """Run id -> cluster."""
    outcomes: dict[str, Values]
    """Outcome -> run id -> value; the test metric turned so that more is better."""

    @property
    def run_ids(self) -> tuple[str, ...]:
        return tuple(run_id for group in self.groups for run_id in group.run_ids)

    def runs(self, x: Values, outcome: str) -> Runs:
        """Those that have both numbers."""
        import numpy as np

        y = self.outcomes[outcome]
        ids = [run_id for run_id in self.run_ids if run_id in x and run_id in y]
        clusters = np.array([self.clusters[i] for i in ids], dtype=int)
        return Runs(clusters, np.array([x[i] for i in ids], dtype=float), np.array([y[i] for i in ids], dtype=float))

    @cached_property
    def decided(self) -> dict[str, list[tuple[Group, Group]]]:
        """Outcome -> (better, worse): groups of two methods whose outcomes differ by more than their noise over seeds."""
        found: dict[str, list[tuple[Group, Group]]] = {}
        for outcome, values in self.outcomes.items():
            known = [(group, of) for group in self.groups if (of := _of(group, values))]
            found[outcome] = []
            for place, (a, mine) in enumerate(known):
                for b, its in known[:place]:
                    if self._cluster(a) != self._cluster(b) and told_apart(mine, its):
                        a_wins = (fmean(mine) > fmean(its)) == (outcome == "test_metric")
                        found[outcome].append((a, b) if a_wins else (b, a))
        return found

    def pairs(self, x: Values, outcome: str, better: Better) -> Pairs:
        """Whether x, by its mean over seeds, prefers the worse one of the pairs that the outcome decides. The pairs are the same
        whatever x is."""
        import numpy as np

        pairs = self.decided[outcome]
        clusters = np.array([[self._cluster(a), self._cluster(b)] for a, b in pairs], dtype=int).reshape(-1, 2)
        means = {group: float(np.mean(of)) for group in self.groups if (of := _of(group, x))}
        sign = 1 if better == "higher" else -1
        ahead = [sign * (means[a] - means[b]) if a in means and b in means else 0.0 for a, b in pairs]
        return Pairs(clusters, np.array([np.nan if d == 0 else float(d < 0) for d in ahead], dtype=float))

    def _cluster(self, group: Group) -> int:
        return self.clusters[group.run_ids[0]]


def _of(group: Group, values: Values) -> list[float]:
    return [values[run_id] for run_id in group.run_ids if run_id in values]


def task_runs(context: Context) -> list[TaskRuns]:
    """Tasks in the order of the study. Methods that adapt nothing are left out: a diagnostic of no update says nothing."""
    groups: dict[tuple[str, str], list[Group]] = {}
    for group in context.groups:
        if not method_of(group.method).floor:
            groups.setdefault((group.model, group.dataset), []).append(group)
    names: dict[str, int] = {}
    made = []
    for (model, dataset), part in groups.items():
        metric = quantity("test_metric", context.plan.datasets[dataset].metric)
        turned = -1.0 if metric.direction == "lower" else 1.0
        clusters = {}
        for group in part:
            cluster = names.setdefault(_cluster(group.method), len(names))
            clusters.update(dict.fromkeys(group.run_ids, cluster))
        outcomes = {"test_metric": _column(context, part, metric.column, turned), "gap": _column(context, part, "gap")}
        made.append(TaskRuns(model, dataset, tuple(part), clusters, outcomes))
    return made


def _cluster(method: str) -> str:
    """A method, or the one that takes the same steps up to rounding."""
    return method_of(method).twin or method


def _column(context: Context, groups: Sequence[Group], column: str, turned: float = 1.0) -> Values:
    found: Values = {}
    for group in groups:
        for run_id, row in zip(group.run_ids, context.of_runs(group, column), strict=True):
            if row.status == "ok" and row.value is not None:
                found[run_id] = turned * float(row.value)
    return found


def values_of(context: Context, predictor: Predictor, task: TaskRuns) -> tuple[Values, dict[str, int]]:
    """A predictor's number of each run that has one, and why the others have none: reason -> number of runs."""
    if predictor.diagnostic is not None:
        return _diagnosed(context, predictor, task)
    if predictor.key != "bound":
        found = _column(context, task.groups, predictor.key)
        absent = len(task.run_ids) - len(found)
        return found, {"no result": absent} if absent else {}
    found, absent = {}, 0
    for group in task.groups:
        bound = terms(context.spec(group), context.plan)
        absent += len(group.run_ids) * (bound is None)
        found.update(dict.fromkeys(group.run_ids, bound.bound(1.0)) if bound else {})
    return found, {"no bound": absent} if absent else {}


def _diagnosed(context: Context, predictor: Predictor, task: TaskRuns) -> tuple[Values, dict[str, int]]:
    found: Values = {}
    why: dict[str, int] = {}
    for run_id in task.run_ids:
        made: Any = context.diagnosed(run_id, predictor.diagnostic)  # type: ignore[arg-type]
        value = made.scalar(predictor.quantity)
        if value is None:
            reason = UNDEFINED if made.status == "ok" else made.status.replace("_", " ")
            why[reason] = why.get(reason, 0) + 1
        else:
            found[run_id] = value
    return found, why
