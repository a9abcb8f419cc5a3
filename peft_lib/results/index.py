"""The rows of all results of a folder in one file: results/index.parquet, so that thousands of small files stay closed.

A result counts as known while its file has the modification time (ns), size and change time that it was read with;
everything else is read from the file itself, and the index then written anew, as a whole. It is a copy: nothing is wrong without it, or
when several processes write it (the last one wins, and what it does not have is read again). One that is damaged or of another
version counts as absent. Only what can be told from the index as from the file is kept in it: one row of known columns.
"""

import hashlib
import stat
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peft_lib.files import atomic_path
from peft_lib.names import first_line
from peft_lib.run_files import RESULT

INDEX = "index.parquet"
NEEDED = ("run_id", "status", "fingerprint", "gap")
"""Columns without which a file is no result."""
MARKS = ("path", "mtime_ns", "size", "ctime_ns")
"""The change time too: nobody can set it, and copying an older file over another keeps the modification time."""
_VERSION = f"1 {hashlib.sha256(str(RESULT).encode()).hexdigest()[:12]}"
"""Of the index, with the columns of a result: another release's index is not read."""
SCHEMA = pa.schema(
    [pa.field("path", pa.string()), *(pa.field(name, pa.int64()) for name in MARKS[1:]), *RESULT],
    metadata={"index_version": _VERSION},
)


class ResultIndex:
    """Rows of result files below a folder. `read` as often as wanted, then `save`."""

    def __init__(self, results: Path):
        self.results, self.path = results, results / INDEX
        self.known = self._load()
        self.fresh: dict[str, dict[str, Any]] = {}
        """Path -> row with marks, of what was read from its file."""

    def read(self, path: Path) -> list[dict[str, Any]] | None:
        """The rows of a result file; None if there is no such file. Raises OSError or pyarrow.ArrowException if it cannot be
        read. A row from the index has the columns of RESULT, absent ones as null."""
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        name = path.relative_to(self.results).as_posix()
        marks = {"path": name, "mtime_ns": status.st_mtime_ns, "size": status.st_size, "ctime_ns": status.st_ctime_ns}
        entry = self.fresh.get(name) or self.known.get(name)
        if entry is not None and all(entry[mark] == value for mark, value in marks.items()):
            return [entry]
        table = pq.read_table(path)
        rows: list[dict[str, Any]] = table.to_pylist()
        if len(rows) == 1 and set(NEEDED) <= set(rows[0]) and all(_as_ours(field) for field in table.schema):
            self.fresh[name] = {**rows[0], **marks}
        return rows

    def save(self) -> None:
        """Writes the index if a file was read that it did not have; what was deleted meanwhile leaves it."""
        if not self.fresh:
            return
        kept = {n: e for n, e in self.known.items() if n not in self.fresh and (self.results / n).is_file()}
        table = pa.Table.from_pylist([*kept.values(), *self.fresh.values()], schema=SCHEMA)
        try:
            with atomic_path(self.path) as temporary:
                pq.write_table(table, temporary)
        except OSError as error:
            print(f"{self.path} is not written, results are read again next time: {first_line(error)}", file=sys.stderr)

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            table = pq.read_table(self.path)
        except FileNotFoundError:
            return {}
        except (OSError, pa.ArrowException) as error:
            print(f"{self.path} is damaged and not used: {first_line(error)}", file=sys.stderr)
            return {}
        if not table.schema.equals(SCHEMA) or (table.schema.metadata or {}).get(b"index_version") != _VERSION.encode():
            return {}
        return {entry["path"]: entry for entry in table.to_pylist()}


def _as_ours(field: pa.Field) -> bool:
    """Whether a column is one that results of this release have, of the same type."""
    place = RESULT.get_field_index(field.name)
    return place >= 0 and RESULT.field(place).type.equals(field.type)
