"""The figure of differences to the row's best: a panel per task, a line per method with its interval, single seeds as dots."""

import math
from pathlib import Path
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from peft_lib.display import style
from peft_lib.display.entries import fixed
from peft_lib.display.figures import TITLE, axis_label, save, short_name, tasks_of
from peft_lib.display.markup import plain_name, short
from peft_lib.display.tables import task_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import LEADER, VALUE, told_apart
from peft_lib.results.context import Task
from peft_lib.results.marks import goodness
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import quantity

PANELS = 4
"""Panels of one picture; a study of more tasks gets several."""
FAR = 4
"""Times the median difference from which on a method is named at the edge: it would squeeze the others together."""


@style.styled
def draw(name: str, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
    """Methods from the best downwards; filled: told apart from the leader, hollow: not."""
    tasks = [t for t in tasks_of(cells) if len(_tested(cells, t)) > 1]
    parts = [tuple(tasks[start : start + PANELS]) for start in range(0, len(tasks), PANELS)]
    names = [name if len(parts) == 1 else f"{name}_{place}" for place in range(1, len(parts) + 1)]
    titles = [f"part {place} of {len(parts)}" * (len(parts) > 1) for place in range(1, len(parts) + 1)]
    return [
        _picture(own, title, part, cells, plan, folder) for own, title, part in zip(names, titles, parts, strict=True)
    ]


def _picture(name: str, title: str, tasks: tuple[Task, ...], cells: list[Cell], plan: Plan, folder: Path) -> Picture:
    across = min(2, len(tasks))
    down = math.ceil(len(tasks) / across)
    most = max(len(_tested(cells, t)) for t in tasks)
    figure = style.new_figure(4.9 * across, (1.1 + 0.19 * most) * down + 0.3)
    said = []
    for place, task in enumerate(tasks):
        axes = figure.add_subplot(down, across, place + 1)
        points = _tested(cells, task)
        leader = next(c for c in points if c.p is None)
        _panel(axes, points, {c.column: c.text or "" for c in cells if c.panel == VALUE and _of(c) == task})
        what = quantity(leader.metric, plan.datasets[task[1]].metric)
        axes.set_title(short(task_name(plan, *task), TITLE))
        axes.set_xlabel(
            axis_label(
                f"{what.label}, difference to {short_name(leader.column)}", "points" if what.scale == 100 else what.unit
            )
        )
        near = sum(c.p is not None and not told_apart(c) for c in points)
        said.append(
            f"{task_name(plan, *task)}: {plain_name(leader.column)} leads, {near} of {len(points) - 1} others are not told apart"
        )
    look: dict[str, Any] = {"linestyle": "-", "color": style.INK, "markersize": 5, "marker": "o", "linewidth": 0.9}
    handles = [
        Line2D([], [], label="told apart from the leader, 95 % interval", **look),
        Line2D([], [], label="not told apart", markerfacecolor="none", **look),
        Line2D([], [], label="single seeds", linestyle="", marker="|", markersize=6, color=style.MUTED),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return save(figure, folder, name, f"Differences to the best method of each task. {'. '.join(said)}.", title)


def _of(cell: Cell) -> Task:
    return cell.model, cell.dataset, cell.row


def _tested(cells: list[Cell], task: Task) -> list[Cell]:
    """The leader and what was compared with it, from the best downwards; nothing where nothing was."""
    own = [c for c in cells if c.panel == LEADER and _of(c) == task]
    tested = [c for c in own if c.p is not None]
    return sorted([*(c for c in own if c.value is not None and c.p is None), *tested], key=_order) if tested else []


def _order(cell: Cell) -> float:
    """The leader first; a difference without direction by its size."""
    return -goodness(cell)


def _panel(axes: Axes, points: list[Cell], letters: dict[str, str]) -> None:
    far = FAR * median(abs(c.number) for c in points if c.p is not None)
    inside = [c for c in points if abs(c.number) <= far or far == 0]
    ends = [end for c in inside for end in (c.low, c.high, *c.values) if end is not None]
    room = 0.06 * ((max([*ends, 0.0]) - min([*ends, 0.0])) or 1.0)
    low, high = min([*ends, 0.0]) - room, max([*ends, 0.0]) + room
    axes.set_xlim(low, high)
    axes.set_ylim(len(points) - 0.4, -0.6)
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    for place, cell in enumerate(points):
        colour = style.look(style.family(cell.column))
        look: dict[str, Any] = {"marker": colour["marker"], "color": colour["color"], "markersize": 5.5}
        if cell not in inside:
            left = cell.number < low
            text = (
                f"\u25c2 {fixed(cell.number, cell.digits, signed=True)}"
                if left
                else f"{fixed(cell.number, cell.digits, signed=True)} \u25b8"
            )
            axes.text(
                low if left else high,
                place,
                text,
                ha="left" if left else "right",
                va="center",
                fontsize=7,
                color=style.INK,
            )
        elif cell.p is None or cell.low is None or cell.high is None:
            axes.plot(0, place, linestyle="", **look)
        else:
            axes.plot(
                cell.values,
                [place] * len(cell.values),
                linestyle="",
                marker="|",
                markersize=7,
                color=style.MUTED,
                zorder=2,
            )
            axes.plot([cell.low, cell.high], [place, place], linewidth=1.1, color=colour["color"], zorder=3)
            hollow: dict[str, Any] = {} if told_apart(cell) else {"markerfacecolor": "white"}
            axes.plot(cell.number, place, linestyle="", zorder=4, **look, **hollow)
        axes.annotate(
            letters.get(cell.column, ""), (1.02, place), xycoords=("axes fraction", "data"), va="center", fontsize=7,
            color=style.MUTED, annotation_clip=False,
        )  # fmt: skip
    axes.set_yticks(range(len(points)), [short_name(c.column) for c in points])
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
