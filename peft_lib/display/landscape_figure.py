"""Landscapes: surfaces side by side and over each other, contours with the optimiser's path. Numbers come from cells alone."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D

from peft_lib.display import style
from peft_lib.display.entries import fixed
from peft_lib.display.figures import NAME, TITLE, axis_label, save, short_name
from peft_lib.display.markup import plain_name, short
from peft_lib.display.tables import task_name
from peft_lib.display.view import Picture
from peft_lib.files import write_text
from peft_lib.results.cells import Cell
from peft_lib.study.quantities import quantity

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

COLOURS = "viridis"
"""Of losses: even steps to the eye, and told apart with the common kinds of colour blindness."""
PATH = "#d55e00"
ACROSS = 4
"""Panels side by side."""
FACETS = 40
"""Most facets of a drawn surface along each axis: a finer one is drawn from values between its points."""
STEEP = 3.0
"""Losses above so many times the panels' median maximum are cut off, so that one panel does not flatten the others."""


@dataclass(frozen=True)
class Panel:
    """One landscape. losses: (n, n), row by row of b, not finite where the loss was not. path: (K, 2), perhaps empty."""

    method: str
    losses: np.ndarray
    half: float
    path: np.ndarray
    variance: tuple[float | None, ...]
    numbers: dict[str, Cell]

    @property
    def axis(self) -> np.ndarray:
        return np.linspace(-self.half, self.half, len(self.losses))

    @property
    def below(self) -> str:
        """What is written below it."""
        said = []
        for name, word in (("test_metric", ""), ("gap", "gap"), ("curvature", "curvature"), ("volume", "volume")):
            cell = self.numbers.get(name)
            if cell is not None and cell.measured:
                unit = cell.unit if cell.unit == "%" else ""
                value = fixed(cell.number, min(cell.digits, 1) if unit else cell.digits, signed=name == "gap")
                said.append(f"{word or 'test'} {value}{unit}")
        return "\n".join(", ".join(said[i : i + 2]) for i in range(0, len(said), 2))


