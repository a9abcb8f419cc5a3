"""Key findings in sentences, from cells: who wins, by how much, is it more than chance, at what cost, and what limits that.

What is said of differences comes from the study's artefacts of kind `comparisons`; without one, values are given and that nothing
was tested. Overlapping intervals are no test, and nothing is concluded from them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from peft_lib.artefacts.comparisons import Comparisons
from peft_lib.artefacts.cost import Cost
from peft_lib.artefacts.heatmap import Heatmap
from peft_lib.artefacts.methods import Methods
from peft_lib.display.comparison_tables import p_text
from peft_lib.display.entries import fixed
from peft_lib.display.tables import task_name
from peft_lib.methods.registry import get_method
from peft_lib.report.finding_limits import edges, failures, fewer, limits
from peft_lib.report.sentences import (
    FEW,
    difference_of,
    in_points,
    interval_of,
    name_of,
    names_of,
    sentence,
    size_of,
    value_of,
)  # fmt: skip
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import AGAINST, AHEAD, LEADER, VALUE, WEAK, told_apart
from peft_lib.results.context import Task
from peft_lib.results.marks import best_of, goodness
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import Quantity, baseline_name, quantity

Places = dict[tuple[str, str], Cell]
"""Cells of one task by panel and column."""


@dataclass
class TaskFindings:
    """What the tables say of one task: a headline and sentences."""

    task: str
    headline: str
    sentences: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Material:
    """What there is to say something of a task from. good: its complete cells, best first."""

    plan: Plan
    task: Task
    cells: list[Cell]
    costs: dict[str, Cell]

    @property
    def of(self) -> Places:
        return {(c.panel, c.column): c for c in self.cells}

    @property
    def values(self) -> list[Cell]:
        """Means of methods: of a comparison, or of a table of means, which has no panels."""
        return [c for c in self.cells if c.method and c.panel in (VALUE, "")]

    @property
    def good(self) -> list[Cell]:
        return sorted((c for c in self.values if c.complete), key=goodness, reverse=True)

    @property
    def what(self) -> Quantity:
        return quantity("test_metric", self.plan.datasets[self.task[1]].metric)

    def apart(self, a: Cell, b: Cell) -> bool | None:
        """Whether two methods share no letter; None where one of them was not tested."""
        return None if not a.text or not b.text else not set(a.text) & set(b.text)


def findings(plan: Plan, tables: dict[str, list[Cell]]) -> list[TaskFindings]:
    """Findings per task of the study's comparisons of the test metric, then of tasks that its first table of it has beside them."""
    artefacts = plan.study.artefacts
    compared = [a for a in artefacts if isinstance(a, Comparisons) and a.metric == "test_metric"]
    means = [a for a in artefacts if isinstance(a, Methods) and a.metric == "test_metric" and not a.normalise_to][:1]
    costs = next((a for a in artefacts if isinstance(a, Cost)), None)
    paid = [c for c in tables[costs.id] if c.panel == "cost"] if costs else []
    grids = [(a.title, tables[a.id]) for a in artefacts if isinstance(a, Heatmap)]
    by_task: dict[Task, list[Cell]] = {}
    for artefact in (*compared, *means):
        part: dict[Task, list[Cell]] = {}
        for cell in tables[artefact.id]:
            part.setdefault((cell.model, cell.dataset, cell.row), []).append(cell)
        by_task |= {task: own for task, own in part.items() if task not in by_task}
    return [
        _task(
            Material(plan, task, cells, _costs(paid, task)), [s for title, g in grids if (s := edges(title, g, task))]
        )
        for task, cells in by_task.items()
    ]


def basis(plan: Plan) -> str:
    """What the findings rest on, below them."""
    titles = [a.title for a in plan.study.artefacts if isinstance(a, Comparisons) and a.metric == "test_metric"]
    if not titles:
        return (
            "Computed from the tables below. No difference was tested: the study has no artefact of kind comparisons."
        )
    return (
        f"Computed from the tables below. Differences are tested in: {', '.join(titles)}; paired over test items and seeds, corrected by Holm "
        "over all pairs of a task. Not told apart does not mean equal."
    )


