"""Which rows a run trains on, selects on and tests on."""

from collections.abc import Sequence

import numpy as np
import torch

from peft_lib import seeds

SPLITS = ("train", "validation", "test")
POOL = "pool"


def fixed_splits(column: Sequence[str]) -> dict[str, np.ndarray]:
    """Row indices (int64, ascending) of each split that the data set itself fixes; a split without rows is left out.

    Raises:
        ValueError: for a name other than train, validation and test.
    """
    names = np.asarray(column)
    unknown = sorted(set(names.tolist()) - set(SPLITS))
    if unknown:
        raise ValueError(
            f"split names {unknown} in a data set with fixed splits: use {', '.join(SPLITS)}, or let the data set's "
            f"split() cut rows marked '{POOL}' with stratified_split"
        )
    return {name: np.flatnonzero(names == name) for name in SPLITS if np.any(names == name)}


def stratified_split(
    labels: np.ndarray, fractions: dict[str, float], split_seed: int, name: str
) -> dict[str, np.ndarray]:
    """Cuts rows into disjoint parts that together cover all of them, each with the classes in equal proportion.

    Rows are ordered by class and, inside a class, at random (all randomness is generator(split_seed, "split", name)).
    A part of round(f * n) rows then takes every 1/f-th row of that order, so a class has at most one row more or less
    than its exact share of the rows still left.

    Args:
        labels: (n,) integer classes.
        fractions: part -> share of all rows, which add up to 1; the first part takes what the others leave.
        split_seed: the run's split seed.
        name: what is split (the data set), so that two data sets do not share their draw.

    Returns:
        part -> int64 row indices in ascending order.
    """
    if abs(sum(fractions.values()) - 1) > 1e-9 or min(fractions.values()) <= 0:
        raise ValueError(f"split fractions {fractions} must be positive and add up to 1")
    n = len(labels)
    shuffled = torch.randperm(n, generator=seeds.generator(split_seed, "split", name)).numpy()
    left = shuffled[np.argsort(np.asarray(labels)[shuffled], kind="stable")]
    parts: dict[str, np.ndarray] = {}
    first, *others = fractions
    for part in others:
        size = round(fractions[part] * n)
        # Row p is taken where the line p * size / len(left) passes an integer: exactly `size` of them, evenly spread.
        steps = np.arange(len(left) + 1, dtype=np.int64) * size // len(left)
        taken = np.diff(steps) > 0
        parts[part], left = np.sort(left[taken]), left[~taken]
    return {first: np.sort(left), **parts}
