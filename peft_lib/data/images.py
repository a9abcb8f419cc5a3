"""Tables of images: pixels of one size as fixed-size binary (column `image`), or files as found (column `encoded`).

Both keep the source's size. A batch is resized when it is made (data/pixels.py), so that a prepared file is as small as its
source: CIFAR-10 takes 184 MB for every model, where its pixels at 224 x 224 would take 9 GB.
"""

import hashlib
import io
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from peft_lib.study.catalogs import ModelEntry

if TYPE_CHECKING:
    from PIL.Image import Image

# Pixels in 0..1 are centred and scaled by these in models that a study pre-trains (as ViT-Base's processor does).
IMAGE_MEAN = 0.5
IMAGE_STD = 0.5
MODES = {1: "L", 3: "RGB"}


class ImageError(ValueError):
    """Images that a model cannot read, or that are none."""


def cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def content_revision(pixels: np.ndarray, labels: np.ndarray) -> str:
    """Names these very images: "sha256:", 12 hex digits over the pixels (uint8, row-major) and the labels (int32)."""
    digest = hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes())
    digest.update(np.ascontiguousarray(labels, dtype="<i4").tobytes())
    return f"sha256:{digest.hexdigest()[:12]}"


def image_table(ids: list[str], splits: list[str], pixels: np.ndarray, labels: np.ndarray) -> pa.Table:
    """Table with id, split, label and image from uint8 pixels (N, H, W, C); H, W and C go into the metadata.

    Raises ValueError for other pixels, with the row for ones that are not finite.
    """
    if np.issubdtype(pixels.dtype, np.floating) and not np.isfinite(pixels).all():
        bad = int(np.flatnonzero(~np.isfinite(pixels.reshape(len(pixels), -1)).all(axis=1))[0])
        raise ValueError(f"row {bad} (id {ids[bad]!r}) has pixels that are not finite: leave it out or mend it")
    if pixels.dtype != np.uint8 or pixels.ndim != 4:
        raise ValueError(
            f"images are {pixels.dtype} with shape {pixels.shape}: need uint8 (N, height, width, channels)"
        )
    n, height, width, channels = pixels.shape
    size = height * width * channels
    buffer = pa.py_buffer(np.ascontiguousarray(pixels))
    table = _table(
        ids, splits, labels, "image", pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), n, [None, buffer])
    )
    return table.replace_schema_metadata({"height": str(height), "width": str(width), "channels": str(channels)})


def encoded_table(ids: list[str], splits: list[str], files: Sequence[bytes], labels: np.ndarray) -> pa.Table:
    """Table with id, split, label and encoded: the bytes of JPEG, PNG or other files that Pillow reads, of any sizes."""
    return _table(ids, splits, labels, "encoded", pa.array(files, pa.large_binary()))


def _table(ids: list[str], splits: list[str], labels: np.ndarray, column: str, images: pa.Array) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "split": pa.array(splits, pa.string()),
            "label": pa.array(np.asarray(labels, dtype=np.int32)),
            column: images,
        }
    )


def image_pixels(table: pa.Table) -> np.ndarray:
    """The uint8 pixels (N, H, W, C) of a table made by `image_table`, as a read-only view of its memory."""
    metadata = table.schema.metadata
    height, width, channels = (int(metadata[key.encode()]) for key in ("height", "width", "channels"))
    chunks = table.column("image")
    column = chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()  # the latter copies
    size = height * width * channels
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    flat = flat[column.offset * size : (column.offset + len(column)) * size]
    return flat.reshape(len(column), height, width, channels)


def decode(file: bytes | memoryview, mode: str) -> "Image":
    """The picture of a file in mode L or RGB: palettes resolved, alpha dropped, orientation notes (EXIF) not followed.

    Raises ImageError if Pillow cannot read it to its end.
    """
    from PIL import Image, UnidentifiedImageError  # here: text needs no image library

    try:
        with Image.open(io.BytesIO(file)) as image:
            return image.convert(mode)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"not a readable image ({error}); replace the file or leave it out") from error


def decoded_pixels(files: Sequence[bytes], ids: Sequence[str]) -> np.ndarray:
    """uint8 pixels (N, H, W, 3) of files that all have one size. Raises ImageError with the id of one that differs."""

    def pixels(file: bytes, name: str) -> np.ndarray:
        try:
            return np.asarray(decode(file, "RGB"))
        except ImageError as error:
            raise ImageError(f"image {name!r} is {error}") from error

    with ThreadPoolExecutor(cpus()) as pool:
        images = list(pool.map(pixels, files, ids))
    for image, name in zip(images, ids, strict=True):
        if image.shape != images[0].shape:
            raise ImageError(
                f"image {name!r} has {image.shape[:2]} pixels (height, width), the first {images[0].shape[:2]}: all must "
                "have one size here"
            )
    return np.stack(images)


