"""Tables for people: rich on a terminal, plain aligned text elsewhere."""

import sys
from collections.abc import Sequence
from typing import TextIO


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]], file: TextIO | None = None) -> None:
    """Prints a table. Columns whose cells are all numbers (or empty) stand right."""
    out = file or sys.stdout
    cells = [[_text(cell) for cell in row] for row in rows]
    right = [all(isinstance(row[i], (int, float)) or _text(row[i]) == "" for row in rows) for i in range(len(header))]
    if out.isatty():
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        shown = Table(title=title, title_justify="left")
        for name, is_right in zip(header, right, strict=True):
            shown.add_column(Text(name), justify="right" if is_right else "left")
        for row in cells:
            shown.add_row(*map(Text, row))
        Console(file=out).print(shown)
        return
    lines = [list(header), *cells]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    print(title, file=out)
    for line in lines:
        parts = (
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(line, widths, right, strict=True)
        )
        print(f"  {'  '.join(parts)}".rstrip(), file=out)


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{cell:,.1f}" if abs(cell) >= 0.05 or cell == 0 else f"{cell:.2g}"
    return f"{cell:,}" if isinstance(cell, int) else str(cell)


def size(count: float) -> str:
    """Bytes in words: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def span(seconds: float) -> str:
    """A time in words: 45 s, 12 min, 3 h 20 min, 5 d 4 h."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
