"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels, from the UCI test set (43 writers).

There is no official split: each run cuts 70 / 15 / 15 %, stratified by class, with its split seed.

Learning rates are to be tuned on images that the tuned study never sees. The option `part` cuts all images in two, once and
for all: two thirds are the study's, one third is for tuning. A run then splits its part with its split seed. Both parts
train on 399 images; the study tests on half of its part, so that its intervals are narrow.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.images import content_revision, image_table
from peft_lib.data.splits import POOL, stratified_split

OPTIONS = ("part",)
MODALITY = "image"
TASK = "classification"
REVISION = "sha256:ed5d0ee6d5a6"
LABELS = tuple(str(digit) for digit in range(10))
PARTS = {"study": 2 / 3, "tuning": 1 / 3}
PART_SEED = 0
FRACTIONS = {  # the rows' mark -> shares of its rows
    POOL: {"train": 0.70, "validation": 0.15, "test": 0.15},
    "study": {"train": 1 / 3, "validation": 1 / 6, "test": 1 / 2},
    "tuning": {"train": 2 / 3, "validation": 1 / 4, "test": 1 / 12},
}


def rows(options: Mapping[str, int | float | str | bool], source: object = None) -> pa.Table:
    """Images in scikit-learn's order, values 0..16 stretched to 0..255 (uint8, 8x8x1): all 1,797, or those of one part.

    Args:
        options: nothing, or `part`: "study" (1,198 images) or "tuning" (the other 599).

    Raises:
        ValueError: for another option or part, or if scikit-learn ships other images.
    """
    from sklearn.datasets import load_digits  # here: splitting a prepared table must not cost its import (1 s)

    part = str(options.get("part", POOL))
    if set(options) - {"part"} or ("part" in options and part not in PARTS):
        raise ValueError(
            f"data set 'digits' takes no options but `part` ({' or '.join(PARTS)}), got {dict(options)}: correct the "
            "catalog"
        )
    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    found = content_revision(pixels, bunch.target)
    if found != REVISION:
        raise ValueError(
            f"scikit-learn's digits are {found}, expected {REVISION}: this version ships other images; install the "
            "pinned scikit-learn of envs/"
        )
    kept = np.arange(len(pixels))
    if part != POOL:
        kept = stratified_split(bunch.target, PARTS, PART_SEED, name="digits, part")[part]
    ids = [f"digits-{index:04d}" for index in kept]
    return image_table(ids, [part] * len(kept), pixels[kept], bunch.target[kept])


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The shares of FRACTIONS, stratified by class, drawn with the run's split seed; a prepared table holds one part."""
    return stratified_split(labels, FRACTIONS[column[0]], split_seed, name="digits")
