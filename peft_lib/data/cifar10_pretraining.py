"""CIFAR-10 images for pre-training a small ViT, disjoint from the first 4,000 training images that `cifar10_4k` is cut from.

Read is the training split of a copy that has the images of each class in their published order (the JPEG files of the
mirror: one image of each class in turn). The published first 4,000 images are then the first 366 to 422 of each class, so
leaving out the first SKIPPED of each class leaves out all of them (tests/unit/test_real_data_study.py compares pixels).

Five of the ten classes are kept, so that a run on all ten meets five that its backbone never saw. 90 % train and 10 %
validation, stratified and fixed: a pre-trained backbone must not depend on a run's split seed.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from peft_lib.data.images import decoded_pixels, image_table
from peft_lib.data.splits import fixed_splits, stratified_split

OPTIONS = ()
MODALITY = "image"
TASK = "classification"
REVISION = "1"
COLUMNS = ("img", "label")
LABELS = ("airplane", "bird", "deer", "frog", "ship")
KEPT = (0, 2, 4, 6, 8)
"""LABELS as CIFAR-10 numbers them."""
SKIPPED = 500
CUT = "fixed cut"
FRACTIONS = {CUT: {"train": 0.9, "validation": 0.1}}
SPLIT_SEED = 0


def marks(options: Mapping[str, Any]) -> dict[str, str]:
    """Published split that is read -> how its rows are shared out, once and for all. Raises ValueError for options."""
    if options:
        raise ValueError(f"data set 'cifar10_pretraining' takes no options, got {dict(options)}: correct the catalog")
    return {"train": CUT}


def rows(options: Mapping[str, Any], source: Any) -> pa.Table:
    """Images in the source's order (uint8, 32x32x3), labels 0 to 4, the fixed split in column `split`.

    Args:
        options: none.
        source: with split("train"): columns img (bytes) and label (0 to 9).

    Raises:
        ValueError: for options, or a file that is no image of 32x32 pixels.
    """
    (cut,) = marks(options).values()
    table = source.split("train")
    published = table["label"].to_numpy()
    kept = np.sort(np.concatenate([np.flatnonzero(published == label)[SKIPPED:] for label in KEPT]))
    labels = np.searchsorted(KEPT, published[kept])
    ids = [f"cifar10-train-{index:05d}" for index in kept]
    pixels = decoded_pixels([image["bytes"] for image in table["img"].take(pa.array(kept)).to_pylist()], ids)
    if pixels.shape[1:] != (32, 32, 3):
        raise ValueError(f"images have {pixels.shape[1:3]} pixels: CIFAR-10's have 32x32; correct the catalog's source")
    splits = np.empty(len(kept), dtype=object)
    for part, indices in stratified_split(labels, FRACTIONS[cut], SPLIT_SEED, name="cifar10_pretraining").items():
        splits[indices] = part
    return image_table(ids, splits.tolist(), pixels, labels)


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The fixed split; the run's split seed has no effect."""
    return fixed_splits(column)
