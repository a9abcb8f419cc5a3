"""Where a data set's rows come from: `open_source(uri, mirror)`, then `source.split("train")` as a table.

    hub:<org>/<name>[@<revision>][#<config>]   a data set of the Hugging Face hub, or its copy in a mirror
    mirror:<org>/<name>[#<config>]             what only a mirror has: part of a data set, another release, other bytes
    folder:<path>                              a tree of files, relative to the working directory; its loader reads it
    package: sklearn: mlxtend: generated:      the loader makes the rows, with a library or by rule

The revision is a branch or a commit; without one it is the commit of the lock file, or main. The mirror is transport: with
it, `hub:` is read from there, and nothing else changes. Both go through the `datasets` library, which gives the same features
for the hub's files and the mirror's. Whatever is read is compared with the lock file (data/lock.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from peft_lib.data.addresses import MADE, Address, SourceError, parse
from peft_lib.data.hub import HubReader, read_table
from peft_lib.data.lock import LOCK_COMMAND, LockError, check_split
from peft_lib.data.mirror import Mirror, MirrorError
from peft_lib.study.catalogs import DatasetEntry, Lock

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass
class Source:
    """An opened source. `path` is the folder of a folder: source."""

    address: Address
    path: Path | None = None
    columns: Sequence[str] | None = None
    lock: Lock | None = None
    _read: "Callable[[str], tuple[pa.Table, str]] | None" = field(default=None, repr=False)

    @property
    def commit(self) -> str | None:
        """The hub's commit, once something was read from there."""
        return getattr(self._read, "commit", None)

    def split(self, name: str) -> "pa.Table":
        """The rows of a published split in their order, all of `columns` and nothing else.

        Raises:
            SourceError: if there is no such split, it cannot be reached, lacks a column, or is not the locked one.
        """
        uri = self.address.uri
        if self._read is None:
            raise SourceError(f"source {uri} has no splits to read: its loader makes the rows, or reads source.path")
        table, origin = self._read(name)
        if self.columns is not None:
            missing = [column for column in self.columns if column not in table.column_names]
            if missing:
                raise SourceError(
                    f"split '{name}' of {uri}, read from {origin}, has no column {', '.join(missing)}; it has "
                    f"{', '.join(table.column_names)}: take the release that the loader reads, or adapt the loader"
                )
            table = table.select(list(self.columns))
        if self.lock is not None:
            try:
                check_split(self.lock, name, table, origin)
            except LockError as error:
                raise SourceError(str(error)) from error
        return table


def open_source(
    uri: str,
    mirror: Path | None = None,
    *,
    columns: Sequence[str] | None = None,
    files: Mapping[str, str] | None = None,
    lock: Lock | None = None,
    cache: Path | None = None,
) -> Source:
    """Opens a source; rows are read when a split is asked for.

    Args:
        uri: see the top of this file.
        mirror: folder of a data mirror. Needed for mirror:; used instead of the hub for hub:.
        columns: columns to read, in order; all if None.
        files: split -> file of the hub repository (a pattern), where the hub's own look-up by split does not do.
        lock: what the splits must be; None checks nothing (for the command that writes the lock).
        cache: folder for downloads; a temporary one if None.

    Raises:
        SourceError: for a malformed uri, a folder that is not there, a mirror: source without a mirror, or a mirror without
            manifest.
    """
    address = parse(uri)
    if address.scheme in MADE:
        return Source(address)
    if address.scheme == "folder":
        path = Path(address.what)
        if not path.is_dir():
            raise SourceError(
                f"source {uri}: there is no folder {path.absolute()}; put the data there, or a link to them"
            )
        return Source(address, path=path)
    source = Source(address, columns=columns, lock=lock)
    if mirror is not None:
        source._read = _mirror_reader(address, mirror)
    elif address.scheme == "mirror":
        raise SourceError(f"source {uri} is only in a data mirror: give `assets: {{mirror: <folder>}}` in the study")
    else:
        source._read = HubReader(address, files, lock.commit if lock else None, cache)
    return source


def source_of(entry: DatasetEntry, loader: ModuleType, mirror: Path | None = None, cache: Path | None = None) -> Source:
    """The source of a catalog entry as its loader reads it, compared with the lock file as it is read.

    Raises:
        SourceError: as `open_source`, or if a hub: or mirror: source has no entry in the lock file, or one of another source.
    """
    columns = getattr(loader, "COLUMNS", None)
    if parse(entry.source).scheme in ("hub", "mirror"):
        lock = entry.lock
        if lock is None or lock.source != entry.source or list(lock.columns) != list(columns or ()):
            state = "is not in the lock file" if lock is None else f"was locked as {lock.source} {list(lock.columns)}"
            raise SourceError(
                f"data set '{entry.id}' reads {entry.source} {list(columns or ())}, and {state}: run {LOCK_COMMAND} where "
                "there is internet (with --mirror for what a mirror has in full)"
            )
    files = getattr(loader, "HUB_FILES", None)
    return open_source(entry.source, mirror, columns=columns, files=files, lock=entry.lock, cache=cache)


def _mirror_reader(address: Address, folder: Path) -> "Callable[[str], tuple[pa.Table, str]]":
    try:
        mirror = Mirror(folder)
    except MirrorError as error:
        raise SourceError(str(error)) from error

    def read(split: str) -> "tuple[pa.Table, str]":
        try:
            path = mirror.file(address.what, address.config, split, address.uri, full=address.scheme == "hub")
        except MirrorError as error:
            raise SourceError(str(error)) from error
        return read_table("parquet", {split: str(path)}, split, address.uri), f"the mirror {folder}"

    return read
