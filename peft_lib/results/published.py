"""The paper's printed values, joined to cells by whatever keys a reference file has. A file with faults is refused."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from peft_lib.names import did_you_mean
from peft_lib.results.cells import APART
from peft_lib.results.reference_file import Fault, PublishedError, Rows, read_number, read_table

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
TEXT_KEYS = ("model", "dataset", "method", "quantity", "setting", "group")
NUMBER_KEYS = ("rank", "alpha", "lr", "chain_period")
KEYS = (*TEXT_KEYS, *NUMBER_KEYS)
NOTES = ("metric", "unit", "change_vs_best", "in_table_2", "in_table_3", "note")
"""Columns that are read by nobody or shown as they are."""
NUMBERS = (*NUMBER_KEYS, "ratio", "change_vs_best")
"""Columns whose cells are numbers or empty; `value` too, but in a file of settings."""
COLUMNS = (*KEYS, "value", "ratio", "ratio_to", *NOTES)
CAVEAT_KEYS = ("file", "model", "dataset", "method")
NO_TARGET, WITH_CARE = "no fair target", "with care"
"""What a caveat makes of a published value: not to be compared with, or to be compared with the caveat in mind."""


@dataclass(frozen=True)
class Value:
    """A printed value. `ratio` is its multiple of the value of method `ratio_to`; `caveat`: why it is no fair target; `note`:
    what else there is to say of it; `change_text`: its change against the row's best in percent; `also`: what is shown beside it."""

    text: str
    number: float | None
    ratio: float | None
    ratio_to: str | None
    caveat: str | None
    ratio_text: str | None = None
    note: str | None = None
    change_text: str | None = None
    also: str | None = None
    unit: str = ""

    def as_ratio(self) -> "Value":
        """The printed ratio as the value, and the value with its unit beside it."""
        return replace(self, text=self.ratio_text or "", number=self.ratio, also=f"{self.text} {self.unit}".strip())


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
        columns, rows = read_table(path, COLUMNS, ("model", "dataset", "value"))
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
        caveats = {c["caveat"]: c["verdict"] for c in self.caveats if _applies(c, keys)}
        notes = [row.get("note") or "", *(text for text, verdict in caveats.items() if verdict == WITH_CARE)]
        ratio = row.get("ratio") or None
        return Value(
            text=row["value"],
            number=read_number(row["value"]),
            ratio=read_number(row.get("ratio")),
            ratio_to=row.get("ratio_to") or None,
            caveat=APART.join(text for text, verdict in caveats.items() if verdict == NO_TARGET) or None,
            ratio_text=ratio,
            note=APART.join(text for text in notes if text) or None,
            change_text=row.get("change_vs_best") or None,
            unit=row.get("unit") or "",
        )


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
            elif name in numbers and text and read_number(text) is None:
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
    columns = (*CAVEAT_KEYS, "verdict", "caveat")
    _, rows = read_table(path, columns, columns)
    faults = []
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        if not row["file"] or not (folder / row["file"]).is_file():
            rule = "file is the name of a table in this folder"
            remedy = f"correct it.{did_you_mean(row['file'], (p.name for p in folder.glob('table*.csv')))}"
            faults.append(Fault(line, f"file is {row['file']!r}", rule, remedy))
        if not row["caveat"].strip():
            faults.append(Fault(line, "no caveat", "caveat says what is wrong with the value as a target", "write it"))
        if row["verdict"] not in (NO_TARGET, WITH_CARE):
            rule, near = (
                f"verdict is {NO_TARGET!r} or {WITH_CARE!r}",
                did_you_mean(row["verdict"], (NO_TARGET, WITH_CARE)),
            )
            faults.append(Fault(line, f"verdict is {row['verdict']!r}", rule, f"write one of them.{near}"))
        faults += [
            Fault(line, f"{name} is {row[name]!r}", "no blanks around an id", "remove them")
            for name in CAVEAT_KEYS
            if row[name] != row[name].strip()
        ]
        before = seen.setdefault(tuple(row.values()), line)
        if before != line:
            faults.append(Fault(line, f"repeats line {before}", "a caveat stands once", "remove one of the two"))
    if faults:
        raise PublishedError(path, faults)
    return [row for _, row in rows]


def _key(keys: tuple[str, ...], row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_normal(row.get(k)) for k in keys)


def _normal(value: Any) -> str:
    """Numbers to 5 digits: 10^-3.5 is printed as 3.16227766e-04 and kept as 0.000316228."""
    if value is None:
        return ""
    number = read_number(str(value))
    return str(value) if number is None else f"{number:.5g}"
