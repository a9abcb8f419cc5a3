"""What `prepare` writes of images for one model: the pictures as they are, and in the manifest how the model reads them."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from peft_lib.data.images import MODES, ImageError, cpus, decode, image_pixels
from peft_lib.study.catalogs import ModelEntry

# Pixels in 0..1 are centred and scaled by these in models that a study pre-trains (as ViT-Base's processor does).
IMAGE_MEAN = 0.5
IMAGE_STD = 0.5


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
