"""Tables of bounds: Table 1's expressions, their numbers beside the measured gap, rank agreement, Theorem 1's norms."""

from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from markupsafe import Markup

from peft_lib.display.entries import entry, fixed
from peft_lib.display.latex_text import Latex
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import single_seed
from peft_lib.display.tables import method_heading, task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.bound_norms import BASE, PLACES, PRODUCTS, UPDATE
from peft_lib.results.bound_terms import widths_of
from peft_lib.results.cells import Cell
from peft_lib.study.known_methods import method_of

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


def _label(html: str, latex: str) -> Label:
    """A heading written here; a formula stays on one line."""
    return Label(Markup(f'<span class="formula">{html}</span>'), Latex(latex))


SUMS = {
    "m+n": ("\u03a3<sub>i</sub>(m<sub>i</sub> + n<sub>i</sub>)", r"\sum_i (m_i+n_i)"),
    "n": ("\u03a3<sub>i</sub> n<sub>i</sub>", r"\sum_i n_i"),
    "m": ("\u03a3<sub>i</sub> m<sub>i</sub>", r"\sum_i m_i"),
}
COLUMNS = {
    "rank": Label.plain("r"), "links": Label.plain("k"), "dimensions": Label.plain("sum of widths"),
    "parameters": Label.plain("p"),
    "bound": _label("bound", "bound"), "bound_with_head": Label.plain("with head"), "gap": Label.plain("measured gap"),
    "ratio": _label("bound / |gap|", r"bound / \textbar{}gap\textbar{}"), "says": Label.plain("it is"),
}  # fmt: skip
AGREES = {"gap": Label.plain("with the gap"), "gap_absolute": Label.plain("with the absolute gap")}
NORMS = {
    "largest": _label("largest \u2016\u0394W\u2016<sub>2</sub>", r"largest $\|\Delta{}W\|_2$"),
    "growth": _label("log<sub>10</sub> \u03a0(w + d)/\u03a0w", r"$\log_{10}$ $\prod(w{+}d)$ $/\prod{w}$"),
    "around_base": _label(
        "log<sub>10</sub> (\u03a0(w + d) \u2212 \u03a0w)", r"$\log_{10}$ $(\prod(w{+}d)$ $-\prod{w})$"
    ),
    "around_delta": _label(
        "log<sub>10</sub> (\u03a0(w + d) \u2212 \u03a0d)", r"$\log_{10}$ $(\prod(w{+}d)$ $-\prod{d})$"
    ),
}


def expression(widths: str, chain: bool) -> Label:
    """Table 1's bound on G(Delta W) as a formula in both languages; without factors, Lemma 1's."""
    if not widths:
        return _label("\u221a(2 q \u03c3\u00b2 p ln 2 / |N|)", r"$\sqrt{2q\sigma^2 p\ln 2\,/\,|N|}$")
    html, latex = SUMS[widths]
    k_html, k_latex = (" k", "k") if chain else ("", "")
    return _label(
        f"\u221a(2 r q \u03c3\u00b2{k_html} ln 2 {html} / |N|)",
        rf"$\sqrt{{2rq\sigma^2{k_latex}\ln 2\,{latex}\,/\,|N|}}$",
    )


def expression_table(cells: list[Cell], plan: "Plan") -> Table:
    """Each expression with its methods: those that the paper prints it for, and the others."""
    sources: dict[str, str] = {}
    for c in cells:
        if c.column == "bound" and c.method and c.source:
            sources[c.method] = c.source
    lines: dict[tuple[str, bool], list[str]] = {}
    for method in sources:
        described = method_of(method)
        lines.setdefault((widths_of(described), described.chains), []).append(method)
    rows = []
    for (widths, chain), methods in lines.items():
        printed, ours = (
            ", ".join(plain_name(m) for m in methods if sources[m].startswith("paper") == is_printed)
            for is_printed in (True, False)
        )
        rows.append(Row((expression(widths, chain),), (Entry(printed), Entry(ours))))
    columns = (Label.plain("in the paper's Table 1"), Label.plain("not there, same derivation"))
    return Table(("Bound on G(\u0394W)",), columns, tuple(rows), title="Expressions")


def bound_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """A part per task, a row per method."""
    single = single_seed([c for c in cells if c.column == "gap"])
    rows = []
    for key, part in groupby(cells, key=lambda c: (c.model, c.dataset, c.row)):
        of: dict[str, dict[str, Cell]] = {}
        for cell in part:
            of.setdefault(str(cell.method), {})[cell.column] = cell
        group = _task(plan, key, next((line for line in of.values() if "items" in line), {}))
        for method, line in of.items():
            entries = tuple(_entry(line[name], notes, single) if name in line else EMPTY for name in COLUMNS)
            rows.append(Row((method_heading(method),), entries, group))
    return Table(("Method",), tuple(COLUMNS.values()), tuple(rows), title="Bounds and measured gaps")


