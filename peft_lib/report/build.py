"""Renders a study: page, figures, LaTeX, JSON and CSV from its cells and runs. The same results give the same bytes."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from peft_lib.files import atomic_path, write_text
from peft_lib.report import facts, latex_tables, table_files
from peft_lib.report.data_sets import data_sets
from peft_lib.report.figures import Picture, draw
from peft_lib.report.findings import findings, power_note
from peft_lib.report.latex_text import latex_environment
from peft_lib.report.markup import visible
from peft_lib.report.run_details import run_details
from peft_lib.report.tables import Rendered, render
from peft_lib.report.view import LINES
from peft_lib.results.cells import Cell, read_cells
from peft_lib.results.collect import collect
from peft_lib.study.plan import Plan
from peft_lib.study.schema import Artefact

TIE = 0
"""Place of a legend's word that is for ties, not for a place."""
TEMPLATES = Path(__file__).resolve().parents[2] / "reports" / "templates"


@dataclass(frozen=True)
class Section:
    """An artefact in the report."""

    artefact: Artefact
    rendered: Rendered
    pictures: list[Picture]

    @property
    def anchor(self) -> str:
        """Id in the page; the prefix keeps artefacts from taking the page's own ids."""
        return f"artefact-{self.artefact.id}"

    @property
    def latex(self) -> bool:
        return bool(self.rendered.tables)

    @property
    def file(self) -> bool:
        return self.latex

    @property
    def legend(self) -> list[tuple[int, str]]:
        """Marks that the tables have and their words: places if more than the first is marked, and ties."""
        entries = [e for t in self.rendered.tables for r in t.rows for e in r.entries]
        places = max((e.mark for e in entries), default=0)
        words = list(enumerate(("best", "second", "third")[:places], 1)) if places > 1 else []
        return [*words, (TIE, "tied")] if any(e.tied for e in entries) else words

    @property
    def switches(self) -> list[tuple[str, str]]:
        """Lines that a reader may hide or show."""
        if self.artefact.kind in ("heatmap", "hyperparameters", "parameters", "counts"):
            return []
        kinds = {k for t in self.rendered.tables for k in t.line_kinds}
        return [(kind, line.switch) for kind, line in LINES.items() if kind in kinds and line.switch]


def build_report(plan: Plan, results: Path, tables: Path, out: Path, templates: Path = TEMPLATES) -> None:
    """Writes reports/<study>. `tables` has one Parquet of cells per artefact (workflow_scripts/tables.py)."""
    cells = {a.id: read_cells(tables / f"{a.id}.parquet") for a in plan.study.artefacts}
    runs = collect(plan, results)
    for name in ("figures", "tables", "assets"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    sections = [
        Section(a, render(a, cells[a.id], plan), draw(a, cells[a.id], plan, out / "figures"))
        for a in plan.study.artefacts
    ]
    _write_html(plan, runs, cells, sections, out, templates)
    _write_latex(plan, runs, sections, out, templates)
    for section in sections:
        name = section.artefact.id
        table_files.write_csv(out / "tables" / f"{name}.csv", cells[name])
        table_files.write_json(out / "tables" / f"{name}.json", section.artefact, cells[name])
    table_files.write_all(out / "cells.json", plan.study, cells)


def _write_html(
    plan: Plan, runs: pd.DataFrame, cells: dict[str, list[Cell]], sections: list[Section], out: Path, templates: Path
) -> None:
    env = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["abs"] = abs
    right, wrong = facts.parameter_check(plan, runs)
    counted = facts.status_counts(runs)
    leading = [s for s in sections if s.artefact.kind == "cost"][:1]
    values: dict[str, Any] = {
        "study": plan.study, "summary": summary(plan, runs), "findings": findings(plan, cells),
        "power": power_note(cells),
        # The picture of what is bought for what comes first, whatever its place in the study.
        "sections": leading + [s for s in sections if s not in leading],
        "any_published": any(c.published is not None and c.kind != "counts" for part in cells.values() for c in part),
        "runs_sentence": _runs_sentence(counted, len(runs)), "parameters_sentence": _parameters_sentence(right, wrong),
        "parameters_wrong": wrong, "twins": facts.twins(plan, runs), "environment": facts.environment(runs),
        "runs": run_details(plan, runs), "data_sets": data_sets(plan),
        "files_sentence": f"{counted['ok']} of {len(runs)} runs and {sum(map(len, cells.values())):,} cells",
    }  # fmt: skip
    write_text(out / "index.html", visible(env.get_template("index.html.j2").render(values).lstrip()))
    with atomic_path(out / "assets" / "style.css") as temporary:
        shutil.copyfile(templates / "style.css", temporary)


def summary(plan: Plan, runs: pd.DataFrame) -> str:
    """What was compared on what, in one line."""
    specs = plan.runs.values()
    methods = len({s.method for s in specs})
    tasks = len({(s.model.id, s.dataset.id) for s in specs})
    if not specs:
        return "no run: all its values are by formula"
    seeds = sorted({len(grid.seeds) for grid in plan.study.grids.values()})
    parts = [_count(methods, "method"), _count(tasks, "task"), _count(seeds[-1], "seed"), _count(len(runs), "run")]
    parts[2] = parts[2] if len(seeds) == 1 else f"up to {parts[2]}"
    bad = {k: v for k, v in facts.status_counts(runs).items() if k != "ok"}
    state = "all ok" if not bad else ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in bad.items())
    machines = ", ".join(sorted(runs["device_name"].dropna().unique()))
    return " \u00b7 ".join([*parts, state, *([machines] if machines else [])])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"


def _runs_sentence(counted: dict[str, int], total: int) -> str:
    if not total:
        return "The study plans no run: its tables are by formula, from the catalogs and the paper's printed numbers."
    bad = ", ".join(f"{v} {k.replace('_', ' ')}" for k, v in counted.items() if k != "ok")
    good = f"{counted['ok']} of {_count(total, 'planned run')} finished well and with the present code and data"
    return f"{good}; {bad}." if bad else f"{good}."


def _parameters_sentence(right: int, wrong: list[str]) -> str:
    if not right and not wrong:
        return "No run has counted its trainable parameters yet."
    total = _count(right + len(wrong), "run")
    text = f"Trainable parameters, counted by the optimiser, equal the formula in {right} of {total}."
    return text if not wrong else f"{text} They differ in {len(wrong)}."


def _write_latex(plan: Plan, runs: pd.DataFrame, sections: list[Section], out: Path, templates: Path) -> None:
    env = latex_environment(templates)
    template = env.get_template("table.tex.j2")
    for section in sections:
        if section.file:
            write_text(out / "tables" / f"{section.artefact.id}.tex", template.render(_table_values(plan, section)))
    values = {"study": plan.study, "sections": sections, "facts": summary(plan, runs), "data_sets": data_sets(plan)}
    write_text(out / "appendix.tex", env.get_template("appendix.tex.j2").render(values))


def _table_values(plan: Plan, section: Section) -> dict[str, Any]:
    make = latex_tables.of_texts if section.artefact.kind == "hyperparameters" else latex_tables.by_method
    heat = section.artefact.kind == "heatmap"
    return {
        "study": plan.study, "artefact": section.artefact, "remarks": section.rendered.remarks,
        "legend": section.legend,
        "footnotes": section.rendered.footnotes,
        "blocks": [] if heat else [b for table in section.rendered.tables for b in make(table)],
        "panels": latex_tables.panels(section.rendered.tables) if heat else "",
    }  # fmt: skip
