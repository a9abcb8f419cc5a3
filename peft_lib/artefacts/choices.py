"""Kind `choices`: every setting of the study that is ours or inferred, because the paper does not state it. It shows no run."""

from itertools import groupby
from typing import TYPE_CHECKING, ClassVar, Literal

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.tables import setting_name
from peft_lib.display.view import Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.study.choices import KINDS, choices

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

TEXTS = {"value": "Value", "models": "Models", "runs": "Runs", "why": "Why"}
"""Column -> its heading."""


class Choices(Artefact):
    """Settings by their sources: what starts with "ours", then what starts with "inferred"."""

    kind: Literal["choices"]

    layout: ClassVar[Literal["settings"]] = "settings"

    def build(self, context: Context) -> list[Cell]:
        """A cell per text. The row is a number, as a setting may have several sources."""
        plan = context.plan
        cells = []
        for number, choice in enumerate(choices(plan), 1):
            everyone = len(choice.models) == len({spec.model.id for spec in plan.runs.values()})
            texts = {
                "value": ", ".join(choice.values),
                "models": "all" if everyone else ", ".join(plan.models[m].name for m in choice.models),
                "runs": f"{choice.runs:,}", "why": choice.source,
            }  # fmt: skip
            cells += [
                Cell(self.id, self.kind, choice.kind, "", "", str(number), column, choice.setting, text=texts[column])
                for column in TEXTS
            ]
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """One table, a part per kind of source."""
        rows = []
        for (panel, _, _, _), line in groupby(cells, key=lambda c: c.key):
            texts = list(line)
            entries = tuple(Entry(cell.text or "") for cell in texts)
            rows.append(Row((setting_name(texts[0].metric),), entries, KINDS[panel]))
        if not rows:
            return []
        return [Table(("Setting",), tuple(Label.plain(heading) for heading in TEXTS.values()), tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return ["A run that several tables share counts where the study names it first. Seeds are of the grids."]
