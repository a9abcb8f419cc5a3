"""Everything of a run that follows from its spec: data, rows, model, adapter, optimiser, identity."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from peft_lib.backbones.loading import get_backbone
from peft_lib.backbones.weights import verified_sha256
from peft_lib.data.batches import PreparedImages, PreparedText, load_prepared
from peft_lib.data.loaders import get_loader
from peft_lib.layers.adapter import Adapter, adapt
from peft_lib.layers.checking import check
from peft_lib.methods.registry import get_method
from peft_lib.seeds import generator
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.errors import RunError
from peft_lib.training.optimizer import build_optimizer
from peft_lib.training.schedule import chain_resets


@dataclass(frozen=True)
class Execution:
    """How a run is executed. Recorded with the result, never part of the spec.

    `processes`: of how many this is one, all started by torchrun or `accelerate launch`.
    """

    layers: str = "default"
    device: str = "auto"
    threads: int = 1
    processes: int = 1
    micro_batch: int | None = None
    deterministic: bool = True
    keep: str = "selected"
    storage: str = "fp32"
    gradient_checkpointing: bool = False


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
class Request:
    """What is asked for: a spec, what it reads and how it is executed."""

    spec: RunSpec
    inputs: Inputs
    execution: Execution
    accelerator: Accelerator

    @property
    def identity(self) -> dict[str, str]:
        """What must agree for a resume, as far as it is known before anything is read; columns of result.parquet."""
        return {
            "spec": self.spec.canonical,
            "fingerprint": self.inputs.fingerprint,
            "versions": machine.versions(),
        }


@dataclass(frozen=True)
class Task:
    """Prepared data, and the rows of train, validation and test."""

    data: PreparedText | PreparedImages
    rows: dict[str, np.ndarray]


@dataclass(frozen=True)
class Built:
    """What trains. `resets`: epochs (1-based) before which a chain reset happens."""

    request: Request
    task: Task
    backbone: ModuleType
    model: nn.Module
    adapter: Adapter
    optimizer: torch.optim.Optimizer
    counts: dict[str, int]
    total_steps: int
    resets: tuple[int, ...]
    weights_sha256: str

    @property
    def identity(self) -> dict[str, str]:
        """What must agree for a resume: request, data, weights, execution of the layers; columns of result.parquet."""
        return {
            **self.request.identity,
            "data_sha256": self.task.data.manifest["sha256"],
            "weights_sha256": self.weights_sha256,
            "execution": self.adapter.execution,
        }


def build_accelerator(spec: RunSpec, execution: Execution) -> Accelerator:
    """Accelerate keeps its settings for the life of a process; a second run may need others."""
    machine.prepare_process(execution.threads, execution.device, execution.deterministic)
    AcceleratorState._reset_state(reset_partial_state=not torch.distributed.is_initialized())
    cpu = execution.device == "cpu" or not torch.cuda.is_available()
    return Accelerator(
        cpu=cpu, mixed_precision="bf16" if spec.precision == "bf16" else "no", gradient_accumulation_steps=1,
        dynamo_backend="no",
    )  # fmt: skip


def read_task(request: Request) -> Task:
    """Data in memory, and its rows: the data set's splits, then the spec's limits. Raises RunError for a lacking split."""
    spec, inputs = request.spec, request.inputs
    data = load_prepared(inputs.prepared_dir)
    seed = spec.seed if spec.split_seed is None else spec.split_seed
    rows = data.splits(seed, get_loader(inputs.dataset.loader))
    for name, limit in (("train", spec.train_limit), ("validation", spec.eval_limit), ("test", spec.eval_limit)):
        if name not in rows:
            raise RunError(f"data set {spec.dataset.id} has no {name} split; a run needs train, validation and test")
        if limit is not None and limit < len(rows[name]):
            order = torch.randperm(len(rows[name]), generator=generator(seed, "limit", name)).numpy()
            rows[name] = rows[name][np.sort(order[:limit])]
    return Task(data, rows)


def build(request: Request, task: Task) -> Built:
    """Builds model, adapter and optimiser; nothing here depends on what ran before in this process.

    Raises TargetError with the names of places that would not train.
    """
    spec, inputs, accelerator = request.spec, request.inputs, request.accelerator
    backbone = get_backbone(inputs.model.backbone)
    model = backbone.build(inputs.model, inputs.model_dir, len(task.data.labels), generator(spec.seed, "head"))
    model.to(accelerator.device)
    method = get_method(spec.method)
    adapter = adapt(
        model, method, rank=spec.rank, alpha=spec.alpha, scaling=spec.scaling, seed=spec.seed,
        execution=request.execution.layers if method.has_factors else "none",
        targets=inputs.model.targets.get(spec.targets, ()), head=backbone.HEAD, **spec.options,
    )  # fmt: skip
    counts = adapter.counts()
    with accelerator.autocast():  # a place that the forward pass goes round would not train, without a word
        check(adapter, to_device(task.data.collate(task.rows["train"][:2]), accelerator), backbone.forward)
    model, optimizer = accelerator.prepare(model, build_optimizer(adapter, spec))
    total_steps = spec.epochs * math.ceil(len(task.rows["train"]) / spec.batch_size)
    resets = chain_resets(spec) if method.chains else ()
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)
    weights = verified_sha256(inputs.model_dir)
    return Built(request, task, backbone, model, adapter, optimizer, counts, total_steps, resets, weights)


def to_device(batch: dict[str, torch.Tensor], accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """Moves a batch; from pinned memory, so that the copy overlaps with computation, where there is an accelerator."""
    if accelerator.device.type == "cpu":
        return batch
    return {k: v.pin_memory().to(accelerator.device, non_blocking=True) for k, v in batch.items()}
