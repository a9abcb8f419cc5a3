"""What a run needs of a machine: memory, time, GPUs and their memory, by arithmetic from the catalogs' facts.

An estimate from above for schedulers, which kill what exceeds its request; each attempt asks for twice as much.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.check_models import BLOCKS
from peft_lib.study.counts import counts
from peft_lib.study.how import How
from peft_lib.study.known_methods import method_of
from peft_lib.study.spec import RunSpec

MIB = 2**20
LIBRARIES_MB = {"cpu": 1100, "cuda": 3500}
"""Resident Python, torch and libraries of a process: 0.9 to 1.0 GB were measured for the default study on a CPU; on CUDA,
kernels are loaded too."""
CONTEXT_MB = 800
"""GPU memory that CUDA itself and its libraries take, per process."""
SLACK = 1.15
"""Fragmentation of allocators, buffers of kernels, whatever is not counted."""
KEPT = {"": 24, "gpt2": 31, "deberta": 40}
"""Backbones (by the start of their name; "" is all others) -> fp32 numbers that a block keeps for its backward pass, per token
and width: as counted through autograd's hooks under full fine-tuning (a test counts again); with frozen weights fewer are.
Korthikanti et al. (arXiv 2205.05198, equation 2 without attention scores) have 17 for a block of GPT."""
SCORES = {"deberta": 4}
"""Backbones with explicit attention: matrices (heads x L x L) that a block keeps. Others call fused attention, which keeps
none on CUDA."""
ACTIVATION_BYTES = {"fp32": 4, "bf16": 3}
"""Of a kept number. Under bf16 autocast norms, dropout and sums stay in fp32: 0.6 to 0.8 of fp32's bytes were counted."""
HEAD_WIDTH = 64
VOCABULARY = 130_000
"""Of a decoder whose entry does not say (`architecture.vocab_size`): that of Llama 3, the largest of the paper's."""
LOSS_BYTES = 12
"""Per logit of a generation loss: fp32 logits, log-probabilities, gradient."""
PATCH = 16
SPEED = {("cpu", "fp32"): 4e9, ("cpu", "bf16"): 2e9, ("cuda", "fp32"): 8e12, ("cuda", "bf16"): 4e13}
"""Floating-point operations a second that a process surely does: one CPU thread; an A100 without TF32, and with bf16."""
DECODING_S = {"cpu": 0.2, "cuda": 0.05}
"""Of one step of decoding, for a batch, beside its arithmetic."""
LOADING_MIN = 2
"""Of a run's model and data, for a diagnostic."""
FLOOR_MB, FLOOR_MIN = 4000, 120
"""What any run asks for: below it, a better estimate saves nothing."""


@dataclass(frozen=True)
class Needs:
    """Of one run, all its processes together; `gpu_mem_mb` is that of each of its `gpus`."""

    mem_mb: int
    runtime_min: int
    gpus: int
    gpu_mem_mb: int


