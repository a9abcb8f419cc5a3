"""An artefact in the report: its tables, figures and what is said below them, ready for the page and for LaTeX."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft_lib.artefacts.kind import Artefact
from peft_lib.display import latex_tables
from peft_lib.display.view import LINES, Footnotes, Picture, Table
from peft_lib.results.cells import Cell
from peft_lib.study.plan import Plan

TIE = 0
"""Place of a legend's word that is for ties, not for a place."""


@dataclass(frozen=True)
class Section:
    """One artefact as it is shown."""

    artefact: Artefact
    tables: list[Table]
    footnotes: list[tuple[str, str]]
    remarks: list[str]
    pictures: list[Picture]

    @property
    def anchor(self) -> str:
        """Id in the page; the prefix keeps artefacts from taking the page's own ids."""
        return f"artefact-{self.artefact.id}"

    @property
    def legend(self) -> list[tuple[int, str]]:
        """Marks that the tables have and their words: places if more than the first is marked, and ties."""
        entries = [e for t in self.tables for r in t.rows for e in r.entries]
        places = max((e.mark for e in entries), default=0)
        words = list(enumerate(("best", "second", "third")[:places], 1)) if places > 1 else []
        return [*words, (TIE, "tied")] if any(e.tied for e in entries) else words

    @property
    def switches(self) -> list[tuple[str, str]]:
        """Lines that a reader may hide or show."""
        kinds = {k for t in self.tables for k in t.line_kinds} if self.artefact.switches else set()
        return [(kind, line.switch) for kind, line in LINES.items() if kind in kinds and line.switch]

    @property
    def latex(self) -> dict[str, Any]:
        """What table.tex.j2 reads: parts that fit a page's width, or small panels side by side."""
        heat = self.artefact.layout == "heat"
        make = latex_tables.of_texts if self.artefact.layout == "settings" else latex_tables.by_method
        return {
            "artefact": self.artefact, "remarks": self.remarks, "legend": self.legend, "footnotes": self.footnotes,
            "blocks": [] if heat else latex_tables.of_several(self.tables, make),
            "panels": latex_tables.panels(tuple(self.tables)) if heat else "",
        }  # fmt: skip


def section(artefact: Artefact, cells: list[Cell], plan: Plan, figures: Path) -> Section:
    """An artefact's tables, and its figures, drawn into a folder."""
    notes = Footnotes()
    tables = artefact.tables(cells, plan, notes) if cells else []
    return Section(
        artefact, tables, notes.items, artefact.remarks(cells, tables), artefact.figures(cells, plan, figures)
    )
