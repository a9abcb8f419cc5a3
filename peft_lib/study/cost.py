"""What runs cost before any has run: time by arithmetic, bytes on the disk. Central estimates, where `needs.py` has bounds.

A measured run of the same model and data set is worth more than any of this (results/outlook.py takes it first).
"""

import math
from dataclasses import dataclass

from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.counts import counts
from peft_lib.study.how import How, keeps_trajectory
from peft_lib.study.known_methods import method_of
from peft_lib.study.needs import blocks_of, items_at_once, tokens, vocabulary
from peft_lib.study.spec import RunSpec


@dataclass(frozen=True)
class Processor:
    """What a run computes on. `flops`: arithmetic -> peak of dense operations a second, as its maker states it; `efficiency`:
    the share of it that training reaches; `block_s`: time that one pass through one block takes at least (starting kernels)."""

    name: str
    flops: dict[str, float]
    efficiency: float
    block_s: float


PROCESSORS = {
    "h100": Processor("H100 PCIe", {"fp32": 51e12, "bf16": 756e12}, 0.35, 5e-4),
    "h100_sxm": Processor("H100 SXM", {"fp32": 67e12, "bf16": 989e12}, 0.35, 5e-4),
    "a100": Processor("A100", {"fp32": 19.5e12, "bf16": 312e12}, 0.35, 5e-4),
    "l40s": Processor("L40S", {"fp32": 91.6e12, "bf16": 362e12}, 0.35, 5e-4),
    "v100": Processor("V100", {"fp32": 15.7e12, "bf16": 15.7e12}, 0.35, 5e-4),
    "cpu": Processor("one CPU thread", {"fp32": 2e10, "bf16": 1e10}, 1.0, 0.0),
}
"""The paper's timings are of an H100 PCIe. 35 % of the peak is what well-tuned training of transformers reaches (Chowdhery et
al., arXiv 2204.02311, table 3: 21 to 46 %). The CPU's figure is about what runs of this repository did: 6 to 40 GFLOP/s."""
FILLED = {"text": 0.5, "image": 1.0}
"""Tokens of an average item, as a share of its longest length: batches are padded to their longest item."""
RUN_S = 8.0
"""Of a run beside its arithmetic: imports, building and reading the model, files."""


def flops(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How) -> float:
    """Floating-point operations of a run: 2 M per token of a forward pass, with M the numbers in the blocks' matrices (12 n h^2)
    and of generation the output layer (h V). Training takes 3 of these under full fine-tuning (6 M a token), 2 with a frozen
    backbone (4 M: gradients of activations, none of weights) and 1 more with gradient checkpointing; validation each epoch,
    test and the clean training loss take 1. Tokens: items x FILLED x the longest length. Decoding: 1 more pass over the test
    items. Source of the 6 N rule: Kaplan et al., arXiv 2001.08361, section 2.1.
    """
    forward, train, evaluated = _forward(spec, model, data), _rows(spec, data)["train"], _evaluated(spec, data)
    passes = (3 if "backbone" in method_of(spec.method).trains else 2) + how.gradient_checkpointing
    return forward * (passes * train * spec.epochs + evaluated)


def seconds(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How, on: Processor, threads: int = 1) -> float:
    """Wall seconds of a run: the larger of arithmetic and kernel starts, and what is beside them.

        max(FLOPs / (peak x efficiency x processes), passes through blocks x block_s) + decoding + RUN_S

    A CPU's peak is that of its threads. Decoding starts kernels for each token that is written, half of the longest length.
    """
    rows, processes = _rows(spec, data), how.processes * (threads if on.name == PROCESSORS["cpu"].name else 1)
    rate = on.flops[spec.precision] * on.efficiency * processes
    steps = math.ceil(rows["train"] / (items_at_once(spec, how) * how.processes)) * spec.epochs
    evaluations = math.ceil(_evaluated(spec, data) / (items_at_once(spec, how) * how.processes))
    passes = (2 + how.gradient_checkpointing) * steps + evaluations
    decoding = 0.0
    if data.task == "generation":
        batches = math.ceil(rows["test"] / (items_at_once(spec, how) * how.processes))
        written = batches * tokens(spec, model) * FILLED["text"]
        decoding = written * blocks_of(model) * on.block_s + _forward(spec, model, data) * rows["test"] / rate
    arithmetic = flops(spec, model, data, how) / rate
    return max(arithmetic, passes * blocks_of(model) * on.block_s) + decoding + RUN_S


def work(spec: RunSpec, data: DatasetEntry) -> float:
    """What times of runs of one model and data set are compared by: items trained, and a third of those evaluated."""
    return _rows(spec, data)["train"] * spec.epochs + _evaluated(spec, data) / 3


def run_bytes(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How) -> int:
    """Bytes that a finished run leaves: its delta in fp32 (4 T for each kept snapshot, one an epoch of a trajectory),
    predictions (80 bytes a test item, and 4 per token where text is written), 60 kB of result, epochs, spec and log."""
    kept = {"none": 0, "both": 2}.get(how.keep, 1)
    if keeps_trajectory(how.keep, backbone_trains="backbone" in method_of(spec.method).trains):
        kept += spec.epochs + 1
    item = 80 + (4 * tokens(spec, model) * FILLED["text"] if data.task == "generation" else 0)
    return int(4 * counts(spec, model, data).trainable * kept + item * _rows(spec, data)["test"] + 60_000)


def checkpoint_bytes(spec: RunSpec, model: ModelEntry, data: DatasetEntry) -> int:
    """Bytes of an unfinished run's checkpoint: two snapshots and the optimiser's state, 4 T each part (AdamW has two)."""
    parts = 2 + (2 if spec.optimizer == "adamw" else 0)
    return 4 * parts * counts(spec, model, data).trainable


def weights_bytes(model: ModelEntry) -> int:
    """Bytes of a model's weights in fp32."""
    return 4 * (model.parameters + model.lm_head)


def prepared_bytes(model: ModelEntry, data: DatasetEntry, input_size: int) -> int:
    """Bytes of prepared data: 4 per token, or 3 per pixel (images keep their own size; that of the model is taken)."""
    item = 4 * input_size * FILLED["text"] if model.modality == "text" else 3 * input_size**2
    return int(sum(data.sizes.values()) * (item + 40))


def _forward(spec: RunSpec, model: ModelEntry, data: DatasetEntry) -> float:
    """Operations of one item's forward pass."""
    matrices = 12 * blocks_of(model) * model.hidden**2
    if data.task == "generation":
        matrices += model.hidden * vocabulary(model)
    return 2 * matrices * tokens(spec, model) * FILLED[model.modality]


def _rows(spec: RunSpec, data: DatasetEntry) -> dict[str, int]:
    limits = {"train": spec.train_limit, "validation": spec.eval_limit, "test": spec.eval_limit}
    sizes: dict[str, int] = dict(data.sizes)  # type: ignore[arg-type]
    return {name: min(limit or sizes.get(name, 0), sizes.get(name, 0)) for name, limit in limits.items()}


def _evaluated(spec: RunSpec, data: DatasetEntry) -> int:
    rows = _rows(spec, data)
    return rows["validation"] * spec.epochs + rows["test"] + rows["train"]