def needs(
    spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How, attempt: int = 1, cuda: bool = False
) -> Needs:
    """Estimates a run. `attempt` counts from 1; each one doubles memory and time. `cuda`: it computes on GPUs, so that
    main memory holds no model beyond its loading. GPU fields are given in any case: what it would need on CUDA.

    With P parameters of backbone and head, T of them (or of factors) trained, F = P - those of P that train, W numbers in
    adapted weights, b items of a micro-batch, L tokens of an item, h the width, n blocks, and bytes s of a stored frozen
    number (2 in bf16, else 4):

        state        s F + 4 T (weights) + 4 T (gradients) + 8 T (AdamW's moments; 0 for SGD) + 4 T (DDP's buckets, if there
                     are several processes) + 4 W (originals of adapted weights, kept by chains and in-place execution)
                     + 2 F (casts of fp32 weights, kept until the backward pass, for bf16 arithmetic)
        activations  n b L (24 h) a, with a = 4 bytes in fp32, 3 under bf16; 31 h for GPT-2; 40 h + 4 (h / 64) L for DeBERTa,
                     whose attention is explicit; with gradient checkpointing n b L h a + one block's
        loss         12 b L V for generation over a vocabulary of V
        GPU          0.8 GB + 1.15 (state + activations + loss)
        main memory  1.1 GB + 1.15 (the same) on a CPU, 3.5 GB + s P (loading) on CUDA, and 4 T for each kept snapshot
                     and 12 T for a checkpoint being written; times the processes
        time         (4 M per token trained, 6 under full fine-tuning, 2 more with gradient checkpointing; 2 M per token
                     evaluated: validation each epoch, test and train once) / speed, twice, and decoding of the test set,
                     with M = 12 n h^2 numbers in the blocks' matrices (and h V of a generation's last layer)

    Assumed: every item has the full length L (input_size tokens; (input_size / patch)^2 + 1 of an image), heads are 64
    wide, data are memory-mapped, decoding writes at most L tokens with a cache. 4000 MB and 120 minutes at least.
    """
    device = "cuda" if cuda else "cpu"
    trained = counts(spec, model, data).trainable
    whole = model.body_size(data.outputs) + model.head_size(data.outputs)
    state = _state(spec, model, data, how)
    moving = _activations(spec, model, how) + _loss(spec, model, data, how)
    snapshots = (2 if how.keep == "both" else 1) * 4 * trained + 12 * trained
    loading = whole * (2 if how.storage == "bf16" else 4)
    model_here = loading if cuda else SLACK * (state + moving)
    host_mb = how.processes * (LIBRARIES_MB[device] + model_here / MIB) + snapshots / MIB
    times = 2 ** (attempt - 1)
    return Needs(
        mem_mb=times * max(FLOOR_MB, _rounded(host_mb)),
        runtime_min=times * max(FLOOR_MIN, math.ceil(_seconds(spec, model, data, how, device) / 60)),
        gpus=how.processes,
        gpu_mem_mb=times * _rounded(CONTEXT_MB + SLACK * (state + moving) / MIB),
    )


def needs_of_diagnosis(
    diagnostic: Diagnostic, spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How, attempt: int = 1, cuda: bool = False
) -> Needs:  # fmt: skip
    """Estimates a diagnostic of a run, in one process: never less than training the run would take, and more where the model,
    a forward pass, the run's delta and what the diagnostic holds (`Diagnostic.memory`, `passes`) come to more. Its time is without
    FLOOR_MIN, which is of a job."""
    alone, device = how.model_copy(update={"processes": 1}), "cuda" if cuda else "cpu"
    training = needs(spec, model, data, alone, attempt, cuda)
    whole = model.body_size(data.outputs) + model.head_size(data.outputs)
    adapted = sum(s.d_in * s.d_out * s.count for s in model.targets.get(model.target_set(spec.targets), ()))
    here, host = diagnostic.memory(whole, adapted)
    stored = (2 if how.storage == "bf16" and "backbone" not in method_of(spec.method).trains else 4) * whole
    held = SLACK * (stored + _activations(spec, model, alone) + _loss(spec, model, data, alone) + here)
    host_mb = LIBRARIES_MB[device] + (host + (stored if cuda else held) + 8 * counts(spec, model, data).trainable) / MIB
    rows = dict(data.sizes).get("validation", 0)
    items = diagnostic.passes(spec.batch_size, min(spec.eval_limit or rows, rows))
    seconds = 4 * items * tokens(spec, model) * _matrices(model, data) / SPEED[device, "fp32"]  # as in `_seconds`
    times = 2 ** (attempt - 1)
    return Needs(
        mem_mb=max(training.mem_mb, times * _rounded(host_mb)),
        runtime_min=times * (LOADING_MIN + math.ceil(max(seconds, _seconds(spec, model, data, alone, device)) / 60)),
        gpus=1,
        gpu_mem_mb=max(training.gpu_mem_mb, times * _rounded(CONTEXT_MB + held / MIB)),
    )


def fetching(model: ModelEntry, attempt: int = 1) -> tuple[int, int]:
    """(MB, minutes) of fetching a model's weights: files are copied as they come, at 5 MB/s at least, and 4 bytes are
    fetched per parameter; weights that are converted are held twice. Each attempt doubles both."""
    converted = 2 * 4 * model.parameters / MIB if model.convert else 0
    times = 2 ** (attempt - 1)
    return times * _rounded(2000 + converted), times * max(30, math.ceil(4 * model.parameters / 5e6 / 60))


