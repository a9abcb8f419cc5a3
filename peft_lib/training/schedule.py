"""Learning-rate schedule as a pure function of the step, so that a resume needs no scheduler state."""

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
