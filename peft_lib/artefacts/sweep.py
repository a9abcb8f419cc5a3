"""Kind `sweep`: one setting along an axis, methods as lines, a panel per task (Figure 6 and one-axis ablations).

The same cells are a table (a row per value of the setting, a column per method) and a line figure with error bars.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from peft_lib.artefacts.heatmap import ends
from peft_lib.artefacts.kind import Highlight, Metric, OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.entries import entry
from peft_lib.display.remarks import published_remarks, single_seed, spread_remarks
from peft_lib.display.tables import axis, panel_name, setting_name
from peft_lib.display.view import EMPTY, Footnotes, Label, Picture, Row, Table
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.types import Name

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study


class Sweep(OfGrids):
    """One quantity along one setting that the grid varies; other settings that it varies get panels of their own."""

    kind: Literal["sweep"]
    metric: Metric = "test_metric"
    along: Name = Field("rank", description="setting along the axis", examples=["options.selector"])
    highlight: Highlight = 1
    published: Published = None

    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        rule = "a sweep goes along a setting that its grid varies"
        self.check_varied("along", rule, "use along", where, study, parser)

    def build(self, context: Context) -> list[Cell]:
        """One cell per task, value of the setting and method, in the order of the study.

        Marked is the best value of the setting for each method; at the smallest or largest of three and more, `edge` says so.
        """
        lines: dict[tuple[str, str], list[tuple[Cell, Any]]] = {}
        for group in context.groups:
            varied = dict(group.varied)
            value = varied.pop(self.along)
            rest = (f"{setting_name(k)} {number(v)}" for k, v in varied.items())
            panel = "/".join([group.model, group.dataset, *rest])
            cell = context.cell(group, self.metric, panel=panel, row=number(value))
            beside = marks.beside(cell, context.printed(group), cell.value)
            lines.setdefault((panel, group.method), []).append((beside, value))
        values = {value for line in lines.values() for _, value in line}
        outer = ends(values) if len(values) > 2 else {}
        marked = {(c.panel, c.row, c.column): c for line in lines.values() for c in self._marked(line, outer)}
        panels = dict.fromkeys(panel for panel, _ in lines)
        rows = axis(c.row for c in marked.values())
        methods = dict.fromkeys(method for _, method in lines)
        places = ((panel, row, method) for panel in panels for row in rows for method in methods)
        return [marked[place] for place in places if place in marked]

    def _marked(self, line: list[tuple[Cell, Any]], outer: dict[Any, str]) -> list[Cell]:
        cells = marks.rank([cell for cell, _ in line], min(self.highlight, 1))
        return [
            replace(cell, edge=f"{outer[value]} {self.along}") if cell.rank_in_row and value in outer else cell
            for cell, (_, value) in zip(cells, line, strict=True)
        ]

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One table, a part per task; rows are values of the setting, columns are methods."""
        methods = list(dict.fromkeys(c.column for c in cells))
        single = single_seed(cells)
        lines: dict[tuple[str, str], dict[str, Cell]] = {}
        for cell in cells:
            lines.setdefault((cell.panel, cell.row), {})[cell.column] = cell
        rows = []
        for (_, value), line in lines.items():
            entries = tuple(entry(line[m], notes, single) if m in line else EMPTY for m in methods)
            rows.append(Row((value,), entries, panel_name(next(iter(line.values())), plan)))
        return [Table((setting_name(self.along),), tuple(map(Label.method, methods)), tuple(rows))]

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import sweep_figure  # loads matplotlib

        return sweep_figure.draw(self.id, self.along, cells, plan, folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = [f"Best {setting_name(self.along)} of each method marked."] * bool(self.highlight)
        if any(c.edge for c in cells):
            said.append("edge: it is the smallest or largest one, so the optimum may lie outside.")
        return [*said, *spread_remarks(cells, tables), *published_remarks(cells, self.published)]
