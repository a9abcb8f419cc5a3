"""Reading a data set of the Hugging Face hub: its repository as a snapshot, then through the `datasets` library."""

import re
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from peft_lib.data.addresses import Address, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

READERS = {".parquet": "parquet", ".csv": "csv", ".json": "json", ".jsonl": "json", ".txt": "json"}
COMMIT = re.compile(r"[0-9a-f]{40}")


class HubReader:
    """Reads splits from a snapshot of the hub's repository, which is downloaded once, at the first split."""

    def __init__(
        self,
        address: Address,
        files: Mapping[str, str] | None = None,
        commit: str | None = None,
        cache: Path | None = None,
    ) -> None:
        """`files`: split -> pattern in the repository. `commit`: what is read unless the address names a commit itself."""
        self._address, self._files, self._cache = address, dict(files or {}), cache
        pinned = address.revision if COMMIT.fullmatch(address.revision or "") else None
        self._revision = pinned or commit or address.revision
        self._snapshot: Path | None = None

    @property
    def commit(self) -> str | None:
        """The commit that was read; None before the first split."""
        return self._snapshot.name if self._snapshot else None

    def __call__(self, split: str) -> "tuple[pa.Table, str]":
        """The split, and where it was read from. Raises SourceError."""
        if self._snapshot is None:
            self._snapshot = self._download()
        address, origin = self._address, f"the hub at commit {self._snapshot.name}"
        if not self._files:
            # The folder of a configuration is read by itself: the card's list of all of them names files that are not here.
            folder = self._snapshot / (address.config or "")
            if not folder.is_dir():
                raise SourceError(f"{origin} has no folder {address.config}: name the files in the loader (HUB_FILES)")
            return read_table(str(folder), None, split, address.uri), origin
        if split not in self._files:
            raise SourceError(f"{address.uri} has no split '{split}'; its loader knows {', '.join(self._files)}")
        found = sorted(map(str, self._snapshot.glob(self._files[split])))
        if not found:
            raise SourceError(f"{origin}: no file {self._files[split]} for split '{split}' of {address.uri}")
        return read_table(READERS[Path(found[0]).suffix], {split: found}, split, address.uri), origin

    def _download(self) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        address = self._address
        wanted = list(self._files.values()) or [f"{address.config}/*" if address.config else "*"]
        folder = self._cache
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="beyond_lora_hub_"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        try:
            return Path(
                snapshot_download(
                    address.what, repo_type="dataset", revision=self._revision, allow_patterns=wanted, cache_dir=folder
                )
            )
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
            reason = str(error).strip().splitlines()
            raise SourceError(
                f"{address.uri} cannot be read from the hub ({type(error).__name__}: {reason[0] if reason else 'no reason'}): "
                "run this where there is internet, or give `assets: {mirror: <folder>}` with a data mirror that has it"
            ) from error


def read_table(reader: str, files: Mapping[str, str | list[str]] | None, split: str, uri: str) -> "pa.Table":
    """One split through the `datasets` library, in memory. `reader` is a format, or the folder of a repository."""
    import datasets  # here: 2 s, and only preparing needs it

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(prefix="beyond_lora_data_") as folder:  # its copy in Arrow form
        try:
            data = datasets.load_dataset(reader, data_files=files, split=split, cache_dir=folder, keep_in_memory=True)
        except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
            raise SourceError(f"split '{split}' of {uri} cannot be read: {error}") from error
        return data.data.table.combine_chunks()
