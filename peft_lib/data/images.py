"""Tables of images: pixels of one size as fixed-size binary (column `image`), or files as found (column `encoded`).

Both keep the source's size. A batch is resized when it is made (data/pixels.py), so that a prepared file is as small as its
source: CIFAR-10 takes 184 MB for every model, where its pixels at 224 x 224 would take 9 GB.
"""

import hashlib
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from PIL.Image import Image

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
