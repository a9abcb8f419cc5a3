"""The figure of scores against costs: one panel per task, names beside the points. Numbers come from cells alone."""

import math
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from peft_lib.display import style
from peft_lib.display.figures import NAME, TITLE, axis_label, named, save, short_name, tasks_of
from peft_lib.display.markup import plain_name, short
from peft_lib.display.tables import family_name, task_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.results.context import Task
from peft_lib.results.marks import best_of
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import QUANTITIES, baseline_name, quantity


@style.styled
def draw(name: str, metric: str, cost: str, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
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
        axes.set_xlabel(axis_label(QUANTITIES[cost].label, points[0][0].unit))
        axes.set_ylabel(axis_label(quantity(metric, plan.datasets[task[1]].metric).label, points[0][1].unit))
        floors = [(short_name(y.column), y.number) for _, y in away] + _baseline(cells, task, plan)
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
    alt = f"Scatter plot of {QUANTITIES[metric].label} against {QUANTITIES[cost].label}. {'. '.join(said)}."
    return [save(figure, folder, name, alt)]


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


def _names(axes: Axes, points: list[tuple[Cell, Cell]]) -> None:
    """Names in a column right of the panel, evenly apart and in the order of the values, each tied to its point."""
    ordered = sorted(points, key=lambda p: p[1].number)
    low, high = axes.get_ylim()
    size = 7 if len(ordered) <= 18 else 7 * 18 / len(ordered)
    step = 1 / max(len(ordered), 1)
    wanted = [(p[1].number - low) / (high - low) for p in ordered]
    for (x, y), at in zip(ordered, _spread(wanted, min(step, 0.062)), strict=True):
        axes.annotate(
            named(y), xy=(x.number, y.number), xytext=(1.035, at), textcoords="axes fraction",
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
    """Floors as lines where they are in the picture, else as a sentence at its foot or head."""
    low, high = axes.get_ylim()
    for name, value in floors:
        if low <= value <= high:
            axes.axhline(value, color=style.MUTED, linestyle=(0, (4, 3)), linewidth=0.9)
            axes.annotate(
                f"{name} {value:.1f}", (0.01, value), xycoords=("axes fraction", "data"), fontsize=6.5, va="bottom"
            )
    outside = {
        "below": ([f for f in floors if f[1] < low], 0.015),
        "above": ([f for f in floors if f[1] > high], 0.955),
    }
    for where, (away, height) in outside.items():
        if away:
            text = f"{where} this panel: {', '.join(f'{name} {value:.1f}' for name, value in away)}"
            axes.annotate(text, (0.01, height), xycoords="axes fraction", fontsize=6.5, color=style.MUTED)
