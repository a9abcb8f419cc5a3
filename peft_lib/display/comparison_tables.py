"""Comparisons as tables: a row per method under its task, best first; and a row per task with what limits it."""

from dataclasses import replace
from typing import TYPE_CHECKING

from peft_lib.display.entries import SHORT, entry, fixed, tooltip
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import (
    AGAINST,
    CORRECTED,
    LAST_EPOCH,
    LEADER,
    LIMITS,
    MORE,
    MORE_SEEDS,
    NOT_LEARNT,
    RIGHT_ALONE,
    SEEDS,
    SINGLE,
    TEST_ITEMS,
    VALUE,
)  # fmt: skip
from peft_lib.results.marks import goodness
from peft_lib.statistics.families import ALPHA
from peft_lib.statistics.intervals import FEWEST
from peft_lib.statistics.paired import DRAWS
from peft_lib.study.quantities import baseline_name, quantity

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

LEAST_SHOWN = 0.001
TASK = tuple[str, str, str]


def p_text(p: float | None) -> str:
    """A p-value as journals print it: 0.012, <0.001, 1."""
    if p is None:
        return ""
    if p < LEAST_SHOWN:
        return f"<{LEAST_SHOWN:g}"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}".replace("1.00", "1")


def tables(cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
    by_task: dict[TASK, list[Cell]] = {}
    for cell in cells:
        by_task.setdefault((cell.model, cell.dataset, cell.row), []).append(cell)
    reference = next((c.source for c in cells if c.panel == AGAINST and c.source), None)
    right = any(c.panel.endswith(RIGHT_ALONE) for c in cells)
    rows = [
        row for task, part in by_task.items() for row in _rows(plan, task, part, notes, reference is not None, right)
    ]
    # The items that one of two alone has right are shown once a row; for a named method they are in the tooltip and the CSV.
    of_reference = _heads(False) if reference else []
    columns = (Label.plain("mean"), Label.plain("group"), *map(Label.plain, [*_heads(right), *of_reference]))
    spans = [("", 2), ("against the leader of the row", len(_heads(right)))]
    if reference:
        spans.append((f"against {plain_name(reference)}", len(of_reference)))
    main = Table(("Method",), columns, tuple(rows), tuple(spans))
    limits = _limits(by_task, plan)
    return [main, limits] if limits.rows else [main]


def _heads(right: bool) -> list[str]:
    return ["difference", "interval", *["right alone"] * right, "p (Holm)", "verdict"]


def _rows(plan: "Plan", task: TASK, cells: list[Cell], notes: Footnotes, reference: bool, right: bool) -> list[Row]:
    of = {(c.panel, c.column): c for c in cells}
    values = [c for c in cells if c.panel == VALUE]
    methods = [c for c in values if c.method]
    good = sorted((c for c in methods if c.complete), key=goodness, reverse=True)
    single = all(c.n <= 1 for c in methods)
    group = _group(plan, task, methods[0], of)
    rows = []
    for value in [*good, *(c for c in methods if not c.complete)]:
        entries = [_mean(value, notes, single), Entry(value.text or "")]
        for panel in (LEADER, *[AGAINST] * reference):
            alone = of.get((f"{panel} {RIGHT_ALONE}", value.column))
            entries += _compared(of.get((panel, value.column)), alone, notes, right and panel == LEADER)
        rows.append(Row((Label.method(value.column),), tuple(entries), group))
    floor = next((c for c in values if not c.method), None)
    if floor is not None and floor.value is not None:
        blank = [EMPTY] * (len(_heads(right)) + reference * len(_heads(False)))
        rows.append(
            Row(
                (baseline_name(plan.datasets[floor.dataset].metric).capitalize(),),
                (entry(floor, notes, single), EMPTY, *blank),
                group,
            )
        )
    return rows


def _mean(cell: Cell, notes: Footnotes, single: bool) -> Entry:
    """The mean; its spread is in the tables of means."""
    shown = entry(cell, notes, single)
    return replace(shown, lines={k: v for k, v in shown.lines.items() if k == "n"})


def _group(plan: "Plan", task: TASK, cell: Cell, of: dict[tuple[str, str], Cell]) -> str:
    what = quantity(cell.metric, plan.datasets[cell.dataset].metric)
    parts = [f"{what.label}{f' ({cell.unit})' if cell.unit else ''}"]
    items, seeds = of.get((LIMITS, TEST_ITEMS)), of.get((LIMITS, SEEDS))
    if items and seeds and items.value is not None and seeds.value is not None:
        parts.append(f"{seeds.value:.0f} seed{'s' * (seeds.value != 1)}, {items.value:,.0f} test items")
    return f"{task_name(plan, *task)}: {'; '.join(parts)}"


def _compared(cell: Cell | None, right: Cell | None, notes: Footnotes, of_right: bool) -> list[Entry]:
    """Difference, interval, right alone, adjusted p, verdict."""
    blank = [EMPTY] * len(_heads(of_right))
    if cell is None:
        return blank
    if cell.p is None:
        if cell.value is not None:  # the reference itself
            return [*blank[:-1], Entry(cell.text or "")]
        short = SHORT.get(cell.status, cell.status) if cell.status != "not_available" else "not tested"
        return [*blank[:-1], Entry(short, status=cell.status, notes=notes.mark(cell.reason))]
    digits = cell.digits
    ends = ", ".join(fixed(end, digits, signed=True) for end in (cell.low, cell.high) if end is not None)
    p = p_text(cell.p)
    seeds = "; ".join(fixed(v, digits, signed=True) for v in cell.values)
    about = f"by seed {seeds}; p {p} before correction; {_exact(right)}{tooltip(cell)}"
    told = (cell.p_adjusted or 0.0) < ALPHA
    return [
        Entry(fixed(cell.number, digits, signed=True), title=about),
        Entry(f"[{ends}]"),
        *[Entry((right.text or "") if right else "", title=_exact(right).rstrip("; "))] * of_right,
        Entry(p_text(cell.p_adjusted), title=f"{p} before correction"),
        Entry(cell.text or "", status="ok" if told else "undecided"),
    ]


def _exact(right: Cell | None) -> str:
    """Items that one of the two alone has right, and McNemar's exact p, by seed."""
    return f"right alone {right.text}, exact McNemar p {'; '.join(map(p_text, right.values))}; " if right else ""


def _limits(by_task: dict[TASK, list[Cell]], plan: "Plan") -> Table:
    """What each row could have found, and how many runs stopped at the last epoch or did not learn."""
    heads = {
        SINGLE: "one comparison", CORRECTED: "all pairs", MORE_SEEDS: f"all pairs, {MORE} seeds",
        LAST_EPOCH: "selected at the last epoch", NOT_LEARNT: "not above the constant answer",
    }  # fmt: skip
    rows, present = [], dict.fromkeys(c.column for cells in by_task.values() for c in cells if c.panel == LIMITS)
    shown = [name for name in heads if name in present]
    for task, cells in by_task.items():
        of = {c.column: c for c in cells if c.panel == LIMITS}
        if not of:
            continue
        entries = []
        for name in shown:
            cell = of.get(name)
            if cell is None or cell.value is None:
                entries.append(EMPTY)
            elif name in (LAST_EPOCH, NOT_LEARNT):
                entries.append(Entry(f"{cell.value:.0f} of {cell.n} runs", title=cell.text or ""))
            else:
                entries.append(Entry(fixed(cell.value, cell.digits)))
        rows.append(Row((task_name(plan, *task),), tuple(entries)))
    found = sum(name in (SINGLE, CORRECTED, MORE_SEEDS) for name in shown)
    spans = (("difference found four times in five", found), ("what limits it", len(shown) - found))
    columns = tuple(Label.plain(heads[name]) for name in shown)
    return Table(
        ("Task",), columns, tuple(rows), tuple(s for s in spans if s[1]), "What could be found, and what limits it"
    )


def remarks(cells: list[Cell]) -> list[str]:
    """What was tested, and with which families."""
    tested = [c for c in cells if c.p is not None]
    if not tested:
        return ["Nothing was tested: no row has two methods with all their runs and their answers."]
    said = ["Difference: method minus reference, means over seeds; 95 % interval."]
    if any(c.n >= FEWEST for c in tested):
        said.append(
            f"Intervals and p: test items are resampled ({DRAWS:,} times or more, the same for all methods and seeds), seeds are blocks "
            "whose variance, moderated over the pairs of a row, adds Student's t."
        )
    if few := sorted({c.n for c in tested if c.n < FEWEST}):
        said.append(
            f"With {' or '.join(map(str, few))} seed{'s' * (few != [1])} intervals and p are over test items alone: they say whether "
            "these trained models differ, not what other seeds would do."
        )
    if any(c.panel.endswith(RIGHT_ALONE) for c in cells):
        said.append(
            "Right alone, by seed: items that the method alone has right, and that the reference alone has right; exact McNemar p in "
            "the CSV."
        )
    said.append(
        "p (Holm): against the leader corrected over all pairs of the row, because the data chose the leader; against a named "
        "method over the row's comparisons with it. Groups: methods that share a letter are not told apart at 5 % over all pairs, which does "
        "not say that they are equal."
    )
    if any(c.panel == LIMITS and c.column == SINGLE for c in cells):
        said.append("Difference found four times in five: power of 80 % at 5 %, from the noise measured here.")
    return said