@style.styled
def draw(name: str, views: Sequence[str], cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
    """A figure per task and view; panels that have no surface are left out (the table says why)."""
    pictures = []
    tasks = list(dict.fromkeys((c.model, c.dataset, c.row) for c in cells))
    for place, task in enumerate(tasks):
        panels = _panels([c for c in cells if (c.model, c.dataset, c.row) == task])
        if not panels:
            continue
        metric = plan.datasets[task[1]].metric
        label = axis_label("validation loss", quantity("val_loss", metric).unit)
        title = short(task_name(plan, *task), 2 * TITLE)
        for view in views:
            base = f"{name}_{view}" + (f"_{place + 1}" if len(tasks) > 1 else "")
            drawn = (_surfaces if view == "surface" else _contours)(panels, label, title, base, folder)
            pictures.append(drawn)
    return pictures


def _panels(cells: list[Cell]) -> list[Panel]:
    by_method: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        by_method.setdefault(cell.column, {})[cell.panel] = cell
    panels = []
    for method, of in by_method.items():
        surface, half = of["surface"], of["half"]
        if surface.points and surface.measured and half.measured:
            side = math.isqrt(len(surface.points))
            losses = np.array([math.nan if p is None else p for p in surface.points]).reshape(side, side)
            path = np.array(of["path"].points if "path" in of else (), dtype=float).reshape(-1, 2)
            variance = of["variance"].points if "variance" in of else ()
            panels.append(Panel(method, losses, half.number, path, variance, of))
    return panels


def scale_of(panels: list[Panel]) -> tuple[float, float]:
    """Lowest and highest loss that all panels of a task show; see STEEP."""
    lowest = min(float(np.nanmin(p.losses)) for p in panels)
    tops = [float(np.nanmax(p.losses)) for p in panels]
    return lowest, min(max(tops), STEEP * float(np.median(tops)))


def _cut(losses: np.ndarray, top: float) -> np.ndarray:
    return np.where(np.isfinite(losses), np.minimum(losses, top), top)


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns of panels, as even as they can be."""
    down = math.ceil(count / ACROSS)
    return down, math.ceil(count / down)


def _surfaces(panels: list[Panel], label: str, title: str, name: str, folder: Path) -> Picture:
    low, high = scale_of(panels)
    together = len(panels) > 1
    down, across = _grid(len(panels) + together)
    figure = style.new_figure(2.9 * across + 0.6, 3.25 * down + 0.3)
    engine: Any = figure.get_layout_engine()
    engine.set(hspace=0.09, h_pad=0.12)  # titles and what stands below a space are not reckoned with it
    levels, norm = _shades(low, high)
    mapped: Any = None
    spaces = []
    for place, panel in enumerate(panels):
        axes = _space(figure, down, across, place + 1, panel.half, low, high)
        axes.set_title(short_name(panel.method), loc="center")
        mapped = _surface(axes, panel, high, cmap=COLOURS, norm=norm)
        axes.text2D(0.5, -0.13, panel.below, transform=axes.transAxes, ha="center", va="top", fontsize=7)
        spaces.append(axes)
    _bar(figure, mapped, spaces, levels, shrink=0.6, aspect=30, pad=0.02, label=label, location="left")
    if together:
        half = max(p.half for p in panels)
        axes = _space(figure, down, across, len(panels) + 1, half, low, high)
        axes.set_title("superimposed", loc="center")
        for place, panel in enumerate(panels):
            _surface(axes, panel, high, color=style.LINES[place % len(style.LINES)], alpha=0.5)
        handles = [
            Line2D(
                [], [], linestyle="", marker="s", color=style.LINES[i % len(style.LINES)], label=short_name(p.method)
            )
            for i, p in enumerate(panels)
        ]
        axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=min(2, len(panels)))
    _write_scene(folder / f"{name}.js", name, panels, label, low, high)
    alt = f"Surfaces of {label} around the weights of {_names(panels)}, from {fixed(low, 2)} to {fixed(high, 2)}."
    return replace(save(figure, folder, name, alt, title), scene=f"{name}.js")


def _space(figure: Any, down: int, across: int, place: int, half: float, low: float, high: float) -> Any:
    axes = figure.add_subplot(down, across, place, projection="3d")
    axes.set(xlim=(-half, half), ylim=(-half, half), zlim=(low, high))
    axes.set_box_aspect((1, 1, 0.8), zoom=1.12)
    axes.view_init(elev=28, azim=-55)
    axes.set_xlabel("a", labelpad=-8)
    axes.set_ylabel("b", labelpad=-8)
    axes.tick_params(pad=-3, labelsize=6)
    for line in (axes.xaxis, axes.yaxis, axes.zaxis):
        line.set_pane_color((1, 1, 1, 0))
        line.line.set_color(style.MUTED)
        line._axinfo["grid"].update(color=style.RULE, linewidth=0.5)
        line.get_major_locator().set_params(nbins=4, prune="both")
    return axes


def _surface(axes: Any, panel: Panel, high: float, **look: Any) -> Any:
    at, losses = panel.axis, _cut(panel.losses, high)
    if len(at) > FACETS + 1:
        fewer = np.linspace(-panel.half, panel.half, FACETS + 1)
        rows = np.array([np.interp(fewer, at, row) for row in losses])
        at, losses = fewer, np.array([np.interp(fewer, at, column) for column in rows.T]).T
    a, b = np.meshgrid(at, at)
    return axes.plot_surface(
        a,
        b,
        losses,
        rcount=len(at),
        ccount=len(at),
        linewidth=0.15,
        edgecolor=(1, 1, 1, 0.35),
        antialiased=True,
        **look,
    )


def _shades(low: float, high: float) -> tuple[np.ndarray, Any]:
    """Levels of contours and the scale of colours: even steps of the logarithm where the losses span more than a factor 4."""
    if low > 0 and high > 4 * low:
        return np.geomspace(low, high, 17), LogNorm(low, high)
    return np.linspace(low, high, 17), Normalize(low, high)


def _bar(figure: Any, drawn: Any, axes: list[Any], levels: np.ndarray, **look: Any) -> None:
    bar = figure.colorbar(drawn, ax=axes, **look)
    ticks = levels[::4]
    bar.set_ticks(list(ticks), labels=[f"{t:.2g}" for t in ticks])
    bar.minorticks_off()


def _contours(panels: list[Panel], label: str, title: str, name: str, folder: Path) -> Picture:
    low, high = scale_of(panels)
    down, across = _grid(len(panels))
    figure = style.new_figure(2.75 * across + 0.9, 3.3 * down + 0.6)
    levels, norm = _shades(low, high)
    drawn: Any = None
    flat = []
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(down, across, place + 1)
        inside = np.clip(_cut(panel.losses, high), levels[0], levels[-1])
        drawn = axes.contourf(panel.axis, panel.axis, inside, levels=levels, cmap=COLOURS, norm=norm)
        axes.contour(panel.axis, panel.axis, inside, levels=levels[1:-1:2], colors="white", linewidths=0.4, alpha=0.6)
        _path(axes, panel)
        axes.set_aspect("equal")
        axes.set_title(short_name(panel.method))
        axes.set_xlabel(_direction("a", panel.variance, 0))
        axes.set_ylabel(_direction("b", panel.variance, 1))
        axes.text(0.0, -0.24, panel.below, transform=axes.transAxes, va="top", fontsize=7)
        flat.append(axes)
    _bar(figure, drawn, flat, levels, shrink=0.75, label=label)
    handles = [Line2D([], [], linestyle="", marker="x", color=style.INK, label="centre: the trained weights")]
    if any(len(p.path) for p in panels):
        handles.insert(
            0, Line2D([], [], color=PATH, marker="o", markersize=3, linewidth=1.2, label="path, a point an epoch")
        )
        handles.insert(
            0, Line2D([], [], linestyle="", color=PATH, marker="s", markersize=5, label="before the first step")
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles) if across > 1 else 1)
    paths = " with the optimiser's path" if any(len(p.path) for p in panels) else ""
    alt = (
        f"Contours of {label} around the weights of {_names(panels)}{paths}, from {fixed(low, 2)} to {fixed(high, 2)}."
    )
    return save(figure, folder, name, alt, title)


def _path(axes: Any, panel: Panel) -> None:
    """The epochs' places, an arrow on each step that is long enough to carry one, and the centre."""
    if len(panel.path):
        a, b = panel.path.T
        axes.plot(a, b, color=PATH, linewidth=1.2, marker="o", markersize=2.4, clip_on=True)
        axes.plot(a[:1], b[:1], color=PATH, linestyle="", marker="s", markersize=5, clip_on=False)
        for start, end in zip(panel.path[:-1], panel.path[1:], strict=True):
            if np.linalg.norm(end - start) > 0.12 * panel.half:
                middle = (start + end) / 2
                axes.annotate(
                    "", xy=middle + 0.01 * (end - start), xytext=middle,
                    arrowprops={"arrowstyle": "-|>", "color": PATH, "linewidth": 0.8, "mutation_scale": 8},
                )  # fmt: skip
    axes.plot([0], [0], linestyle="", marker="x", markersize=6, markeredgewidth=1.4, color="white")
    axes.set(xlim=(-panel.half, panel.half), ylim=(-panel.half, panel.half))


def _direction(letter: str, variance: tuple[float | None, ...], index: int) -> str:
    if len(variance) <= index:
        return f"{letter}, random direction"
    share = variance[index] or 0.0
    return f"{letter}, {'first' if index == 0 else 'second'} direction ({share:.0f} %)"


def _names(panels: list[Panel]) -> str:
    names = [plain_name(p.method) for p in panels]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _write_scene(path: Path, name: str, panels: list[Panel], label: str, low: float, high: float) -> None:
    """The surfaces as JSON in a call: a page that is opened as a file may load scripts, but not read JSON."""
    scene = {
        "label": label, "low": low, "high": high,
        "surfaces": [
            {
                "name": short(plain_name(p.method), NAME), "colour": style.LINES[i % len(style.LINES)],
                "at": [round(float(v), 6) for v in p.axis],
                "losses": [[float(f"{v:.5g}") for v in row] for row in _cut(p.losses, high).tolist()],
            }
            for i, p in enumerate(panels)
        ],
    }  # fmt: skip
    text = json.dumps(scene, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    write_text(path, f"addScene({json.dumps(name)},{text});\n")
