"""The figure of predictors: a dot and its interval for each number of a run, the single tasks as small marks. From cells alone."""

from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from peft_lib.display import style
from peft_lib.display.figures import save
from peft_lib.display.markup import short
from peft_lib.display.predictor_tables import ALL, CORRELATION, WRONG
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell

if TYPE_CHECKING:
    from pathlib import Path

    from peft_lib.study.plan import Plan

NAME = 40
"""Characters of a number's name."""
TITLES = {
    f"{CORRELATION}/test_metric": "with the test metric", f"{CORRELATION}/gap": "with the gap",
    f"{WRONG}/test_metric": "wrong pairs, test metric",
}  # fmt: skip
PANELS = tuple(TITLES)


@style.styled
def draw(name: str, cells: list[Cell], plan: "Plan", folder: "Path") -> list[Picture]:
    """Three panels side by side: correlation with the test metric, with the gap, wrong pairs against the test metric."""
    rows = list(dict.fromkeys(c.row for c in cells if c.panel in PANELS))
    if not any(c.value is not None for c in cells if c.panel in PANELS):
        return []
    labels = {c.row: short(str(c.text), NAME) for c in cells if c.panel in PANELS}
    figure = style.new_figure(9.8, 1.4 + 0.27 * len(rows))
    several = any(c.column == ALL for c in cells)
    said = []
    shared: Axes | None = None
    for place, panel in enumerate(PANELS):
        axes = figure.add_subplot(1, len(PANELS), place + 1, sharey=shared)
        shared = shared or axes
        part = [c for c in cells if c.panel == panel and c.value is not None]
        _panel(axes, part, rows, several, middle=50.0 if panel.startswith(WRONG) else 0.0)
        wrong = panel.startswith(WRONG)
        axes.set_title(TITLES[panel])
        axes.set_xlabel("% (50: a coin)" if wrong else "rank correlation")
        axes.set_xlim(*((-3, 103) if wrong else (-1.05, 1.05)))
        axes.tick_params(labelleft=place == 0, left=place == 0)
        main = [c for c in part if c.column == ALL or not several]
        said.append(f"{axes.get_title()}: " + ", ".join(f"{labels[c.row]} {c.number:.{c.digits}f}" for c in main))
    assert shared is not None
    shared.set_yticks(range(len(rows)), [labels[row] for row in rows])
    shared.set_ylim(len(rows) - 0.5, -0.5)
    handles = [
        Line2D([], [], marker="o", color=style.LINES[0], label="all tasks, 95 %" if several else "the task, 95 %")
    ]
    if several:
        handles.append(Line2D([], [], marker="|", linestyle="", color=style.MUTED, markersize=7, label="a single task"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return [save(figure, folder, name, f"Dots with 95 % intervals. {'. '.join(said)}.")]


def _panel(axes: Axes, cells: list[Cell], rows: list[str], several: bool, middle: float) -> None:
    axes.axvline(middle, color=style.MUTED, linewidth=0.8)
    axes.grid(True, axis="x")
    axes.set_axisbelow(True)
    for cell in cells:
        y = rows.index(cell.row)
        if several and cell.column != ALL:
            axes.plot(cell.number, y, marker="|", markersize=7, color=style.MUTED)
            continue
        if cell.low is not None and cell.high is not None:
            axes.plot([cell.low, cell.high], [y, y], color=style.LINES[0], linewidth=1.4, solid_capstyle="butt")
        axes.plot(cell.number, y, marker="o", markersize=4.5, color=style.LINES[0])
