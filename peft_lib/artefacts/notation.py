"""Kind `notation`: the paper's symbols and what they stand for (Table 19). It shows no run."""

from typing import TYPE_CHECKING, ClassVar, Literal

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.latex_text import Latex
from peft_lib.display.markup import safe_html
from peft_lib.display.view import Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.reference_file import Fault, PublishedError, read_table

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

FILE = "notation.csv"
COLUMNS = ("symbol", "html", "definition", "note")


class Notation(Artefact):
    """Symbols, set by LaTeX in the appendix and by plain characters, superscripts and subscripts in the page."""

    kind: Literal["notation"]

    layout: ClassVar[Literal["settings"]] = "settings"
    template: ClassVar[str] = "notation"

    def build(self, context: Context) -> list[Cell]:
        """Two cells per symbol: its HTML form and its definition; the LaTeX form is the row. Raises PublishedError."""
        path = context.references / FILE
        _, rows = read_table(path, COLUMNS, COLUMNS)
        faults = [
            Fault(line, f"no {name}", f"a symbol has {', '.join(COLUMNS[:3])}", "write it")
            for line, row in rows
            for name in COLUMNS[:3]
            if not row[name].strip()
        ]
        if faults:
            raise PublishedError(path, faults)
        return [
            Cell(
                self.id, self.kind, "", "", "", row["symbol"], name, "text", text=row[name], reason=row["note"] or None
            )
            for _, row in rows
            for name in ("html", "definition")
        ]

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        lines: dict[str, dict[str, Cell]] = {}
        for cell in cells:
            lines.setdefault(cell.row, {})[cell.column] = cell
        rows = []
        for symbol, line in lines.items():
            label = Label(safe_html(line["html"].text or ""), Latex(f"${symbol}$"), "symbol")
            meaning = line["definition"]
            rows.append(Row((label,), (Entry(meaning.text or "", notes=notes.mark(meaning.reason)),)))
        return [Table(("Symbol",), (Label.plain("Meaning"),), tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return [f"{len(cells) // 2} symbols, in the order of the paper's table; meanings in our own words."]