def image_columns(
    rows: pa.Table, image_size: int, model: ModelEntry, assets_dir: Path | None
) -> tuple[pa.Table, dict[str, Any]]:
    """What `prepare` writes of a loader's images for a model: the table as it is, and facts for the manifest.

    Every file of an `encoded` column is decoded once, so that a damaged one is found here and not in a run.

    Args:
        rows: id, split, label, and `image` (of `image_table`) or `encoded` (of `encoded_table`).
        image_size: edge in pixels of the square that batches are resized to.
        model: who reads them. Grey images become RGB for a model with three channels, by repetition.
        assets_dir: its folder, whose manifest.json has image_mean and image_std (not read if a study pre-trains it).

    Raises:
        ImageError: for images with other than 1 or 3 channels, colour for a model that reads grey, a file that cannot be
            read, or a model's manifest without the mean and standard deviation of each channel.
    """
    reads = _channels(model, assets_dir)
    if "image" in rows.column_names:
        column = "image"
        height, width, has = image_pixels(rows).shape[1:]
        facts: dict[str, Any] = {"original_size": [height, width], "original_channels": has}
        if has not in MODES:
            raise ImageError(f"images have {has} channels: need 1 (grey) or 3 (RGB)")
    else:
        column, has = "encoded", 3
        facts = {"original_size": _sizes(rows), "original_channels": None}
    if has > reads:
        raise ImageError(
            f"images have 3 channels (RGB), the model reads {reads} (grey): make them grey in the loader, or take a model "
            "that reads colour"
        )
    mean, std = _normalisation(model, assets_dir, reads)
    facts = {
        "tokenizer": None,
        "image_size": image_size,
        "channels": reads,
        **facts,
        "grey_to_rgb": has < reads,
        "image_mean": mean,
        "image_std": std,
        "fraction_truncated": 0.0,
    }
    table = rows.select(
        ["id", "split", "label", column]
    ).combine_chunks()  # one chunk, so that it is mapped, not copied
    return table, facts


def _sizes(rows: pa.Table) -> dict[str, list[int]]:
    """Smallest and largest height and width of encoded images."""

    def size(row: int) -> tuple[int, int]:
        try:
            return decode(rows["encoded"][row].as_buffer(), "RGB").size
        except ImageError as error:
            raise ImageError(f"row {row} (id {rows['id'][row].as_py()!r}) is {error}") from error

    with ThreadPoolExecutor(cpus()) as pool:
        sizes = np.array(list(pool.map(size, range(len(rows)))))[:, ::-1]
    return {"smallest": sizes.min(0).tolist(), "largest": sizes.max(0).tolist()}


def _channels(model: ModelEntry, assets_dir: Path | None) -> int:
    """Channels that a model reads: of its architecture in the catalog, else of its config.json, else RGB as all do."""
    found: Any = model.architecture.get("in_chans", model.architecture.get("num_channels"))
    config = None if assets_dir is None else Path(assets_dir, "config.json")
    if found is None and config is not None and config.is_file():
        found = json.loads(config.read_text(encoding="utf-8")).get("num_channels")
    found = 3 if found is None else found
    if found not in MODES:
        raise ImageError(f"model '{model.id}' reads {found} channels: need 1 (grey) or 3 (RGB)")
    return int(found)


def _normalisation(model: ModelEntry, assets_dir: Path | None, channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel, for pixels in 0..1."""
    if model.pretrain is not None:
        return [IMAGE_MEAN] * channels, [IMAGE_STD] * channels
    path = None if assets_dir is None else Path(assets_dir, "manifest.json")
    if path is None or not path.is_file():
        raise ImageError(f"no {path or 'folder'} of the model: fetch it first (python -m workflow_scripts.fetch_asset)")
    manifest = json.loads(path.read_text(encoding="utf-8"))
    mean, std = manifest.get("image_mean"), manifest.get("image_std")
    if not (_numbers(mean, channels) and _numbers(std, channels) and min(std) > 0):
        raise ImageError(
            f"{path} has image_mean={mean}, image_std={std}: need {channels} numbers each, the second positive, from the "
            "model's preprocessor_config.json; fetch the model again"
        )
    return [float(value) for value in mean], [float(value) for value in std]


def _numbers(values: Any, count: int) -> bool:
    return isinstance(values, list) and len(values) == count and all(isinstance(v, (int, float)) for v in values)
