"""Kind `reproduction`: how many published values the study meets, per artefact and per row, and in which order methods come."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.entries import fixed
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.names import nearest
from peft_lib.results.agreement import COUNTED, PUBLISHED_SEEDS, STATUSES, WORDS, Judged, judge, kendall
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import QUANTITIES
from peft_lib.study.types import Name
from peft_lib.study.wording import OneOrMany

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

PUBLISHED, TAU, FAIR_TAU = "published", "tau", "tau of fair targets"
CAVEAT, BY_FORMULA = "caveat", "by formula"
COLUMNS = (PUBLISHED, *STATUSES, TAU, FAIR_TAU)
HEADINGS = {PUBLISHED: "published values", TAU: "tau", FAIR_TAU: "tau, fair targets"}
ALL = ("", "", "", "")


class Reproduction(Artefact):
    """The study beside the paper: counts of cells within, outside, not run, not comparable; Kendall's tau of the orders."""

    kind: Literal["reproduction"]
    of: Annotated[tuple[Name, ...], OneOrMany()] = Field(
        (), description="artefacts that are summed up; absent: all whose published values runs are compared with",
        examples=["[table2, table3]"],
    )  # fmt: skip
    published_seeds: int = Field(
        PUBLISHED_SEEDS, ge=1, le=1000, description="seeds behind a published mean: how far it may stray by chance"
    )

    template: ClassVar[str] = "reproduction"
    not_null: ClassVar[tuple[str, ...]] = ("of",)

    def sources(self, study: "Study") -> tuple[Artefact, ...]:
        """The artefacts that are summed up, in the order of the study."""
        if self.of:
            return tuple(a for a in study.artefacts if a.id in self.of)
        return tuple(a for a in study.artefacts if compares(a))

    def run_ids(self, plan: "Plan") -> tuple[str, ...]:
        return tuple(dict.fromkeys(i for part in self.sources(plan.study) for i in part.run_ids(plan)))

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        """The artefacts exist, and are compared with published values themselves."""
        known = {a.id: a for a in study.artefacts if a.id is not None}
        for index, name in enumerate(self.of):
            place = (*where, "of", index) if len(self.of) > 1 else (*where, "of")
            if name not in known:
                parser.problem(place, name, "no artefact of that id", nearest(name, list(known)))
            elif not compares(known[name]):
                rule = "no run of it is compared with a published value"
                parser.problem(place, name, rule, "leave it out, or give that artefact published: <file>")

    def build(self, context: Context) -> list[Cell]:
        """Per artefact, and per row of it, a cell for each count and tau; then a cell per reason for a caveat with how many it marks."""
        found = [(part.id, list(self._rows(context, part))) for part in self.sources(context.plan.study)]
        parts = [(name, rows) for name, rows in found if rows or self.of]  # settings are texts, not values
        everything = [j for _, rows in parts for row in rows for j in row.judged]
        cells = list(self._cells(ALL, everything, [o for _, rows in parts for row in rows for o in row.orders]))
        for name, rows in parts:
            cells += self._cells(
                (name, "", "", ""), [j for r in rows for j in r.judged], [o for r in rows for o in r.orders]
            )
        for name, rows in parts:
            for row in rows:
                cells += self._cells((name, *row.key), row.judged, row.orders)
        return cells

    def _rows(self, context: Context, part: Artefact) -> Iterator["Compared"]:
        """What the rows of another artefact say, each with the orders of methods in it."""
        rows: dict[tuple[str, str, str], list[Cell]] = {}
        for cell in context.of(part.id):
            if cell.method and cell.published is not None:
                rows.setdefault(row_of(cell), []).append(cell)
        for key, cells in rows.items():
            metric = context.plan.datasets[cells[0].dataset].metric
            judged = [j for c in cells if (j := judge(c, metric, self.published_seeds))]
            orders: dict[tuple[str, ...], list[Cell]] = {}
            for cell in cells:
                orders.setdefault(order_of(cell), []).append(cell)
            yield Compared(key, judged, list(orders.values()))

    def _cells(self, key: tuple[str, str, str, str], judged: list[Judged], orders: list[list[Cell]]) -> Iterator[Cell]:
        """`key`: artefact, model, data set, row label."""
        panel, model, dataset, row = key

        def cell(column: str, value: float | None, **more: Any) -> Cell:
            return Cell(self.id, self.kind, panel, model, dataset, row, column, column, value=value, **more)

        counted = Counter(j.status for j in judged)
        yield cell(PUBLISHED, len(judged), digits=0)
        for status in STATUSES:
            yield cell(status, counted[status], digits=0)
        formula = sum(j.cell.metric in COUNTED and j.status in ("within", "outside") for j in judged)
        yield cell(BY_FORMULA, formula, digits=0)
        for column, fair in ((TAU, False), (FAIR_TAU, True)):
            found = [kendall([c for c in order if not (fair and c.caveat)]) for order in orders]
            taus = [tau for tau in found if tau is not None]
            none = {} if taus else {"status": "not_available", "reason": "no row of three complete values and an order"}
            yield cell(column, sum(taus) / len(taus) if taus else None, n=len(taus), **none)
        for text, count in Counter(text for j in judged for text in j.cell.caveats).items():
            yield cell(CAVEAT, count, digits=0, text=text)

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """Two tables: everything and each artefact; each row of each artefact, with the caveats as notes."""
        titles = {a.id: f"{a.reference}: {a.title}" if a.reference else a.title for a in plan.study.artefacts}
        lines: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
        caveats: dict[tuple[str, str, str, str], list[str]] = {}
        for c in cells:
            if c.column == CAVEAT:
                caveats.setdefault(c.key, []).append(c.text or "")
            elif c.column in COLUMNS:
                lines.setdefault(c.key, {})[c.column] = c
        short, long = [], []
        for key, line in lines.items():
            panel, model, dataset, row = key
            if not model:
                short.append(Row((titles[panel] if panel else "All",), _entries(line)))
                continue
            labels = (plan.models[model].name, plan.datasets[dataset].name, row)
            letters = tuple(letter for text in caveats.get(key, ()) for letter in notes.mark(text))
            long.append(Row(labels, _entries(line, letters), titles[panel]))
        columns = tuple(Label.plain(HEADINGS.get(c, c)) for c in COLUMNS)
        with_rows = any(row.labels[2] for row in long)
        if not with_rows:
            long = [Row(row.labels[:2], row.entries, row.group) for row in long]
        headings = ("Model", "Data set", *["Row"] * with_rows)
        return [
            Table(("Table",), columns, tuple(short), title="By table"),
            *([Table(headings, columns, tuple(long), title="By row")] if long else []),
        ]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        total = {c.column: int(c.value or 0) for c in cells if c.key == ALL and c.digits == 0}
        if not total[PUBLISHED]:
            return ["No cell of these artefacts has a published counterpart."]
        said = [f"{s}: {WORDS[s]}." for s in STATUSES if total[s]]
        said = [f"{text[0].upper()}{text[1:]}" for text in said]
        tested = total["within"] + total["outside"]
        share = f"{total['within']} of the {tested} values that can be tested lie within." if tested else ""
        if total[BY_FORMULA]:
            share += f" {total[BY_FORMULA]} of them are counts of parameters, which follow from the model."
        share = share or "No value can be tested yet."
        tau = (
            "tau: Kendall's tau-b between the published and the reproduced order of the methods of a row (1: the same, 0: "
            "unrelated, \u22121: reversed), over values from all planned runs; the mean over rows where several are summed up."
        )
        return [share, *said, tau]


