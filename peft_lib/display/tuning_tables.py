"""Tuned methods as a table, and in words: in which order methods come untuned and tuned, and how far apart."""

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from peft_lib.display.entries import entry, fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.remarks import SINGLE, single_seed
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.marks import goodness

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

BEST, VALIDATION, TEST, DEFAULT, GAIN = "best", "validation", "test", "default", "gain"
DECADE, SPREAD, SETTINGS, RUNS, COST = "decade", "spread", "settings", "runs", "cost"
TUNED, CURVE, TEST_CURVE = "tuned", "expected_best", "expected_test"
"""Panels."""
HEADINGS = {
    BEST: "best setting", VALIDATION: "validation", TEST: "test, tuned", DEFAULT: "test, default", GAIN: "gain by tuning",
    DECADE: "spread in a decade", SPREAD: "spread, all settings", SETTINGS: "settings tried", RUNS: "runs",
}  # fmt: skip
NAMED = 8
"""Methods of an order that are named; of more, the first and the last."""


def tables_of(cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
    """A part per task, a row per method."""
    columns = [c for c in (*HEADINGS, COST) if any(cell.column == c and cell.panel == TUNED for cell in cells)]
    lines: dict[tuple[str, str, str], dict[str, Cell]] = {}
    for c in cells:
        if c.panel == TUNED:
            lines.setdefault((c.model, c.dataset, c.row), {})[c.column] = c
    body = [
        Row((Label.method(method),), tuple(_entry(line[c], notes) if c in line else EMPTY for c in columns),
            task_name(plan, model, dataset))
        for (model, dataset, method), line in lines.items()
    ]  # fmt: skip
    time = next((c.metric for c in cells if c.column == COST), "")
    headings = HEADINGS | {COST: "CPU-seconds" if time == "cpu_s" else "seconds"}
    labels = tuple(Label.plain(headings[c]) for c in columns)
    return [Table(("Method",), labels, tuple(body))]


def _entry(cell: Cell, notes: Footnotes) -> Entry:
    if cell.column == BEST and cell.text:
        lines = {"edge": f"edge: {cell.edge.replace('_', ' ')}"} if cell.edge else {}
        return Entry(cell.text, lines=lines, status=cell.status, notes=notes.mark(cell.reason))
    shown = entry(cell, notes)
    kinds = ("sd", "values") if cell.column in (VALIDATION, TEST, DEFAULT) else ()
    keep = {k: v for k, v in shown.lines.items() if k in kinds}
    if cell.column == DEFAULT and cell.text:
        return replace(shown, lines=keep, title=f"{cell.text}; {shown.title}")
    return replace(shown, lines=keep)


def remarks_of(cells: list[Cell], tasks: dict[tuple[str, str], str], replacement: bool) -> list[str]:
    """`cells`: those of the table; `tasks`: (model, data set) -> what it is called."""
    if not cells:
        return []
    by = "loss" if any(c.metric == "val_loss" for c in cells) else "metric"
    drawn = "drawn with replacement" if replacement else "each tried at most once"
    said = [
        f"The best setting has the best validation {by}; test plays no part in the choice. Gain: test metric of the best "
        "setting minus that of the default.",
        "Spread: largest minus smallest test metric, within a factor of ten of the best learning rate and over all settings.",
        f"Curves: expected best of n settings, {drawn} (Dodge et al. 2019), and the test metric of the setting so chosen.",
    ]
    edges = [c for c in cells if c.edge]
    if edges:
        said.append(
            f"edge: the best of {len(edges)} of {sum(c.column == 'best' for c in cells)} searches has the smallest or largest "
            "value of a setting, so a better one may lie outside."
        )
    for task, name in tasks.items():
        said += _order([c for c in cells if (c.model, c.dataset) == task], name)
    measured = [c for c in cells if c.column in ("test", "default")]
    if single_seed(measured):
        said.append(f"{SINGLE[0].upper()}{SINGLE[1:]}, and noise of a seed turns orders round too.")
    return said


def _order(cells: list[Cell], task: str) -> list[str]:
    """How the methods come at the default and tuned, if two and more have both."""
    from scipy.stats import kendalltau

    both = {c.method for c in cells if c.column == "default" and c.complete}
    both &= {c.method for c in cells if c.column == "test" and c.complete}
    if len(both) < 2:
        after = _sorted([c for c in cells if c.column == TEST and c.complete])
        if len(after) < 2:
            return []
        few = "too few methods have a value at the default to compare the orders"
        return [f"{task}: tuned {_names(after)}, {_apart(after)}; {few}."]
    before, after = (
        _sorted([c for c in cells if c.column == column and c.method in both]) for column in ("default", "test")
    )
    defaults = {c.text for c in before}
    shared = f"the default ({defaults.pop()})" if len(defaults) == 1 else "the default of each method"
    text = f"{task}: at {shared} {_names(before)}, {_apart(before)}; tuned {_names(after)}, {_apart(after)}."
    if len(both) > 2:
        scores = [{c.method: goodness(c) for c in part} for part in (before, after)]
        ordered = sorted(map(str, both))
        tau = float(kendalltau(*([score[m] for m in ordered] for score in scores)).statistic)
        if tau == tau:  # not where all are equal
            text += f" Kendall's tau of the two orders {fixed(tau, 2)}."
    else:
        text += " The order is the same." if _signs(before, after) else " The order is another one."
    return [text]


def _signs(before: list[Cell], after: list[Cell]) -> bool:
    """Whether two methods come in the same order, or are equal, both times."""
    return [c.method for c in before] == [c.method for c in after] or goodness(before[0]) == goodness(before[1])


def _sorted(cells: list[Cell]) -> list[Cell]:
    return sorted(cells, key=goodness, reverse=True)


def _names(cells: list[Cell]) -> str:
    """A > B = C; of many methods the first and the last."""
    if len(cells) > NAMED:
        return (
            f"{plain_name(str(cells[0].method))} is first and {plain_name(str(cells[-1].method))} last of {len(cells)}"
        )
    text = plain_name(str(cells[0].method))
    for one, other in pairwise(cells):
        text += f" {'=' if goodness(one) == goodness(other) else '>'} {plain_name(str(other.method))}"
    return text


def _apart(cells: list[Cell]) -> str:
    values = [c.number for c in cells]
    unit = "points" if cells[0].unit == "%" else cells[0].unit
    return f"{fixed(max(values) - min(values), cells[0].digits)} {unit} from first to last".replace("  ", " ")
