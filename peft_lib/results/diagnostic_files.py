"""The file of one diagnostic of one run: rows, and in the metadata what they are of."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peft_lib.diagnostics.diagnostic import Diagnostic, Row
from peft_lib.files import atomic_path
from peft_lib.run_files import DIAGNOSTIC


@dataclass(frozen=True)
class Facts:
    """What the rows of a file are of, and what became of them."""

    diagnostic: str
    """`Diagnostic.canonical`."""
    fingerprint: str
    """Code, data and weights that the numbers depend on (`Plan.diagnosis_fingerprint`)."""
    result: str
    """`stamp` of the result that they are of."""
    status: str = "ok"
    """ok, or not_available: the run has nothing to compute it from."""
    reason: str | None = None
    seconds: float = 0.0
    """Processor time."""

    def is_of(self, other: "Facts") -> bool:
        """Whether both are of the same result, computed by the same code with the same options."""
        mine, its = ((f.diagnostic, f.fingerprint, f.result) for f in (self, other))
        return mine == its


def file_of(folder: Path, diagnostic: Diagnostic) -> Path:
    """Where a run's numbers lie."""
    return folder / diagnostic.file


def stamp(result: dict[str, Any]) -> str:
    """Tells one result of a run from another: the times of the row of result.parquet."""
    return f"{result['started']} {result['finished']}"


def write(path: Path, rows: Iterable[Row], facts: Facts) -> None:
    """Writes the file, atomically. Raises pyarrow.ArrowInvalid for a value that does not fit."""
    schema = DIAGNOSTIC.with_metadata({**(DIAGNOSTIC.metadata or {}), b"facts": json.dumps(asdict(facts)).encode()})
    columns = list(zip(*rows, strict=True)) or [()] * len(Row._fields)
    table = pa.Table.from_pydict(dict(zip(Row._fields, columns, strict=True)), schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def read_facts(path: Path) -> Facts | None:
    """The facts of a file; None where there is none. Raises OSError, pyarrow.ArrowException or ValueError if they cannot be
    read."""
    if not path.is_file():
        return None
    return _facts(pq.read_schema(path))


def read(path: Path) -> tuple[list[Row], Facts]:
    """Rows and facts. Raises OSError, pyarrow.ArrowException or ValueError if they cannot be read."""
    table = pq.read_table(path)
    columns = [table.column(name).to_pylist() for name in Row._fields]
    return [Row(*values) for values in zip(*columns, strict=True)], _facts(table.schema)


def _facts(schema: pa.Schema) -> Facts:
    try:
        return Facts(**json.loads((schema.metadata or {})[b"facts"]))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a diagnostic's file of this release ({error})") from error
