"""Tables of images: uint8 pixels as fixed-size binary, their shape in the schema's metadata."""

import hashlib

import numpy as np
import pyarrow as pa


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
    buffer = pa.py_buffer(np.ascontiguousarray(pixels).tobytes())
    table = pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "split": pa.array(splits, pa.string()),
            "label": pa.array(np.asarray(labels, dtype=np.int32)),
            "image": pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), n, [None, buffer]),
        }
    )
    return table.replace_schema_metadata({"height": str(height), "width": str(width), "channels": str(channels)})


def image_pixels(table: pa.Table) -> np.ndarray:
    """The uint8 pixels (N, H, W, C) of a table made by `image_table`, as a read-only view of its memory."""
    metadata = table.schema.metadata
    height, width, channels = (int(metadata[key.encode()]) for key in ("height", "width", "channels"))
    column = table.column("image").combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0)
    size = height * width * channels
    flat = np.frombuffer(column.buffers()[1], dtype=np.uint8)
    flat = flat[column.offset * size : (column.offset + len(column)) * size]
    return flat.reshape(len(column), height, width, channels)
