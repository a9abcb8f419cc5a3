"""Randomness of the statistics: each use has a generator of its own, named by what it is for, so that results are reproducible."""

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # planning loads the kinds of artefacts, which name this room
    import numpy as np

CELLS_AT_ONCE = 4_000_000
"""Weights that are held at a time: resamples times items. 32 MB."""


def generator(*names: object) -> "np.random.Generator":
    """A generator that the names alone decide: SHA-256 of their JSON. Nothing else that draws shifts it."""
    import numpy as np

    digest = hashlib.sha256(json.dumps([str(name) for name in names]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def item_weights(units: int, draws: int, rng: "np.random.Generator") -> "Iterator[np.ndarray]":
    """Weights of a bootstrap over items, in blocks of rows: together (draws, units), each row how often every unit was
    drawn when `units` of them were drawn with replacement (Efron and Tibshirani 1993, chapter 6)."""
    import numpy as np

    step = max(1, CELLS_AT_ONCE // units)
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        drawn = rng.integers(0, units, (rows, units)) + units * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * units).reshape(rows, units).astype(float)