def _state(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How) -> float:
    """Bytes that stay from step to step."""
    method, trained = method_of(spec.method), counts(spec, model, data).trainable
    moving = "backbone" in method.trains
    frozen = model.head_frozen + (0 if moving else model.body_size(data.outputs) - model.also_trained)
    each = 4 + 4 + (8 if spec.optimizer == "adamw" else 0) + (4 if how.processes > 1 else 0)
    adapted = sum(s.d_in * s.d_out * s.count for s in model.targets[spec.targets]) if method.has_factors else 0
    casts = 2 * frozen if spec.precision == "bf16" and how.storage == "fp32" else 0
    return frozen * (2 if how.storage == "bf16" else 4) + casts + each * trained + 4 * adapted


def _activations(spec: RunSpec, model: ModelEntry, how: How) -> float:
    """Bytes that a forward pass keeps for its backward pass."""
    length, blocks = tokens(spec, model), blocks_of(model)
    kept = _of_family(KEPT, model) * model.hidden
    kept += _of_family(SCORES, model) * math.ceil(model.hidden / HEAD_WIDTH) * length
    per_token = blocks * model.hidden + kept if how.gradient_checkpointing else blocks * kept
    return items_at_once(spec, how) * length * per_token * ACTIVATION_BYTES[spec.precision]


def _of_family(table: Mapping[str, int], model: ModelEntry) -> int:
    fitting = [family for family in table if model.backbone.startswith(family)]
    return table[max(fitting, key=len)] if fitting else 0


def _loss(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How) -> float:
    if data.task != "generation":
        return 0.0
    return items_at_once(spec, how) * tokens(spec, model) * vocabulary(model) * LOSS_BYTES


def vocabulary(model: ModelEntry) -> int:
    return int(model.architecture.get("vocab_size", VOCABULARY))


def _seconds(spec: RunSpec, model: ModelEntry, data: DatasetEntry, how: How, device: str) -> float:
    """Twice the arithmetic's time on a slow device of its kind, and the decoding of generated texts."""
    rows = dict(data.sizes)
    train = min(spec.train_limit or rows["train"], rows["train"])
    validation, test = (min(spec.eval_limit or rows.get(s, 0), rows.get(s, 0)) for s in ("validation", "test"))
    passes = 6 if "backbone" in method_of(spec.method).trains else 4
    passes += 2 if how.gradient_checkpointing else 0
    items = passes * train * spec.epochs + 2 * (validation * spec.epochs + test + train)
    length, matrices = tokens(spec, model), _matrices(model, data)
    seconds = 2 * items * length * matrices / SPEED[device, spec.precision]
    if data.task == "generation":
        seconds += math.ceil(test / items_at_once(spec, how)) * length * DECODING_S[device]
    return seconds / how.processes


def _matrices(model: ModelEntry, data: DatasetEntry) -> int:
    """Numbers in the matrices that a token passes: of the blocks, and of a generation's last layer."""
    last = model.hidden * vocabulary(model) if data.task == "generation" else 0
    return 12 * blocks_of(model) * model.hidden**2 + last


def items_at_once(spec: RunSpec, how: How) -> int:
    """Items of the largest forward pass of one process."""
    share = math.ceil(spec.batch_size / how.processes)
    return min(how.micro_batch or share, share)


def tokens(spec: RunSpec, model: ModelEntry) -> int:
    """Tokens of the longest item."""
    if model.modality == "text":
        return spec.input_size
    return math.ceil(spec.input_size / int(model.architecture.get("patch_size", PATCH))) ** 2 + 1


def blocks_of(model: ModelEntry) -> int:
    """Transformer blocks: as the entry says, or as many as it has adapted places of one kind."""
    for name in BLOCKS:
        if model.layers is None and name in model.architecture:
            return int(model.architecture[name])
    return model.layers or max(shape.count for shapes in model.targets.values() for shape in shapes)


def _rounded(megabytes: float) -> int:
    """Up to the next hundred: a request that looks exact is read as one."""
    return 100 * math.ceil(megabytes / 100)
