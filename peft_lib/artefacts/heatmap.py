"""Kind `heatmap`: a panel per task and method, two settings along the axes, the best cell marked (Tables 8-13)."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Highlight, Metric, OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.entries import entry
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import published_remarks, spread_remarks
from peft_lib.display.tables import axis, setting_name, task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.settings import resolve_alpha
from peft_lib.study.types import Name, parse_number

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study


class Heatmap(OfGrids):
    """One quantity over two settings that the grid varies, in the paper's layout of Tables 8 to 13."""

    kind: Literal["heatmap"]
    metric: Metric = "test_metric"
    rows: Name = Field("rank", description="setting along the rows")
    columns: Name = Field("lr", description="setting along the columns")
    highlight: Highlight = 3
    published: Published = None

    layout = "heat"
    template = "heatmap"

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        for option in ("rows", "columns"):
            rule = f"a heat map's {option} are a setting that its grid varies"
            self.check_varied(option, rule, f"use {option}", where, study, parser)
        if self.rows == self.columns and any(self.known_grids(study)):
            rule = "rows and columns of a heat map are two settings"
            parser.problem((*where, "columns"), self.columns, rule, "name another setting")

    def build(self, context: Context) -> list[Cell]:
        """Settings that the grid varies beyond the two axes become part of the panel's name.

        A best cell that has the smallest or largest value of a setting says so in `edge`.
        """
        axes: dict[str, set[Any]] = {self.rows: set(), self.columns: set()}
        panels: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
        for group in context.groups:
            varied = dict(group.varied)
            place = {name: varied.pop(name) for name in axes}
            for name, value in place.items():
                axes[name].add(value)
            rest = "".join(f", {k} {number(v)}" for k, v in varied.items())
            panel = f"{group.model}/{group.dataset}/{group.method}{rest}"
            row, column = (number(value) for value in place.values())
            cell = context.cell(group, self.metric, panel=panel, row=row, column=column)
            panels.setdefault(panel, []).append((marks.beside(cell, context.printed(group), cell.value), place))
        grid_ends = {name: ends(values) for name, values in axes.items()}
        return [cell for panel in panels.values() for cell in _marked(panel, grid_ends, min(self.highlight, 1))]

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One small table per panel. Colour runs over the values of a task, so that its methods can be compared."""
        tables = []
        for panel, group in groupby(cells, key=lambda c: c.panel):
            part = list(group)
            peers = [c.number for c in cells if (c.model, c.dataset) == (part[0].model, part[0].dataset) and c.measured]
            low, high = (min(peers), max(peers)) if peers else (0.0, 0.0)
            rows, columns = axis(c.row for c in part), axis(c.column for c in part)
            by_place = {(c.row, c.column): c for c in part}
            body = tuple(
                Row((row,), tuple(_heated(by_place.get((row, column)), notes, low, high) for column in columns))
                for row in rows
            )
            extra = panel.split(",", 1)[1].strip() if "," in panel else ""
            name = plain_name(part[0].method) if part[0].method else panel
            title = f"{name}{f' ({extra})' if extra else ''}"
            about = task_name(plan, part[0].model, part[0].dataset)
            spans = ((setting_name(self.columns), len(columns)),)
            labels = tuple(Label.plain(c) for c in columns)
            tables.append(Table((setting_name(self.rows),), labels, body, spans, title, about))
        return tables

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = ["Best cell of each panel marked; colour runs over all panels of a task."] * bool(self.highlight)
        if any(c.edge for c in cells):
            said.append(
                "edge: the best cell has the smallest or largest value of that setting, so the optimum may lie outside "
                "the grid."
            )
        return [*said, *spread_remarks(cells, tables), *published_remarks(cells, self.published)]


Ends = dict[str, dict[Any, str]]


def _marked(panel: list[tuple[Cell, dict[str, Any]]], grid_ends: Ends, highlight: int) -> list[Cell]:
    """The panel's cells with the best ones marked, and among these the ones at an edge of the grid."""
    cells = marks.rank([cell for cell, _ in panel], highlight)
    return [
        replace(cell, edge=_edge(place, grid_ends)) if cell.rank_in_row else cell
        for cell, (_, place) in zip(cells, panel, strict=True)
    ]


def _edge(place: dict[str, Any], grid_ends: Ends) -> str | None:
    at = [f"{grid_ends[name][value]} {name}" for name, value in place.items() if value in grid_ends[name]]
    return ", ".join(at) or None


def ends(values: Iterable[Any]) -> dict[Any, str]:
    """The first and last value of an axis and what to call them; nothing for one value and for values without order."""
    sizes = {value: _size(value) for value in values}
    if len(sizes) < 2 or None in sizes.values() or len({kind for kind, _ in filter(None, sizes.values())}) > 1:
        return {}
    ordered = sorted(sizes, key=lambda value: sizes[value] or ("", 0.0))
    return {ordered[0]: "smallest", ordered[-1]: "largest"}


def _size(value: Any) -> tuple[str, float] | None:
    """(kind, size) of a setting's value: a number, or alpha as a multiple of the rank ('2r'); None without a size.

    A multiple and a number have no order between them: it depends on the rank.
    """
    value = parse_number(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return "number", float(value)
    try:
        return "multiple", resolve_alpha(value, rank=1)
    except (TypeError, ValueError):
        return None


def _heated(cell: Cell | None, notes: Footnotes, low: float, high: float) -> Entry:
    if cell is None:
        return EMPTY
    shown = entry(cell, notes, single=True)
    keep = {k: v for k, v in shown.lines.items() if k in ("n", "edge", "sd", "paper", "difference")}
    if not cell.measured:
        return replace(shown, lines=keep)
    share = (cell.number - low) / (high - low) if high > low else 0.5
    return replace(shown, lines=keep, heat=1 - share if cell.direction == "lower" else share)
