"""Kind `contradictions`: where the paper contradicts itself or its released code, and what was decided. It shows no run."""

from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.view import Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.reference_file import Fault, PublishedError, read_table

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

FILE = "contradictions.csv"
TEXTS = {
    "where": "Where", "paper": "The paper says", "other": "Against it", "decision": "Decision", "option": "Option",
}  # fmt: skip
"""Column of the file -> its heading."""
COLUMNS = ("id", "part", *TEXTS, "source")
MAY_BE_EMPTY = ("option",)


class Contradictions(Artefact):
    """A chapter: each contradiction with the decision taken, and the setting that takes the other way, if there is one."""

    kind: Literal["contradictions"]

    layout: ClassVar[Literal["settings"]] = "settings"
    template: ClassVar[str] = "contradictions"

    def build(self, context: Context) -> list[Cell]:
        """A cell per text. Raises PublishedError for a file with faults."""
        path = context.references / FILE
        _, rows = read_table(path, COLUMNS, COLUMNS)
        faults = [
            Fault(line, f"{name} is {row[name]!r}", f"{name} is a text without blanks around it", "write it")
            for line, row in rows
            for name in COLUMNS
            if row[name] != row[name].strip() or not (row[name] or name in MAY_BE_EMPTY)
        ]
        if faults:
            raise PublishedError(path, faults)
        return [
            Cell(self.id, self.kind, row["part"], "", "", row["id"], name, "text", text=row[name], source=row["source"])
            for _, row in rows
            for name in TEXTS
        ]

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One table, a part per kind of contradiction."""
        rows = []
        for (part, _, _, name), line in groupby(cells, key=lambda c: c.key):
            texts = {c.column: c for c in line}
            entries = tuple(Entry(texts[column].text or "") for column in TEXTS)
            rows.append(Row((name,), entries, part))
        return [Table(("No.",), tuple(Label.plain(heading) for heading in TEXTS.values()), tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        names = list(dict.fromkeys(c.row for c in cells))
        free = sum(bool(c.text) for c in cells if c.column == "option")
        return [
            f"{len(names)} contradictions; for {free} an option of this library takes another way.",
            "Numbers 13.1 and so on are those of docs/protocol.md, F and G rows of docs/errata.md; A, B and C were found when the "
            "paper's tables were transcribed. 'Release' is the authors' public code.",
            "Options are settings of a study; options.x is an option of a method, models.x and datasets.x entries of the "
            "catalogs, quantities.x what a table may show, how.x how a run is executed.",
        ]