def _task(plan: "Plan", key: tuple[str, str, str], line: dict[str, Cell]) -> str:
    facts = [
        f"{sign} = {fixed(line[name].number, 0)}" for name, sign in (("items", "|N|"), ("bits", "q")) if name in line
    ]
    return "; ".join([task_name(plan, *key), *facts])


def _entry(cell: Cell, notes: Footnotes, single: bool) -> Entry:
    if cell.column == "says":
        return Entry(str(cell.text).partition(":")[0], title=cell.text or "", notes=notes.mark(_why(cell)))
    shown = entry(cell, notes, single)
    kept = _short(shown) if cell.column == "gap" else replace(shown, lines={}, run=None)
    if cell.column == "bound" and cell.source and not cell.source.startswith("paper"):
        return replace(kept, notes=(*kept.notes, *notes.mark(cell.source)))
    return kept


def _short(shown: Entry) -> Entry:
    """Without its interval, which the data files have: a row per method is high enough."""
    return replace(shown, lines={kind: text for kind, text in shown.lines.items() if kind != "interval"})


def _why(cell: Cell) -> str:
    """What a vacuous bound is above."""
    return (cell.text or "").partition(": ")[2]


def agreement_table(cells: list[Cell], plan: "Plan", notes: Footnotes) -> Table:
    """Kendall's tau-b of bound and gap, a row per task."""
    rows = []
    for key, part in groupby(cells, key=lambda c: (c.model, c.dataset, c.row)):
        of = {c.column: c for c in part}
        rows.append(Row((task_name(plan, *key),), tuple(_tau(of[name], notes) for name in AGREES)))
    title = "Rank agreement of bound and measured gap (Kendall's tau-b)"
    return Table(("Task",), tuple(AGREES.values()), tuple(rows), title=title)


def _tau(cell: Cell, notes: Footnotes) -> Entry:
    shown = replace(entry(replace(cell, status="ok") if cell.status == "partial" else cell, notes, True), run=None)
    if cell.value is None:
        return shown
    p = "p < 0.001" if (cell.p or 0) < 0.001 else f"p = {cell.p:.3f}"
    return replace(shown, text=f"{shown.text} ({p}, {cell.n} methods)")


def norm_tables(cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
    """Theorem 1's products, and the spectral norms of W0 and of every method's update by place; none without these cells."""
    if not cells:
        return []
    single = single_seed(cells)
    return [_products(cells, plan, notes, single), _places(cells, plan, notes, single)]


def _products(cells: list[Cell], plan: "Plan", notes: Footnotes, single: bool) -> Table:
    rows = []
    for key, part in groupby(
        [c for c in cells if c.panel == PRODUCTS], key=lambda c: (c.model, c.dataset, c.row, c.method)
    ):
        of = {c.column: c for c in part}
        entries = tuple(_short(entry(of[name], notes, single)) for name in NORMS)
        rows.append(Row((method_heading(str(key[3])),), entries, task_name(plan, *key[:3])))
    title = "Theorem 1's products over the adapted matrices (w = \u2016W0\u2016, d = \u2016\u0394W\u2016, spectral)"
    return Table(("Method",), tuple(NORMS.values()), tuple(rows), title=title)


def _places(cells: list[Cell], plan: "Plan", notes: Footnotes, single: bool) -> Table:
    """Rows are places; the column of W0 is any run's: they have it in common."""
    methods = list(dict.fromkeys(c.method for c in cells if c.panel.startswith(f"{PLACES}/")))
    of: dict[tuple[str, str, str, str], dict[str, Cell]] = {}
    for cell in cells:
        if cell.panel.startswith(f"{PLACES}/"):
            line = of.setdefault((cell.model, cell.dataset, cell.row, cell.panel.removeprefix(f"{PLACES}/")), {})
            if cell.column == UPDATE:
                line[str(cell.method)] = cell
            elif cell.column == BASE and cell.measured:
                line.setdefault(BASE, cell)
    rows = []
    for (*task, place), line in of.items():
        base = entry(replace(line[BASE], status="ok", reason=None), notes, single) if BASE in line else EMPTY
        entries = [replace(base, lines={}, run=None)]
        entries += [_short(entry(line[str(m)], notes, single)) if str(m) in line else EMPTY for m in methods]
        rows.append(Row((place,), tuple(entries), task_name(plan, *task)))
    columns = (_label("W<sub>0</sub>", r"$W_0$"), *(method_heading(str(m)) for m in methods))
    return Table(("Place",), columns, tuple(rows), title="Spectral norms of W0 and of each method's update")
