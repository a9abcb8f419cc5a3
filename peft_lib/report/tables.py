"""Tables of a study from cells: by method, of settings, heat maps."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from peft_lib.methods.registry import get_method
from peft_lib.report import count_tables
from peft_lib.report.entries import entry
from peft_lib.report.markup import plain_name
from peft_lib.report.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.results.artefacts.context import SINGLE
from peft_lib.results.cells import Cell
from peft_lib.results.statistics import FEWEST
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import QUANTITIES, baseline_name
from peft_lib.study.schema import Artefact

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


@dataclass(frozen=True)
class Rendered:
    """An artefact's tables with what is said below them."""

    tables: tuple[Table, ...]
    footnotes: list[tuple[str, str]]
    remarks: list[str]


def render(artefact: Artefact, cells: list[Cell], plan: Plan) -> Rendered:
    """Tables of an artefact; figures have none (their numbers are in the CSV twin)."""
    notes = Footnotes()
    maker: dict[str, Callable[..., list[Table]]] = {
        "methods": by_method, "efficiency": by_method, "parameters": by_method, "hyperparameters": settings,
        "heatmap": heat, "counts": count_tables.counted,
    }  # fmt: skip
    make = maker.get(artefact.kind)
    tables = tuple(make(artefact, cells, plan, notes)) if make and cells else ()
    return Rendered(tables, notes.items, remarks(artefact, cells, tables))


def family_name(family: str) -> str:
    return FAMILIES.get(family, family.replace("_", " ").capitalize())


def single_seed(cells: list[Cell]) -> bool:
    measured = [c for c in cells if c.method and c.value is not None]
    return bool(measured) and all(c.n <= 1 for c in measured)


def by_method(artefact: Artefact, cells: list[Cell], plan: Plan, notes: Footnotes) -> list[Table]:
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
    labels = tuple(floor if c == "baseline" else Label.method(c) for c in columns)
    families = [get_method(c).family if c != "baseline" else "" for c in columns]
    spans = tuple((family_name(name), len(list(group))) for name, group in groupby(families))
    return [Table(headings, labels, tuple(rows), spans)]


def _panel_label(panel: str, cell: Cell) -> str:
    if panel == "trainable_pct":
        return "trained, % of model + A + B"
    if panel not in QUANTITIES:
        return ""
    label = QUANTITIES[panel].label
    return f"{label} ({cell.unit})" if cell.unit else label


def settings(artefact: Artefact, cells: list[Cell], plan: Plan, notes: Footnotes) -> list[Table]:
    """Rows are settings (and the methods they are for), columns are tasks; footnotes say where values come from."""
    tasks = list(dict.fromkeys((c.model, c.dataset) for c in cells))
    keys = sorted({(c.column, c.row) for c in cells}, key=_order([(c.column, c.row) for c in cells]))
    by_place = {(c.column, c.row, c.model, c.dataset): c for c in cells}
    rows = []
    for setting, who in keys:
        entries = tuple(_setting(by_place.get((setting, who, *task)), notes) for task in tasks)
        rows.append(Row((NAMES.get(setting, setting.replace("_", " ")), who), entries))
    columns = tuple(Label.plain(f"{plan.models[m].name}, {plan.datasets[d].name}") for m, d in tasks)
    return [Table(("Setting", "Methods, if not all"), columns, tuple(rows))]


def _order(items: list[tuple[str, str]]) -> Callable[[tuple[str, str]], tuple[int, int]]:
    """First by when a setting was first named, then by when its group of methods was."""
    settings_ = {s: i for i, s in reversed(list(enumerate(s for s, _ in items)))}
    places = {item: i for i, item in reversed(list(enumerate(items)))}
    return lambda item: (settings_[item[0]], places[item])


def _setting(cell: Cell | None, notes: Footnotes) -> Entry:
    if cell is None:
        return EMPTY
    lines = {"paper": cell.published_text} if cell.published_text else {}
    return Entry(
        cell.text or "", lines, notes=notes.mark(cell.source), title=f"source: {cell.source}", run=cell.run_ids[0]
    )


