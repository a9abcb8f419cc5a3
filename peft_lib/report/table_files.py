"""Machine-readable twins of what is shown: every cell as JSON and CSV, with what its columns mean."""

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.markup import visible
from peft_lib.files import write_text
from peft_lib.results.cell_files import CELLS, CELLS_VERSION
from peft_lib.results.cells import Cell
from peft_lib.study.schema import Study


def record(cell: Cell) -> dict[str, Any]:
    """A cell without its nulls, empty texts and lists, and False; fractions to 9 digits, more than any of them deserves."""
    fields = {k: v for k, v in asdict(cell).items() if v is not None and v is not False and v not in ((), "")}
    return {k: _rounded(v) for k, v in fields.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float) and not value.is_integer():
        return float(f"{value:.9g}")
    return value


def descriptions() -> dict[str, str]:
    return {field.name: field.metadata[b"description"].decode() for field in CELLS}


def write_json(path: Path, artefact: Artefact, cells: list[Cell]) -> None:
    _write(path, {"artefact": artefact.model_dump(), "fields": descriptions(), "cells": [record(c) for c in cells]})


def write_all(path: Path, study: Study, tables: dict[str, list[Cell]]) -> None:
    """cells.json: the cells of all artefacts."""
    head = {"study": study.id, "title": study.title, "question": study.question, "schema_version": CELLS_VERSION}
    _write(path, {**head, "fields": descriptions(), "cells": [record(c) for cells in tables.values() for c in cells]})


def _write(path: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=None, separators=(",", ":"))
    write_text(path, visible(text) + "\n")


def write_csv(path: Path, cells: list[Cell]) -> None:
    """All columns of the schema; lists joined by spaces."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, CELLS.names, lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        fields = record(cell)
        writer.writerow({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in fields.items()})
    write_text(path, visible(text.getvalue()))
