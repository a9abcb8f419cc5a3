"""Kind `overall`: methods over all rows of grids by mean rank, interquartile mean and probability of improvement."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Highlight, Metric, OfGrids
from peft_lib.display.markup import plain_name
from peft_lib.display.overall_tables import IMPROVEMENT, RANK, ROWS, SCORE, TEST, over, remarks_of, tables_of
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.results import marks
from peft_lib.results.baseline import baseline
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.statistics import across
from peft_lib.statistics.families import ALPHA, holm
from peft_lib.statistics.intervals import FEWEST
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import QUANTITIES
from peft_lib.study.types import Name

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

SHOWN: dict[str, tuple[str, Literal["higher", "lower"], int]] = {
    RANK: ("", "lower", 2), SCORE: ("%", "higher", 1), IMPROVEMENT: ("%", "higher", 0)
}  # fmt: skip
"""Panel -> unit, direction, decimals."""


@dataclass(frozen=True)
class Line:
    """One row of the grids: its cells by method, its constant answer, and why it is left out, if it is."""

    cells: dict[str, Cell]
    constant: Cell | None
    problem: str | None

    @property
    def first(self) -> Cell:
        return next(iter(self.cells.values()))

    def scores(self, methods: list[str]) -> Any:
        """(methods, seeds), larger is better."""
        import numpy as np

        sign = -1 if self.first.direction == "lower" else 1
        return sign * np.array([self.cells[m].values for m in methods])

    @property
    def zero(self) -> float | None:
        """What stands for no learning, as a score: the constant answer, or where none has a score the worst method."""
        if self.constant is not None and self.constant.complete:
            return self.constant.number * (-1 if self.first.direction == "lower" else 1)
        return None


class Overall(OfGrids):
    """One number per method over all complete rows."""

    kind: Literal["overall"]
    metric: Metric = "test_metric"
    against: Annotated[
        Name | None, Field(description="method that the probability of improvement is over; absent: it is left out")
    ] = None
    highlight: Highlight = 3

    template: ClassVar[str] = "overall"

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.against, where, study, parser, "against")
        if self.metric != "test_metric" and QUANTITIES[self.metric].direction == "none":
            rule = "methods are put in order by a quantity of which more, or less, is better"
            parser.problem((*where, "metric"), self.metric, rule, "use test_metric, test_loss or gap_absolute")

    def build(self, context: Context) -> list[Cell]:
        """Per method a cell in each of the panels mean_rank, interquartile_mean and improvement; per row one in `rows`."""
        rows = list(context.rows())
        if not rows:
            return []
        methods = [m for m in dict.fromkeys(g.method for g in rows[0]) if all(m in _methods(row) for row in rows)]
        lines = [self._line(context, row, methods) for row in rows]
        return [*self._summed(lines, methods), *self._of_rows(lines, methods)]

    def _line(self, context: Context, row: list[Group], methods: list[str]) -> Line:
        cells = {g.method: context.cell(g, self.metric) for g in row if g.method in methods}
        constant = baseline(context, row) if self.metric == "test_metric" else None
        lacking = [m for m, c in cells.items() if not c.complete]
        problem = None
        if lacking:
            names = ", ".join(plain_name(m) for m in lacking[:3])
            more = f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""
            problem = f"no value from all planned runs of {names}{more}"
        elif len({len(c.values) for c in cells.values()}) > 1:
            problem = "methods have different numbers of seeds"
        return Line(cells, constant, problem)

    def _summed(self, lines: list[Line], methods: list[str]) -> Iterator[Cell]:
        complete = [line for line in lines if line.problem is None]
        scores = [line.scores(methods) for line in complete]
        scaled, zeros = [], []
        for row, line in zip(scores, complete, strict=True):
            zero = _zero(line, row)
            if row.mean(axis=-1).max() > zero:
                scaled.append(row)
                zeros.append(zero)
        fewest = min((row.shape[-1] for row in scores), default=0)
        yield from self._panel(RANK, methods, scores, lines, across.mean_rank, True, fewest)
        share = across.normalised(scaled, zeros) if scaled else []
        yield from self._panel(
            SCORE, methods, share, lines, lambda rows: 100 * across.interquartile_mean(rows), True, fewest
        )
        if self.against in methods:
            place = methods.index(self.against)
            cells = self._panel(
                IMPROVEMENT, methods, scores, lines, lambda rows: 100 * across.improvement(rows, place), False, fewest
            )
            yield from (c for c in cells if c.method != self.against)
        yield from self._tested(methods, scores, lines)

    def _panel(
        self, panel: str, methods: list[str], rows: list[Any], lines: list[Line], statistic: across.Statistic,
        paired: bool, fewest: int,
    ) -> list[Cell]:  # fmt: skip
        unit, direction, digits = SHOWN[panel]
        blank = Cell(
            self.id, self.kind, panel, "", "", "", "", panel, unit=unit, direction=direction, digits=digits,
            planned=len(lines), n=len(rows),
        )  # fmt: skip
        if not rows or not methods:
            reason = "no row has a value from all planned runs of all methods"
            return [replace(blank, column=m, method=m, status="not_available", reason=reason) for m in methods]
        values = statistic(list(rows))
        ends = across.bootstrap(rows, statistic, paired) if fewest >= FEWEST else None
        cells = []
        for place, method in enumerate(methods):
            run_ids = tuple(i for line in lines if line.problem is None for i in line.cells[method].run_ids)
            cell = replace(blank, column=method, method=method, value=float(values[place]), run_ids=run_ids)
            if ends is not None:
                cell = replace(cell, low=float(ends[0][place]), high=float(ends[1][place]))
            cells.append(cell)
        return marks.rank(cells, self.highlight)

    def _tested(self, methods: list[str], rows: list[Any], lines: list[Line]) -> Iterator[Cell]:
        """Friedman's test; where it finds a difference, each method's mean rank against the reference's (Holm)."""
        found = across.friedman(rows) if rows else None
        cell = Cell(
            self.id, self.kind, TEST, "", "", "", TEST, "critical_difference", digits=2, n=len(rows), planned=len(lines)
        )  # fmt: skip
        if found is None:
            few = f"it is made from {across.FEWEST_ROWS} complete rows and 3 methods on; there are {len(rows)} and "
            yield replace(cell, status="not_available", reason=f"{few}{len(methods)}")
            return
        yield replace(cell, value=found.critical_difference, p=found.p, text=f"F = {found.statistic:.2f}")
        if found.p < ALPHA and self.against in methods:
            p = across.rank_p_values(rows, methods.index(self.against))
            others = [place for place, m in enumerate(methods) if m != self.against]
            adjusted = holm([p[place] for place in others])
            for place, corrected in zip(others, adjusted, strict=True):
                m = methods[place]
                yield replace(cell, column=m, method=m, metric="rank_test", p=p[place], p_adjusted=corrected)

    def _of_rows(self, lines: list[Line], methods: list[str]) -> Iterator[Cell]:
        """Per row its zero and its best method: the ends of the scale that its scores are put on."""
        for line in lines:
            first = line.first
            same: dict[str, Any] = {
                "artefact": self.id, "kind": self.kind, "panel": ROWS, "model": first.model, "dataset": first.dataset,
                "row": first.row, "metric": first.metric, "unit": first.unit, "direction": first.direction,
                "digits": first.digits,
            }  # fmt: skip
            if line.problem is not None:
                for end in ("zero", "best"):
                    yield Cell(**same, column=end, status="not_available", reason=f"left out: {line.problem}")
                continue
            sign = -1 if first.direction == "lower" else 1
            scores = line.scores(methods)
            zero, means = _zero(line, scores), scores.mean(axis=-1)
            best = int(means.argmax())
            flat = None if means[best] > zero else "no method is better than the zero: it counts for ranks alone"
            source = "constant answer" if line.zero is not None else "worst method"
            yield Cell(**same, column="zero", value=sign * zero, text=source, reason=flat)
            leader = methods[best]
            yield Cell(**same, column="best", value=sign * float(means[best]), method=leader, text=plain_name(leader))

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One row per method; then one per task with the ends of its scale."""
        return tables_of(cells, plan, notes, self.against)

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import overall_figure  # loads matplotlib

        names = {RANK: "mean rank (1: best)", SCORE: "interquartile mean (%)", IMPROVEMENT: over(self.against)}
        return overall_figure.draw(self.id, names, [c for c in cells if c.panel in SHOWN], folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return remarks_of(cells, self.against)


def _methods(row: list[Group]) -> set[str]:
    return {g.method for g in row}


def _zero(line: Line, scores: Any) -> float:
    """The zero of a row's scale, as a score."""
    return float(scores.mean(axis=-1).min()) if line.zero is None else line.zero
