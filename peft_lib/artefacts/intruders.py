"""Kind `intruders`: intruder dimensions against the threshold of their cosines (Figure 4), and their counts at some thresholds."""

from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from peft_lib.artefacts.places import OfPlaces, lines_of, panel_of
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.intruders import FIRST, IntruderOptions, Intruders, Thresholds
from peft_lib.display.entries import entry
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import single_seed, spread_remarks
from peft_lib.display.tables import method_heading, panel_name
from peft_lib.display.view import EMPTY, Footnotes, Picture, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.places import ends
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import Quantity

if TYPE_CHECKING:
    from peft_lib.results.diagnosed import Diagnosed
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

COUNT = Quantity("intruder dimensions", "intruders", "", "none", digits=1, low=0)
VECTORS = "vectors"
"""Column, and row, of the cell that says how many singular vectors a matrix has."""
TABLE = (0.3, 0.5, 0.7, 0.9)


class IntruderCurves(IntruderOptions, OfPlaces):
    """Number of intruder dimensions of a matrix: mean over matrices, then over seeds."""

    kind: Literal["intruders"]
    k: Annotated[int, Field(ge=1)] | None = Field(
        None, description="only the k vectors of the largest singular values (Shuttleworth et al.: 10); null: all"
    )
    table: Thresholds = Field(TABLE, description="thresholds that the table shows")
    scale: Literal["linear", "log"] = Field("linear", description="the figure's axis of counts")

    switches = True

    @property
    def diagnostic(self) -> Intruders:
        """What its runs have to be asked for."""
        return Intruders.like(self, first=self.k or FIRST)

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        return {self.diagnostic: self.run_ids(plan)}

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        for option in ("thresholds", "table"):
            values = getattr(self, option)
            for index, value in enumerate(values):
                if value in values[:index]:
                    rule = f"{option} has each threshold once"
                    parser.problem((*where, option, index), value, rule, "remove one of the two")
        for index, threshold in enumerate(self.table if "table" in self.model_fields_set else ()):
            if threshold not in self.thresholds:
                rule = "the table shows thresholds at which intruders are counted"
                remedy = f"use some of {', '.join(map(number, self.thresholds))}, or add it to thresholds"
                parser.problem((*where, "table", index), threshold, rule, remedy)

    def build(self, context: Context) -> list[Cell]:
        """One cell per task, method and threshold (its row), and one per task with the number of vectors."""
        cells: list[Cell] = []
        for row in context.rows():
            vectors = self._vectors(context, row)
            what = replace(COUNT, column=self._what, high=vectors.value)
            cells += [self._of(context, group, threshold, what) for group in row for threshold in self.thresholds]
            cells.append(vectors)
        return cells

    def _of(self, context: Context, group: Group, threshold: float, what: Quantity) -> Cell:
        return context.diagnosed_cell(
            group, self.diagnostic, what, lambda found: self._mean(found, "intruders", threshold), "intruders",
            panel=panel_of(group), row=number(threshold),
        )  # fmt: skip

    def _vectors(self, context: Context, row: list[Group]) -> Cell:
        """How many vectors of a matrix were compared: a fact of the model, so any run says it."""
        made = [
            context.diagnosed_cell(
                group, self.diagnostic, replace(COUNT, label="singular vectors", digits=0),
                lambda found: self._mean(found, VECTORS, None), VECTORS, panel=panel_of(group), row=VECTORS, column=VECTORS,
            )
            for group in row
        ]  # fmt: skip
        return replace(next((c for c in made if c.value is not None), made[0]), method=None)

    def _mean(self, found: "Diagnosed", quantity: str, threshold: float | None) -> float | None:
        """Mean over the places that count."""
        values = [
            r.value
            for r in found.of(quantity)
            if r.place and (r.x, r.y) == (threshold, self.k) and ends(r.place, self.layers)
        ]
        return fmean(values) if values else None

    @property
    def _what(self) -> str:
        """In reasons for an absent value."""
        return f"intruders at places named {' or '.join(self.layers)}" if self.layers else "intruders"

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """A part per task; rows are thresholds, columns are methods."""
        methods = list(dict.fromkeys(c.column for c in cells if c.method))
        single = single_seed(cells)
        shown = [number(t) for t in self.table if t in self.thresholds] or [number(t) for t in self.thresholds]
        lines: dict[tuple[str, str], dict[str, Cell]] = {}
        for cell in cells:
            if cell.row in shown:
                lines.setdefault((cell.panel, cell.row), {})[cell.column] = cell
        words = "the first {:,.0f} vectors of a matrix" if self.k else "{:,.0f} vectors a matrix"
        size = {c.panel: words.format(c.value) for c in cells if c.column == VECTORS and c.value is not None}
        rows = []
        for (panel, threshold), line in lines.items():
            entries = tuple(entry(line[m], notes, single) if m in line else EMPTY for m in methods)
            task = panel_name(next(iter(line.values())), plan)
            rows.append(Row((threshold,), entries, f"{task}: {size[panel]}" if panel in size else task))
        return [Table(("Threshold",), tuple(map(method_heading, methods)), tuple(rows))]

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display.line_panels import Scales, draw  # loads matplotlib

        panels: dict[str, list[Cell]] = {}
        for cell in cells:
            if cell.column != VECTORS:
                panels.setdefault(lines_of(cell, plan), []).append(cell)
        scales = Scales("threshold of the cosine", "intruder dimensions", log=self.scale == "log", counts=True)
        return draw(self.id, panels, scales, self._alt(panels), folder)

    def _alt(self, panels: dict[str, list[Cell]]) -> str:
        """The picture in words: who has most and fewest in the middle of the grid."""
        said = []
        middle = number(sorted(self.thresholds)[(len(self.thresholds) - 1) // 2])
        for title, part in panels.items():
            there = sorted((c for c in part if c.row == middle and c.complete), key=lambda c: c.number)
            if there:
                least, most = there[0], there[-1]
                said.append(
                    f"{', '.join(title.splitlines())}: at {middle} fewest {plain_name(least.column)} ({least.number:.1f}), most "
                    f"{plain_name(most.column)} ({most.number:.1f})"
                )
        return f"Lines of the number of intruder dimensions over the threshold, one for each method. {'. '.join(said)}."

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        which = f"the first {self.k} " if self.k else ""
        which += f"{self.side} singular vectors of the trained matrix"
        said = [
            f"Number of {which} whose cosine with each {self.side} singular vector of the matrix before training is below the "
            f"threshold in absolute value; mean over the {self.matrices}, weights of the {self.at} epoch.",
            "At a threshold of 1 every vector of a matrix that changed counts, and none of one that did not.",
        ]
        return [*said, *spread_remarks(cells, tables)]
