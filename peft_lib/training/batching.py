"""Batches for passes in which nothing trains: bounded in items and in tokens."""

from collections.abc import Iterator

import numpy as np


def batches(order: np.ndarray, lengths: np.ndarray, most: int, tokens: int) -> Iterator[np.ndarray]:
    """Cuts `order` (positions in `lengths`, shortest first) into batches of at most `most` items and `tokens` tokens with
    padding, but at least one item."""
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < min(len(order), start + most) and (stop - start + 1) * lengths[order[stop]] <= tokens:
            stop += 1
        yield order[start:stop]
        start = stop