def _task(m: Material, at_edges: list[str]) -> TaskFindings:
    name = task_name(m.plan, *m.task)
    lost = [
        fewer([c for c in m.values if c.measured and not c.complete]),
        failures([c for c in m.values if not c.measured]),
    ]
    if not m.good:
        some = any(c.measured for c in m.values)
        headline = "No method has a result from all its runs yet." if some else "No method has a result yet."
        return TaskFindings(name, headline, [*at_edges, *(s for s in lost if s)])
    said = TaskFindings(name, _headline(m))
    parts = [
        *_margins(m), _untested(m), _cost(m), _against(m), _parents(m), _floor(m), *limits(m.of, m.cells, m.what), *at_edges, *lost,
    ]  # fmt: skip
    said.sentences = [s for s in parts if s]
    return said


def _others(m: Material) -> tuple[list[Cell], list[Cell]]:
    """Differences to the leader: not told apart, and behind; best first. None where the best of all could not be tested."""
    own = m.of.get((LEADER, m.good[0].column))
    if own is None or own.value != 0 or own.p is not None:
        return [], []
    cells = [m.of[LEADER, c.column] for c in m.good if (LEADER, c.column) in m.of]
    tested = [c for c in cells if c.p is not None]
    return [c for c in tested if not told_apart(c)], [c for c in tested if told_apart(c)]


def _headline(m: Material) -> str:
    best = m.good[0]
    start = f"{names_of(best_of(m.good))}: {value_of(best)} {m.what.label}{interval_of(best)}"
    near, behind = _others(m)
    if not near and not behind:
        return start
    if not near:
        return f"{start}, ahead of {'the one other method' if len(behind) == 1 else f'all {len(behind)} other methods'}"
    twins = [c for c in near if c.value == 0 and c.column in [b.column for b in best_of(m.good)]]
    shown = [c for c in near if c not in twins]
    if not shown:
        return start
    if len(shown) <= FEW:
        return f"{start}, not told apart from {names_of(shown)}"
    total = len(near) + len(behind)
    every = "any other method" if len(near) == total else f"{len(near)} of {total} other methods"
    return f"{start}, not told apart from {every}"


def _margins(m: Material) -> Iterator[str]:
    """By how much the leader is ahead, and what lies within the noise."""
    near, behind = _others(m)
    if behind:
        first, last = behind[0], behind[-1]
        who = (
            "the other methods"
            if not near
            else f"the other {len(behind)}"
            if len(behind) > 1
            else name_of(first.column)
        )
        low, high = sorted(abs(end) for end in (first.low or 0.0, first.high or 0.0))
        text = f"ahead of {who} by {size_of(first, m.what)}"
        inside = f"95 % interval {fixed(low, first.digits)} to {fixed(high, first.digits)}"
        text += (
            f" ({inside})"
            if len(behind) == 1
            else f" ({name_of(first.column)}; {inside}) to {size_of(last, m.what)} ({name_of(last.column)})"
        )
        worst = max(c.p_adjusted or 0.0 for c in behind)
        yield sentence(f"{text}, p {p_text(worst) if worst < 0.001 else f'at most {p_text(worst)}'} after correction")
    if near:
        parts = [
            f"{name_of(c.column)} {difference_of(c)}{', only before correction beyond chance' * (c.text == WEAK)}"
            for c in near
        ]
        unit = " points" if in_points(m.what) else ""
        more = f"; and {len(parts) - FEW} more" if len(parts) > FEW + 1 else ""
        shown = parts[:FEW] if more else parts
        yield f"Within the noise: {'; '.join(shown)}{more}{unit and f' ({unit.strip()})'}."


def _untested(m: Material) -> str:
    """Why nothing is said of differences, or of which methods."""
    if len(m.good) < 2:
        return ""
    if not any(c.panel == VALUE for c in m.cells):
        return "No test of the differences was asked for."
    left = [m.of[LEADER, c.column] for c in m.good if (LEADER, c.column) in m.of]
    left = [c for c in left if c.p is None and c.value is None]
    if not left:
        return ""
    why = "; ".join(dict.fromkeys(c.reason or "" for c in left))
    return f"Differences not tested{'' if len(left) == len(m.good) else f' of {names_of(left)}'}: {why}."


def _costs(paid: list[Cell], task: Task) -> dict[str, Cell]:
    return {c.column: c for c in paid if (c.model, c.dataset, c.row) == task and c.method and c.complete}


def _spent(cost: Cell) -> str:
    return f"{fixed(cost.number, cost.digits)} {cost.unit}".rstrip()


