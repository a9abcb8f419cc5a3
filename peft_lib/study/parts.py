"""Parts of a study: which of its runs `only` asks for, and whether it names what the study has.

A part restricts what is trained and nothing else: the plan keeps all points and runs, run ids stay as they are, and tables
show the other runs as they are on the disk.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from peft_lib.names import nearest
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location, Problem, problem_at
from peft_lib.study.schema import Only, Study

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

WORDS = {
    "artefact": "artefact", "grid": "grid", "model": "model", "dataset": "data set", "method": "method", "seed": "seed",
}  # fmt: skip
"""Key of `only` -> what its values are."""


def asked(plan: "Plan", only: Only) -> frozenset[str]:
    """Ids of the runs that fit every given key of `only`; a key with several values fits any of them."""
    left = set(plan.runs)
    for key in WORDS:
        values = getattr(only, key)
        if values is not None:
            left &= set().union(*(_runs_of(plan, key, value) for value in values))
    return frozenset(left)


def _runs_of(plan: "Plan", key: str, value: Any) -> Iterable[str]:
    if key == "artefact":
        return (run for a in plan.study.artefacts if a.id == value for run in a.run_ids(plan))
    if key == "grid":
        return (point.run_id for point in plan.points[value])
    if key in ("model", "dataset"):
        return (run_id for run_id, spec in plan.runs.items() if getattr(spec, key).id == value)
    return (run_id for run_id, spec in plan.runs.items() if getattr(spec, key) == value)


def check_only(study: Study, data: dict[str, Any], parser: Parser) -> None:
    """Whether the study has what `only` names, each value once."""
    for key, known in _known(study).items():
        if parser.is_broken_below(("artefacts",) if key == "artefact" else ("grids",)):
            continue
        seen: dict[Any, None] = {}
        for where, value in _given(data, key):
            if parser.is_broken(where) or parser.is_broken_below(where):
                continue
            if value not in known:
                remedy = f"use one of {_listed(known)}" if key == "seed" else nearest(value, known)
                parser.problem(where, value, f"the study has no such {WORDS[key]}", remedy)
            elif value in seen:
                parser.problem(where, value, f"{key} of only lists a value once", "remove one of them")
            seen[value] = None


def check_asked(plan: "Plan", data: dict[str, Any], parser: Parser) -> list[Problem]:
    """Notes a part that asks for no run; returns warnings of its values that add none to it.

    An artefact that shows no run (counts by formula) is a part by itself: nothing is trained for it.
    """
    only = plan.study.only
    given = [key for key in WORDS if getattr(only, key) is not None]
    without = {a.id for a in plan.study.artefacts if not a.run_ids(plan)}
    if not given or (given == ["artefact"] and without.issuperset(only.artefact or ())):
        return []
    if not plan.asked:
        left = {key: len(asked(plan, only.model_copy(update={key: None}))) for key in given}
        remedy = " or ".join(f"leave out {key} ({count:,} runs are then left)" for key, count in left.items() if count)
        rule = f"no run of the study fits {' and '.join(given)} at once"
        parser.problem(("only",), data.get("only"), rule, remedy or "mend its values")
        return []
    return [
        problem_at(where, value, "no run of it fits the rest of only", "remove it, or mend the rest", parser.lines)
        for key in given
        for where, value in _given(data, key)
        if not (key == "artefact" and value in without) and plan.asked.isdisjoint(_runs_of(plan, key, value))
    ]


def _known(study: Study) -> dict[str, list[Any]]:
    tasks = [task.split("/") for grid in study.grids.values() for task in grid.tasks if task.count("/") == 1]
    known: dict[str, list[Any]] = {
        "artefact": [artefact.id for artefact in study.artefacts],
        "grid": list(study.grids),
        "model": [model for model, _ in tasks],
        "dataset": [dataset for _, dataset in tasks],
        "method": [method for grid in study.grids.values() for method in grid.methods],
        "seed": sorted({seed for grid in study.grids.values() for seed in grid.seeds}),
    }
    return {key: list(dict.fromkeys(values)) for key, values in known.items()}


def _given(data: dict[str, Any], key: str) -> list[tuple[Location, Any]]:
    """Values of a key as they were written, each with its place; none where there is no such key, or no mapping."""
    only = data.get("only")
    if not isinstance(only, dict) or only.get(key) is None:
        return []
    value = only[key]
    return [(("only", key, i), v) for i, v in enumerate(value)] if isinstance(value, list) else [(("only", key), value)]


def _listed(values: list[Any]) -> str:
    return ", ".join(map(str, values[:12])) + (", ..." if len(values) > 12 else "") if values else "none: there is none"
