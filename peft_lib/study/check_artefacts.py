"""Whether an artefact fits its kind, its grid and the published values that it names."""

import re
from functools import cache
from pathlib import Path
from typing import Any

from peft_lib.names import nearest
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location
from peft_lib.study.schema import Artefact, Grid, Study

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
WITHOUT_RUNS = tuple(kind for kind, uses in Artefact.uses.items() if "grid" not in uses)
"""Kinds that show no run."""
OF_QUANTITIES = ("parameters", "efficiency", "counts")
"""Kinds whose published files have several quantities."""


def check_artefacts(study: Study, data: dict[str, Any], parser: Parser) -> None:
    if "grids" not in data and not (study.artefacts and all(a.kind in (None, *WITHOUT_RUNS) for a in study.artefacts)):
        rule = f"grids is missing: only artefacts of kind {', '.join(WITHOUT_RUNS)} need no runs"
        parser.problem(("grids",), ABSENT, rule, "add grids: {main: {...}}")
    ids: dict[str, int] = {}
    for index, artefact in enumerate(study.artefacts):
        where = ("artefacts", index)
        if artefact.id in ids and artefact.id is not None:
            rule = f"artefacts have different ids; artefacts[{ids[artefact.id]}] has it too"
            parser.problem((*where, "id"), artefact.id, rule, f"for example {artefact.id}_{index}")
        ids.setdefault(artefact.id, index)
        if artefact.grid is None and artefact.kind not in (None, *WITHOUT_RUNS):
            rule = f"grid of artefacts[{index}] is missing: kind {artefact.kind} shows the runs of one"
            remedy = f"add grid: {next(iter(study.grids), 'main')}"
            parser.problem((*where, "grid"), data["artefacts"][index].get("grid", ABSENT), rule, remedy)
        _artefact(artefact, where, parser)
        _grids(artefact, study, where, parser)


def _grids(artefact: Artefact, study: Study, where: Location, parser: Parser) -> None:
    """Each of an artefact's grids exists, fits the artefact, and has tasks of its own: a row is of one grid."""
    names = artefact.grid or ()
    misnamed = any(place[:1] == ("grids",) and len(place) == 2 for place in parser.broken)
    shown: dict[str, str] = {}
    for index, name in enumerate(names):
        place = (*where, "grid", index) if len(names) > 1 else (*where, "grid")
        grid = study.grids.get(name)
        if grid is None:
            if study.grids and not misnamed:
                parser.problem(place, name, "no grid of that name", nearest(name, list(study.grids)))
            continue
        if twice := [task for task in grid.tasks if task in shown]:
            other = shown[twice[0]]
            rule = f"grids of one artefact have different tasks; {other} has {twice[0]} too"
            parser.problem(place, name, rule, "name the grid once" if other == name else "make two artefacts")
        shown.update(dict.fromkeys(grid.tasks, name))
        _of_grid(artefact, name, grid, where, parser)


def _artefact(artefact: Artefact, where: Location, parser: Parser) -> None:
    if artefact.kind in Artefact.uses:
        read = Artefact.uses[artefact.kind]
        for key in sorted(artefact.model_fields_set & {u for uses in Artefact.uses.values() for u in uses} - set(read)):
            value = getattr(artefact, key)
            if value is None or (artefact.kind == "curves" and key == "metric" and value == "test_metric"):
                continue
            kinds = ", ".join(kind for kind, uses in Artefact.uses.items() if key in uses)
            rule = f"kind {artefact.kind} does not use {key}; {kinds} does"
            parser.problem((*where, key), value, rule, "remove the line, or choose another kind")
    if artefact.kind == "counts" and artefact.published is None and not parser.is_broken((*where, "published")):
        rule = "published is missing: kind counts shows the counts of a file of reports/reference"
        parser.problem((*where, "published"), ABSENT, rule, "add published: table_6.csv")
    if artefact.published is not None and "published" in Artefact.uses.get(artefact.kind, ()):
        _published(artefact.published, artefact.kind, (*where, "published"), parser)


def _of_grid(artefact: Artefact, name: str, grid: Grid, where: Location, parser: Parser) -> None:
    if artefact.normalise_to is not None and artefact.normalise_to not in grid.methods:
        rule = f"grid {name} does not run that method"
        remedy = f"use one of {', '.join(grid.methods)}, or add it to the grid"
        parser.problem((*where, "normalise_to"), artefact.normalise_to, rule, remedy)
    if artefact.kind == "heatmap":
        for key in ("rows", "columns"):
            value = getattr(artefact, key)
            place = (*where, key) if key in artefact.model_fields_set else where
            if value not in grid.vary and not parser.is_broken(("grids", name, "vary")):
                rule = f"a heat map's {key} are a setting that its grid varies; grid {name} varies "
                rule += ", ".join(grid.vary) or "nothing"
                remedy = f"use {key}: " + (" or ".join(grid.vary) or "a setting, and vary it in the grid")
                parser.problem(place, value, rule, remedy)
        if artefact.rows == artefact.columns:
            rule = "rows and columns of a heat map are two settings"
            parser.problem((*where, "columns"), artefact.columns, rule, "name another setting")


def _published(name: str, kind: str, where: Location, parser: Parser) -> None:
    known = sorted(p.name for p in REFERENCE.glob("table*.csv"))
    if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
        rule = "published is the name of a file of reports/reference, without a folder"
        parser.problem(where, name, rule, nearest(name.rpartition("/")[2], known))
    elif name not in known:
        parser.problem(where, name, "no such file of published values in reports/reference", nearest(name, known))
    else:
        wanted = {"setting"} if kind == "hyperparameters" else {"quantity"} if kind in OF_QUANTITIES else set()
        fitting = [k for k in known if _columns(k) & {"setting", "quantity"} == wanted]
        if name not in fitting:
            rule = f"the file has values of another kind of table than {kind}, so no cell would meet one"
            parser.problem(where, name, rule, f"use one of {', '.join(fitting)}")


@cache
def _columns(name: str) -> set[str]:
    with (REFERENCE / name).open(encoding="utf-8-sig", errors="replace") as file:
        return set(file.readline().strip().split(","))
