"""Generation: the text that follows a prompt, one line. Loss: cross-entropy of the target tokens, the last of them EOS."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from peft_lib.tasks.answers import Answers, Measures
from peft_lib.tasks.text_measures import bleu, chrf, exact_match, nist

if TYPE_CHECKING:
    from peft_lib.data.batches import Prepared

MOST_NATS = 709.0
"""Mean loss beyond which exp is no number of double precision: the perplexity is infinite."""
MAX_NEW_TOKENS = 128
"""Longest answer that is decoded (PROTOCOL section 8)."""


def perplexity(answers: Answers) -> float:
    """exp(total loss / number of target tokens), teacher-forced, prompt left out, EOS counted (PROTOCOL section 8)."""
    return math.exp(answers.mean_loss) if answers.mean_loss < MOST_NATS else math.inf


MEASURES: Measures = {"perplexity": perplexity, "exact_match": exact_match, "bleu": bleu, "chrf": chrf, "nist": nist}
DECODED = frozenset({"exact_match", "bleu", "chrf", "nist"})


def losses(outputs: Tensor, targets: dict[str, Tensor], smoothing: float = 0.0) -> Tensor:
    """(B,) sums over an item's target tokens of cross-entropy in nats.

    outputs: (T, V) logits of the batch's T target tokens. targets: `target_ids` (T,), `target_item` (T,) which item of the
    batch each belongs to, `n_items` (B,) of any content.
    """
    each = F.cross_entropy(outputs.float(), targets["target_ids"], reduction="none", label_smoothing=smoothing)
    return torch.zeros(len(targets["n_items"]), device=each.device).index_add(0, targets["target_item"], each)


def weights(data: "Prepared") -> np.ndarray:
    """Target tokens of each item."""
    return data.n_targets.astype(np.float64)


def answers(outputs: Tensor, targets: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Texts are written afterwards (training/decoding.py); the score is the geometric mean of the probabilities that the
    model gives the tokens of the reference."""
    item = losses(outputs, targets)
    tokens = torch.zeros_like(item).index_add(0, targets["target_item"], torch.ones_like(outputs[:, 0].float()))
    return torch.zeros_like(item), torch.exp(-item / tokens)


def baseline(train: np.ndarray, metric: str, test: Answers) -> float | None:
    """The metric where every answer is the most frequent training text; None for perplexity, which no text has."""
    if metric not in DECODED:
        return None
    texts, counts = np.unique(train.astype(str), return_counts=True)
    constant = np.full(len(test.label), texts[counts.argmax()], dtype=object)
    return float(MEASURES[metric](Answers(test.label, constant, test.loss, test.weight, test.group)))


def shown(value: str, data: "Prepared") -> str:
    return str(value)
