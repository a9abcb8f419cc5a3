"""Sentences on a task: who leads and by how much, what is not told apart, costs, the named method, sparse twins, floors."""

from collections.abc import Iterator

from peft_lib.display.comparison_tables import p_text
from peft_lib.display.entries import fixed
from peft_lib.methods.registry import get_method
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
from peft_lib.report.task_material import Material
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import AGAINST, AHEAD, LEADER, VALUE, WEAK, told_apart
from peft_lib.results.marks import best_of, goodness
from peft_lib.statistics.intervals import FEWEST
from peft_lib.study.quantities import baseline_name


def headline(m: Material) -> str:
    best = m.good[0]
    start = f"{names_of(best_of(m.good))}: {value_of(best)} {m.what.label}{interval_of(best)}"
    near, behind = m.others()
    if not near and not behind:
        return start
    if not near:
        # Of one or two seeds only the trained models are compared.
        where = " that was tested" if len(behind) == 1 else " that were tested"
        where = where * (not m.all_tested) + " in these runs" * (behind[0].n < FEWEST)
        return f"{start}, ahead of {'the one other method' if len(behind) == 1 else f'all {len(behind)} other methods'}{where}"
    if len(near) <= FEW:
        return f"{start}, not told apart from {names_of(near)}"
    total = len(near) + len(behind)
    every = "any other method" if len(near) == total else f"{len(near)} of {total} other methods"
    return f"{start}, not told apart from {every}{' that were tested' * (not m.all_tested)}"


def margins(m: Material) -> Iterator[str]:
    """By how much the leader is ahead, and what is not told apart."""
    near, behind = m.others()
    if behind:
        first, last = behind[0], behind[-1]
        who = (
            "the other methods"
            if not near
            else f"the other {len(behind)}"
            if len(behind) > 1
            else name_of(first.column)
        )
        # The leader's lead: the cell is the other method minus the leader.
        sign = 1 if m.what.direction == "lower" else -1
        low, high = sorted(sign * (first.number if end is None else end) for end in (first.low, first.high))
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
        parts = [f"{name_of(c.column)} {difference_of(c)}{_why_not(m, c)}" for c in near]
        unit = " points" if in_points(m.what) else ""
        more = f"; and {len(parts) - FEW} more" if len(parts) > FEW + 1 else ""
        shown = parts[:FEW] if more else parts
        yield f"Not told apart: {'; '.join(shown)}{more}{unit and f' ({unit.strip()})'}."


def _why_not(m: Material, cell: Cell) -> str:
    """What else there is to say of a difference that is no finding."""
    if told_apart(cell):
        return " (within the noise floor)"
    return " (beyond chance before correction)" * (cell.text == WEAK)


def rounding(m: Material) -> str:
    """The noise floor, where there is one."""
    if not m.rounding or m.floor is None:
        return ""
    what = "single runs" if m.floor.means is None else "means"
    unit = " points" if in_points(m.what) else ""
    return (
        f"Rounding alone takes {what} of one method up to {fixed(m.rounding, m.what.digits)}{unit} apart (noise floor): a smaller "
        "difference is no finding."
    )


def untested(m: Material) -> str:
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


def _spent(cost: Cell) -> str:
    return f"{fixed(cost.number, cost.digits)} {cost.unit}".rstrip()


def cost(m: Material) -> str:
    """What the leader costs, and what the cheapest of those costs that are not told apart from it, or else from the second."""
    best = m.good[0]
    if best.column not in m.costs:
        return ""
    own = m.costs[best.column]
    alone = sentence(f"{name_of(best.column)} takes {_spent(own)}")
    near, behind = m.others()
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


def against(m: Material) -> str:
    """The named reference, if it does not lead anyway."""
    tested = [c for c in m.cells if c.panel == AGAINST and c.p is not None and c.method]
    if not tested or tested[0].source == m.good[0].column:
        return ""
    ahead = [c for c in tested if m.beyond(c) and c.text == AHEAD]
    behind = [c for c in tested if m.beyond(c) and c.text != AHEAD]
    same = len(tested) - len(ahead) - len(behind)
    parts = [
        f"{word} {', '.join(f'{name_of(c.column)} ({difference_of(c)})' for c in part)}" if len(part) <= FEW
        else f"{word} {len(part)} methods"
        for word, part in (("ahead", ahead), ("behind", behind)) if part
    ]  # fmt: skip
    if same:
        parts.append(
            f"{'all' if same == len(tested) else 'the other'} {same} not told apart"
            if same > 1
            else "one not told apart"
        )
    return f"Against {name_of(tested[0].source or '')}: {'; '.join(parts)}."


def parents(m: Material) -> str:
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


def floor(m: Material) -> str:
    """The constant answer and the head alone: what every method has to beat."""
    parts, than = [], "above" if m.what.direction == "higher" else "better than"
    floor = next((c for c in m.cells if c.column == "baseline" and c.complete and c.panel in (VALUE, "")), None)
    if floor:
        above = sum(goodness(c) > goodness(floor) for c in m.good)
        share = f"all {len(m.good)}" if above == len(m.good) else f"{above} of {len(m.good)}"
        parts.append(
            f"{share} methods are {than} the {baseline_name(m.plan.datasets[m.task[1]].metric)} ({value_of(floor)})"
        )
    head = next((c for c in m.good if get_method(c.column).floor), None)
    others = [c for c in m.good if c is not head]
    if head and others:
        better = [c for c in others if goodness(c) > goodness(head)]
        clear = [m.apart(c, head) for c in better]
        share = (
            f"all {len(others)} others are"
            if len(better) == len(others)
            else f"{len(better)} of {len(others)} others {'is' if len(better) == 1 else 'are'}"
        )
        beyond = (
            ""
            if not clear or None in clear
            else f", {'all' if all(clear) else f'{sum(map(bool, clear))} of them'} beyond chance"
        )
        parts.append(f"{share} {than} training the head alone ({value_of(head)}){beyond}")
    return sentence("; ".join(parts))
