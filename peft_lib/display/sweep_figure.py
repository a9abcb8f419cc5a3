"""The figure of a sweep: a panel per task, a line per method with error bars, the paper's values dotted. From cells alone."""

import math
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from peft_lib.display import style
from peft_lib.display.figures import TITLE, axis_label, line_look, save, short_name
from peft_lib.display.markup import plain_name, short
from peft_lib.display.tables import panel_name, setting_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.results.marks import best_of
from peft_lib.study.quantities import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from peft_lib.study.plan import Plan

LABELS = 40
"""Characters of all labels of an axis from which on they stand aslant."""
WIDE = 4.0
"""Ratio of the largest to the smallest value from which on an axis is logarithmic."""


@style.styled
def draw(name: str, along: str, cells: list[Cell], plan: "Plan", folder: "Path") -> list[Picture]:
    """Up to two panels side by side: the setting to the right, the quantity upwards, error bars of one sd."""
    panels: dict[str, list[Cell]] = {}
    for cell in cells:
        if cell.measured:
            panels.setdefault(cell.panel, []).append(cell)
    if not panels:
        return []
    methods = list(dict.fromkeys(c.column for c in cells))
    looks = {m: line_look(m, place) for place, m in enumerate(methods)}
    across = min(2, len(panels))
    down = math.ceil(len(panels) / across)
    figure = style.new_figure(4.6 * across, 3.2 * down + 0.5)
    said = []
    for place, part in enumerate(panels.values()):
        axes = figure.add_subplot(down, across, place + 1)
        values = list(dict.fromkeys(c.row for c in cells if c.panel == part[0].panel))
        at, scale = positions(values)
        for place_in_line, method in enumerate(methods):
            mine = [c for c in part if c.column == method]
            if scale == "named":  # no value lies between: points side by side, no line
                aside = 0.6 * ((place_in_line + 0.5) / len(methods) - 0.5)
                _line(axes, mine, {value: x + aside for value, x in at.items()}, looks[method] | {"linestyle": ""})
            else:
                _line(axes, mine, at, looks[method])
        if scale == "log":
            axes.set_xscale("log", base=2)
        crowded = sum(map(len, at)) > LABELS
        axes.set_xticks(list(at.values()), list(at), rotation=35 if crowded else 0, ha="right" if crowded else "center")
        axes.minorticks_off()
        axes.grid(True)
        what = quantity(part[0].metric, plan.datasets[part[0].dataset].metric)
        axes.set_title(short(panel_name(part[0], plan), TITLE))
        axes.set_xlabel(setting_name(along))
        axes.set_ylabel(axis_label(what.label, part[0].unit))
        said.append(f"{panel_name(part[0], plan)}: {_best(part)}")
    handles = [Line2D([], [], label=short_name(m), linewidth=1.3, markersize=4, **looks[m]) for m in methods]
    if any(c.published is not None for part in panels.values() for c in part):
        handles.append(Line2D([], [], color=style.MUTED, linestyle=":", linewidth=1.1, label="dotted: published"))
    if any(not c.complete for part in panels.values() for c in part):
        handles.append(
            Line2D([], [], linestyle="", marker="o", markersize=4, color=style.MUTED, markerfacecolor="none",
                   label="hollow: fewer runs than planned")
        )  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4 * across))
    metric = quantity(cells[0].metric, plan.datasets[cells[0].dataset].metric).label
    alt = f"Lines of {metric} over {setting_name(along)}, {len(methods)} methods. {'. '.join(said)}."
    return [save(figure, folder, name, alt)]


def positions(values: list[str]) -> tuple[dict[str, float], str]:
    """Where the values of a setting stand on the axis, and its scale: linear, log or named.

    Numbers stand at their size, logarithmically where all are positive and the largest is at least WIDE times the smallest;
    other values (selectors, schedules, 2r) evenly apart, in the order of the study.
    """
    try:
        numbers = {value: float(value) for value in values}
    except ValueError:
        return {value: float(place) for place, value in enumerate(values)}, "named"
    smallest, largest = min(numbers.values()), max(numbers.values())
    return numbers, "log" if smallest > 0 and largest >= WIDE * smallest else "linear"


def _line(axes: Axes, cells: list[Cell], at: dict[str, float], look: dict[str, Any]) -> None:
    points = sorted(cells, key=lambda c: at[c.row])
    if not points:
        return
    x, y = [at[c.row] for c in points], [c.number for c in points]
    spread = [c.sd or 0.0 for c in points]
    axes.errorbar(
        x, y, yerr=spread if any(spread) else None, linewidth=1.3, markersize=4.5, elinewidth=0.8, capsize=2, **look
    )
    for c in points:
        if not c.complete:
            axes.plot([at[c.row]], [c.number], marker=look["marker"], markersize=4.5, color=look["color"],
                      markerfacecolor="white", zorder=4)  # fmt: skip
    printed = [(at[c.row], c.published) for c in points if c.published is not None]
    if printed:
        marks: dict[str, Any] = (
            {"linestyle": ":"} if look["linestyle"] else {"linestyle": "", "marker": "_", "markersize": 9}
        )
        axes.plot(*zip(*printed, strict=True), color=look["color"], linewidth=1.1, **marks)


def _best(part: list[Cell]) -> str:
    leaders = best_of(part)
    if not leaders:
        return "no method has all its runs"
    names = " and ".join(f"{plain_name(c.column)} at {c.row}" for c in leaders[:3])
    return f"best {names}, {leaders[0].number:.{leaders[0].digits}f}"
