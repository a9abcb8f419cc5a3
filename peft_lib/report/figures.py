"""Figures of a study: accuracy against cost, training curves. Numbers come from cells alone."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from peft_lib.report import style
from peft_lib.report.markup import plain_name, short, visible
from peft_lib.report.tables import family_name
from peft_lib.results.artefacts.marks import best_of
from peft_lib.results.cells import Cell
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import DATASET_METRICS, QUANTITIES, baseline_name, quantity
from peft_lib.study.schema import Artefact

Task = tuple[str, str, str]
NAME, TITLE = 24, 48
"""Characters that a method's name and a panel's title may have in a figure; longer ones end in an ellipsis."""


@dataclass(frozen=True)
class Picture:
    """A drawn figure: file name without ending, what it shows in words, its size in pixels."""

    name: str
    alt: str
    title: str
    width: int
    height: int


def draw(artefact: Artefact, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
    """Draws an artefact's figures into a folder; none for tables and for artefacts without a single value."""
    makers: dict[str, Callable[..., list[Picture]]] = {"cost": cost, "curves": curves}
    make = makers.get(artefact.kind)
    if make is None:
        return []
    with style.style():
        return make(artefact, cells, plan, folder)


def tasks_of(cells: Iterable[Cell]) -> list[Task]:
    return list(dict.fromkeys((c.model, c.dataset, c.row) for c in cells))


def task_name(plan: Plan, model: str, dataset: str, row: str = "") -> str:
    return visible(f"{plan.models[model].name}, {plan.datasets[dataset].name}{f' ({row})' if row else ''}")


def _save(figure, folder: Path, name: str, alt: str, title: str = "") -> Picture:
    style.save(figure, folder / name)
    width, height = figure.get_size_inches()
    return Picture(name, alt, title, round(96 * width), round(96 * height))


