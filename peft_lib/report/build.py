"""Renders a study: page, figures, LaTeX, JSON and CSV from its cells and runs. The same results give the same bytes."""

import shutil
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from peft_lib.display.markup import visible
from peft_lib.files import atomic_path, write_text
from peft_lib.report import facts, table_files
from peft_lib.report.data_sets import data_sets
from peft_lib.report.findings import findings, power_note
from peft_lib.report.latex_environment import latex_environment
from peft_lib.report.run_details import run_details
from peft_lib.report.sections import Section, section
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
    for name in ("figures", "tables", "assets"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    sections = [section(a, cells[a.id], plan, out / "figures") for a in plan.study.artefacts]
    _write_html(plan, runs, cells, sections, out, templates)
    _write_latex(plan, runs, sections, out, templates)
    for artefact in plan.study.artefacts:
        table_files.write_csv(out / "tables" / f"{artefact.id}.csv", cells[artefact.id])
        table_files.write_json(out / "tables" / f"{artefact.id}.json", artefact, cells[artefact.id])
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
    leading = [s for s in sections if s.artefact.leads][:1]
    values: dict[str, Any] = {
        "study": plan.study, "summary": summary(plan, runs), "findings": findings(plan, cells),
        "power": power_note(cells),
        # The picture of what is bought for what comes first, whatever its place in the study.
        "sections": leading + [s for s in sections if s not in leading],
        "any_published": any(
            c.published is not None for a in plan.study.artefacts if a.grids() for c in cells[a.id]
        ),
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
    for part in sections:
        if part.tables:
            text = template.render({"study": plan.study, **part.latex})
            write_text(out / "tables" / f"{part.artefact.id}.tex", text)
    values = {"study": plan.study, "sections": sections, "facts": summary(plan, runs), "data_sets": data_sets(plan)}
    write_text(out / "appendix.tex", env.get_template("appendix.tex.j2").render(values))
