"""What every builder starts from: the points of grids in groups of seeds, and a group's runs as one cell."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.results.cells import Cell
from peft_lib.results.published import REFERENCE, Published, Value
from peft_lib.results.statuses import FAILURES
from peft_lib.statistics.intervals import summarise
from peft_lib.study.labels import number
from peft_lib.study.quantities import MEASURE_COLUMNS, Quantity, quantity
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:  # planning loads the kinds of artefacts, and with them this module
    import pandas as pd

    from peft_lib.artefacts.kind import Artefact
    from peft_lib.results.diagnosed import Diagnosed
    from peft_lib.study.plan import Plan

Task = tuple[str, str, str]
"""Model, data set, and what a grid varies: the label of a row."""
SINGLE = "single seed: no spread"
STATUS_WORDS = {"out_of_memory": "out of memory"}


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone: one place in a table."""

    model: str
    dataset: str
    method: str
    varied: tuple[tuple[str, Any], ...]
    run_ids: tuple[str, ...]

    @property
    def row(self) -> str:
        """Row label within model and data set: what the grid varies."""
        return ", ".join(f"{name} {number(value)}" for name, value in self.varied)


class Run(NamedTuple):
    """What a cell needs of a run's row; `value` is None where the run did not record it."""

    status: str
    reason: str | None
    seed: int
    value: Any


def _absent(value: Any) -> bool:
    """Whether a frame has no value there: None, or a float that is not equal to itself."""
    return value is None or value != value


@dataclass(frozen=True)
class Context:
    """One artefact of a plan, with the runs' rows (`collect`) and the folder of the paper's values."""

    plan: "Plan"
    artefact: "Artefact"
    runs: "pd.DataFrame"
    results: Path
    references: Path = field(default=REFERENCE)

    @cached_property
    def published(self) -> Published | None:
        name = getattr(self.artefact, "published", None)
        return Published(name, self.references) if name else None

    def of(self, artefact_id: str) -> list[Cell]:
        """The cells of another artefact of the study, from the same runs. Raises KeyError for an unknown one."""
        others = {artefact.id: artefact for artefact in self.plan.study.artefacts}
        return others[artefact_id].build(replace(self, artefact=others[artefact_id]))

    @cached_property
    def groups(self) -> list[Group]:
        """Groups in the order of the study: grids as the artefact names them, tasks, varied settings, methods."""
        return [group for name in self.artefact.grids() for group in self._of_grid(name)]

    def _of_grid(self, name: str) -> list[Group]:
        grid = self.plan.study.grids[name]
        run_ids: dict[tuple, dict[str, None]] = {}
        for p in self.plan.points[name]:
            run_ids.setdefault((p.model, p.dataset, tuple(p.varied.items()), p.method), {})[p.run_id] = None
        tasks = {tuple(task.split("/")): place for place, task in enumerate(grid.tasks)}
        methods = {method: place for place, method in enumerate(grid.methods)}
        varied = {key[2]: None for key in run_ids}
        order = {key: place for place, key in enumerate(varied)}
        ordered = sorted(run_ids.items(), key=lambda item: (tasks[item[0][:2]], order[item[0][2]], methods[item[0][3]]))
        return [Group(model, dataset, method, values, tuple(ids)) for (model, dataset, values, method), ids in ordered]

    def rows(self) -> Iterator[list[Group]]:
        """Groups that share a row: same task and varied settings, one per method."""
        rows: dict[tuple, list[Group]] = {}
        for group in self.groups:
            rows.setdefault((group.model, group.dataset, group.varied), []).append(group)
        yield from rows.values()

    def spec(self, group: Group) -> RunSpec:
        return self.plan.runs[group.run_ids[0]]

    def of_runs(self, group: Group, column: str) -> list[Run]:
        """A column of the group's runs, with what became of each. (Dicts: slicing a frame for each cell takes 30 times as long.)"""
        status, reason, seed, values = (self._column(name) for name in ("status", "reason", "seed", column))
        return [Run(status[i], reason[i], seed[i], None if _absent(values[i]) else values[i]) for i in group.run_ids]

    def _column(self, name: str) -> dict[str, Any]:
        if name not in self._columns:
            self._columns[name] = dict(zip(self.runs.index, self.runs[name], strict=True))
        return self._columns[name]

    @cached_property
    def _columns(self) -> dict[str, dict[str, Any]]:
        return {}

    def cell(self, group: Group, metric: str, **place: Any) -> Cell:
        """The group's mean of a quantity, with whatever happened to its runs."""
        what = quantity(metric, self.plan.datasets[group.dataset].metric)
        place = {"panel": "", "row": group.row, "column": group.method, **place}
        rows = self.of_runs(group, what.column)
        return Cell(
            artefact=self.artefact.id, kind=self.artefact.kind, model=group.model, dataset=group.dataset, metric=metric,
            method=group.method, unit=what.unit, direction=what.direction, digits=what.digits, run_ids=group.run_ids,
            **_measured(rows, what), **place,
        )  # fmt: skip

    def diagnosed(self, run_id: str, diagnostic: Diagnostic) -> "Diagnosed":
        """A diagnostic's numbers of one run, or why there are none."""
        from peft_lib.results.diagnosed import diagnosed  # loads pyarrow

        key = (run_id, diagnostic.id)
        if key not in self._diagnosed:
            names = ("status", "reason", "started", "finished")
            run = {name: self._column(name)[run_id] for name in names}
            self._diagnosed[key] = diagnosed(self.plan, run_id, run, diagnostic, self.results)
        return self._diagnosed[key]

    @cached_property
    def _diagnosed(self) -> dict[tuple[str, str], "Diagnosed"]:
        return {}

    def diagnosed_cell(
        self, group: Group, diagnostic: Diagnostic, what: Quantity, read: Callable[["Diagnosed"], float | None], metric: str,
        **place: Any,
    ) -> Cell:  # fmt: skip
        """The group's mean of a number that its runs' diagnostics have: `read` takes it from one of them, None where it has
        none. `what` says how it is shown (`column`: its name in reasons), `metric` names it."""
        place = {"panel": "", "row": group.row, "column": group.method, **place}
        rows = []
        for run_id in group.run_ids:
            found = self.diagnosed(run_id, diagnostic)
            rows.append(Run(found.status, found.reason, self._column("seed")[run_id], read(found)))
        return Cell(
            artefact=self.artefact.id, kind=self.artefact.kind, model=group.model, dataset=group.dataset, metric=metric,
            method=group.method, unit=what.unit, direction=what.direction, digits=what.digits, run_ids=group.run_ids,
            **_measured(rows, what), **place,
        )  # fmt: skip

    def printed(self, group: Group, **keys: Any) -> Value | None:
        """The paper's value for a group; settings that the reference file keys by are read from the spec.

        None where the grid varies a setting that the file does not key by: its value is for one of them, unknown which.
        """
        if self.published is None or any(setting not in self.published.keys for setting, _ in group.varied):
            return None
        spec = self.spec(group)
        settings = {k: getattr(spec, k) for k in ("rank", "alpha", "lr", "chain_period")}
        given = {"model": group.model, "dataset": group.dataset, "method": group.method}
        return self.published.find(**{**settings, **given, **keys})