def _cost(m: Material) -> str:
    """What the leader costs, and what the cheapest of those costs that are not told apart from it, or else from the second."""
    best = m.good[0]
    if best.column not in m.costs:
        return ""
    own = m.costs[best.column]
    alone = sentence(f"{name_of(best.column)} takes {_spent(own)}")
    near, behind = _others(m)
    second = m.of[VALUE, behind[0].column] if behind else None
    level = near or [c for c in behind if second and m.apart(m.of[VALUE, c.column], second) is False]
    pool = [c for c in level if c.column in m.costs]
    if not pool:
        return alone
    cheap = max(pool, key=lambda c: goodness(m.costs[c.column]))
    price = m.costs[cheap.column]
    if goodness(price) <= goodness(own):
        among = "of those not told apart" if near else "of them and of those next behind"
        return sentence(f"{name_of(best.column)} is also the cheapest {among} ({_spent(own)})")
    saved = ""
    if own.number and price.direction == "lower":
        saved = f", {100 * (1 - price.number / own.number):.0f} % less"
    if near:
        who = f"{name_of(cheap.column)}, {_spent(price)} against {name_of(best.column)}'s {_spent(own)}{saved}"
        return f"Cheapest of those not told apart: {who}."
    behind_by = f"{name_of(cheap.column)}, {size_of(cheap, m.what)} behind, takes {_spent(price)}{saved}"
    return f"{alone[:-1]}; the cheapest of those next behind, {behind_by}."


def _against(m: Material) -> str:
    """The named reference, if it does not lead anyway."""
    tested = [c for c in m.cells if c.panel == AGAINST and c.p is not None and c.method]
    if not tested or tested[0].source == m.good[0].column:
        return ""
    ahead = [c for c in tested if c.text == AHEAD]
    behind = [c for c in tested if told_apart(c) and c.text != AHEAD]
    same = len(tested) - len(ahead) - len(behind)
    parts = [
        f"{word} {', '.join(f'{name_of(c.column)} ({difference_of(c)})' for c in part)}" if len(part) <= FEW
        else f"{word} {len(part)} methods"
        for word, part in (("ahead", ahead), ("behind", behind)) if part
    ]  # fmt: skip
    if same:
        parts.append(f"not told apart {'all' if same == len(tested) else 'the other'} {same}")
    return f"Against {name_of(tested[0].source or '')}: {'; '.join(parts)}."


def _parents(m: Material) -> str:
    by_method = {c.column: c for c in m.good}
    pairs = [(c, by_method[p]) for c in m.good if (p := get_method(c.column).dense_parent) in by_method]
    if not pairs:
        return ""
    words = {True: " (told apart)", False: " (not told apart)", None: ""}
    parts = [
        f"{name_of(s.column)} {fixed(s.number - d.number, s.digits, signed=True)} against {name_of(d.column)}{words[m.apart(s, d)]}"
        for s, d in pairs
    ]
    unit = "points" if in_points(m.what) else f"{m.what.label}, {m.what.direction} is better"
    return f"Sparse selector in place of a dense random A: {', '.join(parts)}; in {unit}."


def _floor(m: Material) -> str:
    """The constant answer and the head alone: what every method has to beat."""
    parts = []
    floor = next((c for c in m.cells if c.column == "baseline" and c.complete and c.panel in (VALUE, "")), None)
    if floor:
        above = sum(goodness(c) > goodness(floor) for c in m.good)
        share = f"all {len(m.good)}" if above == len(m.good) else f"{above} of {len(m.good)}"
        parts.append(f"{share} methods beat the {baseline_name(m.plan.datasets[m.task[1]].metric)} ({value_of(floor)})")
    head = next((c for c in m.good if get_method(c.column).floor), None)
    others = [c for c in m.good if c is not head]
    if head and others:
        better = [c for c in others if goodness(c) > goodness(head)]
        clear = [m.apart(c, head) for c in better]
        share = (
            f"all {len(others)} others are"
            if len(better) == len(others)
            else f"{len(better)} of {len(others)} others are"
        )
        beyond = (
            ""
            if not clear or None in clear
            else f", {'all' if all(clear) else f'{sum(map(bool, clear))} of them'} beyond chance"
        )
        parts.append(f"{share} above training the head alone ({value_of(head)}){beyond}")
    return sentence("; ".join(parts))
