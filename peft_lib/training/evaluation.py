"""Eval-mode loss, metric and per-item predictions over a set of rows."""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.nn import functional as F

from peft_lib.data.batches import PreparedImages, PreparedText
from peft_lib.training.build import Built, to_device

EVAL_BATCH = 128

MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "accuracy": lambda label, prediction: float(np.mean(label == prediction)),
}
"""Exact over all items, never a mean of batch means. Data set metric -> f(labels, predictions); which way is better says
study/quantities.py."""


@dataclass(frozen=True)
class Evaluation:
    """Per-item results in the order of `rows`; `loss` is their mean in nats, `metric` the data set's metric."""

    rows: np.ndarray
    label: np.ndarray
    prediction: np.ndarray
    score: np.ndarray
    item_loss: np.ndarray
    loss: float
    metric: float


@torch.no_grad()
def evaluate(
    model: nn.Module, backbone: ModuleType, data: PreparedText | PreparedImages, rows: np.ndarray, metric: str,
    accelerator: Accelerator, batch_limit: int | None = None,
) -> Evaluation:  # fmt: skip
    """Evaluates every row once, split over the processes. Sorted by length, so that little is padded."""
    model.eval()
    order = np.argsort(data.n_tokens[rows], kind="stable")
    mine = order[accelerator.process_index :: accelerator.num_processes]
    size = min(EVAL_BATCH, batch_limit or EVAL_BATCH)
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(mine), size):
        chosen = mine[start : start + size]
        batch = to_device(data.collate(rows[chosen]), accelerator)
        labels = torch.from_numpy(data.y[rows[chosen]]).to(accelerator.device)
        with accelerator.autocast():
            logits = backbone.forward(model, batch).float()
        top = logits.softmax(-1).max(-1)
        losses = F.cross_entropy(logits, labels, reduction="none").double()
        parts.append((chosen, top.indices.cpu().numpy(), top.values.cpu().numpy(), losses.cpu().numpy()))
    if accelerator.num_processes > 1:
        parts = gather_object(parts)
    where = np.concatenate([p[0] for p in parts])
    back = np.argsort(where)
    prediction, score, loss = (np.concatenate([p[i] for p in parts])[back] for i in (1, 2, 3))
    label = data.y[rows]
    return Evaluation(rows, label, prediction, score, loss, float(loss.mean()), MEASURES[metric](label, prediction))


def evaluate_split(run: Built, split: str) -> Evaluation:
    """Evaluates the model of a run, as it is now, on one of its splits."""
    request = run.request
    metric, limit = request.inputs.dataset.metric, request.execution.micro_batch
    return evaluate(run.model, run.backbone, run.task.data, run.task.rows[split], metric, request.accelerator, limit)


def predictions(result: Evaluation, data: PreparedText | PreparedImages) -> list[dict[str, Any]]:
    """Rows of predictions.parquet."""
    return [
        {
            "id": data.ids[row],
            "label": data.labels[label],
            "prediction": data.labels[prediction],
            "score": float(score),
            "loss": float(loss),
            "n_tokens": max(1, int(data.n_tokens[row])),
        }
        for row, label, prediction, score, loss in zip(
            result.rows, result.label, result.prediction, result.score, result.item_loss, strict=True
        )
    ]
