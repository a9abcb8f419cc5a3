"""Pre-training of a small backbone from random weights, for studies that must run without any download."""

import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from peft_lib import seeds
from peft_lib.backbones.loading import get_backbone
from peft_lib.data.batches import Prepared, load_prepared
from peft_lib.data.loaders import UnknownModuleError
from peft_lib.files import atomic_path, sha256_file, write_text
from peft_lib.study.catalogs import ModelEntry, PretrainRecipe

WARMUP = 0.1
EVALUATION_BATCH = 250


class PretrainError(ValueError):
    """A recipe that cannot be carried out with what is given."""


def pretrain(entry: ModelEntry, prepared_dir: Path | str, out_dir: Path | str, threads: int = 1) -> dict:
    """Trains `entry.architecture` by `entry.pretrain` on the train rows; writes model.safetensors, then manifest.json.

    AdamW (betas 0.9, 0.999; weight decay on matrices only), learning rate lr * min(1, t / warm-up) over the first 10 %
    of the steps and then half a cosine to 0, fp32, every epoch in a new order, the last short batch dropped. All
    randomness comes from peft_lib.seeds with the recipe's seed: on one CPU thread the same bits each time.

    Args:
        entry: a catalog entry with a `pretrain` recipe.
        prepared_dir: the recipe's data set, prepared for this model; it needs fixed train and validation rows.
        out_dir: the model's folder.
        threads: CPU threads of torch (results differ in the last bits between counts); restored afterwards.

    Returns:
        The manifest: accuracy and mean cross-entropy (nats) on the validation rows, SHA-256, recipe, versions.

    Raises:
        PretrainError: if the entry has no recipe, its backbone has no file, the folder holds another data set, or the loss stops being finite.
    """
    recipe = entry.pretrain
    if recipe is None:
        raise PretrainError(
            f"model '{entry.id}' has no `pretrain` recipe in the catalog: add one, or fetch its weights"
        )
    data = load_prepared(prepared_dir)
    if data.manifest["dataset"] != recipe.dataset:
        raise PretrainError(
            f"{prepared_dir} holds data set '{data.manifest['dataset']}', the recipe of '{entry.id}' names "
            f"'{recipe.dataset}': prepare that one"
        )
    splits = {name: data.rows_of(name) for name in ("train", "validation")}
    if not len(splits["validation"]) or len(splits["train"]) < recipe.batch_size:
        raise PretrainError(
            f"{prepared_dir} has {len(splits['train'])} train and {len(splits['validation'])} validation rows: "
            f"pre-training needs at least one batch of {recipe.batch_size} and a validation row, fixed by the data set"
        )
    try:
        backbone = get_backbone(entry.backbone)
    except UnknownModuleError as error:
        raise PretrainError(f"model '{entry.id}' of the catalog: {error}") from error
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        model = backbone.scratch(entry, len(data.labels), recipe.seed)
        steps = _fit(model, backbone, recipe, data, splits["train"])
        accuracy, loss = _evaluate(model, backbone, data, splits["validation"])
    finally:
        torch.set_num_threads(before)
    out_dir = Path(out_dir)
    with atomic_path(out_dir / "model.safetensors") as temporary:
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, temporary)
    manifest = {
        "model": entry.id,
        "source": entry.source,
        "license": entry.license,
        "architecture": dict(entry.architecture),
        "pretrain": recipe.model_dump(),
        "data_sha256": data.manifest["sha256"],
        "rows": {name: len(indices) for name, indices in splits.items()},
        "steps": steps,
        "validation_accuracy": accuracy,
        "validation_loss": loss,
        "threads": threads,
        "torch": torch.__version__,
        "files": {"model.safetensors": sha256_file(out_dir / "model.safetensors")},
    }
    write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1) + "\n")
    return manifest


def _fit(model: nn.Module, backbone: ModuleType, recipe: PretrainRecipe, data: Prepared, train: np.ndarray) -> int:
    """Trains in place; returns the number of optimiser steps."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.lr)
    per_epoch = len(train) // recipe.batch_size
    total = recipe.epochs * per_epoch
    warmup = max(1, round(WARMUP * total))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    y = torch.from_numpy(data.y)
    model.train()
    for epoch in range(recipe.epochs):
        order = train[torch.randperm(len(train), generator=seeds.generator(recipe.seed, "order", epoch)).numpy()]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.derive_seed(recipe.seed, "dropout", epoch))
            for start in range(0, per_epoch * recipe.batch_size, recipe.batch_size):
                rows = order[start : start + recipe.batch_size]
                loss = nn.functional.cross_entropy(backbone.forward(model, data.collate(rows)), y[rows])
                if not math.isfinite(loss.item()):
                    raise PretrainError(
                        f"pre-training on '{recipe.dataset}': loss is {loss.item()} in epoch {epoch + 1}; lower the "
                        f"recipe's lr={recipe.lr}"
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                schedule.step()
    return total


@torch.inference_mode()
def _evaluate(model: nn.Module, backbone: ModuleType, data: Prepared, rows: np.ndarray) -> tuple[float, float]:
    """Accuracy and mean cross-entropy (nats) over the rows."""
    model.eval()
    correct, loss = 0, 0.0
    for start in range(0, len(rows), EVALUATION_BATCH):
        batch = rows[start : start + EVALUATION_BATCH]
        logits, target = backbone.forward(model, data.collate(batch)), torch.from_numpy(data.y[batch])
        correct += int((logits.argmax(dim=-1) == target).sum())
        loss += float(nn.functional.cross_entropy(logits, target, reduction="sum"))
    return correct / len(rows), loss / len(rows)
