"""The paper's printed values, joined to cells by whatever keys a reference file has. A file with faults is refused."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from peft_lib.names import did_you_mean, first_line

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
TEXT_KEYS = ("model", "dataset", "method", "quantity", "setting", "group")
NUMBER_KEYS = ("rank", "alpha", "lr", "chain_period")
KEYS = (*TEXT_KEYS, *NUMBER_KEYS)
NOTES = ("metric", "unit", "change_vs_best", "in_table_2", "in_table_3", "note")
"""Columns that are read by nobody or shown as they are."""
NUMBERS = (*NUMBER_KEYS, "ratio", "change_vs_best")
"""Columns whose cells are numbers or empty; `value` too, but in a file of settings."""
COLUMNS = (*KEYS, "value", "ratio", "ratio_to", *NOTES)
CAVEAT_COLUMNS = ("file", "model", "dataset", "method", "caveat")
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


@dataclass(frozen=True)
class Value:
    """A printed value. `ratio` is its multiple of the value of method `ratio_to`; `caveat`: why it is no fair target."""

    text: str
    number: float | None
    ratio: float | None
    ratio_to: str | None
    caveat: str | None


class Published:
    """Look-up in one reference file. A key column that the file lacks does not matter for the join.

    Raises FileNotFoundError for an unknown name, and PublishedError for a file (or a caveats.csv beside it) that is not a
    CSV in UTF-8 (a byte order mark is accepted) with known columns, whole rows, numbers where they belong and one row for
    each combination of keys.
    """

    def __init__(self, name: str, folder: Path = REFERENCE):
        path = folder / name
        if Path(name).name != name or not path.is_file():
            known = ", ".join(sorted(p.name for p in folder.glob("table*.csv")))
            raise FileNotFoundError(f"published values {name!r}: no such file in {folder}. Use one of {known}")
        columns, rows = _read(path, COLUMNS, ("model", "dataset", "value"))
        self.name = name
        self.keys = tuple(k for k in KEYS if k in columns)
        faults = [*_without_methods(columns), *_bad_cells(columns, rows), *_repeats(self.keys, rows)]
        if faults:
            raise PublishedError(path, sorted(faults, key=lambda fault: fault.line or 0))
        self.rows = {_key(self.keys, row): row for _, row in rows if row["value"]}
        self.caveats = [r for r in _caveats(folder) if r["file"] == name]

    def find(self, **keys: Any) -> Value | None:
        """The printed value for these keys; None if the paper has none. Keys unknown to the file do not matter."""
        row = self.rows.get(_key(self.keys, keys))
        if row is None:
            return None
        notes = [row.get("note") or "", *(c["caveat"] for c in self.caveats if _applies(c, keys))]
        return Value(
            text=row["value"],
            number=_number(row["value"]),
            ratio=_number(row.get("ratio")),
            ratio_to=row.get("ratio_to") or None,
            caveat="; ".join(n for n in notes if n) or None,
        )


Rows = list[tuple[int, dict[str, str]]]
"""(line, column -> text)."""


def _read(path: Path, known: tuple[str, ...], required: Iterable[str]) -> tuple[list[str], Rows]:
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


def _without_methods(columns: list[str]) -> list[Fault]:
    if "method" in columns or "setting" in columns:
        return []
    rule = "a value belongs to a method, or to a setting"
    return [Fault(1, "no column method or setting", rule, "add it: else every method would be given the same value")]


def _bad_cells(columns: list[str], rows: Rows) -> Iterable[Fault]:
    """Keys that are absent or padded, and texts where numbers belong. An empty value could not be recovered: allowed."""
    numbers = [c for c in columns if c in NUMBERS or (c == "value" and "setting" not in columns)]
    for line, row in rows:
        for name in columns:
            text = row[name]
            if name in KEYS and (not text or text != text.strip()):
                what = f"{name} is {text!r}"
                yield Fault(line, what, "keys are not empty and have no blanks around them", "write the id or number")
            elif name in numbers and text and _number(text) is None:
                rule = f"{name} is a finite number with a decimal point, or empty"
                yield Fault(line, f"{name} is {text!r}", rule, "write it as 86.34 or 1e-5; words belong in note")
        if row.get("ratio") and not row.get("ratio_to"):
            yield Fault(line, "a ratio to nothing", "a ratio names its method in ratio_to", "fill in ratio_to")


def _repeats(keys: tuple[str, ...], rows: Rows) -> Iterable[Fault]:
    first: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        before = first.setdefault(_key(keys, row), line)
        if before != line:
            what = ", ".join(f"{k} {row[k]}" for k in keys)
            rule = f"one row for each combination of {', '.join(keys)}; line {before} has the same"
            yield Fault(line, what, rule, "remove one of the two, or correct its keys")


def _applies(caveat: Mapping[str, str], keys: Mapping[str, Any]) -> bool:
    return all(not caveat[k] or caveat[k] == keys.get(k) for k in ("model", "dataset", "method"))


@cache
def _caveats(folder: Path) -> list[dict[str, str]]:
    """Rows of caveats.csv; none without the file. Raises PublishedError."""
    path = folder / "caveats.csv"
    if not path.is_file():
        return []
    _, rows = _read(path, CAVEAT_COLUMNS, CAVEAT_COLUMNS)
    faults = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        if not row["file"] or not (folder / row["file"]).is_file():
            rule = "file is the name of a table in this folder"
            remedy = f"correct it.{did_you_mean(row['file'], (p.name for p in folder.glob('table*.csv')))}"
            faults.append(Fault(line, f"file is {row['file']!r}", rule, remedy))
        if not row["caveat"].strip():
            faults.append(Fault(line, "no caveat", "caveat says why the value is no fair target", "write it"))
        faults += [
            Fault(line, f"{name} is {row[name]!r}", "no blanks around an id", "remove them")
            for name in CAVEAT_COLUMNS[:-1]
            if row[name] != row[name].strip()
        ]
        before = seen.setdefault(tuple(row.values()), line)
        if before != line:
            faults.append(Fault(line, f"repeats line {before}", "a caveat stands once", "remove one of the two"))
    if faults:
        raise PublishedError(path, faults)
    return [row for _, row in rows]


def _number(text: str | None) -> float | None:
    """A finite number written in digits; None for anything else (Python would also read '1_0', ' 1' and 'nan')."""
    if not text or text != text.strip() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _key(keys: tuple[str, ...], row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_normal(row.get(k)) for k in keys)


def _normal(value: Any) -> str:
    """Numbers to 5 digits: 10^-3.5 is printed as 3.16227766e-04 and kept as 0.000316228."""
    if value is None:
        return ""
    number = _number(str(value))
    return str(value) if number is None else f"{number:.5g}"
