"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, from the UCI test set (43 writers).

There is no official split: each run cuts 70 / 15 / 15 %, stratified by class, with its split seed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.images import content_revision, image_table
from peft_lib.data.splits import POOL, stratified_split

MODALITY = "image"
REVISION = "sha256:ed5d0ee6d5a6"
LABELS = tuple(str(digit) for digit in range(10))
FRACTIONS = {"train": 0.70, "validation": 0.15, "test": 0.15}


def rows(options: Mapping[str, int | float | str | bool]) -> pa.Table:
    """All 1,797 images in scikit-learn's order, values 0..16 stretched to 0..255 (uint8, 8x8x1). Takes no options."""
    from sklearn.datasets import load_digits  # here: splitting a prepared table must not cost its import (1 s)

    if options:
        raise ValueError(f"data set 'digits' takes no options, got {dict(options)}: remove them from the catalog")
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    found = content_revision(pixels, bunch.target)
    if found != REVISION:
        raise ValueError(
            f"scikit-learn's digits are {found}, expected {REVISION}: this version ships other images; install the "
            "pinned scikit-learn of envs/"
        )
    ids = [f"digits-{index:04d}" for index in range(len(pixels))]
    return image_table(ids, [POOL] * len(pixels), pixels, bunch.target)


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """70 / 15 / 15 % of the rows, stratified by class, drawn with the run's split seed."""
    return stratified_split(labels, FRACTIONS, split_seed, name="digits")
