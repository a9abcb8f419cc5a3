"""From a spec to a model with its adapter and its data, without an Accelerator: for runs, diagnostics, benchmarks, tests."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from peft_lib.backbones.loading import get_backbone
from peft_lib.data.batches import PreparedImages, PreparedText, load_prepared
from peft_lib.data.loaders import get_loader
from peft_lib.layers.adapter import Adapter, adapt
from peft_lib.methods.registry import get_method
from peft_lib.seeds import generator
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.spec import RunSpec
from peft_lib.tasks.loading import get_task
from peft_lib.training.errors import RunError


@dataclass(frozen=True)
class Inputs:
    """What a run reads: catalog entries, the model's folder, the prepared data's folder; and what it records."""

    model: ModelEntry
    dataset: DatasetEntry
    model_dir: Path
    prepared_dir: Path
    fingerprint: str = ""
    command: str = ""


@dataclass(frozen=True)
class TaskData:
    """Prepared data of a task, the rows of train, validation and test, and what each item weighs in a mean loss.

    weights: (N,) float64 over all items of the data; 1, or target tokens.
    """

    task: ModuleType
    data: PreparedText | PreparedImages
    rows: dict[str, np.ndarray]
    weights: np.ndarray


@dataclass(frozen=True)
class Assembled:
    """A spec come to life: `adapter` is in `model`; `backbone.forward(model, batch)` gives what `task.losses` takes.

    storage: the format of frozen weights; fp32 where all weights train, whatever was asked for.
    """

    spec: RunSpec
    inputs: Inputs
    backbone: ModuleType
    model: nn.Module
    adapter: Adapter
    items: TaskData
    storage: str

    @property
    def task(self) -> ModuleType:
        return self.items.task

    @property
    def data(self) -> PreparedText | PreparedImages:
        return self.items.data

    @property
    def rows(self) -> dict[str, np.ndarray]:
        return self.items.rows


def assemble(
    spec: RunSpec, inputs: Inputs, device: torch.device | str = "cpu", *, execution: str = "default",
    storage: str = "fp32", gradient_checkpointing: bool = False, items: TaskData | None = None,
) -> Assembled:  # fmt: skip
    """Data, rows, model and adapter of a spec, on `device`; nothing here depends on what ran before in this process.

    execution: how adapted layers compute, see `adapt`. storage: fp32 or bf16, the format in which weights that do not
    train are kept; what trains is fp32. items: the task's data, if they were read before.

    Raises RunError for a lacking split, weights in bf16 that are to be multiplied in fp32, or a model that cannot recompute
    its activations, and what the parts raise: PreparedDataError, WeightsError, TargetError.
    """
    items = items or read_items(spec, inputs)
    method = get_method(spec.method)
    backbone = get_backbone(inputs.model.backbone)
    outputs = inputs.dataset.outputs
    storage = "fp32" if "backbone" in method.trains else storage
    if storage == "bf16" and spec.precision != "bf16":
        raise RunError(f"storage bf16 needs precision bf16, the spec has {spec.precision}: store the weights in fp32")
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[storage]
    model = backbone.build(inputs.model, inputs.model_dir, outputs, generator(spec.seed, "head"), dtype, device)
    if gradient_checkpointing:
        recompute_activations(model, inputs.model.id)
    adapter = adapt(
        model, method, rank=spec.rank, alpha=spec.alpha, scaling=spec.scaling, seed=spec.seed,
        execution=execution if method.has_factors else "none",
        targets=inputs.model.targets.get(spec.targets, ()), head=backbone.heads(inputs.model, outputs), **spec.options,
    )  # fmt: skip
    return Assembled(spec, inputs, backbone, model, adapter, items, storage)


def read_items(spec: RunSpec, inputs: Inputs) -> TaskData:
    """Data, and their rows: the data set's splits, then the spec's limits. Raises RunError for a lacking split."""
    data = load_prepared(inputs.prepared_dir)
    if data.task != inputs.dataset.task:
        raise RunError(
            f"{inputs.prepared_dir} was prepared for {data.task}, the catalog says {inputs.dataset.task}: prepare it again"
        )
    task = get_task(data.task)
    seed = spec.seed if spec.split_seed is None else spec.split_seed
    rows = data.splits(seed, get_loader(inputs.dataset.loader))
    for name, limit in (("train", spec.train_limit), ("validation", spec.eval_limit), ("test", spec.eval_limit)):
        if name not in rows:
            raise RunError(f"data set {spec.dataset.id} has no {name} split; a run needs train, validation and test")
        if limit is not None and limit < len(rows[name]):
            order = torch.randperm(len(rows[name]), generator=generator(seed, "limit", name)).numpy()
            rows[name] = rows[name][np.sort(order[:limit])]
    return TaskData(task, data, rows, task.weights(data))


def recompute_activations(model: nn.Module, model_id: str) -> None:
    """Gradient checkpointing: activations of a block are computed again in the backward pass instead of being kept.

    Same numbers, about a third more time. Raises RunError if no part of the model can do it.
    """
    for module in model.modules():
        for name in ("activation_checkpointing_enable", "set_grad_checkpointing"):  # transformers', timm's
            enable: Callable[[], None] | None = getattr(module, name, None)
            if enable is not None:
                enable()
                return
    raise RunError(f"model {model_id} has no gradient checkpointing: set gradient_checkpointing: false for it")
