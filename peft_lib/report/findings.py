"""Key findings in sentences, computed from cells. Careful words: overlap is no test, few seeds say little."""

from dataclasses import dataclass, field

from peft_lib.methods.registry import get_method
from peft_lib.report.entries import LONG, fixed
from peft_lib.report.figures import task_name
from peft_lib.report.markup import plain_name
from peft_lib.results.artefacts.marks import goodness
from peft_lib.results.cells import Cell
from peft_lib.results.statistics import half_width, intervals_overlap
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import quantity

NEAR = 1.0
"""How far below the best a method may be, in the metric's unit, to count as a cheap alternative."""


@dataclass
class TaskFindings:
    """What was found on one task: a headline and sentences."""

    task: str
    headline: str
    sentences: list[str] = field(default_factory=list)


def findings(plan: Plan, tables: dict[str, list[Cell]]) -> list[TaskFindings]:
    """Findings per task from the study's first performance table and first cost artefact; none without them."""
    performance = next(
        (a for a in plan.study.artefacts if a.kind == "methods" and a.metric == "test_metric" and not a.normalise_to),
        None,
    )
    if performance is None:
        return []
    costs = next((a for a in plan.study.artefacts if a.kind == "cost"), None)
    cells = tables[performance.id]
    paid = [c for c in tables[costs.id] if c.panel == "cost"] if costs else []
    tasks = dict.fromkeys((c.model, c.dataset, c.row) for c in cells)
    return [_task(plan, task, [c for c in cells if (c.model, c.dataset, c.row) == task], paid) for task in tasks]


def _task(plan: Plan, task: tuple[str, str, str], cells: list[Cell], paid: list[Cell]) -> TaskFindings:
    name = task_name(plan, *task)
    good = sorted((c for c in cells if c.method and c.trusted), key=goodness, reverse=True)
    failed = [c for c in cells if c.method and not c.trusted]
    if not good:
        return TaskFindings(name, "No method has a result yet.")
    best = good[0]
    what = quantity(best.metric, plan.datasets[best.dataset].metric)
    ties = [c for c in good[1:] if goodness(c) == goodness(best)]
    leaders = _and([_name(c.column) for c in (best, *ties)])
    said = TaskFindings(name, f"{leaders}: {_value(best)} {what.label}{_interval(best)}")
    said.sentences += [s for s in (
        _separable(good), _cheapest(good, _costs(paid, task), what.label), _parents(good), _floor(good, cells),
        _failures(failed),
    ) if s]  # fmt: skip
    return said


def _value(cell: Cell) -> str:
    return f"{fixed(cell.number, cell.digits)}\u00a0{cell.unit}".rstrip()


def _interval(cell: Cell) -> str:
    if cell.low is None or cell.high is None:
        return " (one seed: no interval)"
    return f" (95 % interval {fixed(cell.low, 1)} to {fixed(cell.high, 1)}, {cell.n} seeds)"


def _separable(good: list[Cell]) -> str | None:
    best, others = good[0], good[1:]
    if not others:
        return None
    overlaps = [intervals_overlap((best.low, best.high), (c.low, c.high)) for c in others]
    known = [o for o in overlaps if o is not None]
    if not known:
        return "The leader has one seed, so nothing can be said about which differences are more than chance."
    share = f"{sum(known)} of the other {len(known)} methods"
    return f"The intervals of {share} overlap with the leader's: their order is not settled."


def power_note(tables: dict[str, list[Cell]]) -> str:
    """How wide the intervals are at the fewest seeds that have one; nothing from five seeds on."""
    counts = [c.n for cells in tables.values() for c in cells if c.low is not None]
    if not counts or min(counts) >= 5:
        return ""
    n = min(counts)
    return f"With {n} seeds an interval reaches {half_width(1.0, n):.1f} standard deviations to either side."


def _costs(paid: list[Cell], task: tuple[str, str, str]) -> dict[str, Cell]:
    return {c.column: c for c in paid if (c.model, c.dataset, c.row) == task and c.method and c.trusted}


def _cheapest(good: list[Cell], costs: dict[str, Cell], label: str) -> str | None:
    best = good[0]
    near = [c for c in good if abs(c.number - best.number) <= NEAR and c.column in costs]
    if not near:
        return None
    cheap = min(near, key=lambda c: costs[c.column].number)
    price = costs[cheap.column]
    spent = f"{fixed(price.number, price.digits)} {price.unit}"
    if cheap is best:
        return f"{_name(best.column)} is also the cheapest within {NEAR:g} point of the best ({spent})."
    saved = ""
    if best.method in costs and costs[best.column].number:
        share = 100 * (1 - price.number / costs[best.column].number)
        saved = f", {share:.0f} % less than {_name(best.column)}"
    what = f"{_name(cheap.column)}, {_value(cheap)} {label}"
    return f"Cheapest within {NEAR:g} point of the best: {what} for {spent}{saved}."


def _parents(good: list[Cell]) -> str | None:
    found = {c.column: c for c in good}
    parents = {name: get_method(name).dense_parent for name in found}
    pairs = [(found[name], found[parent]) for name, parent in parents.items() if parent in found]
    if not pairs:
        return None
    parts = [
        f"{_name(s.column)} {fixed(s.number - d.number, 2, signed=True)} against {_name(d.column)}" for s, d in pairs
    ]
    return f"Sparse selector in place of a dense random A: {', '.join(parts)} (points)."


def _floor(good: list[Cell], cells: list[Cell]) -> str | None:
    parts = []
    floor = next((c for c in cells if c.column == "majority" and c.value is not None), None)
    if floor:
        above = sum(goodness(c) > goodness(floor) for c in good)
        share = f"all {len(good)}" if above == len(good) else f"{above} of {len(good)}"
        parts.append(f"{share} methods beat the majority class ({_value(floor)})")
    head = next((c for c in good if get_method(c.column).floor), None)
    others = [c for c in good if c is not head]
    if head and others:
        above = sum(goodness(c) > goodness(head) for c in others)
        parts.append(f"{above} of {len(others)} beat training the head alone ({_value(head)})")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else None


def _failures(failed: list[Cell]) -> str | None:
    if not failed:
        return None
    names = [f"{_name(c.column)} ({LONG.get(c.status, c.status)})" for c in failed]
    return f"Without a usable result: {_and(names)}."


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _name(method_id: str) -> str:
    """A method's name that does not break at its hyphen."""
    return plain_name(method_id).replace("-", "\u2011")
