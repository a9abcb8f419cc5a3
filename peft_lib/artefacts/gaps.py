"""Kind `gaps`: readings of the generalization gap beside each other, its ratio to a method's with an interval, and whether
they put methods in the same order."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

from peft_lib.artefacts.kind import NormaliseTo, OfGrids
from peft_lib.display.entries import fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import spread_remarks
from peft_lib.display.tables import by_method, task_name
from peft_lib.display.view import Entry, Footnotes, Label, Row, Table
from peft_lib.results import marks
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

VARIANTS = {"gap": "signed", "gap_absolute": "absolute", "gap_running": "running"}
RATIO, AGREEMENT = "ratio", "agreement"
FEWEST_METHODS = 3
"""Methods from which on an order is compared with another."""


class Gaps(OfGrids):
    """A panel per reading of the gap, one for the ratio, and a row per task for the agreement of the orders."""

    kind: Literal["gaps"]
    normalise_to: NormaliseTo = None

    switches = True

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.normalise_to, where, study, parser)

    def build(self, context: Context) -> list[Cell]:
        rows = list(context.rows())
        cells = [
            cell
            for name in VARIANTS
            for row in rows
            for cell in marks.rank([context.cell(group, name, panel=name) for group in row], 1)
        ]
        if self.normalise_to:
            cells += [cell for row in rows for cell in self._ratios(context, row)]
        return [*cells, *(cell for variants in _by_row(cells) for cell in self._agreement(variants))]

    def _ratios(self, context: Context, row: list[Group]) -> list[Cell]:
        """mean |gap| / mean |gap| of the reference, as Table 17 has it, with Fieller's interval over shared seeds."""
        from peft_lib.statistics.ratios import fieller

        values = [context.cell(group, "gap_absolute", panel=RATIO) for group in row]
        divided = marks.normalise(values, str(self.normalise_to))
        base = next((c for c in values if c.method == self.normalise_to), None)
        cells = []
        for cell, ratio in zip(values, divided, strict=True):
            if ratio.value is not None and base is not None and cell.complete and len(cell.values) == len(base.values):
                found = fieller(cell.values, base.values, lowest=0)
                of_itself = cell.method == self.normalise_to
                ends: dict[str, Any] = (
                    {} if of_itself else {"low": found.low, "high": found.high, "reason": found.reason}
                )
                ratio = replace(ratio, **ends)
            cells.append(replace(ratio, direction="lower"))
        return cells

    def _agreement(self, variants: dict[str, list[Cell]]) -> Iterator[Cell]:
        """Kendall's tau-b between the orders of methods by two readings, nearest to zero first."""
        from scipy.stats import kendalltau

        for one, other in combinations(VARIANTS, 2):
            first = {c.method: c for c in variants[one] if c.complete}
            second = {c.method: c for c in variants[other] if c.complete}
            both = [m for m in first if m in second]
            any_cell = variants[one][0]
            cell = Cell(
                self.id, self.kind, AGREEMENT, any_cell.model, any_cell.dataset, any_cell.row, f"{one}/{other}", "tau",
                n=len(both), planned=len(variants[one]), direction="higher",
            )  # fmt: skip
            orders = [[marks.goodness(cells[m]) for m in both] for cells in (first, second)]
            if len(both) < FEWEST_METHODS or any(len(set(order)) == 1 for order in orders):
                why = f"no order of {FEWEST_METHODS} methods with values from all their runs"
                yield replace(cell, status="not_available", reason=why)
            else:
                yield replace(cell, value=float(kendalltau(*orders).statistic))

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """Gaps of tasks and methods; then the agreement of the orders."""
        shown = [c for c in cells if c.panel in VARIANTS or c.panel == RATIO]
        (table,) = by_method(shown, plan, notes)
        ratio = f"absolute gap, ratio to {plain_name(str(self.normalise_to))}'s"
        panels = list(dict.fromkeys(c.key for c in shown))
        rows = [
            replace(row, group=ratio, entries=tuple(map(_with_bounds, row.entries))) if key[0] == RATIO else row
            for key, row in zip(panels, table.rows, strict=True)
        ]
        return [replace(table, rows=tuple(rows)), _agreement_table(cells, plan)]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        said = [
            "Gap: test loss minus clean training loss, both in evaluation mode at the reported epoch. Absolute: mean over seeds of "
            "its size. Running: test loss minus the mean training loss during that epoch, while weights moved and dropout was "
            "on. Nearest to zero marked.",
        ]
        running = [c for c in cells if c.panel == "gap_running" and c.complete]
        below = sum(c.number < 0 for c in running)
        if below:
            said.append(
                f"The running gap is negative in {below} of {len(running)} cells: the running loss is of earlier, worse weights."
            )
        if self.normalise_to:
            name = plain_name(self.normalise_to)
            said.append(f"Ratio of means to {name}, with Fieller's 95 % interval over seeds that both have.")
            # The reason stands as a footnote at each such value too.
            unbounded = [c for c in cells if c.panel == RATIO and c.reason and "bounds the ratio" in c.reason]
            if unbounded:
                said.append(f"Ratios without bounds: {len(unbounded)}, as {name}'s gap may be zero by its seeds.")
        winners = _winners(cells)
        if winners:
            total = len({c.key[1:] for c in cells if c.panel in VARIANTS})
            said.append(
                f"Which method has the gap nearest to zero depends on the reading in {winners} of {total} rows."
            )
        return [*said, *spread_remarks([c for c in cells if c.panel in VARIANTS], tables)]


def _with_bounds(e: Entry) -> Entry:
    """The interval of a ratio is always shown: it is what the ratio is to be believed by."""
    lines = {"bounds" if kind == "interval" else kind: text for kind, text in e.lines.items()}
    return replace(e, lines=lines)


def _by_row(cells: list[Cell]) -> list[dict[str, list[Cell]]]:
    """Of each row: reading -> its cells."""
    rows: dict[tuple, dict[str, list[Cell]]] = {}
    for c in cells:
        if c.panel in VARIANTS:
            rows.setdefault((c.model, c.dataset, c.row), {}).setdefault(c.panel, []).append(c)
    return list(rows.values())


def _winners(cells: list[Cell]) -> int:
    """Rows in which the three readings do not have the same best methods."""
    best = [[{c.method for c in marks.best_of(part)} for part in row.values()] for row in _by_row(cells)]
    return sum(all(row) and any(part != row[0] for part in row) for row in best)


def _agreement_table(cells: list[Cell], plan: "Plan") -> Table:
    pairs = [f"{one}/{other}" for one, other in combinations(VARIANTS, 2)]
    lines: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for c in cells:
        if c.panel == AGREEMENT:
            lines.setdefault((c.model, c.dataset, c.row), {})[c.column] = c
    body = tuple(Row((task_name(plan, *task),), tuple(_tau(line[p]) for p in pairs)) for task, line in lines.items())
    names = [" and ".join(VARIANTS[name] for name in pair.split("/")) for pair in pairs]
    title = "Kendall's tau of the methods' orders by two readings of the gap (1: the same order)"
    return Table(("Row",), tuple(map(Label.plain, names)), body, title=title)


def _tau(cell: Cell) -> Entry:
    if cell.value is None:
        return Entry("\u2013", status="empty", title=cell.reason or "")
    blank: dict[str, Any] = {"title": f"over {cell.n} of {cell.planned} methods"}
    return Entry(fixed(cell.value, 2), **blank)
