"""Cells as Parquet files: one per artefact, one schema for all."""

from dataclasses import asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from peft_lib.files import atomic_path
from peft_lib.results.cells import DESCRIPTIONS, Cell

CELLS_VERSION = 5
TEXT, COUNT, NUMBER, TRUTH = pa.string(), pa.int64(), pa.float64(), pa.bool_()
_TYPES = {
    "digits": COUNT,
    "n": COUNT,
    "planned": COUNT,
    "rank_in_row": COUNT,
    "run_ids": pa.list_(TEXT),
    "values": pa.list_(NUMBER),
    "points": pa.list_(NUMBER),
    "tied": TRUTH,
} | dict.fromkeys(
    (
        "value",
        "sd",
        "low",
        "high",
        "ratio",
        "expected",
        "intended",
        "published",
        "difference",
        "p",
        "p_adjusted",
        "change_vs_best",
    ),
    NUMBER,
)
CELLS = pa.schema(
    [pa.field(f.name, _TYPES.get(f.name, TEXT), metadata={"description": DESCRIPTIONS[f.name]}) for f in fields(Cell)],
    metadata={"schema_version": str(CELLS_VERSION)},
)


def write_cells(path: Path | str, cells: list[Cell]) -> None:
    """Writes the cells of one artefact atomically."""
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(c) for c in cells], schema=CELLS), temporary)


def read_cells(path: Path | str) -> list[Cell]:
    """Cells of one artefact. Raises ValueError if another release wrote them."""
    table = pq.read_table(path)
    version = (table.schema.metadata or {}).get(b"schema_version", b"none").decode()
    if version != str(CELLS_VERSION):
        raise ValueError(
            f"{path}: cells of schema version {version}, this code reads {CELLS_VERSION}. Rebuild the tables"
        )
    lists = ("run_ids", "values", "points")
    return [Cell(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in table.to_pylist()]
