"""Tables whose rows are tasks and whose columns are methods, and names of settings for people."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from peft_lib.display.entries import entry
from peft_lib.display.latex_text import latex_text
from peft_lib.display.markup import visible
from peft_lib.display.remarks import single_seed
from peft_lib.display.view import EMPTY, Footnotes, Label, Row, Table
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.readings import method_of
from peft_lib.study.quantities import QUANTITIES, baseline_name

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

FAMILIES = {"baseline": "Baseline", "past": "Past", "present": "Present", "future": "Sparse (future)", "paca": "PaCA"}
"""Headings of the families of methods; a plug-in's own family is headed by its id."""

NAMES = {
    "lr": "learning rate", "head_lr_mult": "head learning rate, multiple", "warmup_ratio": "warm-up, share of steps",
    "warmup_lr": "warm-up start rate", "min_lr": "final rate", "optimizer": "optimiser",
    "clip_norm": "gradient clipping",
    "batch_size": "effective batch", "input_size": "input (tokens, pixels)", "targets": "adapted layers",
    "chain_period": "chain period, epochs", "chain_count": "chain resets",
    "optimizer_reset": "optimiser state at a reset",
    "selection": "reported epoch by", "train_limit": "training items", "eval_limit": "evaluation items",
    "flip": "training images mirrored at random",
}  # fmt: skip


def setting_name(setting: str) -> str:
    """A setting in words."""
    return NAMES.get(setting, setting.removeprefix("options.").replace("_", " "))


def task_name(plan: "Plan", model: str, dataset: str, row: str = "") -> str:
    """Model and data set, and what a grid varies."""
    return visible(f"{plan.models[model].name}, {plan.datasets[dataset].name}{f' ({row})' if row else ''}")


def panel_name(cell: Cell, plan: "Plan") -> str:
    """The task of a panel, and what else the grid varies."""
    rest = ", ".join(part for part in cell.panel.split("/")[2:])
    return task_name(plan, cell.model, cell.dataset, rest)


def axis(values: Iterable[str]) -> list[str]:
    """Labels of an axis, numbers in order, else as the study lists them."""
    labels = list(dict.fromkeys(values))
    try:
        return sorted(labels, key=float)
    except ValueError:
        return labels


def family_name(family: str) -> str:
    return FAMILIES.get(family, family.replace("_", " ").capitalize())


def method_heading(column: str) -> Label:
    """A method's name; the paper's s-variants are methods under another execution."""
    label = Label.method(method_of(column))
    if method_of(column) == column:
        return label
    return replace(label, html="s-" + label.html, latex=latex_text("s-") + label.latex)


def by_method(cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
    """Rows are tasks (under each quantity), columns are methods in the order of the study."""
    columns = list(dict.fromkeys(c.column for c in cells if c.method)) + ["baseline"] * any(
        c.column == "baseline" for c in cells
    )
    single = single_seed(cells)
    by_key: dict[tuple, dict[str, Cell]] = {}
    for cell in cells:
        by_key.setdefault(cell.key, {})[cell.column] = cell
    varied = any(c.row for c in cells)
    rows = []
    for (panel, model, dataset, row), in_row in by_key.items():
        entries = tuple(entry(in_row[c], notes, single) if c in in_row else EMPTY for c in columns)
        labels = (plan.models[model].name, plan.datasets[dataset].name, *([row] if varied else []))
        rows.append(Row(labels, entries, _panel_label(panel, next(iter(in_row.values())))))
    headings = ("Model", "Data set", *(["Settings"] if varied else []))
    names = {baseline_name(plan.datasets[c.dataset].metric) for c in cells if c.column == "baseline"}
    floor = Label.plain(names.pop().capitalize() if len(names) == 1 else "Constant answer", "floor")
    labels = tuple(floor if c == "baseline" else method_heading(c) for c in columns)
    families = [get_method(method_of(c)).family if c != "baseline" else "" for c in columns]
    spans = tuple((family_name(name), len(list(group))) for name, group in groupby(families))
    return [Table(headings, labels, tuple(rows), spans)]


def by_quantity(cells: list[Cell], plan: "Plan", notes: Footnotes, labels: dict[str, str]) -> list[Table]:
    """One table, a part per quantity: rows are tasks, columns methods. labels: panel -> what the part is called; panels without
    one are left out."""
    shown = [c for c in cells if c.panel in labels]
    if not shown:
        return []
    rows: list[Row] = []
    for panel, label in labels.items():
        part = [c for c in shown if c.panel == panel]
        units = sorted({c.unit for c in part if c.unit})
        name = f"{label} ({units[0]})" if len(units) == 1 else label
        rows += [replace(row, group=name) for table in by_method(part, plan, notes) for row in table.rows]
    whole = by_method(shown, plan, notes)[0]
    return [replace(whole, rows=tuple(rows))]


def by_number(cells: list[Cell], plan: "Plan", notes: Footnotes, labels: dict[str, str]) -> list[Table]:
    """One table, a part per task: rows are methods, columns quantities. labels: panel -> column heading, without a unit."""
    tasks: dict[tuple[str, str, str], dict[str, dict[str, Cell]]] = {}
    for cell in cells:
        if cell.panel in labels:
            tasks.setdefault((cell.model, cell.dataset, cell.row), {}).setdefault(cell.column, {})[cell.panel] = cell
    if not tasks:
        return []
    rows = []
    for task, methods in tasks.items():
        name = task_name(plan, *task)
        for method, of in methods.items():
            entries = tuple(entry(of[panel], notes, single=True) if panel in of else EMPTY for panel in labels)
            rows.append(Row((Label.method(method),), entries, name))
    units = {panel: {c.unit for c in cells if c.panel == panel and c.unit} for panel in labels}
    columns = (f"{label} ({min(units[p])})" if len(units[p]) == 1 else label for p, label in labels.items())
    return [Table(("Method",), tuple(map(Label.plain, columns)), tuple(rows))]


def _panel_label(panel: str, cell: Cell) -> str:
    if panel == "trainable_pct":
        return "trained, % of model + A + B"
    if panel not in QUANTITIES:
        return ""
    label = QUANTITIES[panel].label
    return f"{label} ({cell.unit})" if cell.unit else label
