"""Renders a study: page, figures, LaTeX, JSON and CSV from its cells and runs. The same results give the same bytes."""

import shutil
from pathlib import Path

import pandas as pd

from peft_lib.files import write_text
from peft_lib.report import table_files
from peft_lib.report.data_sets import data_sets
from peft_lib.report.finding_limits import power_note
from peft_lib.report.findings import across, basis, findings
from peft_lib.report.latex_environment import latex_environment
from peft_lib.report.page import write_page
from peft_lib.report.sections import Section, section
from peft_lib.report.summary import summary
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.study.plan import Plan

TEMPLATES = Path(__file__).resolve().parents[2] / "reports" / "templates"


def build_report(plan: Plan, results: Path, out: Path, templates: Path = TEMPLATES) -> None:
    """Writes a study's report from whatever results there are: what has not run says so."""
    runs = collect(plan, results)
    render(plan, runs, {a.id: build(plan, a, runs, results) for a in plan.study.artefacts}, out, templates)


def render(
    plan: Plan, runs: pd.DataFrame, cells: dict[str, list[Cell]], out: Path, templates: Path = TEMPLATES
) -> None:
    """Writes a study's report from its runs (`collect`) and the cells of each artefact."""
    for name in ("figures", "tables", "assets", "runs"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    sections = [section(a, cells[a.id], plan, out / "figures") for a in plan.study.artefacts]
    write_page(plan, runs, cells, sections, out, templates)
    _write_latex(plan, runs, cells, sections, out, templates)
    for artefact in plan.study.artefacts:
        table_files.write_csv(out / "tables" / f"{artefact.id}.csv", cells[artefact.id])
        table_files.write_json(out / "tables" / f"{artefact.id}.json", artefact, cells[artefact.id])
    table_files.write_all(out / "cells.json", plan.study, cells)


def _write_latex(
    plan: Plan, runs: pd.DataFrame, cells: dict[str, list[Cell]], sections: list[Section], out: Path, templates: Path
) -> None:
    env = latex_environment(templates)
    template = env.get_template("table.tex.j2")
    for part in sections:
        if part.tables:
            text = template.render({"study": plan.study, **part.latex})
            write_text(out / "tables" / f"{part.artefact.id}.tex", text)
    values = {
        "study": plan.study, "sections": sections, "facts": summary(plan, runs), "data_sets": data_sets(plan),
        "findings": findings(plan, cells), "across": across(plan, cells), "basis": basis(plan), "power": power_note(cells),
    }  # fmt: skip
    write_text(out / "appendix.tex", env.get_template("appendix.tex.j2").render(values))
