"""What kinds of artefacts share that show adapted places: which matrices, which of their places, and the panel of a task."""

from typing import TYPE_CHECKING

from pydantic import Field

from peft_lib.artefacts.kind import OfGrids
from peft_lib.diagnostics.matrices import OfMatrices
from peft_lib.display.markup import visible
from peft_lib.display.tables import setting_name
from peft_lib.names import nearest
from peft_lib.results.cells import Cell
from peft_lib.results.context import Group
from peft_lib.results.places import ends
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.types import Names

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


class OfPlaces(OfMatrices, OfGrids):
    """An artefact that shows means over the matrices of runs."""

    layers: Names | None = Field(
        None, description="only places whose names end so, as under a model's targets", examples=["value"]
    )

    def check_plan(self, where: Location, plan: "Plan", parser: Parser) -> None:
        """Its target set and the names of places exist in the models of its runs."""
        super().check_plan(where, plan, parser)
        specs = [plan.runs[run_id] for run_id in self.run_ids(plan)]
        shown = dict.fromkeys((spec.model.id, self.targets or spec.targets) for spec in specs)
        lacking = [model for model, targets in shown if targets not in plan.models[model].targets]
        if lacking and self.targets is not None:
            known = list(plan.models[lacking[0]].targets)
            rule = f"a target set of the models of its runs; {lacking[0]} has none of that name"
            parser.problem((*where, "targets"), self.targets, rule, nearest(self.targets, known))
            return
        shapes = [shape for model, targets in shown for shape in plan.models[model].targets.get(targets, ())]
        known = list(dict.fromkeys(s.module + (f"[{s.rows[0]}:{s.rows[1]}]" if s.rows else "") for s in shapes))
        for name in self.layers or ():
            if not any(ends(place, [name]) or ends(name, [place]) for place in known):
                rule = f"no place of the models of its runs ({', '.join(dict.fromkeys(model for model, _ in shown))}) is named so"
                parser.problem((*where, "layers"), name, rule, nearest(name, known))

    @property
    def matrices(self) -> str:
        """Which matrices they are, in words."""
        which = f"matrices of the target set {self.targets}" if self.targets else "adapted matrices"
        return f"{which} at places named {' or '.join(self.layers)}" if self.layers else which


def panel_of(group: Group) -> str:
    """Task, and what else the grid varies."""
    return "/".join([group.model, group.dataset, *(f"{setting_name(k)} {number(v)}" for k, v in group.varied)])


def lines_of(cell: Cell, plan: "Plan", *rest: str) -> str:
    """A panel's title in a figure, as lines: the model, the data set and what the grid varies, and what else there is to say."""
    varied = ", ".join(cell.panel.split("/")[2:])
    task = plan.datasets[cell.dataset].name + (f" ({varied})" if varied else "")
    return "\n".join(visible(line) for line in (plan.models[cell.model].name, task, *rest) if line)
