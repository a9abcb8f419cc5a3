"""Reading a CSV table strictly: its text, heading and rows, and which line breaks which rule. Nothing is guessed at."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

from peft_lib.names import did_you_mean, first_line


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
"""(line that the row ends at, column -> text)."""


@dataclass(frozen=True)
class Table:
    """A table as far as it could be read: what is in `faults` is in neither `columns` nor `rows`."""

    columns: list[str]
    rows: Rows
    faults: list[Fault]


def decode(data: bytes) -> tuple[str, list[Fault]]:
    """The text of a file in UTF-8, without the byte order mark that spreadsheets write; empty, with the fault, if it is none."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"byte {data[error.start]:#04x} is not UTF-8"
        return "", [Fault(line, what, "the file is UTF-8", "save it as CSV in UTF-8")]
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return "", [Fault(line, "a NUL character", "the file is UTF-8 text", "save it as CSV in UTF-8")]
    return text, []


def parse(text: str, known: tuple[str, ...], required: Iterable[str]) -> Table:
    """Columns and rows of a CSV text. The last of the `known` columns is the one for free text."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
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
        faults.append(Fault(None, what, "a heading and at least one row", "write them, or restore the file"))
    return Table(columns, rows, faults)


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
