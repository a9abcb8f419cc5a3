"""What the figures of several kinds share: saving, names and labels that fit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from peft_lib.display import style
from peft_lib.display.markup import plain_name, short
from peft_lib.display.view import Picture
from peft_lib.results.cells import Cell
from peft_lib.results.context import Task

NAME, TITLE = 24, 48
"""Characters that a method's name and a panel's title may have in a figure; longer ones end in an ellipsis."""


def tasks_of(cells: Iterable[Cell]) -> list[Task]:
    return list(dict.fromkeys((c.model, c.dataset, c.row) for c in cells))


def save(figure, folder: Path, name: str, alt: str, title: str = "") -> Picture:
    style.save(figure, folder / name)
    width, height = figure.get_size_inches()
    return Picture(name, alt, title, round(96 * width), round(96 * height))


def short_name(method_id: str) -> str:
    return short(plain_name(method_id), NAME)


def named(cell: Cell) -> str:
    """A method's name, with 'n of m' where runs are absent."""
    name = short_name(cell.column)
    return f"{name} ({cell.n} of {cell.planned})" if cell.status == "partial" else name


def axis_label(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def line_look(method: str, place: int) -> dict[str, Any]:
    """Colour by place; a shape per family. Where the colours start over, lines are dashed."""
    marker = style.look(style.family(method))["marker"]
    colour = style.LINES[place % len(style.LINES)]
    return {"marker": marker, "color": colour, "linestyle": "--" if place >= len(style.LINES) else "-"}
