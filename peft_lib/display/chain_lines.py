"""Lines of methods in a figure: a colour per method, a chained one dashed in the colour of the method without its chain."""

from collections.abc import Sequence
from typing import Any

from peft_lib.display import style
from peft_lib.methods.registry import get_method

DASHES = (0, (4, 2))


def looks(methods: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Colour, line and width of each method. One that only adapts nothing is grey; where the colours start over, lines are
    dotted, with dashes between the dots if they are of a chain."""
    first = {m: _unchained(m, methods) for m in methods}
    coloured = [m for m in dict.fromkeys(first.values()) if not get_method(m).floor]
    found: dict[str, dict[str, Any]] = {}
    for method, parent in first.items():
        if get_method(parent).floor:
            found[method] = {"color": style.MUTED, "linestyle": "-", "linewidth": 0.9}
            continue
        round_, place = divmod(coloured.index(parent), len(style.LINES))
        chained = DASHES if round_ == 0 else (0, (4, 1, 1, 1))
        plain = "-" if round_ == 0 else (0, (1, 1))
        found[method] = {
            "color": style.LINES[place], "linestyle": chained if method != parent else plain, "linewidth": 1.3,
        }  # fmt: skip
    return found


def has_pair(methods: Sequence[str]) -> bool:
    """Whether a chained method stands beside the one without its chain."""
    return any(_unchained(m, methods) != m for m in methods)


def _unchained(method: str, shown: Sequence[str]) -> str:
    """The method without its chain, if it is shown; else the method itself."""
    parent = get_method(method).unchained
    return parent if parent in shown and parent is not None else method
