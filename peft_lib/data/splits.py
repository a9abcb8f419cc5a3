"""Which rows a run trains on, selects on and tests on.

A loader marks each row with what is to become of it: `train`, `validation`, `test`, or a mark of `CUTS`, whose rows `cut`
shares out with the run's split seed (PROTOCOL 13.19-21).
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from peft_lib import seeds

SPLITS = ("train", "validation", "test")
POOL = "pool"
HALVES = "halves"
BOTH = "both"
CARVED_TENTH = "carved_tenth"
CARVED_EIGHTH = "carved_eighth"
CUTS: Mapping[str, Mapping[str, float]] = {
    HALVES: {"validation": 1 / 2, "test": 1 / 2},  # of a published validation split, where test labels are hidden
    CARVED_TENTH: {"train": 9 / 10, "validation": 1 / 10},  # of a train split, where no validation split is published
    CARVED_EIGHTH: {"train": 7 / 8, "validation": 1 / 8},  # of a validation split, where the train split is not at hand
}
"""Mark -> the shares of its rows. Rows marked `both` are validation and test (selection on the test set: see PROTOCOL 13.19)."""


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


def cut(
    column: Sequence[str], labels: np.ndarray, split_seed: int, name: str, stratify: bool = True
) -> dict[str, np.ndarray]:
    """Row indices (int64, ascending) of each split, rows marked for cutting shared out by the run's split seed.

    Of n rows with a mark of CUTS, the second part takes ceil(share * n) and the first the rest, as scikit-learn's
    train_test_split does: 1,043 are cut into 521 and 522.

    Args:
        column: the rows' marks.
        labels: (n,) classes, for stratifying; else not looked at.
        split_seed: the run's split seed.
        name: the data set, so that two data sets do not share their draw.
        stratify: whether each part has the classes in equal proportion.

    Raises:
        ValueError: for a mark that is neither a split, `both`, nor one of CUTS.
    """
    marks = np.asarray(column)
    unknown = sorted(set(marks.tolist()) - {*SPLITS, BOTH, *CUTS})
    if unknown:
        raise ValueError(f"rows are marked {unknown}: use {', '.join((*SPLITS, BOTH, *CUTS))} (data/splits.py)")
    parts: dict[str, list[np.ndarray]] = {part: [np.flatnonzero(marks == part)] for part in SPLITS}
    for part in ("validation", "test"):
        parts[part].append(np.flatnonzero(marks == BOTH))
    for mark, shares in CUTS.items():
        rows = np.flatnonzero(marks == mark)
        if len(rows):
            first, second = shares
            share = math.ceil(shares[second] * len(rows)) / len(rows)
            classes = np.asarray(labels)[rows] if stratify else np.zeros(len(rows), dtype=np.int64)
            drawn = stratified_split(classes, {first: 1 - share, second: share}, split_seed, f"{name}, {mark}")
            for part, chosen in drawn.items():
                parts[part].append(rows[chosen])
    joined = {part: np.sort(np.concatenate(pieces)) for part, pieces in parts.items()}
    return {part: rows for part, rows in joined.items() if len(rows)}
