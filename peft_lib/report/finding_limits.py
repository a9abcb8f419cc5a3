"""What limits a task's result: runs that stopped early or did not learn, few seeds, power, optima at an edge, runs that are missing."""

from peft_lib.display.entries import fixed
from peft_lib.report.sentences import FEW, and_list, in_points, name_of, status_of
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import (
    CORRECTED,
    LAST_EPOCH,
    LEADER,
    LIMITS,
    MORE,
    MORE_SEEDS,
    NOT_LEARNT,
    SINGLE,
)
from peft_lib.results.context import Task
from peft_lib.statistics.intervals import FEWEST, half_width
from peft_lib.study.quantities import Quantity

OFTEN = 1 / 3
"""Share of runs at their last epoch from which on it is said of a task."""


def few_seeds(cells: list[Cell]) -> str | None:
    """What tests of one or two seeds are about."""
    tested = [c for c in cells if c.panel == LEADER and c.p is not None]
    if not tested or tested[0].n >= FEWEST:
        return None
    seeds = f"{tested[0].n} seed{'s' * (tested[0].n != 1)}"
    return f"With {seeds} the tests are over test items alone: whether these trained models differ, not what other seeds would do."


def limits(of: dict[tuple[str, str], Cell], what: Quantity) -> list[str]:
    """Sentences from the cells of the panel `limits`, by (panel, column)."""
    named = {column: cell for (panel, column), cell in of.items() if panel == LIMITS}
    said = []
    last = named.get(LAST_EPOCH)
    if last and last.value and last.value >= OFTEN * last.n:
        share = f"All {last.n} runs" if last.value == last.n else f"{last.value:.0f} of {last.n} runs"
        said.append(
            f"{share} were best on validation at their last epoch: longer training may change values and order."
        )
    flat = named.get(NOT_LEARNT)
    if flat and flat.value:
        which = "; ".join(
            f"{name_of(method)}, seed {seed}"
            for method, seed in (part.rsplit(" ", 1) for part in (flat.text or "").split("; "))
        )
        several = flat.value > 1
        many = f"{flat.value:.0f} runs are" if several else "1 run is"
        means = "the means of their methods include them" if several else "its method's mean includes it"
        better = "above" if what.direction == "higher" else "better than"
        said.append(f"{many} not {better} the constant answer and so did not learn; {means}: {which}.")
    if power := _power(named, what):
        said.append(power)
    return said


def _power(named: dict[str, Cell], what: Quantity) -> str:
    """How small a difference could have been found."""
    one, all_pairs, more = (named.get(name) for name in (SINGLE, CORRECTED, MORE_SEEDS))
    if one is None or all_pairs is None:
        return ""
    unit = " points" if in_points(what) else ""
    text = (
        f"A true difference of {fixed(one.number, one.digits)}{unit} would be found four times in five by a single comparison, of "
        f"{fixed(all_pairs.number, one.digits)} after correction for all pairs"
    )
    return f"{text}; with {MORE} seeds, of {fixed(more.number, one.digits)}." if more else f"{text}."


def power_note(tables: dict[str, list[Cell]]) -> str:
    """How wide the intervals of means are at the fewest seeds that have one, and where there are none; nothing from five seeds on."""
    measured = [c for cells in tables.values() for c in cells if c.method and c.values and c.p is None]
    said = []
    if any(1 < c.n < FEWEST for c in measured):
        said.append(f"Below {FEWEST} seeds no interval of a mean is given: the single values say as much.")
    n = min((c.n for c in measured if c.low is not None), default=5)
    if n < 5:
        said.append(
            f"With {n} seeds the interval of a mean reaches about {half_width(1.0, n):.1f} standard deviations to either side."
        )
    return " ".join(said)


def edges(title: str, cells: list[Cell], task: Task) -> str | None:
    """Which grid optima of a task lie at an edge of their grid."""
    at = [c for c in cells if c.edge and (c.model, c.dataset) == task[:2]]
    if not at:
        return None
    panels: dict[str, list[Cell]] = {}
    for c in at:
        panels.setdefault(c.panel, []).append(c)
    same: dict[str, list[str]] = {}
    for part in panels.values():
        where = " or ".join(dict.fromkeys((c.edge or "").replace("_", " ") for c in part))
        same.setdefault(where, []).append(_panel(part[0]))
    parts = [f"{and_list(names)} ({where})" for where, names in same.items()]
    each = "" if len(panels) == 1 else "each of "
    return f"{title}: the best of {each}{'; '.join(parts)} lies at the edge of the grid: the optimum may lie outside."


def _panel(cell: Cell) -> str:
    """Method and further varied settings of a heat map's panel."""
    _, _, extra = cell.panel.partition(",")
    return f"{name_of(cell.method or '')}{f', {extra.strip()}' if extra else ''}"


def fewer(cells: list[Cell]) -> str | None:
    """Methods that lost a seed, or whose seeds have not all run: shown, not ranked."""
    if not cells:
        return None
    counted = [f"{name_of(c.column)} ({c.n} of {c.planned})" for c in cells]
    return f"Left out of the order, having fewer runs than planned: {and_list(counted)}."


def failures(failed: list[Cell]) -> str | None:
    if not failed:
        return None
    statuses = {status_of(c) for c in failed}
    if len(statuses) == 1 and len(failed) > FEW:
        return f"Without a usable result: {len(failed)} methods, all of them {statuses.pop()}."
    return f"Without a usable result: {and_list([f'{name_of(c.column)} ({status_of(c)})' for c in failed])}."
