"""Everything of a run that follows from its spec: data, rows, model, adapter, optimiser, identity."""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from peft_lib.backbones.weights import verified_sha256
from peft_lib.data.augment import Augmentation
from peft_lib.layers.adapter import Adapter
from peft_lib.layers.checking import check
from peft_lib.methods.registry import get_method
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.assemble import Assembled, Inputs, TaskData, assemble
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
class Built:
    """What trains. `model` is that of `parts`, wrapped where there are several processes. `resets`: epochs (1-based) before
    which a chain reset happens."""

    request: Request
    parts: Assembled
    model: nn.Module
    optimizer: torch.optim.Optimizer
    counts: dict[str, int]
    total_steps: int
    resets: tuple[int, ...]
    weights_sha256: str
    augmentation: Augmentation

    @property
    def adapter(self) -> Adapter:
        return self.parts.adapter

    @property
    def items(self) -> TaskData:
        return self.parts.items

    @property
    def identity(self) -> dict[str, str]:
        """What must agree for a resume: request, data, weights, execution of the layers; columns of result.parquet."""
        return {
            **self.request.identity,
            "data_sha256": self.items.data.manifest["sha256"],
            "weights_sha256": self.weights_sha256,
            "execution": self.adapter.execution,
            "storage": self.parts.storage,
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


def build(request: Request, items: TaskData) -> Built:
    """Builds model, adapter and optimiser; nothing here depends on what ran before in this process.

    Raises TargetError with the names of places that would not train, RunError if nothing would.
    """
    spec, inputs, accelerator, execution = request.spec, request.inputs, request.accelerator, request.execution
    parts = assemble(
        spec, inputs, accelerator.device, execution=execution.layers, storage=execution.storage,
        gradient_checkpointing=execution.gradient_checkpointing, items=items,
    )  # fmt: skip
    counts = parts.adapter.counts()
    if counts["trainable"] == 0:
        raise RunError(f"method {spec.method} trains nothing on {spec.model.id}/{spec.dataset.id}: there is no head")
    with accelerator.autocast():  # a place that the forward pass goes round would not train, without a word
        two = to_device(parts.data.collate(parts.rows["train"][:2]), accelerator)
        check(parts.adapter, two, parts.backbone.forward)
    model, optimizer = accelerator.prepare(parts.model, build_optimizer(parts.adapter, spec))
    total_steps = spec.epochs * math.ceil(len(parts.rows["train"]) / spec.batch_size)
    resets = chain_resets(spec) if get_method(spec.method).chains else ()
    if accelerator.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(accelerator.device)
    weights = verified_sha256(inputs.model_dir)
    augmentation = Augmentation(spec, inputs.dataset.num_labels)
    return Built(request, parts, model, optimizer, counts, total_steps, resets, weights, augmentation)


def to_device(batch: dict[str, torch.Tensor], accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """Moves a batch; from pinned memory, so that the copy overlaps with computation, where there is an accelerator."""
    if accelerator.device.type == "cpu":
        return batch
    return {k: v.pin_memory().to(accelerator.device, non_blocking=True) for k, v in batch.items()}
