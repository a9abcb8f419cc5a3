"""Kind `tuning`: what each method gains by tuning, chosen on validation and reported on test, beside what the search cost."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.heatmap import ends
from peft_lib.artefacts.kind import OfGrids
from peft_lib.display.tables import setting_name
from peft_lib.display.tuning_tables import (
    BEST,
    COST,
    CURVE,
    DECADE,
    DEFAULT,
    GAIN,
    RUNS,
    SETTINGS,
    SPREAD,
    TEST,
    TEST_CURVE,
    TUNED,
    VALIDATION,
    remarks_of,
    tables_of,
)  # fmt: skip
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.tried import Setting, default_values, near, same, setting_at
from peft_lib.statistics import tuning
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.types import Scalar

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

UNKNOWN = ("missing", "stale", "unreadable")
"""What became of runs that may still change the choice; one that diverged or ran out of memory is known, and no choice."""


class Tuning(OfGrids):
    """One row per method and task; the grids vary what is tuned."""

    kind: Literal["tuning"]
    select_by: Annotated[
        Literal["val_loss", "val_metric"] | None,
        Field(
            description="what settings are chosen by; absent: what the runs choose their epoch by, val_loss for the last one"
        ),
    ] = None
    default: dict[str, Scalar] = Field(
        {}, description="setting -> its value that all methods share untuned; what is absent is taken from the first "
        "other grid that runs the method on the task", examples=["{rank: 8, lr: 1e-2}"],
    )  # fmt: skip
    cost: Literal["cpu_s", "wall_s"] = Field(
        "cpu_s", description="time that the search is charged in, summed over its runs"
    )
    replacement: bool = Field(
        True, description="expected best of settings drawn with replacement (Dodge et al. 2019), or each at most once"
    )

    template: ClassVar[str] = "overall"
    of_methods: ClassVar[bool] = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        for name, grid in self.known_grids(study):
            if not grid.vary and not parser.is_broken(("grids", name, "vary")):
                remedy = "add vary to the grid, for example vary: {lr: [1e-3, 1e-2]}"
                parser.problem((*where, "grid"), name, "tuning is shown of a grid that varies settings", remedy)
            for setting, value in self.default.items():
                place = (*where, "default", setting)
                if setting not in grid.vary:
                    varies = ", ".join(grid.vary) or "nothing"
                    parser.problem(place, setting, f"a default is of a varied setting; grid {name} varies {varies}",
                                   "remove it, or vary it in the grid")  # fmt: skip
                elif all(not same(value, tried) for tried in grid.vary[setting]):
                    tried = ", ".join(number(v) for v in grid.vary[setting])
                    parser.problem(place, value, f"a default is one of the values that grid {name} tries: {tried}",
                                   "use one of them, or add it to the grid")  # fmt: skip

    def build(self, context: Context) -> list[Cell]:
        """Panel `tuned`: a cell per column of the table. Panels expected_best and expected_test: a cell per number tried."""
        tried: dict[tuple[str, str, str], dict[tuple[str, ...], Setting]] = {}
        for group in context.groups:
            spec = context.spec(group)
            by = self.select_by or ("val_metric" if spec.selection == "val_metric" else "val_loss")
            values = (context.cell(group, name) for name in (by, "val_loss", "test_metric"))
            setting = Setting(group, spec, *values)
            # A setting that the method has no use for is no setting of it: the runs are the same.
            tried.setdefault((group.model, group.dataset, group.method), {}).setdefault(group.run_ids, setting)
        tasks = list(dict.fromkeys((model, dataset) for model, dataset, _ in tried))
        ordered = sorted(tried, key=lambda key: tasks.index((key[0], key[1])))  # grids may have parts of a task
        return [cell for key in ordered for cell in self._of_method(context, list(tried[key].values()))]

    def _of_method(self, context: Context, settings: list[Setting]) -> Iterator[Cell]:
        group = settings[0].group
        run_ids = tuple(i for s in settings for i in s.group.run_ids)
        known = [s for s in settings if s.complete]
        unknown = sum(any(run.status in UNKNOWN for run in context.of_runs(s.group, "test_metric")) for s in settings)
        problem = f"{unknown} of {len(settings)} settings have runs that are absent or stale" if unknown else None
        best = max(known, key=lambda s: s.goodness, default=None)
        pattern = Cell(
            self.id, self.kind, TUNED, group.model, group.dataset, group.method, "", "", method=group.method,
            n=len(known), planned=len(settings), status="partial" if unknown and best else "ok", reason=problem,
            run_ids=run_ids,
        )  # fmt: skip
        if best is None:
            pattern = replace(pattern, status="missing" if unknown else "not_available",
                              reason=problem or "no setting has a value from all its runs")  # fmt: skip
        yield self._choice(pattern, best, known, settings)
        yield self._as(pattern, VALIDATION, best.chosen_by if best else None, settings[0].chosen_by)
        yield self._as(pattern, TEST, best.test if best else None, settings[0].test)
        yield from self._against_default(context, pattern, best, settings)
        yield from self._spreads(pattern, best, known, settings)
        yield from self._budget(context, pattern, settings)
        yield from self._curves(pattern, known)

    def _choice(self, pattern: Cell, best: Setting | None, known: list[Setting], settings: list[Setting]) -> Cell:
        cell = replace(pattern, column=BEST, metric=settings[0].chosen_by.metric)
        if best is None:
            return cell
        outer = {name: ends({dict(s.group.varied)[name] for s in settings}) for name, _ in best.group.varied}
        at = [f"{outer[name][value]} {name}" for name, value in best.group.varied if value in outer[name]]
        equal = sum(s.goodness == best.goodness for s in known)
        said = [pattern.reason] if pattern.reason else []
        said += [f"{equal} settings are equally good on validation; this is the first of them"] * (equal > 1)
        failed = len(settings) - len(known)
        if failed and pattern.status == "ok":
            said.append(f"{failed} of {len(settings)} settings diverged or ran out of memory")
        return replace(
            cell,
            text=_words(best.group.varied),
            edge=", ".join(at) or None,
            reason="; ".join(said) or None,
            tied=equal > 1,
        )

    def _as(self, pattern: Cell, column: str, cell: Cell | None, like: Cell) -> Cell:
        """A cell of one setting's runs as the cell of the method's row."""
        place: dict[str, Any] = {"panel": TUNED, "row": pattern.row, "column": column}
        if cell is None:
            return replace(
                pattern, column=column, metric=like.metric, unit=like.unit, direction=like.direction, digits=like.digits
            )
        status: dict[str, Any] = {"status": pattern.status, "reason": pattern.reason} if pattern.status != "ok" else {}
        return replace(cell, **place, **status)

    def _against_default(
        self, context: Context, pattern: Cell, best: Setting | None, settings: list[Setting]
    ) -> Iterator[Cell]:
        like = settings[0].test
        same: dict[str, Any] = {
            "metric": like.metric, "unit": like.unit, "digits": like.digits, "direction": like.direction
        }  # fmt: skip
        values = default_values(context, settings[0], self.default)
        untold = [name for name, _ in settings[0].group.varied if name not in values]
        found = None if untold else setting_at(settings, values, self.default)
        if found is None:
            why = f"the default ({_words(values.items())}) is not among the settings tried"
            if untold:
                what = setting_name(untold[0])
                why = f"no other grid says which {what} is the default; name it in the artefact's `default`"
            blank = replace(pattern, status="not_available", reason=why, **same)
            yield from (replace(blank, column=column) for column in (DEFAULT, GAIN))
            return
        yield replace(found.test, panel=TUNED, row=pattern.row, column=DEFAULT, text=_words(found.group.varied))
        gain = replace(pattern, column=GAIN, **same)
        if best is None or not found.test.complete:
            yield replace(gain, status="not_available", reason=gain.reason or found.test.reason)
        else:
            yield replace(gain, value=best.test.number - found.test.number)

    def _spreads(
        self, pattern: Cell, best: Setting | None, known: list[Setting], settings: list[Setting]
    ) -> Iterator[Cell]:
        like = settings[0].test
        blank = replace(pattern, metric=like.metric, unit=like.unit, digits=like.digits, direction="lower")
        rates = {s.spec.lr for s in settings}
        if "lr" in dict(settings[0].group.varied) and len(rates) > 1:
            close = near(best, known) if best is not None else []
            yield _spread(replace(blank, column=DECADE), close, "no second learning rate within a decade of the best")
        yield _spread(replace(blank, column=SPREAD), known, "fewer than two settings have a value")

    def _budget(self, context: Context, pattern: Cell, settings: list[Setting]) -> Iterator[Cell]:
        runs = {run_id for s in settings for run_id in s.group.run_ids}
        plain: dict[str, Any] = {"direction": "lower", "digits": 0, "status": "ok", "reason": None}
        yield replace(pattern, column=SETTINGS, metric=SETTINGS, value=len(settings), **plain)
        yield replace(pattern, column=RUNS, metric=RUNS, value=len(runs), **plain)
        rows = {
            i: r for s in settings for i, r in zip(s.group.run_ids, context.of_runs(s.group, self.cost), strict=True)
        }
        spent = [float(r.value) for r in rows.values() if r.value is not None and r.status != "stale"]
        unit = "CPU-s" if self.cost == "cpu_s" else "s"
        lacking = len(rows) - len(spent)
        status = (
            {"status": "partial", "reason": f"{lacking} of {len(rows)} runs have not told their time"}
            if lacking
            else {}
        )
        total = {"n": len(spent), "planned": len(rows), "value": sum(spent) if spent else None}
        yield replace(pattern, column=COST, metric=self.cost, unit=unit, **(plain | total | status))

    def _curves(self, pattern: Cell, known: list[Setting]) -> Iterator[Cell]:
        """What n settings, tried at random, are expected to give: on validation, and on test at the setting so chosen."""
        if not known:
            return
        sign = -1 if known[0].chosen_by.direction == "lower" else 1
        values = [sign * s.chosen_by.number for s in known]
        for panel, cells in ((CURVE, [s.chosen_by for s in known]), (TEST_CURVE, [s.test for s in known])):
            first = cells[0]
            same = replace(pattern, panel=panel, column=pattern.row, metric=first.metric, unit=first.unit,
                           direction=first.direction, digits=first.digits, status="ok", reason=None)  # fmt: skip
            for n in range(1, len(known) + 1):
                value = tuning.expected_at_best(values, [c.number for c in cells], n, self.replacement)
                yield replace(same, row=str(n), value=value)

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return tables_of(cells, plan, notes)

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import tuning_figure  # loads matplotlib

        return tuning_figure.draw(self.id, [c for c in cells if c.panel in (CURVE, TEST_CURVE)], plan, folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        mine = [c for c in cells if c.panel == TUNED]
        names = dict.fromkeys(row.group for table in tables for row in table.rows)
        tasks = dict(zip(dict.fromkeys((c.model, c.dataset) for c in mine), names, strict=True))
        return remarks_of(mine, tasks, self.replacement)


def _words(values: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{setting_name(name)} {number(value)}" for name, value in values)


def _spread(blank: Cell, settings: list[Setting], few: str) -> Cell:
    """Largest minus smallest test metric of some settings."""
    if len(settings) < 2:
        return replace(blank, status="not_available", reason=blank.reason or few)
    values = [s.test.number for s in settings]
    return replace(blank, value=max(values) - min(values), n=len(settings), values=tuple(values))
