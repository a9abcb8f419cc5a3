"""Kind `landscape`: the loss around trained weights, as surfaces and as contours with the optimiser's path (Figures 1, 3, 8-10)."""

from dataclasses import replace
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from peft_lib.artefacts.selected import Selected
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.landscape import Landscape as Surface
from peft_lib.diagnostics.landscape import Square
from peft_lib.display.remarks import around_remark
from peft_lib.display.tables import by_number
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import DATASET_METRICS, LOSS_UNITS, Quantity
from peft_lib.study.wording import OneOrMany

if TYPE_CHECKING:
    from peft_lib.results.diagnosed import Diagnosed
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

View = Literal["surface", "contour"]


class Landscape(Selected, Square):
    """A figure per task and view, a panel per method; one run of each, that of the first seed."""

    kind: Literal["landscape"]
    views: Annotated[tuple[View, ...], OneOrMany(), Field(min_length=1)] = Field(
        ("surface",),
        description="surface: in three dimensions, the last panel with all of them; contour: from above, with the path",
    )

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        if self.range == "auto" and self.directions != "pca":
            rule = "auto holds the path, which random directions do not have"
            parser.problem((*where, "range"), self.range, rule, "write a number, or directions: pca")

    @property
    def diagnostic(self) -> Surface:
        return Surface.like(self)

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        """Of the first seed of every group."""
        first: dict[tuple, str] = {}
        for point in self.shown_points(plan):
            first.setdefault((point.model, point.dataset, point.method, *point.varied.items()), point.run_id)
        return {self.diagnostic: tuple(dict.fromkeys(first.values()))}

    def run_ids(self, plan: "Plan") -> tuple[str, ...]:
        return self.diagnostics(plan)[self.diagnostic]

    def build(self, context: Context) -> list[Cell]:
        """Panels `surface` (value: loss at the centre; points: all losses), `half`, the numbers, and for pca `path` (points)."""
        ones = (replace(group, run_ids=group.run_ids[:1]) for group in self.shown_groups(context))
        return [cell for one in ones for cell in self._cells(context, one)]

    def _cells(self, context: Context, one: Group) -> list[Cell]:
        found = context.diagnosed(one.run_ids[0], self.diagnostic)
        unit = LOSS_UNITS[str(DATASET_METRICS[context.plan.datasets[one.dataset].metric].task)]

        def cell(name: str, label: str, unit: str, digits: int, scale: float = 1.0, of: str = "") -> Cell:
            what = Quantity(label, name, unit, "none", scale=scale, digits=digits)
            return context.diagnosed_cell(
                one, self.diagnostic, what, methodcaller("scalar", of or name), name, panel=name
            )

        surface = replace(
            cell("surface", "loss at the centre", unit, 3, of="centre"), points=self._losses(found), metric="val_loss"
        )
        cells = [
            surface,
            cell("half", "half the side", "", 3),
            context.cell(one, "test_metric", panel="test_metric"),
            context.cell(one, "gap", panel="gap"),
            cell("curvature", "curvature at the centre", unit, 2),
            cell("volume", "volume", "%", 1, 100.0),
        ]
        if self.directions == "pca":
            path = cell("path", "share of the path in the plane", "%", 1, 100.0, "explained")
            pairs = zip(found.of("path_a"), found.of("path_b"), strict=True)
            cells.append(replace(path, points=tuple(v for a, b in pairs for v in (a.value, b.value))))
            shares = tuple(100 * row.value for row in found.of("variance"))
            cells.append(
                replace(path, panel="variance", metric="variance", value=sum(shares[:2]) or None, points=shares)
            )
        return cells

    def _losses(self, found: "Diagnosed") -> tuple[float | None, ...]:
        """All losses of the square in order; None where one is not finite."""
        half = found.scalar("half")
        if half is None:
            return ()
        middle = self.points // 2
        losses: list[float | None] = [None] * self.points**2
        for row in found.of("loss"):
            assert row.x is not None and row.y is not None
            across, down = (round(middle * (at / half + 1)) for at in (row.x, row.y))
            losses[down * self.points + across] = row.value
        return tuple(losses)

    def labels(self) -> dict[str, str]:
        """Panel of a number -> what it is called."""
        shown = {
            "test_metric": "Test metric", "gap": "Gap", "surface": "Loss", "curvature": "Curvature",
            "volume": "Volume",
        }  # fmt: skip
        if self.directions == "pca":
            shown |= {"variance": "Variance", "path": "In plane"}
        return shown | ({"half": "Half side"} if self.range == "auto" else {})

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_number(cells, plan, notes, self.labels())

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import landscape_figure  # loads matplotlib

        return landscape_figure.draw(self.id, self.views, cells, plan, folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = [
            around_remark(self),
            "One run of each method, that of the first seed; panels of a task share their scale of losses. Loss: at the centre. "
            "Curvature: mean of the "
            "second derivatives of the loss at the centre along both directions. Volume: share of the square where the loss is "
            f"at most {number(self.level)} above the centre's.",
        ]
        if self.directions == "pca":
            said.append(
                "Directions: the two principal ones of the epochs' weights as seen from the centre, other ones in each panel. "
                "The path is projected on them by least squares. Variance: share of the offsets' squares that the two directions "
                "have as they are found; in plane: that lies in the plane of the scaled ones."
            )
        else:
            said.append("Directions: two random ones, the same for every method before they are scaled.")
        if any(None in c.points for c in cells if c.panel == "surface"):
            said.append("Where the loss is not finite, the surface is at the upper end of the scale.")
        return said
