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
        grid = study.grids.get(artefact.grid or "")
        misnamed = any(place[:1] == ("grids",) and len(place) == 2 for place in parser.broken)
        if grid is None and artefact.grid is not None and study.grids and not misnamed:
            rule = "no grid of that name"
            parser.problem((*where, "grid"), artefact.grid, rule, nearest(artefact.grid, list(study.grids)))
        _artefact(artefact, grid, where, data, parser)


def _artefact(artefact: Artefact, grid: Grid | None, where: Location, data: Any, parser: Parser) -> None:
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
    if grid is None:
        return
    if artefact.normalise_to is not None and artefact.normalise_to not in grid.methods:
        rule = f"grid {artefact.grid} does not run that method"
        remedy = f"use one of {', '.join(grid.methods)}, or add it to the grid"
        parser.problem((*where, "normalise_to"), artefact.normalise_to, rule, remedy)
    if artefact.kind == "heatmap":
        for key in ("rows", "columns"):
            value = getattr(artefact, key)
            place = (*where, key) if key in artefact.model_fields_set else where
            if value not in grid.vary and not parser.is_broken(("grids", str(artefact.grid), "vary")):
                rule = f"a heat map's {key} are a setting that its grid varies; grid {artefact.grid} varies "
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
