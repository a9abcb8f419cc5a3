"""Reading a CSV file of published values: all of it, or which line breaks which rule."""

import math
from collections.abc import Iterable
from pathlib import Path

from peft_lib.csv_table import Fault, Rows, Table, decode, parse

__all__ = ["Fault", "PublishedError", "Rows", "read_number", "read_table"]

SHOWN_FAULTS = 10


class PublishedError(ValueError):
    """A file of published values that cannot be trusted: which file and line, what rule, what to do."""

    def __init__(self, path: Path, faults: list[Fault]):
        self.path, self.faults = path, tuple(faults)
        shown = [f"- {path.name}{fault}" for fault in faults[:SHOWN_FAULTS]]
        more = [f"- and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}"
        super().__init__("\n".join([f"published values {path}: {count}, the file is not used", *shown, *more]))


def read_table(path: Path, known: tuple[str, ...], required: Iterable[str]) -> tuple[list[str], Rows]:
    """Columns and rows of a CSV file, with the line that each row ends at. Raises PublishedError."""
    text, faults = decode(path.read_bytes())
    table = Table([], [], faults) if faults else parse(text, known, required)
    if table.faults:
        raise PublishedError(path, table.faults)
    return table.columns, table.rows


def read_number(text: str | None) -> float | None:
    """A finite number written in digits; None for anything else (Python would also read '1_0', ' 1' and 'nan')."""
    if not text or text != text.strip() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
