"""Kind `methods`: rows are tasks, columns are methods. Tables 2/18, 3/16 and, with `normalise_to`, 17, 4 and 5."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Highlight, Metric, NormaliseTo, OfGrids
from peft_lib.artefacts.published_files import Published, check_published
from peft_lib.display.remarks import marks_remarks, published_remarks, ratio_remarks, spread_remarks
from peft_lib.display.tables import by_method
from peft_lib.display.view import Footnotes, Table
from peft_lib.results import marks
from peft_lib.results.baseline import baseline
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.results.published import Value
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study


class Methods(OfGrids):
    """One quantity of every task and method, the best of each row marked."""

    kind: Literal["methods"]
    metric: Metric = "test_metric"
    normalise_to: NormaliseTo = None
    change_vs_best: bool = Field(False, description="sparse methods: change against the row's best, in percent")
    highlight: Highlight = 3
    published: Published = None

    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.normalise_to, where, study, parser)
        check_published(self.published, self.kind, (*where, "published"), parser)

    def build(self, context: Context) -> list[Cell]:
        """One cell per task and method, and one for the constant answer where the test metric itself is shown."""
        cells: list[Cell] = []
        for row in context.rows():
            values = [context.cell(group, self.metric) for group in row]
            if self.normalise_to:
                values = marks.normalise(values, self.normalise_to)
            values = marks.rank(values, self.highlight)
            if self.change_vs_best:
                values = marks.change_against_best(values)
            cells += [marks.beside(c, self._printed(context, g), c.value) for c, g in zip(values, row, strict=True)]
            if self.metric == "test_metric" and not self.normalise_to:
                cells.append(baseline(context, row))
        return cells

    def _printed(self, context: Context, group: Group) -> Value | None:
        """The paper's value; where values are divided, the printed ratio of a file that has both."""
        printed = context.printed(group)
        if printed is None or printed.ratio_to is None or self.normalise_to is None:
            return printed
        return replace(printed, number=printed.ratio) if printed.ratio_to == self.normalise_to else None

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_method(cells, plan, notes)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        change = ["Sparse methods: change against the best method of the row in percent."] * self.change_vs_best
        return [
            *marks_remarks(cells, self.highlight), *change, *ratio_remarks(self.normalise_to),
            *spread_remarks(cells, tables), *published_remarks(cells, self.published),
        ]  # fmt: skip
