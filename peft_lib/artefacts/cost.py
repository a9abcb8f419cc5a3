"""Kind `cost`: what a method scores against what it costs, one point per method and task."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Highlight, Metric, OfGrids, Quantity
from peft_lib.display.view import Picture
from peft_lib.results import marks
from peft_lib.results.baseline import baseline
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


class Cost(OfGrids):
    """A scatter plot, one panel per task."""

    kind: Literal["cost"]
    metric: Metric = "test_metric"
    cost: Annotated[Quantity, Field(description="quantity on the cost axis")] = "cpu_s"
    highlight: Highlight = 3

    leads = True
    switches = True

    def build(self, context: Context) -> list[Cell]:
        """Two cells per point, in the panels `value` (the artefact's metric) and `cost`."""
        cells: list[Cell] = []
        for row in context.rows():
            cells += marks.rank([context.cell(g, self.metric, panel="value") for g in row], self.highlight)
            cells += [context.cell(g, self.cost, panel="cost") for g in row]
            if self.metric == "test_metric":
                cells.append(replace(baseline(context, row), panel="value"))
        return cells

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import cost_figure  # loads matplotlib

        return cost_figure.draw(self.id, self.metric, self.cost, cells, plan, folder)
