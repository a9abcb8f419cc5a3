"""Artefacts that show some of their grids' tasks and methods: what is computed for them alone costs time for each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from peft_lib.artefacts.kind import OfGrids
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.types import Names

if TYPE_CHECKING:
    from peft_lib.results.context import Context, Group
    from peft_lib.study.plan import Plan, Point
    from peft_lib.study.schema import Study


class Selected(OfGrids):
    """An artefact of grids with the options `tasks` and `methods`."""

    tasks: Names | None = Field(
        None, description="tasks of the grids that are shown; null: all", examples=["vit_digits/digits_few"]
    )
    methods: Names | None = Field(
        None, description="methods of the grids that are shown; null: all", examples=["[fft, lora]"]
    )

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        grids = dict(self.known_grids(study))
        for option, given in (("tasks", self.tasks), ("methods", self.methods)):
            known = list(dict.fromkeys(value for grid in grids.values() for value in getattr(grid, option)))
            for index, value in enumerate(given or ()):
                if grids and value not in known:
                    rule = f"grid {', '.join(grids)} does not have it among its {option}"
                    place = (*where, option, index) if len(given or ()) > 1 else (*where, option)
                    parser.problem(place, value, rule, f"use some of {', '.join(known)}")

    def shows(self, model: str, dataset: str, method: str) -> bool:
        task = f"{model}/{dataset}"
        return task in (self.tasks or (task,)) and method in (self.methods or (method,))

    def shown_points(self, plan: "Plan") -> "Iterator[Point]":
        """Points of its grids that it shows."""
        for name in self.grids():
            yield from (p for p in plan.points[name] if self.shows(p.model, p.dataset, p.method))

    def shown_groups(self, context: "Context") -> "list[Group]":
        """Groups of seeds that it shows, in the order of the study."""
        return [g for g in context.groups if self.shows(g.model, g.dataset, g.method)]

    def run_ids(self, plan: "Plan") -> tuple[str, ...]:
        return tuple(dict.fromkeys(point.run_id for point in self.shown_points(plan)))
