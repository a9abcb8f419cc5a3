"""Kind `choices`: the settings whose values come from a given kind of source, such as those that the paper never states.

It reads the plan alone, so it needs no run.
"""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.tables import setting_name
from peft_lib.display.view import Entry, Footnotes, Label, Row, Table
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, setting_text
from peft_lib.study.wording import OneOrMany

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.spec import RunSpec

Word = Literal["paper", "inferred", "ours"]
COLUMNS = {"runs": "Runs", "where": "Where, if not everywhere"}
Key = tuple[str, str, str]
"""(source, setting, value)."""


class Choices(Artefact):
    """One row per source, setting and value, with the runs that have it."""

    kind: Literal["choices"]
    sources_of: Annotated[tuple[Word, ...], OneOrMany()] = Field(
        ("ours",), min_length=1, description="words that the sources of the listed settings begin with"
    )

    layout: ClassVar[Literal["settings"]] = "settings"

    def build(self, context: Context) -> list[Cell]:
        """Two cells per row, how many runs and which. The order is that in which the study first uses a source."""
        plan = context.plan
        runs: dict[Key, list[RunSpec]] = {}
        for run_id, spec in plan.runs.items():
            for setting, source in plan.provenance[run_id].items():
                if source.partition(":")[0].partition(",")[0].strip() in self.sources_of:
                    key = (source, setting, setting_text(getattr(spec, setting)))
                    runs.setdefault(key, []).append(spec)
        order = {source: place for place, source in enumerate(dict.fromkeys(key[0] for key in runs))}
        everyone = _ids(plan.runs.values())
        cells = []
        for key in sorted(runs, key=lambda k: (order[k[0]], k[1])):
            source, setting, value = key
            texts = {"runs": f"{len(runs[key]):,}", "where": _where(plan, _ids(runs[key]), everyone)}
            cells += [
                Cell(self.id, self.kind, source, "", "", f"{setting} {value}", column, setting, text=text, source=value)
                for column, text in texts.items()
            ]
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        rows = []
        for (source, *_), part in groupby(cells, key=lambda c: c.key):
            entries = {c.column: c for c in part}
            first = entries["runs"]
            labels = (setting_name(first.metric), first.source or "")
            rows.append(Row(labels, tuple(Entry(entries[column].text or "") for column in COLUMNS), source))
        return [Table(("Setting", "Value"), tuple(map(Label.plain, COLUMNS.values())), tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        sources = {c.panel for c in cells}
        return [f"{len(cells) // 2} values of settings, from {len(sources)} sources."]


def _ids(specs: "Iterable[RunSpec]") -> dict[str, list[str]]:
    """Models, data sets and methods of runs, each once."""
    parts = ("models", "data sets", "methods")
    every = [(spec.model.id, spec.dataset.id, spec.method) for spec in specs]
    return {part: list(dict.fromkeys(ids[place] for ids in every)) for place, part in enumerate(parts)}


def _where(plan: "Plan", mine: dict[str, list[str]], everyone: dict[str, list[str]]) -> str:
    """Which models, data sets and methods, where that are not all."""
    names: dict[str, Callable[[str], str]] = {
        "models": lambda i: plan.models[i].name, "data sets": lambda i: plan.datasets[i].name,
        "methods": lambda i: get_method(i).name,
    }  # fmt: skip
    told = [part for part, ids in mine.items() if len(ids) < len(everyone[part])]
    return "; ".join(f"{part}: {', '.join(names[part](i) for i in mine[part])}" for part in told)
