"""Panels of lines over a number: a line per method, chained ones dashed in the colour of the method without its chain."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from peft_lib.display import style
from peft_lib.display.chain_lines import DASHES, has_pair, looks
from peft_lib.display.figures import save, short_name
from peft_lib.display.markup import short
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell

POINTS = 3
"""Up to so many points of a line are marked: fewer would hardly be seen."""
ACROSS = 3
FAR = 20.0
"""Ratio of the largest to the smallest value from which on a logarithmic axis is worth its few labels."""
WIDTH = 42
"""Characters of a line of a panel's title."""
FROM_ZERO = 1.0
"""Below it, a logarithmic axis of counts is linear, so that it has a place for zero."""


@dataclass(frozen=True)
class Scales:
    """What the axes are. log: values on a logarithmic axis, if they lie far apart; counts: with a linear part around zero.
    whole: x in whole numbers."""

    x: str
    y: str
    log: bool = False
    counts: bool = False
    whole: bool = False


@style.styled
def draw(name: str, panels: Mapping[str, list[Cell]], scales: Scales, alt: str, folder: Path) -> list[Picture]:
    """One figure; none where nothing was measured. `panels`: title (some lines) -> cells, whose row is x and whose column is
    the method."""
    lowest = 0.0 if scales.log and not scales.counts else -math.inf
    shown = {t: part for t, cells in panels.items() if (part := [c for c in cells if c.measured and c.number > lowest])}
    if not shown:
        return []
    methods = list(dict.fromkeys(c.column for part in panels.values() for c in part))
    drawn = {c.column for part in shown.values() for c in part}
    methods = [m for m in methods if m in drawn]
    look = looks(methods)
    across = min(ACROSS, len(shown))
    down = math.ceil(len(shown) / across)
    figure = style.new_figure(max(3.1 * across, 4.6), 2.7 * down + 0.3 * math.ceil(len(methods) / (3 * across)) + 0.3)
    for place, (title, part) in enumerate(shown.items()):
        axes = figure.add_subplot(down, across, place + 1)
        for method in methods:
            _line(axes, [c for c in part if c.column == method], look[method])
        axes.set_title("\n".join(short(line, WIDTH) for line in title.split("\n")), fontsize=8)
        axes.set_xlabel(scales.x)
        if place % across == 0:
            axes.set_ylabel(scales.y)
        if scales.log and scales.counts:
            axes.set_yscale("symlog", linthresh=FROM_ZERO)
        elif scales.log and max(c.number for c in part) > FAR * min(c.number for c in part):
            axes.set_yscale("log")
        if axes.get_yscale() != "linear":  # matplotlib's own labels are formulas, which our style does not typeset
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        if scales.whole:
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(True)
    handles = [Line2D([], [], label=short_name(m), **look[m]) for m in methods]
    if has_pair(methods):
        handles.append(Line2D([], [], color=style.MUTED, linestyle=DASHES, linewidth=1.3, label="dashed: chained"))
    if any(not c.complete for part in shown.values() for c in part):
        handles.append(Line2D([], [], linestyle="", marker="o", markersize=4, color=style.MUTED, markerfacecolor="none",
                              label="hollow: fewer runs than planned"))  # fmt: skip
    figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 3 * across + 1), handlelength=2.6
    )
    return [save(figure, folder, name, alt)]


def _line(axes: Axes, cells: list[Cell], look: dict[str, Any]) -> None:
    points = sorted(cells, key=lambda c: float(c.row))
    x, y = [float(c.row) for c in points], [c.number for c in points]
    partial = any(not c.complete for c in points)
    marker = "o" if len(x) <= POINTS or partial else None
    axes.plot(x, y, marker=marker, markersize=3.5, markerfacecolor="white" if partial else look["color"], **look)
