"""Kind `sharpness`: how fast the loss rises around the trained weights, in numbers, mean over seeds."""

from operator import methodcaller
from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.selected import Selected
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.sharpness import Ball
from peft_lib.diagnostics.sharpness import Sharpness as Numbers
from peft_lib.display.remarks import around_remark, spread_remarks
from peft_lib.display.tables import by_quantity
from peft_lib.display.view import Footnotes, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.labels import number
from peft_lib.study.quantities import DATASET_METRICS, LOSS_UNITS, Quantity

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


class Sharpness(Selected, Ball):
    """A part per quantity, a row per task, a column per method."""

    kind: Literal["sharpness"]

    switches = True

    @property
    def diagnostic(self) -> Numbers:
        return Numbers.like(self)

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        return {self.diagnostic: self.run_ids(plan)}

    def labels(self) -> dict[str, str]:
        """Quantity -> what it is called."""
        shown = {"curvature": "Curvature", "rise": f"Rise of the loss at distance {number(self.radius)}"}
        return shown | ({"eigenvalue": "Largest eigenvalue of the Hessian"} if self.eigenvalue else {})

    def build(self, context: Context) -> list[Cell]:
        """Panels `curvature`, `rise` and, on request, `eigenvalue`; in the unit of the loss."""
        cells = []
        for name, label in self.labels().items():
            for group in self.shown_groups(context):
                task = str(DATASET_METRICS[context.plan.datasets[group.dataset].metric].task)
                what = Quantity(label.lower(), name, LOSS_UNITS[task], "none", digits=3)
                read = methodcaller("scalar", name)
                cells.append(context.diagnosed_cell(group, self.diagnostic, what, read, name, panel=name))
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_quantity(cells, plan, notes, self.labels())

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return [around_remark(self), f"Means over {self.directions} random directions d, the same ones for every method.",
            f"Curvature: second derivative of the loss along d, by central differences with step {number(self.step)}. Rise: the "
            f"larger of the rises at W + {number(self.radius)} d and W \u2212 {number(self.radius)} d.",
            *spread_remarks(cells, tables),
        ]  # fmt: skip
