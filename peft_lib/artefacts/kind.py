"""What every kind of artefact has: the fields in a study, checks, cells from runs, tables and figures from cells.

A kind is one file of this folder: a class with its own options, which planning reads, and what it makes of runs. Planning
imports all kinds, so nothing here loads pandas, pyarrow, scipy or matplotlib before `build` or `figures` is called.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from peft_lib.artefacts.published_files import check_published
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.display.remarks import spread_remarks
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.names import nearest
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import QUANTITIES
from peft_lib.study.types import Caption, Frozen, Id, Name, Names, Text
from peft_lib.study.wording import Words, known

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Grid, Study


def check_quantity(name: str) -> str:
    """Raises Refused for a name that quantities.py does not have."""
    return known(name, QUANTITIES, "no quantity of that name can be shown")


Quantity = Annotated[str, AfterValidator(check_quantity), Words(f"one of {', '.join(QUANTITIES)}")]
Metric = Annotated[Quantity, Field(description="quantity shown (peft_lib/study/quantities.py)")]
Highlight = Annotated[int, Field(ge=0, le=3, description="how many best values of a row are marked")]
NormaliseTo = Annotated[Name | None, Field(description="method whose value each row is divided by")]


class Artefact(Frozen):
    """A table or figure, as data: what it shows of which runs, and what stands beside it."""

    id: Id = Field(description="file name of the table", examples=["table2"])
    number: Text | None = Field(
        None, description="number in the paper: '2 / 18' of tables, 'Figure 6'", examples=['"2 / 18"']
    )
    kind: str = Field(description="what it shows")
    title: Text = Field(description="heading", examples=["Performance"])
    caption: Caption = Field("", description="one paragraph below the title")

    layout: ClassVar[Literal["methods", "settings", "heat"]] = "methods"
    """How its tables are set: columns of values, columns of texts that wrap, small panels side by side."""
    template: ClassVar[str] = "table"
    """Its part of the page: reports/templates/kinds/<template>.html.j2."""
    switches: ClassVar[bool] = False
    """Whether a reader of the page may hide the small lines of its tables."""
    leads: ClassVar[bool] = False
    """Whether it stands first in the page, whatever its place in the study."""
    reads_catalogs: ClassVar[bool] = False
    """Whether its cells depend on catalog entries that no run of the study names."""

    published_by: ClassVar[frozenset[str]] = frozenset()
    """Which of the columns `setting` and `quantity` a file has that its option `published` may name, if it has that option."""

    def grids(self) -> tuple[str, ...]:
        """Names of the grids whose runs it shows."""
        return ()

    def run_ids(self, plan: "Plan") -> tuple[str, ...]:
        """Runs that its cells are made of, each once."""
        return tuple(dict.fromkeys(point.run_id for name in self.grids() for point in plan.points[name]))

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        """Diagnostic -> ids of the runs that it is computed of, for this artefact."""
        return {}

    def sources(self, study: "Study") -> tuple["Artefact", ...]:
        """Artefacts of the study whose cells its own are made of: what changes them changes it."""
        return ()

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        """Notes what is wrong with its options. `where`: its place in the study."""
        check_published(getattr(self, "published", None), self.kind, (*where, "published"), parser, self.published_by)

    def check_plan(self, where: Location, plan: "Plan", parser: Parser) -> None:
        """Notes what is wrong with its options for the runs of a study that is well-formed: names of places, for instance."""

    def build(self, context: Context) -> list[Cell]:
        """Its cells, from the plan and the runs' rows."""
        raise NotImplementedError(f"kind {self.kind} does not say how its cells are made")

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """Its cells as tables; none for figures, whose numbers are in the CSV twin."""
        return []

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        """Draws its cells into the folder."""
        return []

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        """What a reader has to know of it, from its data."""
        return spread_remarks(cells, tables)

    @property
    def reference(self) -> str:
        """What it is called in the paper: Table 6, Figure 6; empty for what the paper has not."""
        return f"Table {self.table_number}" if self.table_number else self.number or ""

    @property
    def table_number(self) -> str | None:
        """Its number among the paper's tables."""
        return None if self.figure_number else self.number

    @property
    def figure_number(self) -> str | None:
        """Its number among the paper's figures."""
        word, _, number = (self.number or "").partition(" ")
        return number if word == "Figure" and number else None

    @property
    def quantities(self) -> dict[str, str]:
        """Option -> the quantity that it names."""
        return {name: getattr(self, name) for name in ("metric", "cost") if name in type(self).model_fields}


class OfGrids(Artefact):
    """An artefact that shows the runs of grids."""

    grid: Names = Field(description="grid whose runs it shows, or several of different tasks", examples=["main"])

    not_null: ClassVar[tuple[str, ...]] = ("grid",)
    of_methods: ClassVar[bool] = False
    """Whether its rows are of single methods, so that grids may share a task if their methods differ."""

    def grids(self) -> tuple[str, ...]:
        return self.grid

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        """Each of its grids exists and has tasks of its own: a row is of one grid."""
        misnamed = any(place[:1] == ("grids",) and len(place) == 2 for place in parser.broken)
        shown: dict[str, str] = {}
        for index, name in enumerate(self.grid):
            place = (*where, "grid", index) if len(self.grid) > 1 else (*where, "grid")
            grid = study.grids.get(name)
            if grid is None:
                if study.grids and not misnamed:
                    parser.problem(place, name, "no grid of that name", nearest(name, list(study.grids)))
                continue
            parts = [f"{task} with {method}" for task in grid.tasks for method in grid.methods]
            parts = parts if self.of_methods else list(grid.tasks)
            if twice := [part for part in parts if part in shown]:
                other = shown[twice[0]]
                apart = "tasks or methods" if self.of_methods else "tasks"
                rule = f"grids of one artefact have different {apart}; {other} has {twice[0]} too"
                parser.problem(place, name, rule, "name the grid once" if other == name else "make two artefacts")
            shown.update(dict.fromkeys(parts, name))
        super().check(where, study, parser)

    def known_grids(self, study: "Study") -> Iterator[tuple[str, "Grid"]]:
        """Its grids that the study has."""
        yield from ((name, study.grids[name]) for name in self.grid if name in study.grids)

    def check_varied(
        self, option: str, rule: str, remedy: str, where: Location, study: "Study", parser: Parser
    ) -> None:
        """The setting that an option names is varied by every grid. `rule`, `remedy`: how the sentences begin."""
        setting = getattr(self, option)
        for name, grid in self.known_grids(study):
            if setting not in grid.vary and not parser.is_broken(("grids", name, "vary")):
                place = (*where, option) if option in self.model_fields_set else where
                varies = ", ".join(grid.vary) or "nothing"
                use = " or ".join(grid.vary) or "a setting, and vary it in the grid"
                parser.problem(place, setting, f"{rule}; grid {name} varies {varies}", f"{remedy}: {use}")

    def check_reference_method(
        self, method: str | None, where: Location, study: "Study", parser: Parser, option: str = "normalise_to"
    ) -> None:
        """A method that values are divided by is run by every grid."""
        for name, grid in self.known_grids(study):
            if method is not None and method not in grid.methods:
                remedy = f"use one of {', '.join(grid.methods)}, or add it to the grid"
                parser.problem((*where, option), method, f"grid {name} does not run that method", remedy)
