"""Kind `parameters`: trainable parameters by the catalogs' formulas and as counted by the runs (Table 6)."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.kind import OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.remarks import published_remarks
from peft_lib.display.tables import by_method
from peft_lib.display.view import Footnotes, Table
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.parameter_counts import checked, counts
from peft_lib.results.readings import at_printed_digits

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


class Parameters(OfGrids):
    """Trainable parameters and their percentage, one row per task under each."""

    kind: Literal["parameters"]
    published: Published = None

    published_by = frozenset({"quantity"})

    def build(self, context: Context) -> list[Cell]:
        """Panels `trainable_parameters` and `trainable_pct`."""
        cells: list[Cell] = []
        for panel in ("trainable_parameters", "trainable_pct"):
            for row in context.rows():
                for group in row:
                    by_formula = counts(context.spec(group), context.plan)
                    cell = checked(context, group, by_formula)
                    if panel == "trainable_pct":
                        share = 100 / by_formula.total
                        value = None if cell.value is None else cell.value * share
                        cell = replace(cell, value=value, expected=by_formula.percent, unit="%", digits=3)
                    printed = context.printed(group, quantity=panel)
                    cells.append(_rounded(marks.beside(replace(cell, panel=panel), printed, cell.value)))
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_method(cells, plan, notes)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        shown = [c for c in cells if c.panel == "trainable_parameters"]
        wrong = sum(c.status == "mismatch" for c in shown)
        counted = sum(c.n > 0 for c in shown)
        agree = f"Formula and count of the runs agree in {counted - wrong} of {counted} counted cells."
        return [
            agree if counted else "By formula; no run has counted yet.",
            *published_remarks(cells, self.published),
        ]


def _rounded(cell: Cell) -> Cell:
    """The cell with the difference at the digits of the published value: 124,647,170 is the printed 124.6e6."""
    if cell.difference is None or cell.value is None or not cell.published_text:
        return cell
    return replace(
        cell, difference=float(at_printed_digits(cell.value, cell.published_text)) - float(cell.published_text)
    )
