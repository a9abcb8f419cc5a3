"""Eval-mode losses, answers and measures over a set of rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from peft_lib.tasks.answers import Answers
from peft_lib.training.assemble import Assembled, TaskData
from peft_lib.training.batching import batches
from peft_lib.training.build import Built, to_device
from peft_lib.training.decoding import decode

EVAL_BATCH = 128
EVAL_TOKENS = 128 * 128
"""Largest evaluation batch: items, and tokens with padding."""


@dataclass(frozen=True)
class Evaluation:
    """Per-item results in the order of `rows` (into the prepared data).

    score: (N,) how sure the answer is, see the task. loss: sum of item losses over sum of item weights. measures: metric ->
    value, exact over all items.
    """

    rows: np.ndarray
    answers: Answers
    score: np.ndarray
    loss: float
    measures: dict[str, float]


def measures_of(parts: Assembled, decoded: bool) -> tuple[str, ...]:
    """The data set's headline metric and its other measures; without text (`decoded` False) those that need none."""
    entry = parts.inputs.dataset
    return tuple(m for m in (entry.metric, *entry.measures) if decoded or m not in parts.task.DECODED)


def evaluate_split(run: Built, split: str, decoded: bool = False) -> Evaluation:
    """Evaluates the model of a run, as it is now, on one of its splits; `decoded`: with the text that it writes."""
    limit = run.request.execution.micro_batch
    return evaluate(run.parts, run.items.rows[split], run.request.accelerator, limit, decoded)


@torch.no_grad()
def evaluate(
    parts: Assembled, rows: np.ndarray, accelerator: Accelerator, batch_limit: int | None = None, decoded: bool = False,
) -> Evaluation:  # fmt: skip
    """Evaluates every row once, split over the processes.

    Not through DDP: its forward pass broadcasts buffers also where nothing trains, and processes would wait for each other
    for ever where one has more batches. batch_limit: largest number of items that one forward pass may take.
    """
    model, data, task = parts.model.eval(), parts.data, parts.task
    order = np.argsort(data.n_tokens[rows], kind="stable")  # by length, so that little is padded
    mine = order[accelerator.process_index :: accelerator.num_processes]
    found: list[tuple[np.ndarray, ...]] = []
    cut = list(batches(mine, data.n_tokens[rows], min(EVAL_BATCH, batch_limit or EVAL_BATCH), EVAL_TOKENS))
    for chosen, made in zip(cut, data.stream((rows[chosen], None) for chosen in cut), strict=True):
        batch = to_device(made, accelerator)
        targets = to_device(data.targets(rows[chosen]), accelerator)
        with accelerator.autocast():
            outputs = parts.backbone.forward(model, batch)
        values = (*task.answers(outputs, targets), task.losses(outputs, targets).double())
        found.append((chosen, *(value.cpu().numpy() for value in values)))
    if accelerator.num_processes > 1:
        found = gather_object(found)
    back = np.argsort(np.concatenate([part[0] for part in found]))
    prediction, score, loss = (np.concatenate([part[i] for part in found])[back] for i in (1, 2, 3))
    if task.DECODED:
        prediction = decode(parts, rows, accelerator, batch_limit) if decoded else np.full(len(rows), "", dtype=object)
    groups = [data.groups[row] for row in rows]
    answers = Answers(data.y[rows], prediction, loss, parts.items.weights[rows], groups)
    measures = {name: task.MEASURES[name](answers) for name in measures_of(parts, decoded)}
    return Evaluation(rows, answers, score, answers.mean_loss, measures)


def predictions(result: Evaluation, items: TaskData) -> list[dict[str, Any]]:
    """Rows of predictions.parquet."""
    data, shown, answers = items.data, items.task.shown, result.answers
    return [
        {
            "id": data.ids[row],
            "group": None if data.groups[row] == data.ids[row] else data.groups[row],
            "label": shown(label, data),
            "prediction": shown(prediction, data),
            "score": float(score),
            "loss": float(loss),
            "weight": float(weight),
            "n_tokens": max(1, int(data.n_tokens[row])),
        }
        for row, label, prediction, score, loss, weight in zip(
            result.rows, answers.label, answers.prediction, result.score, answers.loss, answers.weight, strict=True
        )
    ]
