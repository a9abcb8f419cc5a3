"""Training curves: a figure per task, losses above, metric below, one column per family of methods."""

from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes

from peft_lib.display import style
from peft_lib.display.figures import NAME, axis_label, named, save, short_name
from peft_lib.display.markup import short
from peft_lib.display.tables import family_name, task_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import DATASET_METRICS


@style.styled
def draw(name: str, cells: list[Cell], plan: Plan, folder: Path) -> list[Picture]:
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
        pictures.append(_task_curves(name, mine, floor, plan, folder))
    return pictures


def _task_curves(name: str, mine: list[Cell], floor: float | None, plan: Plan, folder: Path) -> Picture:
    methods = list(dict.fromkeys(c.column for c in mine))
    families = [(f, list(g)) for f, g in groupby(methods, key=style.family)]
    metric = next((c.panel for c in mine if c.panel.startswith("validation/") and c.panel != "validation/loss"), None)
    panels = ["validation/loss", *([metric] if metric else [])]
    figure = style.new_figure(max(2.15 * len(families) + 0.4, 4), 2.0 * len(panels) + 0.5)
    grid = figure.subplots(len(panels), len(families), sharex=True, sharey="row", squeeze=False)
    for down, panel in enumerate(panels):
        for across, (family, members) in enumerate(families):
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
                axes.set_title(short(family_name(family), NAME))
                axes.legend(loc="best", handlelength=1.2, labelspacing=0.2)
            if down == len(panels) - 1:
                axes.set_xlabel("epoch")
                axes.xaxis.get_major_locator().set_params(integer=True)
        unit = next((c.unit for c in mine if c.panel == panel), "")
        split, _, shown = panel.partition("/")
        label = "loss" if shown == "loss" else f"{split} {DATASET_METRICS[shown].label}"
        grid[down][0].set_ylabel(axis_label(label, unit))
    model, dataset = mine[0].model, mine[0].dataset
    task = task_name(plan, model, dataset)
    alt = f"Curves over epochs of {len(methods)} methods on {task}: validation loss (solid), running "
    alt += "train loss (dashed), validation metric below; the grey band is the range over all methods."
    return save(figure, folder, f"{name}_{model}_{dataset}", alt, task)


def _curve_name(mine: list[Cell], panel: str, method: str) -> str:
    return next((named(c) for c in mine if c.column == method and c.panel == panel), short_name(method))


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
