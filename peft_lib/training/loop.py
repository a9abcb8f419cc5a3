"""The epoch loop of a run, its training steps and the choice of the reported epoch."""

import math
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from peft_lib.seeds import derive_seed, generator
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.training.build import Built, to_device
from peft_lib.training.evaluation import Evaluation, evaluate_split
from peft_lib.training.failures import Diverged
from peft_lib.training.micro_batches import MicroBatch, micro_batches
from peft_lib.training.optimizer import clear_state, set_lr
from peft_lib.training.schedule import lr_factor
from peft_lib.training.state import State


def train_epochs(run: Built, state: State) -> None:
    """The epochs still to do: chain reset if due, training, validation, selection, checkpoint.

    Raises Diverged when a loss is no longer finite.
    """
    spec, progress, clock = run.request.spec, state.progress, state.clock
    headline = run.request.inputs.dataset.metric
    if progress.epoch == 0:
        with clock.phase("save"):
            state.follow(run, 0)
    for epoch in range(progress.epoch + 1, spec.epochs + 1):
        if epoch in run.resets:
            run.adapter.next_link()
            clear_state(run.optimizer, run.adapter, spec.optimizer_reset)
        with clock.phase("train"):
            running = train_epoch(run, state, epoch)
        with clock.phase("eval"):
            # written text costs more than the epoch's training: only where the epoch is chosen by it
            chosen_by_text = spec.selection == "val_metric" and headline in run.items.task.DECODED
            validation = evaluate_split(run, "validation", decoded=chosen_by_text)
        note_epoch(run, state, epoch, running, validation)
        if not math.isfinite(running) or not math.isfinite(validation.loss):
            raise Diverged(f"loss not finite in epoch {epoch}: train {running}, validation {validation.loss}")
        select(run, state, epoch, validation)
        progress.epoch = epoch
        with clock.phase("save"):
            state.follow(run, epoch)  # before the checkpoint, which says that the epoch is over
            if epoch < spec.epochs:
                state.save(run)


def train_epoch(run: Built, state: State, epoch: int) -> float:
    """Trains on every item once; returns the mean train-mode loss, in nats per item or per target token."""
    spec, accelerator, optimizer = run.request.spec, run.request.accelerator, run.optimizer
    rows = run.items.rows["train"]
    order = rows[torch.randperm(len(rows), generator=generator(spec.seed, "order", epoch)).numpy()]
    # dropout is the only consumer of the global generator, and starts anew in every epoch and process
    torch.manual_seed(derive_seed(spec.seed, "dropout", epoch, accelerator.process_index))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss_sum = torch.zeros((), dtype=torch.float64, device=accelerator.device)
    run.model.train()
    for part, batch in micro_batches(run, order, epoch):
        if part.first:
            set_lr(optimizer, lr_factor(spec, state.progress.step, run.total_steps))
        loss_sum += backward(run, part, batch)
        if not part.last:
            continue
        if spec.clip_norm is not None:
            accelerator.clip_grad_norm_(parameters, spec.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        state.progress.step += 1
    return float(accelerator.reduce(loss_sum, "sum")) / float(run.items.weights[rows].sum())


def backward(run: Built, part: MicroBatch, batch: dict[str, Tensor]) -> Tensor:
    """Adds a micro-batch's part of the gradient of the mean loss; returns its loss sum.

    DDP averages gradients over processes once, after the last micro-batch of an effective batch.
    """
    accelerator, items = run.request.accelerator, run.items
    targets = items.data.targets(part.rows)
    shares = run.augmentation.targets(items.data.y, part.plans)
    if shares is not None:
        targets["labels"] = shares
    batch, targets = to_device(batch, accelerator), to_device(targets, accelerator)
    with nullcontext() if part.last else accelerator.no_sync(run.model):
        with accelerator.autocast():
            outputs = run.parts.backbone.forward(run.model, batch)
        losses = items.task.losses(outputs, targets, run.request.spec.label_smoothing)
        accelerator.backward(losses.sum() * part.factor)
    return losses.detach().double().sum() * part.counts


def note_epoch(run: Built, state: State, epoch: int, running: float, validation: Evaluation) -> None:
    """Rows of epochs.parquet, and a line in the log."""
    spec, progress = run.request.spec, state.progress
    facts = [
        ("train", "loss", running),
        ("train", "lr", spec.lr * lr_factor(spec, progress.step - 1, run.total_steps)),
        ("train", "link", float(run.adapter.links - 1)),
        ("validation", "loss", validation.loss),
        *(("validation", name, value) for name, value in validation.measures.items()),
    ]
    for split, name, value in facts:
        progress.rows.append({"epoch": epoch, "step": progress.step, "split": split, "metric": name, "value": value})
    measured = "".join(f"  {name} {value:.4f}" for name, value in validation.measures.items())
    print(
        f"epoch {epoch}/{spec.epochs}  train loss {running:.4f}  validation loss {validation.loss:.4f}{measured}",
        flush=True,
    )


def select(run: Built, state: State, epoch: int, validation: Evaluation) -> None:
    """Keeps the best epoch so far: lowest loss or best metric on validation, or the last. Of epochs with equal metrics (a
    decoder that matches nothing exactly yet) the one of lower validation loss; then the first."""
    headline, selection, progress = run.request.inputs.dataset.metric, run.request.spec.selection, state.progress
    if selection == "val_metric":
        sign = -1.0 if DATASET_METRICS[headline].direction == "higher" else 1.0
        score = sign * validation.measures[headline]
    else:
        score = validation.loss if selection == "val_loss" else -float(epoch)
    best = progress.selected_score
    tied = selection == "val_metric" and score == best
    if best is None or score < best or (tied and validation.loss < progress.at_selected("validation")["loss"]):
        progress.selected_score, progress.selected_epoch = score, epoch
        state.selected = replace(run.adapter.snapshot(), epoch=epoch)