def heat(artefact: Artefact, cells: list[Cell], plan: Plan, notes: Footnotes) -> list[Table]:
    """One small table per panel. Colour runs over the values of a task, so that its methods can be compared."""
    tables = []
    for panel, group in groupby(cells, key=lambda c: c.panel):
        part = list(group)
        peers = [c.number for c in cells if (c.model, c.dataset) == (part[0].model, part[0].dataset) and c.measured]
        low, high = (min(peers), max(peers)) if peers else (0.0, 0.0)
        rows, columns = _axis(c.row for c in part), _axis(c.column for c in part)
        by_place = {(c.row, c.column): c for c in part}
        body = tuple(
            Row((row,), tuple(_heated(by_place.get((row, column)), notes, low, high) for column in columns))
            for row in rows
        )
        extra = panel.split(",", 1)[1].strip() if "," in panel else ""
        name = plain_name(part[0].method) if part[0].method else panel
        title = f"{name}{f' ({extra})' if extra else ''}"
        about = f"{plan.models[part[0].model].name}, {plan.datasets[part[0].dataset].name}"
        spans = ((NAMES.get(artefact.columns, artefact.columns.replace("_", " ")), len(columns)),)
        labels = tuple(Label.plain(c) for c in columns)
        tables.append(Table((artefact.rows.replace("_", " "),), labels, body, spans, title, about))
    return tables


def _axis(values) -> list[str]:
    """Labels of an axis, numbers in order, else as the study lists them."""
    labels = list(dict.fromkeys(values))
    try:
        return sorted(labels, key=float)
    except ValueError:
        return labels


def _heated(cell: Cell | None, notes: Footnotes, low: float, high: float) -> Entry:
    if cell is None:
        return EMPTY
    shown = entry(cell, notes, single=True)
    keep = {k: v for k, v in shown.lines.items() if k in ("n", "edge", "paper", "difference")}
    if not cell.measured:
        return replace(shown, lines=keep)
    share = (cell.number - low) / (high - low) if high > low else 0.5
    return replace(shown, lines=keep, heat=1 - share if cell.direction == "lower" else share)


def _place_not_given(cells: list[Cell], highlight: int) -> bool:
    """Whether a row has fewer marks than it could have."""
    rows: dict[tuple, list[Cell]] = {}
    for c in cells:
        if c.method and c.complete:
            rows.setdefault(c.key, []).append(c)
    return any(sum(c.rank_in_row is not None for c in row) < min(highlight, len(row)) for row in rows.values())


def remarks(artefact: Artefact, cells: list[Cell], tables: tuple[Table, ...]) -> list[str]:
    """What a reader has to know of this table, from its data."""
    if artefact.kind == "counts":
        return count_tables.remarks(cells)
    said = []
    if artefact.kind in ("methods", "efficiency") and artefact.highlight:
        nearest = " (nearest to zero, as the paper marks gaps)" if any(c.direction == "none" for c in cells) else ""
        said.append(
            f"Best {artefact.highlight} of each row marked{nearest}."
            if artefact.highlight > 1
            else "Best of each row marked."
        )
        if _place_not_given(cells, artefact.highlight):
            said.append("A place that more cells share than there are marks left is not given.")
        if any(c.status == "partial" for c in cells):
            said.append("Cells with fewer runs than planned (n of m) take no place.")
    if artefact.kind == "heatmap" and artefact.highlight:
        said.append("Best cell of each panel marked; colour runs over all panels of a task.")
        if any(c.edge for c in cells):
            said.append(
                "edge: the best cell has the smallest or largest value of that setting, so the optimum may lie outside "
                "the grid."
            )
    if artefact.change_vs_best:
        said.append("Sparse methods: change against the best method of the row in percent.")
    if artefact.kind == "efficiency":
        if artefact.normalise_to:
            name = plain_name(artefact.normalise_to)
            said.append(f"Small figures: ratio to {name}, the only part that compares between machines.")
    elif artefact.normalise_to:
        said.append(f"Ratio of means to {plain_name(artefact.normalise_to)}; no interval is given for a ratio.")
    if artefact.kind == "parameters":
        checked = [c for c in cells if c.panel == "trainable_parameters"]
        wrong = sum(c.status == "mismatch" for c in checked)
        counted = sum(c.n > 0 for c in checked)
        agree = f"Formula and count of the runs agree in {counted - wrong} of {counted} counted cells."
        said.append(agree if counted else "By formula; no run has counted yet.")
    if single_seed(cells) and artefact.kind not in ("parameters", "hyperparameters"):
        said.append(f"{SINGLE[0].upper()}{SINGLE[1:]}.")
    else:
        kinds = {kind for t in tables for kind in t.line_kinds}
        if "sd" in kinds:
            said.append("\u00b1: standard deviation over seeds.")
        if "interval" in kinds:
            said.append("Interval: 95 % interval of the mean over seeds, within the range of the quantity.")
        if "values" in kinds:
            said.append(
                f"Values with a semicolon between: the single seeds, in place of an interval below {FEWEST} seeds."
            )
    if artefact.published:
        joined = sum(c.published is not None or c.published_text is not None for c in cells)
        said.append(
            f"{joined} cells have a published counterpart."
            if joined
            else "No cell of this table has a published counterpart."
        )
    return said