def _measured(rows: list[Run], what: Quantity) -> dict[str, Any]:
    """Value, spread, counts, status and reason of runs that belong together. Stale ones count if all are stale."""
    fresh = [row for row in rows if row.status == "ok"]
    stale = [row for row in rows if row.status == "stale" and row.value is not None]
    use = stale if not fresh and len(stale) == len(rows) else fresh
    spread = summarise((float(row.value) * what.scale for row in use if row.value is not None), what.low, what.high)
    status, reason = _status(rows, fresh, what.column)
    if spread.n == 1 and not reason:
        reason = SINGLE
    return {
        "value": spread.mean, "sd": spread.sd, "n": spread.n, "planned": len(rows), "low": spread.low,
        "high": spread.high, "values": spread.values, "status": status, "reason": reason,
    }  # fmt: skip


def _status(rows: list[Run], fresh: list[Run], column: str) -> tuple[str, str | None]:
    if len(fresh) == len(rows):
        absent = sum(row.value is None for row in fresh)
        if not absent:
            return "ok", None
        status = "not_available" if absent == len(rows) else "partial"
        if column in MEASURE_COLUMNS and absent == len(rows):
            return status, "not measured for this data set"
        return status, f"{absent} of {len(rows)} runs did not record {column}"
    failed = {s: part for s in FAILURES if (part := [row for row in rows if row.status == s])}
    texts = []
    for status, part in failed.items():
        why = "; ".join(dict.fromkeys(str(row.reason) for row in part if row.reason))
        seeds = ", ".join(str(row.seed) for row in part)
        texts.append(
            f"{STATUS_WORDS.get(status, status)} (seed{'s' * (len(part) > 1)} {seeds}){f': {why}' if why else ''}"
        )
    if fresh:
        return "partial", f"{len(fresh)} of {len(rows)} runs; " + "; ".join(texts)
    return next(iter(failed)), "; ".join(texts)


def build(
    plan: "Plan",
    artefact: "Artefact",
    runs: "pd.DataFrame",
    results: Path | str,
    references: Path | str = REFERENCE,
) -> list[Cell]:
    """Cells of an artefact. `runs` is what `collect(plan, results)` returned."""
    return artefact.build(Context(plan, artefact, runs, Path(results), Path(references)))
