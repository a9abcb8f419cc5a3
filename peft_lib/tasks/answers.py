"""What was answered to a set of items: the one input of all measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Answers:
    """Items and answers, in one order. N items.

    label: (N,) classes (int64), numbers (float64) or reference texts (object).
    prediction: (N,) of the same kind; texts are empty where nothing was decoded.
    loss: (N,) float64, not divided by weight. weight: (N,) float64.
    group: items that ask the same (E2E: all references of one meaning representation) share a name.
    """

    label: np.ndarray
    prediction: np.ndarray
    loss: np.ndarray
    weight: np.ndarray
    group: Sequence[str] = ()

    @property
    def mean_loss(self) -> float:
        """Sum of losses over sum of weights: nats per item, or per target token."""
        return float(self.loss.sum() / self.weight.sum())


Measures = dict[str, Any]
