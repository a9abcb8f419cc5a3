"""Reading a CSV file of published values: its text, heading and rows, or which line breaks which rule."""

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peft_lib.names import did_you_mean, first_line

SHOWN_FAULTS = 10


class PublishedError(ValueError):
    """A file of published values that cannot be trusted: which file and line, what rule, what to do."""

    def __init__(self, path: Path, faults: list["Fault"]):
        self.path, self.faults = path, tuple(faults)
        shown = [f"- {path.name}{fault}" for fault in faults[:SHOWN_FAULTS]]
        more = [f"- and {len(faults) - SHOWN_FAULTS} more"] if len(faults) > SHOWN_FAULTS else []
        count = f"{len(faults)} fault{'s' * (len(faults) != 1)}"
        super().__init__("\n".join([f"published values {path}: {count}, the file is not used", *shown, *more]))


@dataclass(frozen=True)
class Fault:
    """One violated rule. `line` counts from 1, the heading; None: the whole file."""

    line: int | None
    what: str
    rule: str
    remedy: str

    def __str__(self) -> str:
        where = f", line {self.line}" if self.line else ""
        return f"{where}: {self.what}\n    rule:   {self.rule}\n    remedy: {self.remedy}"


Rows = list[tuple[int, dict[str, str]]]
"""(line, column -> text)."""


def read_table(path: Path, known: tuple[str, ...], required: Iterable[str]) -> tuple[list[str], Rows]:
    """Columns and rows of a CSV file, with the line that each row ends at. Raises PublishedError."""
    reader = csv.reader(io.StringIO(_decoded(path), newline=""), strict=True)
    rows: Rows = []
    faults: list[Fault] = []
    columns: list[str] = []
    try:
        for texts in reader:
            if not texts:
                continue
            if not columns:
                columns = texts
                faults += _bad_heading(reader.line_num, columns, known, required)
            elif len(texts) != len(columns):
                count = f"{len(texts)} cells under {len(columns)} columns"
                rule = "every row has a cell for every column; a text with a comma stands in double quotes"
                faults.append(Fault(reader.line_num, count, rule, "add or remove the comma, or quote the text"))
            else:
                rows.append((reader.line_num, dict(zip(columns, texts, strict=True))))
    except csv.Error as error:
        faults.append(Fault(reader.line_num, first_line(error), "a CSV file", "mend the quotes of this line"))
    if not columns or (not rows and not faults):
        what = "no row" if columns else "empty"
        faults.append(Fault(None, what, "a heading and at least one row", "restore the file from the repository"))
    if faults:
        raise PublishedError(path, faults)
    return columns, rows


def _decoded(path: Path) -> str:
    """The text of a UTF-8 file, without the byte order mark that spreadsheets write. Raises PublishedError."""
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte {data[error.start]:#04x} is not UTF-8"
        raise PublishedError(path, [Fault(line, what, "the file is UTF-8", "save it as CSV in UTF-8")]) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PublishedError(
            path, [Fault(line, "a NUL character", "the file is UTF-8 text", "save it as CSV in UTF-8")]
        )
    return text


def _bad_heading(line: int, columns: list[str], known: tuple[str, ...], required: Iterable[str]) -> list[Fault]:
    faults = []
    listed = ", ".join(known)
    for name in dict.fromkeys(columns):
        if name not in known:
            remedy = f"rename or remove it; free text belongs in {known[-1]}.{did_you_mean(name, known)}"
            faults.append(Fault(line, f"column {name!r}", f"columns are {listed}", remedy))
        if columns.count(name) > 1:
            faults.append(Fault(line, f"column {name!r} stands twice", "a column stands once", "remove one of them"))
    missing = [name for name in required if name not in columns]
    if missing:
        commas = "separate columns by commas" if len(columns) == 1 else "add them"
        faults.append(Fault(line, f"no column {', '.join(missing)}", f"{', '.join(required)} must be there", commas))
    return faults


def read_number(text: str | None) -> float | None:
    """A finite number written in digits; None for anything else (Python would also read '1_0', ' 1' and 'nan')."""
    if not text or text != text.strip() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
