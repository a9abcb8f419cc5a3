"""An epoch cut into effective batches, and these over processes and micro-batches."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from peft_lib.data.augment import Plan
from peft_lib.training.build import Built


@dataclass(frozen=True)
class MicroBatch:
    """Rows that one forward pass of this process takes, and what its loss sum is multiplied with.

    first, last: of the micro-batches of an effective batch. counts: False for a row that only keeps the others company.
    """

    rows: np.ndarray
    plans: Sequence[Plan] | None
    factor: float
    first: bool
    last: bool
    counts: bool


def micro_batches(run: Built, order: np.ndarray, epoch: int) -> Iterator[tuple[MicroBatch, dict[str, Tensor]]]:
    """This process's share of an epoch; images are made by worker threads while training goes on."""
    asked: deque[MicroBatch] = deque()

    def requests() -> Iterator[tuple[np.ndarray, Sequence[Plan] | None]]:
        for part in cut(run, order, epoch):
            asked.append(part)
            yield part.rows, part.plans

    for batch in run.items.data.stream(requests()):
        yield asked.popleft(), batch


def cut(run: Built, order: np.ndarray, epoch: int) -> Iterator[MicroBatch]:
    """Cuts the rows of an epoch.

    Each process takes every n-th row of an effective batch, and all take the same number of micro-batches: DDP waits for a
    backward pass of each. It averages gradients over processes, hence the factor `world`; the mean is over items, or target
    tokens: sum of losses over sum of weights, which every process knows beforehand. Images are augmented by plans that were
    made for the effective batch.
    """
    request, items = run.request, run.items
    world, index = request.accelerator.num_processes, request.accelerator.process_index
    for start in range(0, len(order), request.spec.batch_size):
        batch = order[start : start + request.spec.batch_size]
        plans = run.augmentation.plans(epoch, batch)
        mine = np.arange(len(batch))[index::world]
        most = math.ceil(len(batch) / world)
        size = request.execution.micro_batch or most
        factor = world / float(items.weights[batch].sum())
        for first in range(0, most, size):
            chosen = mine[first : first + size]
            counts = len(chosen) > 0
            if not counts:  # the others have one more: a row without weight takes part in their backward pass
                chosen = np.zeros(1, dtype=np.int64)
            mixed = None if plans is None else [plans[place] for place in chosen]
            yield MicroBatch(batch[chosen], mixed, factor * counts, first == 0, first + size >= most, counts)
