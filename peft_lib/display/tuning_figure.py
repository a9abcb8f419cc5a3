"""The figure of tuning: what n settings tried are expected to give, on validation and on test; a line per method. From cells."""

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from peft_lib.display import style
from peft_lib.display.figures import TITLE, axis_label, line_look, save, short_name
from peft_lib.display.markup import short
from peft_lib.display.tables import task_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.study.quantities import quantity

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

MANY = 12
"""Settings from which on their number stands on a logarithmic axis."""


@style.styled
def draw(name: str, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
    """Per task two panels side by side, of the two panels that the cells have."""
    panels = list(dict.fromkeys(c.panel for c in cells))
    tasks = list(dict.fromkeys((c.model, c.dataset) for c in cells))
    if not cells:
        return []
    methods = list(dict.fromkeys(c.column for c in cells))
    figure = style.new_figure(4.3 * len(panels), 2.7 * len(tasks) + 0.5)
    for down, task in enumerate(tasks):
        for across, panel in enumerate(panels):
            axes = figure.add_subplot(len(tasks), len(panels), down * len(panels) + across + 1)
            part = [c for c in cells if (c.model, c.dataset, c.panel) == (*task, panel)]
            _panel(axes, part, methods)
            what = quantity(part[0].metric, plan.datasets[task[1]].metric)
            axes.set_ylabel(axis_label(what.label, part[0].unit))
            if across == 0:
                axes.set_title(short(task_name(plan, *task), TITLE))
    handles = [
        Line2D([], [], label=short_name(m), linewidth=1.3, markersize=4, **line_look(m, place))
        for place, m in enumerate(methods)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 8))
    alt = f"Expected best of n settings tried, {len(methods)} methods, {len(tasks)} task{'s' * (len(tasks) != 1)}."
    return [save(figure, folder, name, alt)]


def _panel(axes: Axes, cells: list[Cell], methods: list[str]) -> None:
    for place, method in enumerate(methods):
        line = [(int(c.row), c.number) for c in cells if c.column == method]
        if line:
            axes.plot(*zip(*line, strict=True), linewidth=1.3, markersize=3.5, **line_look(method, place))
    if max(int(c.row) for c in cells) > MANY:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(True)
    axes.set_xlabel("settings tried")
