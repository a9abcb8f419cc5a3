"""Kind `efficiency`: throughput, run time, peak memory, trainable parameters (Tables 14, 15).

With `normalise_to`, also each value's ratio to that method's.
"""

from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.kind import Highlight, NormaliseTo, OfGrids
from peft_lib.artefacts.published_files import Published, check_published
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import marks_remarks, published_remarks, spread_remarks
from peft_lib.display.tables import by_method
from peft_lib.display.view import Footnotes, Table
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.parameter_counts import checked_against_formula
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

    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.normalise_to, where, study, parser)
        check_published(self.published, self.kind, (*where, "published"), parser, frozenset({"quantity"}))

    def build(self, context: Context) -> list[Cell]:
        """The paper's printed ratios are compared with ours: another machine's seconds compare in no other way."""
        cells: list[Cell] = []
        for name in QUANTITIES:
            for row in context.rows():
                values = marks.rank([_value(context, group, name) for group in row], self.highlight)
                values = marks.with_ratios(values, self.normalise_to)
                cells += [_compared(context, c, g, name) for c, g in zip(values, row, strict=True)]
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


def _compared(context: Context, cell: Cell, group: Group, name: str) -> Cell:
    printed = context.printed(group, quantity=name)
    if printed is None or printed.ratio is None or printed.ratio_to != getattr(context.artefact, "normalise_to", None):
        return cell
    return marks.beside(cell, printed.as_ratio(), cell.ratio)
