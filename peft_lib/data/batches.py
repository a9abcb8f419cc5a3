"""Reading a prepared data set in a run: rows as mapped arrays, batches as tensors."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from peft_lib.data.augment import Plan
from peft_lib.data.pixels import Pixels, Rows
from peft_lib.data.tables import read_mapped
from peft_lib.files import sha256_file

PAD_MULTIPLE = 8


class PreparedDataError(ValueError):
    """A prepared folder that is incomplete or is not what its manifest says."""


class Prepared(ABC):
    """One data set in model input form. Common to text and images, N items:

    Attributes:
        manifest: what `prepare` wrote.
        task: classification, regression or generation.
        labels: class names in order of their integer; empty for other tasks.
        ids: (N,) stable item ids (str).
        y: (N,) int64 classes, float64 numbers, or target texts (object).
        n_tokens: (N,) int64 tokens per item, special tokens included (text); 0 for images.
        n_targets: (N,) int64 target tokens per item (generation); 1 otherwise.
        groups: (N,) names; items of one name ask the same.
    """

    def __init__(self, manifest: dict, table: pa.Table) -> None:
        self.manifest = manifest
        self.task: str = manifest["task"]
        self.labels: list[str] = manifest["labels"]
        self.ids: list[str] = table["id"].to_pylist()
        column = {"generation": "target"}.get(self.task, "label")
        kind: Any = {"generation": object, "regression": np.float64}.get(self.task, np.int64)
        self.y: np.ndarray = table[column].to_numpy().astype(kind)
        self.n_tokens: np.ndarray = np.zeros(len(self.y), dtype=np.int64)
        self.n_targets: np.ndarray = np.ones(len(self.y), dtype=np.int64)
        self.groups: list[str] = table["group"].to_pylist() if "group" in table.column_names else self.ids
        self._split_column: list[str] = table["split"].to_pylist()

    def __len__(self) -> int:
        return len(self.y)

    def splits(self, split_seed: int, loader: ModuleType) -> dict[str, np.ndarray]:
        """Row indices (int64, ascending) per split, by the rule of the data set's module."""
        return loader.split(self._split_column, strata(self.y), split_seed)

    def rows_of(self, part: str) -> np.ndarray:
        """Row indices marked `part` by the data set itself; empty if it leaves splitting to the run's seed."""
        return np.flatnonzero(np.asarray(self._split_column) == part)

    @abstractmethod
    def collate(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """What the model reads: CPU tensors of the rows in the given order."""

    def targets(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """What it should answer: `labels` (B,) int64 classes, or float32 numbers."""
        chosen = torch.from_numpy(self.y[np.asarray(indices, dtype=np.int64)])
        return {"labels": chosen.to(torch.float32) if self.task == "regression" else chosen}

    def stream(self, requests: Iterable[tuple[Rows, Sequence[Plan] | None]]) -> Iterator[dict[str, torch.Tensor]]:
        """`collate` of the rows of each (rows, plans), in order; only images have plans (data/augment.py)."""
        return (self.collate(rows) for rows, _ in requests)


def strata(y: np.ndarray) -> np.ndarray:
    """What splits keep in equal proportion: classes; numbers and texts are all alike."""
    return y if y.dtype.kind == "i" else np.zeros(len(y), dtype=np.int64)


class PreparedText(Prepared):
    """Token sequences, kept flat: row i is the slice offsets[i]:offsets[i + 1], of which a model reads `max_length` tokens.

    Generation: prompt and target in one sequence, whose first tokens are left out where it is longer.
    """

    def __init__(self, manifest: dict, table: pa.Table) -> None:
        super().__init__(manifest, table)
        ids = table["input_ids"].combine_chunks()
        self._offsets = ids.offsets.to_numpy().astype(np.int64)
        self._ids = ids.values.to_numpy()
        pair = "token_type_ids" in table.column_names
        self._types = table["token_type_ids"].combine_chunks().values.to_numpy() if pair else None
        self._pad = int(manifest["pad_token_id"])
        self._longest = int(manifest["max_length"])
        whole = np.diff(self._offsets)
        self._first = np.maximum(whole - self._longest, 0)
        self.n_tokens = whole - self._first
        self._start = np.zeros(0, dtype=np.int64)
        if self.task == "generation":
            self._start = table["target_start"].to_numpy().astype(np.int64)
            self.n_targets = whole - self._start

    def collate(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask (1 = token) and, of pairs, token_type_ids, each (B, L) int64, padded on the right; for
        generation target_mask (B, L), True where a token is a target.

        L is the longest row of the batch rounded up to a multiple of 8 (and not above the manifest's max_length).
        """
        rows = np.asarray(indices, dtype=np.int64)
        lengths = self.n_tokens[rows]
        width = -(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE
        width = max(min(width, self._longest), int(lengths.max()))
        place = np.arange(width)
        mask = place < lengths[:, None]
        source = (self._offsets[rows][:, None] + self._first[rows][:, None] + place)[mask]
        batch = self._padded(mask, source)
        if self._types is not None:
            types = np.zeros(mask.shape, dtype=np.int64)
            types[mask] = self._types[source]
            batch["token_type_ids"] = torch.from_numpy(types)
        if self.task == "generation":
            start = (self._start - self._first)[rows]
            batch["target_mask"] = torch.from_numpy(mask & (place >= start[:, None]))
        return batch

    def targets(self, indices: Sequence[int] | np.ndarray) -> dict[str, torch.Tensor]:
        """Generation: target_ids (T,) of the batch's T target tokens, row after row; target_item (T,) the row of each;
        n_items (B,), whose length says how many rows there are."""
        if self.task != "generation":
            return super().targets(indices)
        rows = np.asarray(indices, dtype=np.int64)
        spans = [slice(self._offsets[r] + self._start[r], self._offsets[r + 1]) for r in rows]
        return {
            "target_ids": torch.from_numpy(np.concatenate([self._ids[span] for span in spans]).astype(np.int64)),
            "target_item": torch.from_numpy(np.repeat(np.arange(len(rows)), self.n_targets[rows])),
            "n_items": torch.zeros(len(rows)),
        }

    def prompts(self, indices: Sequence[int] | np.ndarray, longest: int) -> dict[str, torch.Tensor]:
        """Generation: the prompts alone, at most their last `longest` tokens; input_ids and attention_mask (B, L), padded on
        the left, so that every prompt ends where the answer begins."""
        rows = np.asarray(indices, dtype=np.int64)
        lengths = np.minimum(self._start[rows], longest)
        back = np.arange(int(lengths.max()), 0, -1)  # distance to the first target token
        mask = back <= lengths[:, None]
        source = ((self._offsets[rows] + self._start[rows])[:, None] - back)[mask]
        return self._padded(mask, source)

    def prompt_lengths(self, indices: Sequence[int] | np.ndarray) -> np.ndarray:
        """(B,) tokens of each prompt, uncut."""
        return self._start[np.asarray(indices, dtype=np.int64)]

    def _padded(self, mask: np.ndarray, source: np.ndarray) -> dict[str, torch.Tensor]:
        input_ids = np.full(mask.shape, self._pad, dtype=np.int64)
        input_ids[mask] = self._ids[source]
        return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


class PreparedImages(Prepared):
    """Images at source size, made into batches by data/pixels.py."""

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
    """Opens a folder written by `prepare`; its table is mapped, not read.

    Raises:
        PreparedDataError: if a file is missing, or data.arrow is not the one that the manifest describes.
    """
    folder = Path(folder)
    data, manifest_file = folder / "data.arrow", folder / "manifest.json"
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
    table = read_mapped(data)
    return (PreparedText if manifest["modality"] == "text" else PreparedImages)(manifest, table)
