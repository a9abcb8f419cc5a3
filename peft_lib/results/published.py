"""The paper's printed values, joined to cells by whatever keys a reference file has."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
KEYS = ("model", "dataset", "method", "quantity", "setting", "group", "rank", "alpha", "lr", "chain_period")


@dataclass(frozen=True)
class Value:
    """A printed value. `caveat` says why it is no fair target, if so."""

    text: str
    number: float | None
    ratio: float | None
    caveat: str | None


class Published:
    """Look-up in one reference file. A key column that the file lacks does not matter for the join."""

    def __init__(self, name: str, folder: Path = REFERENCE):
        path = folder / name
        if not path.is_file():
            known = ", ".join(sorted(p.name for p in folder.glob("table*.csv")))
            raise FileNotFoundError(f"published values {name!r}: no such file in {folder}. Use one of {known}")
        self.name = name
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.DictReader(handle))
        self.keys = tuple(k for k in KEYS if rows and k in rows[0])
        self.rows = {tuple(_normal(r[k]) for k in self.keys): r for r in rows if r["value"]}
        self.caveats = [r for r in _caveats(folder) if r["file"] == name]

    def find(self, **keys: Any) -> Value | None:
        """The printed value for these keys; None if the paper has none. Keys unknown to the file do not matter."""
        row = self.rows.get(tuple(_normal(keys.get(k)) for k in self.keys))
        if row is None:
            return None
        notes = [row.get("note") or "", *(c["caveat"] for c in self.caveats if _applies(c, keys))]
        return Value(
            row["value"],
            _number(row["value"]),
            _number(row.get("ratio_to_lora")),
            "; ".join(n for n in notes if n) or None,
        )


def _applies(caveat: Mapping[str, str], keys: Mapping[str, Any]) -> bool:
    return all(not caveat[k] or caveat[k] == keys.get(k) for k in ("model", "dataset", "method"))


@cache
def _caveats(folder: Path) -> list[dict[str, str]]:
    path = folder / "caveats.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _normal(value: Any) -> str:
    """Numbers to 5 digits: 10^-3.5 is printed as 3.16227766e-04 and kept as 0.000316228."""
    if value is None:
        return ""
    number = _number(str(value))
    return str(value) if number is None else f"{number:.5g}"