def compares(artefact: Artefact) -> bool:
    """Whether it shows runs beside a file of published values."""
    return bool(artefact.grids() and getattr(artefact, "published", None))


@dataclass(frozen=True)
class Compared:
    """A row of another artefact: model, data set and label; what its cells say; the orders of methods in it."""

    key: tuple[str, str, str]
    judged: list[Judged]
    orders: list[list[Cell]]


def row_of(cell: Cell) -> tuple[str, str, str]:
    """Model, data set and label of the row that a cell is counted in: the quantity or the row's own label.

    Where settings are varied along an axis (heat maps, sweeps), all of them are one row.
    """
    if "/" in cell.panel:
        return cell.model, cell.dataset, ""
    what = QUANTITIES[cell.panel].label if cell.panel in QUANTITIES else cell.panel.replace("_", " ")
    return cell.model, cell.dataset, ", ".join(text for text in (what, cell.row) if text)


def order_of(cell: Cell) -> tuple[str, ...]:
    """What the cells of a row have in common whose methods are put in order: everything but the method.

    A heat map's panel names it after the task, which may have its name too (CoLA is a method and a data set).
    """
    place = cell.panel.removeprefix(f"{cell.model}/{cell.dataset}").removeprefix("/")
    name, _, varied = place.partition(", ")
    column = "" if cell.column == cell.method else cell.column
    return varied if name == cell.method else place, cell.row, column


def _entries(line: dict[str, Cell], letters: tuple[str, ...] = ()) -> tuple[Entry, ...]:
    return tuple(_entry(line[c], letters if c == "not comparable" else ()) if c in line else EMPTY for c in COLUMNS)


def _entry(cell: Cell, letters: tuple[str, ...]) -> Entry:
    if cell.value is None:
        return Entry("\u2013", status="empty", title=cell.reason or "")
    title = f"mean over {cell.n} rows" if cell.digits and cell.n > 1 else ""
    return Entry(fixed(cell.value, cell.digits), notes=letters, title=title)
