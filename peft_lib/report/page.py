"""The report as HTML: one page, and beside it one per task with details of its runs where there are many."""

import re
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from peft_lib.display.markup import visible
from peft_lib.files import atomic_path, write_text
from peft_lib.report import facts
from peft_lib.report.data_sets import data_sets
from peft_lib.report.finding_limits import power_note
from peft_lib.report.findings import across, basis, findings
from peft_lib.report.run_details import run_details
from peft_lib.report.sections import Section
from peft_lib.report.summary import parameters_sentence, runs_sentence, summary
from peft_lib.results.cells import Cell
from peft_lib.study.plan import Plan

ON_ONE_PAGE = 300
"""Runs whose details still stand in the page itself; each takes about 3 kB."""


def write_page(
    plan: Plan, runs: pd.DataFrame, cells: dict[str, list[Cell]], sections: list[Section], out: Path, templates: Path
) -> None:
    """Writes index.html, its style, and for a study of many runs a page per task with their details."""
    details = run_details(plan, runs)
    pages = dict(zip(details, _page_names(details), strict=True)) if len(runs) > ON_ONE_PAGE else {}
    env = _environment(templates)
    homes = {run.run_id: page for task, page in pages.items() for run in details[task]}
    env.globals["run_link"] = lambda run_id: f"{homes.get(run_id, '')}#run-{run_id}"
    right, wrong = facts.parameter_check(plan, runs)
    counted = facts.status_counts(runs)
    leading = [s for s in sections if s.artefact.leads][:1]
    values: dict[str, Any] = {
        "study": plan.study, "summary": summary(plan, runs), "findings": findings(plan, cells),
        "across": across(plan, cells),
        "basis": basis(plan), "power": power_note(cells),
        # The picture of what is bought for what comes first, whatever its place in the study.
        "sections": leading + [s for s in sections if s not in leading],
        "any_published": any(
            c.published is not None for a in plan.study.artefacts if a.grids() for c in cells[a.id]
        ),
        "runs_sentence": runs_sentence(counted, len(runs)), "parameters_sentence": parameters_sentence(right, wrong),
        "parameters_wrong": wrong, "environment": facts.environment(runs),
        "runs": details, "run_pages": pages, "data_sets": data_sets(plan),
        "scenes": any(picture.scene for s in sections for picture in s.pictures),
        "files_sentence": f"{counted['ok']} of {len(runs)} runs and {sum(map(len, cells.values())):,} cells",
    }  # fmt: skip
    write_text(out / "index.html", visible(env.get_template("index.html.j2").render(values).lstrip()))
    for task, page in pages.items():
        text = env.get_template("runs.html.j2").render(study=plan.study, task=task, items=details[task])
        write_text(out / page, visible(text.lstrip()))
    copies = {"style.css": templates / "style.css"}
    if values["scenes"]:
        copies |= {"scenes.js": templates / "scenes.js", "plotly.min.js": _plotly()}
    for name, source in copies.items():
        with atomic_path(out / "assets" / name) as temporary:
            shutil.copyfile(source, temporary)


def _plotly() -> Path:
    """The script that draws in three dimensions, from plotly's package, which is not loaded for it (a CPU-second)."""
    spec = find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("plotly is not installed: pip install -r envs/requirements.txt")
    return Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"


def _environment(templates: Path) -> Environment:
    env = Environment(
        loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    env.filters["abs"] = abs
    return env


def _page_names(tasks: Iterable[str]) -> list[str]:
    """A file for each task's runs, named after it; a number tells apart those that would be called alike."""
    return [
        f"runs/{place:03}_{re.sub('[^a-z0-9]+', '_', task.lower()).strip('_')[:60]}.html"
        for place, task in enumerate(tasks, 1)
    ]
