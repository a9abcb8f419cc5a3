"""Kind `methods`: rows are tasks, columns are methods. Tables 2/18, 3/16 and, with `normalise_to`, 17, 4 and 5."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Highlight, Metric, NormaliseTo, OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.entries import change_text
from peft_lib.display.markup import plain_name
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
from peft_lib.study.types import Name

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study


class Methods(OfGrids):
    """One quantity of every task and method, the best of each row marked."""

    kind: Literal["methods"]
    metric: Metric = "test_metric"
    normalise_to: NormaliseTo = None
    ratio_to: Annotated[
        Name | None, Field(description="method whose value each value's ratio is of; it stands below the value")
    ] = None
    change_vs_best: bool = Field(False, description="sparse methods: change against the row's best, in percent")
    highlight: Highlight = 3
    published: Published = None

    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.normalise_to, where, study, parser)
        self.check_reference_method(self.ratio_to, where, study, parser, "ratio_to")
        if self.normalise_to is not None and self.ratio_to is not None:
            rule = "values are divided (normalise_to), or their ratio stands below them (ratio_to)"
            parser.problem((*where, "ratio_to"), self.ratio_to, rule, "remove one of the two lines")

    def build(self, context: Context) -> list[Cell]:
        """One cell per task and method, and one for the constant answer where the test metric itself is shown."""
        cells: list[Cell] = []
        for row in context.rows():
            values = [context.cell(group, self.metric) for group in row]
            if self.normalise_to:
                values = marks.normalise(values, self.normalise_to)
            values = marks.rank(marks.with_ratios(values, self.ratio_to), self.highlight)
            if self.change_vs_best:
                values = marks.change_against_best(values)
            cells += [marks.beside(c, self._printed(context, g), c.value) for c, g in zip(values, row, strict=True)]
            if self.metric == "test_metric" and not self.normalise_to:
                cells.append(baseline(context, row))
        return cells

    def _printed(self, context: Context, group: Group) -> Value | None:
        """The paper's value; where values are divided, the printed ratio of a file that has both.

        A printed ratio or change stands beside the value where ours does.
        """
        printed = context.printed(group)
        if printed is None:
            return None
        if self.normalise_to is not None and printed.ratio_to is not None:
            return replace(printed.as_ratio(), also=None) if printed.ratio_to == self.normalise_to else None
        if printed.ratio_text and printed.ratio_to == self.ratio_to:
            return replace(printed, also=f"\u00d7{printed.ratio_text}")
        if printed.change_text and self.change_vs_best:
            return replace(printed, also=change_text(printed.change_text))
        return printed

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return by_method(cells, plan, notes)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        change = ["Sparse methods: change against the best method of the row in percent."] * self.change_vs_best
        below = [f"Small figures: ratio to {plain_name(self.ratio_to)}."] if self.ratio_to else []
        return [
            *marks_remarks(cells, self.highlight), *change, *ratio_remarks(self.normalise_to), *below,
            *spread_remarks(cells, tables), *published_remarks(cells, self.published),
        ]  # fmt: skip
