"""What a locked split is, and whether what was read is it.

The lock file of a catalog (config/datasets.lock.json beside config/datasets.yaml) says for each data set that is read from
somewhere which rows were seen: number and content hash of each split, over the columns that the loader reads. Mirror and hub
then give the same data or an error, and a plan knows the data's identity before they are there. The hub's commit is
written down too; it says where to look, and is no part of the identity.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peft_lib.study.catalogs import Lock, LockedSplit

if TYPE_CHECKING:
    import pyarrow as pa

LOCK_COMMAND = "python -m workflow_scripts.lock_datasets"


class LockError(ValueError):
    """Data that are not the locked ones, or are not locked."""


def locked_split(table: "pa.Table", columns: Sequence[str]) -> LockedSplit:
    """Rows and content hash of a split: SHA-256 over its rows in order, each as JSON of the values of `columns`.

    Types that say the same agree: an integer counts as its digits, whatever its width, and as the text of these digits; of an
    image only the bytes count, not the file name.
    """
    digest = hashlib.sha256(_json(list(columns)))
    for row in zip(*(table[name].to_pylist() for name in columns), strict=True):
        digest.update(_json([_canonical(value) for value in row]) + b"\n")
    return LockedSplit(rows=table.num_rows, sha256=digest.hexdigest())


def check_split(lock: Lock, name: str, table: "pa.Table", origin: str) -> None:
    """Raises LockError unless `table`, read from `origin`, is the locked split `name`."""
    expected = lock.splits.get(name)
    if expected is None:
        raise LockError(
            f"split '{name}' of {lock.source} is not locked, so nothing says whether what {origin} has is it: run "
            f"{LOCK_COMMAND} where there is internet (with --mirror for what a mirror has in full)"
        )
    found = locked_split(table, lock.columns)
    if found != expected:
        raise LockError(
            f"split '{name}' of {lock.source}: {origin} has {found.rows} rows with content {found.sha256}, the lock file "
            f"says {expected.rows} rows with content {expected.sha256}; take the data that were locked, or lock these "
            f"({LOCK_COMMAND} --replace), which makes other results"
        )


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("bytes"), bytes):
            return hashlib.sha256(value["bytes"]).hexdigest()
        return {key: _canonical(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_canonical(inner) for inner in value]
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return str(value) if isinstance(value, int) else value


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
