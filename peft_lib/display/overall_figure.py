"""The figure of methods over all rows: a panel per measure, a line per method, points with intervals. From cells alone."""

from pathlib import Path

from peft_lib.display import style
from peft_lib.display.entries import fixed
from peft_lib.display.figures import save, short_name
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell


@style.styled
def draw(name: str, names: dict[str, str], cells: list[Cell], folder: Path) -> list[Picture]:
    """Methods from top to bottom in the order of the first panel; nothing without a value."""
    drawn = [c for c in cells if c.value is not None and c.method]
    panels = [p for p in names if any(c.panel == p for c in drawn)]
    if not panels:
        return []
    first = [c for c in drawn if c.panel == panels[0]]
    order = [str(c.method) for c in sorted(first, key=lambda c: (c.number, c.column))]
    figure = style.new_figure(3.0 * len(panels) + 0.8, 0.22 * len(order) + 0.9)
    for place, panel in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), place + 1)
        for c in drawn:
            if c.panel != panel or c.method not in order:
                continue
            look = style.look(style.family(c.method))
            at = order.index(c.method)
            if c.low is not None and c.high is not None:
                axes.plot([c.low, c.high], [at, at], color=look["color"], linewidth=1.6, solid_capstyle="butt")
            axes.plot([c.number], [at], markersize=4.5, linestyle="", **look)
        if panel == "improvement":
            axes.axvline(50, color=style.MUTED, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(order)), [short_name(m) for m in order] if place == 0 else [""] * len(order))
        axes.set_ylim(len(order) - 0.5, -0.5)
        axes.set_xlabel(names[panel])
        axes.grid(True, axis="x")
    best = min(first, key=lambda c: c.number)
    leads = f"Lowest {names[panels[0]]}: {short_name(str(best.method))}, {fixed(best.number, best.digits)}."
    alt = f"{len(order)} methods over all rows: {', '.join(names[p] for p in panels)}. {leads}"
    return [save(figure, folder, name, alt)]
