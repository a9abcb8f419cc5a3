"""Classification: one of K classes for each item, from K logits. Loss: cross-entropy."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from peft_lib.tasks.answers import Answers, Measures

if TYPE_CHECKING:
    from peft_lib.data.batches import Prepared


def accuracy(answers: Answers) -> float:
    """Share of items whose class is right."""
    return float(np.mean(answers.label == answers.prediction))


def f1(answers: Answers) -> float:
    """F1 = 2 TP / (2 TP + FP + FN) of class 1 (GLUE's F1 of MRPC); 0 where it is neither given nor true."""
    from sklearn.metrics import f1_score  # here and below: a second of processor time that accuracy does not need

    return float(f1_score(answers.label, answers.prediction, pos_label=1, average="binary", zero_division=0.0))


def mcc(answers: Answers) -> float:
    """Matthews correlation; 0 where all answers or all labels are one class (as scikit-learn defines it)."""
    from sklearn.metrics import matthews_corrcoef

    if len(set(answers.prediction.tolist())) == 1:
        return 0.0
    return float(matthews_corrcoef(answers.label, answers.prediction))


MEASURES: Measures = {"accuracy": accuracy, "f1": f1, "mcc": mcc}
DECODED: frozenset[str] = frozenset()


def losses(outputs: Tensor, targets: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
    """(B,) cross-entropy in nats of logits (B, K) against `labels`: classes (B,), or shares of classes (B, K) where items
    were mixed. `smoothing` e: the target becomes (1 - e) of itself and e / K of every class."""
    return F.cross_entropy(outputs.float(), targets["labels"], reduction="none", label_smoothing=smoothing)


def weights(data: "Prepared") -> np.ndarray:
    return np.ones(len(data))


def answers(outputs: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The most probable class, and its probability."""
    top = torch.max(outputs.float().softmax(-1), dim=-1)
    return top.indices, top.values


def baseline(train: np.ndarray, metric: str, test: Answers) -> float:
    """The metric where every answer is the most frequent class among the training items."""
    constant = np.full(len(test.label), np.bincount(train).argmax())
    return float(MEASURES[metric](Answers(test.label, constant, test.loss, test.weight)))


def shown(value: int, data: "Prepared") -> str:
    return data.labels[value]
