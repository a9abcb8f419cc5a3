"""Regression: one number for each item, on the scale of the data (STS-B: 0 to 5). Loss: squared error."""

from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from peft_lib.tasks.answers import Answers, Measures

if TYPE_CHECKING:
    from peft_lib.data.batches import Prepared


def pearson(answers: Answers) -> float:
    """Pearson's correlation; 0 where labels or answers are constant, for which it is not defined."""
    from scipy.stats import pearsonr  # here and below: a second of processor time that rmse does not need

    return 0.0 if _constant(answers) else float(pearsonr(answers.label, answers.prediction).statistic)


def spearman(answers: Answers) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where labels or answers are constant."""
    from scipy.stats import spearmanr

    return 0.0 if _constant(answers) else float(spearmanr(answers.label, answers.prediction).statistic)


def rmse(answers: Answers) -> float:
    """Root of the mean squared error, on the scale of the labels."""
    return float(np.sqrt(np.mean((answers.label - answers.prediction) ** 2)))


def _constant(answers: Answers) -> bool:
    return bool(np.ptp(answers.label) == 0 or np.ptp(answers.prediction) == 0)


MEASURES: Measures = {"pearson": pearson, "spearman": spearman, "rmse": rmse}
DECODED: frozenset[str] = frozenset()


def losses(outputs: Tensor, targets: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
    """(B,) squared errors of outputs (B, 1) against `labels` (B,) float (PROTOCOL section 8: MSE on raw targets)."""
    return (outputs.float().squeeze(-1) - targets["labels"].float()).square()


def weights(data: "Prepared") -> np.ndarray:
    return np.ones(len(data))


def answers(outputs: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The number itself, which is its own score."""
    value = outputs.float().squeeze(-1)
    return value, value


def baseline(train: np.ndarray, metric: str, test: Answers) -> float:
    """The metric where every answer is the mean of the training labels: the spread for rmse, 0 for correlations."""
    constant = np.full(len(test.label), train.mean())
    return float(MEASURES[metric](Answers(test.label, constant, test.loss, test.weight)))


def shown(value: float, data: "Prepared") -> str:
    return f"{value:.6g}"
