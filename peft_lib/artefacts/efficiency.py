"""Kind `efficiency`: throughput, run time, peak memory, trainable parameters (Tables 14, 15).

With `normalise_to`, also each value's ratio to that method's. A method that gathers columns stands beside the paper's s-variant
of it, in a column of its own where the paper prints both.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.kind import Highlight, NormaliseTo, OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import marks_remarks, published_remarks, spread_remarks
from peft_lib.display.tables import by_method
from peft_lib.display.view import Footnotes, Table
from peft_lib.methods.registry import get_method
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.parameter_counts import checked_against_formula
from peft_lib.results.readings import GATHERED
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

QUANTITIES = ("samples_per_s", "wall_s", "peak_memory_bytes", "trainable_parameters")


class Efficiency(OfGrids):
    """What a run of every task and method costs, one panel per quantity."""

    kind: Literal["efficiency"]
    normalise_to: NormaliseTo = None
    highlight: Highlight = 3
    published: Published = None

    published_by = frozenset({"quantity"})
    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.normalise_to, where, study, parser)

    def build(self, context: Context) -> list[Cell]:
        """The paper's printed ratios are compared with ours: another machine's seconds compare in no other way."""
        cells: list[Cell] = []
        for name in QUANTITIES:
            for row in context.rows():
                values = marks.rank([_value(context, group, name) for group in row], self.highlight)
                values = marks.with_ratios(values, self.normalise_to)
                cells += [
                    _compared(context, replace(cell, column=column), group, name)
                    for cell, group in zip(values, row, strict=True)
                    for column in _columns(context, group, name)
                ]
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_method(cells, plan, notes)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = marks_remarks(cells, self.highlight)
        if self.normalise_to:
            name = plain_name(self.normalise_to)
            said.append(f"Small figures: ratio to {name}, the only part that compares between machines.")
        return [*said, *spread_remarks(cells, tables), *published_remarks(cells, self.published)]


def _value(context: Context, group: Group, name: str) -> Cell:
    cell = context.cell(group, name, panel=name)
    return checked_against_formula(context, group, cell) if name == "trainable_parameters" else cell


def _columns(context: Context, group: Group, name: str) -> list[str]:
    """The method; where its runs gather columns, as the paper's s-variant of it does, what the paper prints of either."""
    if _execution(context, group) != "gather":
        return [group.method]
    names = (group.method, GATHERED + group.method)
    return [n for n in names if context.printed(group, method=n, quantity=name)] or [group.method]


def _execution(context: Context, group: Group) -> str:
    """How the adapted layers of a group's runs compute."""
    method, asked = get_method(group.method), context.plan.how(group.run_ids[0]).execution
    return method.executions(method.parse_options(context.spec(group).options))[0] if asked == "default" else asked


def _compared(context: Context, cell: Cell, group: Group, name: str) -> Cell:
    printed = context.printed(group, method=cell.column, quantity=name)
    if printed is None or printed.ratio is None or printed.ratio_to != getattr(context.artefact, "normalise_to", None):
        return cell
    ratio = printed.as_ratio()
    same_unit = printed.unit == cell.unit  # as the heading has it
    return marks.beside(cell, replace(ratio, also=printed.text) if same_unit else ratio, cell.ratio)
