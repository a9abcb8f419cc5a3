"""Reading a prepared data set in a run: rows in memory as arrays, batches as tensors."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from peft_lib.data.augment import Plan
from peft_lib.data.pixels import Pixels, Rows
from peft_lib.files import sha256_file

PAD_MULTIPLE = 8


class PreparedDataError(ValueError):
    """A prepared folder that is incomplete or is not what its manifest says."""


class Prepared(ABC):
    """One data set in model input form. Common to text and images:

    Attributes:
        manifest: what `prepare` wrote.
        labels: class names in order of their integer.
        ids: (N,) stable item ids (str).
        y: (N,) int64 classes.
        n_tokens: (N,) int64 tokens per item, special tokens included (text); 0 for images.
        columns: names of the tensors that `collate` returns.
    """

    columns: tuple[str, ...] = ()

    def __init__(self, manifest: dict, table: pa.Table) -> None:
        self.manifest = manifest
        self.labels: list[str] = manifest["labels"]
        self.ids: list[str] = table["id"].to_pylist()
        self.y: np.ndarray = table["label"].to_numpy().astype(np.int64)
        self.n_tokens: np.ndarray = np.zeros(len(self.y), dtype=np.int64)
        self._split_column: list[str] = table["split"].to_pylist()

    def __len__(self) -> int:
        return len(self.y)

    def splits(self, split_seed: int, loader: ModuleType) -> dict[str, np.ndarray]:
        """Row indices (int64, ascending) per split, by the rule of the data set's module."""
        return loader.split(self._split_column, self.y, split_seed)

    def rows_of(self, part: str) -> np.ndarray:
        """Row indices marked `part` by the data set itself; empty if it leaves splitting to the run's seed."""
        return np.flatnonzero(np.asarray(self._split_column) == part)

    @abstractmethod
    def collate(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """CPU tensors of the rows in the given order; classes are in `y`."""

    def stream(self, requests: Iterable[tuple[Rows, None]]) -> Iterator[dict[str, torch.Tensor]]:
        """`collate` of each (rows, None), in order; only images know another second part."""
        return (self.collate(rows) for rows, _ in requests)


class PreparedText(Prepared):
    """Token sequences, kept flat: row i is the slice offsets[i]:offsets[i + 1]."""

    columns = ("input_ids", "attention_mask", "token_type_ids")

    def __init__(self, manifest: dict, table: pa.Table) -> None:
        super().__init__(manifest, table)
        ids = table["input_ids"].combine_chunks()
        self._offsets = ids.offsets.to_numpy().astype(np.int64)
        self._ids = ids.values.to_numpy()
        self._types = table["token_type_ids"].combine_chunks().values.to_numpy()
        self.n_tokens = np.diff(self._offsets)
        self._pad = int(manifest["pad_token_id"])

    def collate(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask (1 = token) and token_type_ids, each (B, L) int64, padded on the right.

        L is the longest row of the batch rounded up to a multiple of 8 (and not above the manifest's max_length).
        """
        rows = np.asarray(indices, dtype=np.int64)
        lengths = self.n_tokens[rows]
        width = -(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE
        width = max(min(width, int(self.manifest["max_length"])), int(lengths.max()))
        place = np.arange(width)
        mask = place < lengths[:, None]
        source = (self._offsets[rows][:, None] + place)[mask]
        input_ids = np.full(mask.shape, self._pad, dtype=np.int64)
        input_ids[mask] = self._ids[source]
        types = np.zeros(mask.shape, dtype=np.int64)
        types[mask] = self._types[source]
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(mask.astype(np.int64)),
            "token_type_ids": torch.from_numpy(types),
        }


class PreparedImages(Prepared):
    """Images at source size, made into batches by data/pixels.py."""

    columns = ("pixel_values",)

    def __init__(self, manifest: dict, table: pa.Table) -> None:
        super().__init__(manifest, table)
        self.pixels = Pixels(manifest, table)

    def collate(self, indices: Rows, plans: Sequence[Plan] | None = None) -> dict[str, torch.Tensor]:
        """pixel_values (B, C, H, W) float32: (value / 255 - mean) / std per channel; augmented if there are plans."""
        return {"pixel_values": self.pixels.batch(indices, plans)}

    def stream(self, requests: Iterable[tuple[Rows, Sequence[Plan] | None]]) -> Iterator[dict[str, torch.Tensor]]:
        """`collate` of each (rows, plans), in order; worker threads meanwhile make the next ones."""
        return ({"pixel_values": pixels} for pixels in self.pixels.stream(requests))


def load_prepared(folder: Path | str) -> PreparedText | PreparedImages:
    """Reads a folder written by `prepare`, into memory.

    Raises:
        PreparedDataError: if a file is missing, or data.parquet is not the one that the manifest describes.
    """
    folder = Path(folder)
    data, manifest_file = folder / "data.parquet", folder / "manifest.json"
    for path in (manifest_file, data):
        if not path.is_file():
            raise PreparedDataError(f"no {path}: prepare the data set first (python -m workflow_scripts.prepare)")
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        expected = manifest["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise PreparedDataError(f"{manifest_file} is damaged: delete {folder} and prepare it again") from error
    actual = sha256_file(data)
    if actual != expected:
        raise PreparedDataError(
            f"{data} has SHA-256 {actual}, its manifest says {expected}: the file was changed or only half replaced; "
            f"delete {folder} and prepare it again"
        )
    table = pq.read_table(data)
    return (PreparedText if manifest["modality"] == "text" else PreparedImages)(manifest, table)
