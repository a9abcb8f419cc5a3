"""Prepared tables as Arrow files: uncompressed, so that runs map them into memory and read only the rows they touch."""

from pathlib import Path

import pyarrow as pa

from peft_lib.files import atomic_path


def write_mapped(table: pa.Table, path: Path | str) -> None:
    """Writes an Arrow IPC file with one record batch, atomically."""
    table = table.combine_chunks()
    with atomic_path(path) as temporary, pa.ipc.new_file(str(temporary), table.schema) as writer:
        writer.write_table(table, max_chunksize=max(1, table.num_rows))


def read_mapped(path: Path | str) -> pa.Table:
    """The table, its columns views of the mapped file. Raises pyarrow.ArrowInvalid for another kind of file."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
