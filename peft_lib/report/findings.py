"""Key findings in sentences, computed from cells. Careful words: overlap is no test, few seeds say little."""

from dataclasses import dataclass, field, replace

from peft_lib.artefacts.cost import Cost
from peft_lib.artefacts.heatmap import Heatmap
from peft_lib.artefacts.methods import Methods
from peft_lib.display.entries import LONG, fixed, singles
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import task_name
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.context import Task
from peft_lib.results.marks import best_of, goodness
from peft_lib.statistics.intervals import FEWEST, half_width, intervals_overlap
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import Quantity, baseline_name, quantity

NEAR = 1.0
"""How far from the best a method may be to count as a cheap alternative: in points where the metric is shown in hundredths
(percent, BLEU), else in percent of the best (perplexity, RMSE)."""
FEW = 4
"""Methods without a result that are named though they share a reason; more are counted."""


@dataclass
class TaskFindings:
    """What the tables say of one task: a headline and sentences."""

    task: str
    headline: str
    sentences: list[str] = field(default_factory=list)


def findings(plan: Plan, tables: dict[str, list[Cell]]) -> list[TaskFindings]:
    """Findings per task from the study's first performance table and first cost artefact; none without them."""
    artefacts = plan.study.artefacts
    performance = next(
        (a for a in artefacts if isinstance(a, Methods) and a.metric == "test_metric" and not a.normalise_to), None
    )
    if performance is None:
        return []
    costs = next((a for a in artefacts if isinstance(a, Cost)), None)
    cells = tables[performance.id]
    paid = [c for c in tables[costs.id] if c.panel == "cost"] if costs else []
    grids = [(a.title, tables[a.id]) for a in artefacts if isinstance(a, Heatmap)]
    tasks = dict.fromkeys((c.model, c.dataset, c.row) for c in cells)
    return [_task(plan, task, [c for c in cells if (c.model, c.dataset, c.row) == task], paid, grids) for task in tasks]


def _task(
    plan: Plan, task: Task, cells: list[Cell], paid: list[Cell], grids: list[tuple[str, list[Cell]]]
) -> TaskFindings:
    name = task_name(plan, *task)
    good = sorted((c for c in cells if c.method and c.complete), key=goodness, reverse=True)
    fewer = [c for c in cells if c.method and c.measured and not c.complete]
    failed = [c for c in cells if c.method and not c.measured]
    at_edges = [s for title, part in grids if (s := _edges(title, part, task))]
    if not good:
        headline = "No method has a result from all its runs yet." if fewer else "No method has a result yet."
        return TaskFindings(name, headline, [s for s in (_fewer(fewer), *at_edges, _failures(failed)) if s])
    best = good[0]
    what = quantity(best.metric, plan.datasets[best.dataset].metric)
    leaders = _and([_name(c.column) for c in best_of(good)])
    said = TaskFindings(name, f"{leaders}: {_value(best)} {what.label}{_interval(best)}")
    said.sentences += [s for s in (
        _separable(good), _cheapest(good, _costs(paid, task), what), _parents(good, what),
        _floor(good, cells, baseline_name(plan.datasets[best.dataset].metric)),
        *at_edges, _fewer(fewer), _failures(failed),
    ) if s]  # fmt: skip
    return said


def _value(cell: Cell) -> str:
    return f"{fixed(cell.number, cell.digits)}\u00a0{cell.unit}".rstrip()


def _interval(cell: Cell) -> str:
    if cell.low is not None and cell.high is not None:
        digits = max(cell.digits - 1, 1)
        return f" (95 % interval {fixed(cell.low, digits)} to {fixed(cell.high, digits)}, {cell.n} seeds)"
    if cell.n > 1 and cell.values:
        return f" (seeds {singles(cell)}: too few for an interval)"
    return " (one seed: no interval)"


def _separable(good: list[Cell]) -> str | None:
    best, others = good[0], good[1:]
    if not others:
        return None
    overlaps = [intervals_overlap((best.low, best.high), (c.low, c.high)) for c in others]
    known = [o for o in overlaps if o is not None]
    if not known:
        has = f"The leader has {best.n} seed{'s' * (best.n != 1)}" if best.low is None else "The others have few seeds"
        return f"{has}, so nothing can be said about which differences are more than chance."
    share = f"{sum(known)} of the other {len(known)} methods"
    if len(known) < len(others):
        share = f"{sum(known)} of the {len(known)} other methods that have one"
    if not any(known):
        which = "other method's interval" if len(known) == len(others) else "interval that another method has"
        return f"No {which} overlaps with the leader's."
    return f"The intervals of {share} overlap with the leader's: their order is not settled."


def power_note(tables: dict[str, list[Cell]]) -> str:
    """How wide the intervals are at the fewest seeds that have one, and where there are none; nothing from five seeds on."""
    measured = [c for cells in tables.values() for c in cells if c.method and c.values]
    said = []
    if any(1 < c.n < FEWEST for c in measured):
        said.append(f"Below {FEWEST} seeds no interval is given: the single values say as much.")
    n = min((c.n for c in measured if c.low is not None), default=5)
    if n < 5:
        said.append(
            f"With {n} seeds an interval reaches about {half_width(1.0, n):.1f} standard deviations to either side."
        )
    return " ".join(said)


