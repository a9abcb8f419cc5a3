"""CIFAR-10 (Krizhevsky 2009): 60,000 colour images of 32x32 pixels, 10 classes, 50,000 to train and 10,000 to test on.

Validation is 5 % of the training images, drawn with the run's split seed as in the paper's release (PROTOCOL 3.1 and
13.21): 47,500 / 2,500 / 10,000. Ours is stratified by class, so that it has 250 images of each.

Other bytes are other catalog entries. The option `test_from_train` is for a source without test images: train, validation
and test are then cut from its training images, 70 / 15 / 15 %.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from peft_lib.data.images import decoded_pixels, image_table
from peft_lib.data.splits import POOL, fixed_splits, stratified_split

OPTIONS = ("test_from_train",)
MODALITY = "image"
TASK = "classification"
REVISION = "1"
COLUMNS = ("img", "label")
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ALL = "all"
FRACTIONS = {  # the rows' mark -> shares of its rows
    POOL: {"train": 0.95, "validation": 0.05},
    ALL: {"train": 0.70, "validation": 0.15, "test": 0.15},
}


def marks(options: Mapping[str, Any]) -> dict[str, str]:
    """Published split that is read -> the mark of its rows. Raises ValueError for another option than `test_from_train`."""
    carved = options.get("test_from_train", False)
    if set(options) - set(OPTIONS) or not isinstance(carved, bool):
        raise ValueError(
            f"data set 'cifar10' takes no options but `test_from_train: true`, got {dict(options)}: correct the catalog"
        )
    return {"train": ALL} if carved else {"train": POOL, "test": "test"}


def rows(options: Mapping[str, Any], source: Any) -> pa.Table:
    """Images in the source's order (uint8, 32x32x3), decoded from its PNG or JPEG files.

    Args:
        options: nothing, or `test_from_train: true`.
        source: with split("train") and, without that option, split("test"): columns img (bytes) and label.

    Raises:
        ValueError: for another option, or a file that is no image of 32x32 pixels.
    """
    ids: list[str] = []
    files: list[bytes] = []
    labels: list[np.ndarray] = []
    column: list[str] = []
    for split, mark in marks(options).items():
        table = source.split(split)
        ids += [f"cifar10-{split}-{index:05d}" for index in range(len(table))]
        files += [image["bytes"] for image in table["img"].to_pylist()]
        labels.append(table["label"].to_numpy())
        column += [mark] * len(table)
    pixels = decoded_pixels(files, ids)
    if pixels.shape[1:] != (32, 32, 3):
        raise ValueError(f"images have {pixels.shape[1:3]} pixels: CIFAR-10's have 32x32; correct the catalog's source")
    return image_table(ids, column, pixels, np.concatenate(labels))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The shares of FRACTIONS of the rows that are not the published test, stratified, drawn with the run's split seed."""
    names = np.asarray(column)
    fixed = fixed_splits([name for name in column if name not in FRACTIONS])
    parts = {name: np.flatnonzero(names == name) for name in fixed}
    for mark, fractions in FRACTIONS.items():
        pool = np.flatnonzero(names == mark)
        if len(pool):
            cut = stratified_split(np.asarray(labels)[pool], fractions, split_seed, name="cifar10")
            parts |= {name: pool[indices] for name, indices in cut.items()}
    return parts
