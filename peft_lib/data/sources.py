"""Where a data set's rows come from: `open_source(uri, mirror)`, then `source.split("train")` as a table.

    hub:<org>/<name>[@<revision>][#<config>]   a data set of the Hugging Face hub, or its copy in a mirror
    mirror:<org>/<name>[#<config>]             what only a mirror has: part of a data set, another release, other bytes
    folder:<path>                              a tree of files, relative to the working directory; its loader reads it
    package: sklearn: mlxtend: generated:      the loader makes the rows, with a library or by rule

The revision is a branch or a commit; without one it is the commit of the lock file, or main. The mirror is transport: with
it, `hub:` is read from there, and nothing else changes. Both go through the `datasets` library, which gives the same features
for the hub's files and the mirror's. Whatever is read is compared with the lock file (data/lock.py).
"""

import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from peft_lib.data.lock import LOCK_COMMAND, LockError, check_split
from peft_lib.data.mirror import Mirror, MirrorError
from peft_lib.names import did_you_mean
from peft_lib.study.catalogs import DatasetEntry, Lock

if TYPE_CHECKING:
    import pyarrow as pa

MADE = ("package", "sklearn", "mlxtend", "generated")
SCHEMES = ("hub", "mirror", "folder", *MADE)
READERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": "json"}
COMMIT = re.compile(r"[0-9a-f]{40}")


class SourceError(ValueError):
    """A source that cannot be opened or read, or is not what was locked."""


@dataclass(frozen=True)
class Address:
    """A source, taken apart: `what` is org/name (hub, mirror), a path (folder), or free text."""

    uri: str
    scheme: str
    what: str
    revision: str | None = None
    config: str | None = None


@dataclass
class Source:
    """An opened source. `path` is the folder of a folder: source; `commit` the hub's commit, once something was read."""

    address: Address
    path: Path | None = None
    commit: str | None = None
    columns: Sequence[str] | None = None
    lock: Lock | None = None
    _read: "Callable[[str], tuple[pa.Table, str]] | None" = field(default=None, repr=False)

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


def parse(uri: str) -> Address:
    """Raises SourceError for an unknown scheme, or a hub: or mirror: source that names no data set."""
    scheme, colon, what = uri.partition(":")
    if not colon or scheme not in SCHEMES:
        hint = did_you_mean(scheme, SCHEMES)
        raise SourceError(f"source {uri!r}: unknown scheme {scheme!r}.{hint} Use one of {', '.join(SCHEMES)}")
    if not what.strip():
        raise SourceError(f"source {uri!r} names nothing after '{scheme}:': a source is <scheme>:<what>")
    if scheme not in ("hub", "mirror"):
        return Address(uri, scheme, what)
    match = re.fullmatch(r"((?:[\w.-]+/)?[\w.-]+)(?:@([^#\s]+))?(?:#([\w.-]+))?", what)
    if match is None or (scheme == "mirror" and match[2]):
        form = "[@<revision>]" if scheme == "hub" else ""
        raise SourceError(f"source {uri!r}: {scheme}: is followed by <org>/<name>{form}[#<configuration>]")
    return Address(uri, scheme, match[1], match[2], match[3])


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
        source._read = _HubReader(source, dict(files or {}), cache)
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
        return _table("parquet", {split: str(path)}, split, address.uri), f"the mirror {folder}"

    return read


class _HubReader:
    """Reads splits from a snapshot of the hub's repository, which is downloaded once, at the first split."""

    def __init__(self, source: Source, files: dict[str, str], cache: Path | None) -> None:
        self._source, self._files, self._cache = source, files, cache
        self._snapshot: Path | None = None

    def __call__(self, split: str) -> "tuple[pa.Table, str]":
        if self._snapshot is None:
            self._snapshot = self._download()
            self._source.commit = self._snapshot.name
        address, origin = self._source.address, f"the hub at commit {self._snapshot.name}"
        if not self._files:
            # The folder of a configuration is read by itself: the card's list of all of them names files that are not here.
            folder = self._snapshot / (address.config or "")
            if not folder.is_dir():
                raise SourceError(f"{origin} has no folder {address.config}: name the files in the loader (HUB_FILES)")
            return _table(str(folder), None, split, address.uri), origin
        if split not in self._files:
            raise SourceError(f"{address.uri} has no split '{split}'; its loader knows {', '.join(self._files)}")
        found = sorted(map(str, self._snapshot.glob(self._files[split])))
        if not found:
            raise SourceError(f"{origin}: no file {self._files[split]} for split '{split}' of {address.uri}")
        return _table(READERS[Path(found[0]).suffix], {split: found}, split, address.uri), origin

    def _download(self) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        address, lock = self._source.address, self._source.lock
        pinned = address.revision if COMMIT.fullmatch(address.revision or "") else None
        revision = pinned or (lock.commit if lock else None) or address.revision
        wanted = list(self._files.values()) or [f"{address.config}/*" if address.config else "*"]
        folder = self._cache
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="beyond_lora_hub_"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            return Path(
                snapshot_download(
                    address.what, repo_type="dataset", revision=revision, allow_patterns=wanted, cache_dir=folder
                )
            )
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()
            raise SourceError(
                f"{address.uri} cannot be read from the hub ({type(error).__name__}: {reason[0] if reason else 'no reason'}): "
                "run this where there is internet, or give `assets: {mirror: <folder>}` with a data mirror that has it"
            ) from error


def _table(reader: str, files: Mapping[str, str | list[str]] | None, split: str, uri: str) -> "pa.Table":
    """One split through the `datasets` library, in memory. `reader` is a format, or the folder of a repository."""
    import datasets  # here: 2 s, and only preparing needs it

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="beyond_lora_data_") as folder:  # its copy in Arrow form
        try:
            data = datasets.load_dataset(reader, data_files=files, split=split, cache_dir=folder, keep_in_memory=True)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise SourceError(f"split '{split}' of {uri} cannot be read: {error}") from error
        return data.data.table.combine_chunks()