def _costs(paid: list[Cell], task: Task) -> dict[str, Cell]:
    return {c.column: c for c in paid if (c.model, c.dataset, c.row) == task and c.method and c.complete}


def _cheapest(good: list[Cell], costs: dict[str, Cell], metric: Quantity) -> str | None:
    best = good[0]
    room, words = (NEAR, f"{NEAR:g} point") if _in_points(metric) else (NEAR * abs(best.number) / 100, f"{NEAR:g} %")
    near = [c for c in good if abs(c.number - best.number) <= room and c.column in costs]
    if not near:
        return None
    cheap = max(near, key=lambda c: goodness(costs[c.column]))
    price = costs[cheap.column]
    spent = f"{fixed(price.number, price.digits)} {price.unit}".rstrip()
    if cheap is best:
        return f"{_name(best.column)} is also the cheapest within {words} of the best ({spent})."
    saved = ""
    if best.column in costs and costs[best.column].number and price.direction == "lower":
        share = 100 * (1 - price.number / costs[best.column].number)
        saved = f", {share:.0f} % less than {_name(best.column)}"
    what = f"{_name(cheap.column)}, {_value(cheap)} {metric.label}"
    return f"Cheapest within {words} of the best: {what} for {spent}{saved}."


def _in_points(metric: Quantity) -> bool:
    """Whether differences of the metric are called points: it is a fraction, shown in hundredths."""
    return metric.scale == 100


def _parents(good: list[Cell], metric: Quantity) -> str | None:
    by_method = {c.column: c for c in good}
    parents = {name: get_method(name).dense_parent for name in by_method}
    pairs = [(by_method[name], by_method[parent]) for name, parent in parents.items() if parent in by_method]
    if not pairs:
        return None
    parts = [
        f"{_name(s.column)} {fixed(s.number - d.number, s.digits, signed=True)} against {_name(d.column)}"
        for s, d in pairs
    ]
    unit = "points" if _in_points(metric) else f"{metric.label}, {metric.direction} is better"
    return f"Sparse selector in place of a dense random A: {', '.join(parts)} ({unit})."


def _floor(good: list[Cell], cells: list[Cell], constant: str) -> str | None:
    parts = []
    floor = next((c for c in cells if c.column == "baseline" and c.complete), None)
    if floor:
        above = sum(goodness(c) > goodness(floor) for c in good)
        share = f"all {len(good)}" if above == len(good) else f"{above} of {len(good)}"
        sure = [_clear_of(c, floor) for c in good if c.low is not None]
        whole = f", {sum(sure)} of them with their whole interval" if above and sure and sum(sure) < above else ""
        parts.append(f"{share} methods beat the {constant} ({_value(floor)}){whole}")
    head = next((c for c in good if get_method(c.column).floor), None)
    others = [c for c in good if c is not head]
    if head and others:
        above = sum(goodness(c) > goodness(head) for c in others)
        parts.append(f"{above} of {len(others)} beat training the head alone ({_value(head)})")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else None


def _clear_of(cell: Cell, floor: Cell) -> bool:
    """Whether all of a cell's interval is better than the floor."""
    end = cell.high if cell.direction == "lower" else cell.low
    return end is not None and goodness(replace(cell, value=end)) > goodness(floor)


def _edges(title: str, cells: list[Cell], task: Task) -> str | None:
    """Which grid optima of a task lie at an edge of their grid."""
    at = [c for c in cells if c.edge and (c.model, c.dataset) == task[:2]]
    if not at:
        return None
    panels: dict[str, list[Cell]] = {}
    for c in at:
        panels.setdefault(c.panel, []).append(c)
    same: dict[str, list[str]] = {}
    for part in panels.values():
        where = " or ".join(dict.fromkeys(_words(c.edge) for c in part))
        same.setdefault(where, []).append(_panel(part[0]))
    parts = [f"{_and(names)} ({where})" for where, names in same.items()]
    each = "" if len(panels) == 1 else "each of "
    return f"{title}: the best of {each}{'; '.join(parts)} lies at the edge of the grid: the optimum may lie outside."


def _panel(cell: Cell) -> str:
    """Method and further varied settings of a heat map's panel."""
    _, _, extra = cell.panel.partition(",")
    return f"{_name(cell.method or '')}{f', {extra.strip()}' if extra else ''}"


def _words(edge: str | None) -> str:
    return (edge or "").replace("_", " ")


def _fewer(cells: list[Cell]) -> str | None:
    """Methods that lost a seed, or whose seeds have not all run: shown, not ranked."""
    if not cells:
        return None
    return f"Left out of the order, having fewer runs than planned: {_and([_counted(c) for c in cells])}."


def _counted(cell: Cell) -> str:
    return f"{_name(cell.column)} ({cell.n} of {cell.planned})"


def _failures(failed: list[Cell]) -> str | None:
    if not failed:
        return None
    statuses = {LONG.get(c.status, c.status) for c in failed}
    if len(statuses) == 1 and len(failed) > FEW:
        return f"Without a usable result: {len(failed)} methods, all of them {statuses.pop()}."
    names = [f"{_name(c.column)} ({LONG.get(c.status, c.status)})" for c in failed]
    return f"Without a usable result: {_and(names)}."


def _and(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _name(method_id: str) -> str:
    """A method's name that does not break at its hyphen."""
    return plain_name(method_id).replace("-", "\u2011")
