"""Lines of methods in a figure: a colour per method, a chained one dashed in the colour of the method without its chain."""

from collections.abc import Sequence
from typing import Any

from peft_lib.display import style
from peft_lib.methods.registry import get_method
from peft_lib.results.chains import base_of

DASHES = (0, (4, 2))
WIDTH, THIN, WIDE = 1.3, 0.8, 2.4
"""Widths in points; of twins, which may lie on each other, one is thin and the other wide."""


def looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, line, width and order of each method. One that adapts nothing is grey; where the colours start over, lines are
    dotted, with dashes between the dots if they are of a chain."""
    first = {m: _unchained(m, methods) for m in methods}
    coloured = [m for m in dict.fromkeys(first.values()) if not get_method(m).floor]
    twins = {get_method(m).twin for m in methods}
    found: dict[str, dict[str, Any]] = {}
    for method, parent in first.items():
        if get_method(parent).floor:
            found[method] = {"color": style.MUTED, "linestyle": "-", "linewidth": THIN, "zorder": 2.0}
            continue
        again, place = divmod(coloured.index(parent), len(style.LINES))
        lines = (DASHES, (0, (4, 1, 1, 1))) if method != parent else ("-", (0, (1, 1)))
        on_top = get_method(method).twin in methods
        width = THIN if on_top else WIDE if method in twins else WIDTH
        found[method] = {
            "color": style.LINES[place], "linestyle": lines[min(again, 1)], "linewidth": width, "zorder": 2.0 + on_top,
        }  # fmt: skip
    return found


def has_pair(methods: Sequence[str]) -> bool:
    """Whether a chained method stands beside the one without its chain."""
    return any(_unchained(m, methods) != m for m in methods)


def _unchained(method: str, shown: Sequence[str]) -> str:
    """The method without its chain, if it is shown; else the method itself."""
    return base_of(get_method(method), shown) or method
