"""How figures look: one font, colour-blind-safe colours, a shape per family; bytes depend on the data alone."""

import io
import re
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from peft_lib.files import atomic_path, write_text
from peft_lib.methods.registry import get_method

P = ParamSpec("P")
T = TypeVar("T")
INK, MUTED, RULE = "#1b1f24", "#626b75", "#d5dae0"
MARKERS = {"baseline": "X", "past": "o", "present": "s", "future": "^", "paca": "D"}
COLOURS = {"baseline": "#7a7a7a", "past": "#0072b2", "present": "#e69f00", "future": "#009e73", "paca": "#cc79a7"}
OTHER_MARKER, OTHER_COLOUR = "P", "#56b4e9"
"""Of a family that a plug-in brings."""
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a7a7a", "#b59f00")
"""Okabe and Ito's palette, told apart with the common kinds of colour blindness; lines cycle through it."""

SETTINGS: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "peft", "pdf.fonttype": 42, "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"], "font.size": 8, "axes.edgecolor": MUTED, "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False, "axes.linewidth": 0.7, "axes.titlesize": 9, "axes.titlelocation": "left",
    "grid.color": RULE,
    "grid.linewidth": 0.6, "legend.frameon": False, "legend.fontsize": 7, "figure.dpi": 100,
}  # fmt: skip

_DARK = {INK: "#e8eaed", MUTED: "#a7b0ba", RULE: "#3a4149"}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """A function that draws and saves figures, in this style."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.rc_context(SETTINGS):
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """A figure of that many inches without pyplot's global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def family(method_id: str) -> str:
    return get_method(method_id).family


def look(family_id: str) -> dict[str, Any]:
    """Marker and colour of a family of methods."""
    return {"marker": MARKERS.get(family_id, OTHER_MARKER), "color": COLOURS.get(family_id, OTHER_COLOUR)}


def save(figure: Figure, base: Path) -> None:
    """Writes base.svg, which follows the reader's dark mode, and base.pdf for LaTeX. No dates in either.

    In the PDF, characters that the font lacks (Chinese, emoji) are empty boxes; in the SVG the reader's browser draws them.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        _save(figure, base)


def _save(figure: Figure, base: Path) -> None:
    # The layout is solved once, not again for each format.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    write_text(base.with_suffix(".svg"), _themed(text.getvalue()))
    with atomic_path(base.with_suffix(".pdf")) as temporary:
        figure.savefig(temporary, format="pdf", metadata={"CreationDate": None, "Creator": None, "Producer": None})


def _themed(svg: str) -> str:
    """Puts the three ink colours under style variables, and lets a browser use its own sans-serif font."""
    names = {INK: "ink", MUTED: "muted", RULE: "rule"}
    light = "".join(f"--{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"--{names[colour]}:{shade};" for colour, shade in _DARK.items())
    for colour, name in names.items():
        svg = svg.replace(colour, f"var(--{name})")
    svg = re.sub(r"'DejaVu Sans', sans-serif|'DejaVu Sans'", "system-ui, 'DejaVu Sans', Verdana, sans-serif", svg)
    rules = f"<style>svg{{{light}}}@media (prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    return re.sub(r"(<svg[^>]*>)", lambda m: m[1] + rules, svg, count=1)
