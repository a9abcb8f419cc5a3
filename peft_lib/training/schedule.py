"""Learning rate and chain resets as pure functions of the step or epoch, so that a resume needs no scheduler state."""

import math

from peft_lib.study.spec import RunSpec


def lr_factor(spec: RunSpec, step: int, total: int) -> float:
    """Factor on every group's learning rate at optimiser step `step` (0-based) of `total`.

    Warm-up over w = floor(warmup_ratio * total) steps rises linearly from warmup_lr / lr to 1. Then, with p running from
    0 to 1 over the remaining steps and m = min_lr / lr (at most 1): constant 1; linear 1 + (m - 1) p; cosine
    m + (1 - m) (1 + cos(pi p)) / 2. Groups keep their ratios (LoRA+, head). Chain resets do not touch it (PROTOCOL 13.17).
    """
    warmup = math.floor(spec.warmup_ratio * total)
    if step < warmup:
        start = min(spec.warmup_lr / spec.lr, 1.0)
        return start + (1.0 - start) * step / warmup
    if spec.schedule == "constant":
        return 1.0
    floor = min(spec.min_lr / spec.lr, 1.0)
    progress = (step - warmup) / max(1, total - warmup - 1)
    if spec.schedule == "linear":
        return 1.0 + (floor - 1.0) * progress
    return floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress))


def chain_resets(spec: RunSpec) -> tuple[int, ...]:
    """Epochs (1-based) before which a chain reset happens; empty without a chain.

    Period N: after the validation of epochs N, 2N, ..., never after the last (PROTOCOL 13.14-15). Count C, as in the
    release: C resets spread over epochs 2..E, 'late' at 2 + round((E - 2) i / C) for i = 1..C (its DeBERTa code), or
    'ends' at C evenly spaced epochs from 2 to E, both included (its TinyLlama and Llama code; one reset falls on E).
    """
    last = spec.epochs
    if spec.chain_period is not None:
        return tuple(range(spec.chain_period + 1, last + 1, spec.chain_period))
    if spec.chain_count is None or last < 2:
        return ()
    count = spec.chain_count
    if spec.chain_spread == "late" or count == 1:
        return tuple(sorted({2 + round((last - 2) * i / count) for i in range(1, count + 1)}))
    return tuple(sorted({2 + round((last - 2) * i / (count - 1)) for i in range(count)}))