def cost(artefact: Artefact, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
    """One panel per task: cost to the right, score upwards, error bars of one sd, the constant answer as a line."""
    tasks = [t for t in tasks_of(cells) if len(_points(cells, t)) > 0]
    if not tasks:
        return []
    across = min(2, len(tasks))
    down = math.ceil(len(tasks) / across)
    figure = style.new_figure(4.9 * across, 3.7 * down)
    said = []
    for place, task in enumerate(tasks):
        axes = figure.add_subplot(down, across, place + 1)
        points = _points(cells, task)
        away = _far_below(points)
        _scatter(axes, [p for p in points if p not in away])
        axes.set_title(short(task_name(plan, *task), TITLE))
        axes.set_xlabel(_axis_label(QUANTITIES[artefact.cost].label, points[0][0].unit))
        axes.set_ylabel(_axis_label(quantity(artefact.metric, plan.datasets[task[1]].metric).label, points[0][1].unit))
        floors = [(_short_name(y.column), y.number) for _, y in away] + _baseline(cells, task, plan)
        _floor_lines(axes, floors)
        best = best_of(y for _, y in points)
        leaders = f", best {' and '.join(plain_name(c.column) for c in best)} at {best[0].number:.2f}" if best else ""
        said.append(f"{task_name(plan, *task)}: {len(points)} methods{leaders}")
    shown = dict.fromkeys(style.family(c.method) for c in cells if c.method)
    handles = [
        Line2D([], [], linestyle="", markersize=5, label=short(family_name(f), NAME), **style.look(f)) for f in shown
    ]
    if any(c.status == "partial" for c in cells if c.method and c.measured):
        handles.append(
            Line2D([], [], linestyle="", markersize=5, label="hollow: fewer runs than planned", marker="o",
                   color=style.MUTED, markerfacecolor="none")
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    alt = f"Scatter plot of {QUANTITIES[artefact.metric].label} against {QUANTITIES[artefact.cost].label}. {'. '.join(said)}."
    return [_save(figure, folder, artefact.id, alt)]


def _points(cells: list[Cell], task: Task) -> list[tuple[Cell, Cell]]:
    """(cost, value) of the methods that have both."""
    mine = {(c.panel, c.method): c for c in cells if (c.model, c.dataset, c.row) == task and c.method and c.measured}
    pairs = ((mine.get(("cost", m)), mine.get(("value", m))) for m in dict.fromkeys(m for _, m in mine))
    return [(a, b) for a, b in pairs if a and b]


def _far_below(points: list[tuple[Cell, Cell]]) -> list[tuple[Cell, Cell]]:
    """Baselines so far below the rest that showing them would squeeze the rest together: named in words instead."""
    rest = [y.number for _, y in points if style.family(y.column) != "baseline"]
    if not rest:
        return []
    room = max(max(rest) - min(rest), 0.02 * abs(max(rest)))
    return [p for p in points if style.family(p[1].column) == "baseline" and p[1].number < min(rest) - 1.5 * room]


def _scatter(axes: Axes, points: list[tuple[Cell, Cell]]) -> None:
    for x, y in points:
        look = style.look(style.family(y.column))
        whole: dict[str, Any] = {"markeredgecolor": "white", "markeredgewidth": 0.5}
        hollow: dict[str, Any] = {"markerfacecolor": "none", "markeredgewidth": 1.1}
        axes.errorbar(
            x.number, y.number, xerr=x.sd, yerr=y.sd, linestyle="", markersize=6.5, elinewidth=0.8, zorder=3,
            **look, **(whole if y.complete and x.complete else hollow),
        )  # fmt: skip
    axes.grid(True)
    axes.margins(x=0.08, y=0.14)
    axes.set_ylim(axes.get_ylim())
    _names(axes, points)


def _short_name(method_id: str) -> str:
    return short(plain_name(method_id), NAME)


def _named(cell: Cell) -> str:
    """A method's name, with 'n of m' where runs are absent."""
    name = _short_name(cell.column)
    return f"{name} ({cell.n} of {cell.planned})" if cell.status == "partial" else name


def _axis_label(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _names(axes: Axes, points: list[tuple[Cell, Cell]]) -> None:
    """Names in a column right of the panel, evenly apart and in the order of the values, each tied to its point."""
    ordered = sorted(points, key=lambda p: p[1].number)
    low, high = axes.get_ylim()
    size = 7 if len(ordered) <= 18 else 7 * 18 / len(ordered)
    step = 1 / max(len(ordered), 1)
    wanted = [(p[1].number - low) / (high - low) for p in ordered]
    for (x, y), at in zip(ordered, _spread(wanted, min(step, 0.062)), strict=True):
        axes.annotate(
            _named(y), xy=(x.number, y.number), xytext=(1.035, at), textcoords="axes fraction",
            fontsize=size, va="center", annotation_clip=False, color=style.INK,
            arrowprops={"arrowstyle": "-", "color": style.MUTED, "linewidth": 0.4, "alpha": 0.55, "shrinkA": 0,
            "shrinkB": 3},
        )  # fmt: skip


def _spread(wanted: list[float], gap: float) -> list[float]:
    """Positions in 0..1 near the wanted ones (ascending), at least `gap` apart: pushed up, then back down."""
    places = list(wanted)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    limit = 1.0
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _baseline(cells: list[Cell], task: Task, plan: Plan) -> list[tuple[str, float]]:
    mine = (c for c in cells if c.column == "baseline" and (c.model, c.dataset, c.row) == task)
    name = baseline_name(plan.datasets[task[1]].metric)
    return [(name, c.number) for c in mine if c.measured]


def _floor_lines(axes: Axes, floors: list[tuple[str, float]]) -> None:
    """Floors as lines where they are in the picture, else as a sentence at its foot."""
    low, high = axes.get_ylim()
    below = [f"{name} {value:.1f}" for name, value in floors if value < low]
    for name, value in floors:
        if low <= value <= high:
            axes.axhline(value, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=0.9)
            axes.annotate(
                f"{name} {value:.1f}", (0.01, value), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom"
            )
    if below:
        text = f"below this panel: {', '.join(below)}"
        axes.annotate(text, (0.01, 0.015), xycoords="axes fraction", fontsize=6.5, color=style.MUTED)


def curves(artefact: Artefact, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
    """A figure per task: losses above, metric below, one column per family; all methods' range in grey behind."""
    pictures = []
    drawn = [c for c in cells if c.measured and c.row.isdigit()]
    tasks = list(dict.fromkeys((c.model, c.dataset) for c in drawn))
    for model, dataset in tasks:
        mine = [c for c in drawn if (c.model, c.dataset) == (model, dataset)]
        floor = next(
            (
                c.number
                for c in cells
                if c.column == "baseline" and c.measured and (c.model, c.dataset) == (model, dataset)
            ),
            None,
        )
        pictures.append(_task_curves(artefact, mine, floor, plan, folder))
    return pictures


def _task_curves(artefact: Artefact, mine: list[Cell], floor: float | None, plan: Plan, folder: Path) -> Picture:
    methods = list(dict.fromkeys(c.column for c in mine))
    families = [(f, list(g)) for f, g in groupby(methods, key=style.family)]
    metric = next((c.panel for c in mine if c.panel.startswith("validation/") and c.panel != "validation/loss"), None)
    panels = ["validation/loss", *([metric] if metric else [])]
    figure = style.new_figure(max(2.15 * len(families) + 0.4, 4), 2.0 * len(panels) + 0.5)
    grid = figure.subplots(len(panels), len(families), sharex=True, sharey="row", squeeze=False)
    for down, panel in enumerate(panels):
        for across, (name, members) in enumerate(families):
            axes = grid[down][across]
            _envelope(axes, [c for c in mine if c.panel == panel])
            for place, method in enumerate(members):
                colour = style.LINES[place % len(style.LINES)]
                _line(axes, mine, panel, method, colour, _curve_name(mine, panel, method))
                if panel == "validation/loss":
                    _line(axes, mine, "train/loss", method, colour, None)
            if floor is not None and panel == metric:
                axes.axhline(floor, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=0.9)
            axes.grid(True)
            if down == 0:
                axes.set_title(short(family_name(name), NAME))
                axes.legend(loc="best", handlelength=1.2, labelspacing=0.2)
            if down == len(panels) - 1:
                axes.set_xlabel("epoch")
                axes.xaxis.get_major_locator().set_params(integer=True)
        unit = next((c.unit for c in mine if c.panel == panel), "")
        split, _, name = panel.partition("/")
        label = "loss" if name == "loss" else f"{split} {DATASET_METRICS[name].label}"
        grid[down][0].set_ylabel(_axis_label(label, unit))
    model, dataset = mine[0].model, mine[0].dataset
    task = task_name(plan, model, dataset)
    alt = f"Curves over epochs of {len(methods)} methods on {task}: validation loss (solid), running "
    alt += "train loss (dashed), validation metric below; the grey band is the range over all methods."
    return _save(figure, folder, f"{artefact.id}_{model}_{dataset}", alt, task)


def _curve_name(mine: list[Cell], panel: str, method: str) -> str:
    return next((_named(c) for c in mine if c.column == method and c.panel == panel), _short_name(method))


def _envelope(axes: Axes, cells: list[Cell]) -> None:
    by_epoch = {e: [c.number for c in cells if int(c.row) == e] for e in sorted({int(c.row) for c in cells})}
    low, high = [min(v) for v in by_epoch.values()], [max(v) for v in by_epoch.values()]
    axes.fill_between(list(by_epoch), low, high, color=style.MUTED, alpha=0.13, linewidth=0)


def _line(axes: Axes, mine: list[Cell], panel: str, method: str, colour: str, label: str | None) -> None:
    points = sorted((c for c in mine if c.panel == panel and c.column == method), key=lambda c: int(c.row))
    if not points:
        return
    x, y = [int(c.row) for c in points], [c.number for c in points]
    dashed = panel.startswith("train/")
    width, dashes = (0.8, (0, (3, 2))) if dashed else (1.4, "-")
    marker = "o" if len(x) < 3 else None
    # matplotlib leaves labels that begin with an underscore out of a legend.
    label = f"\u200a{label}" if label and label.startswith("_") else label
    axes.plot(x, y, color=colour, linewidth=width, linestyle=dashes, label=label, marker=marker, markersize=3)
    spread = [c.sd for c in points if c.sd is not None]
    if not dashed and len(spread) == len(points):
        low, high = ([v + sign * s for v, s in zip(y, spread, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
