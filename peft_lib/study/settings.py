"""The settings of runs: what rules, grids and catalog entries may set of a RunSpec, and which of it a grid may vary."""

import math
import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.study.types import Alpha, Frozen, Name, NonNegative, Positive, Scalar, Seed
from peft_lib.study.wording import Words

SHORTEST_TEXT = 8
"""Tokens that a text is prepared for at least (`input_size`)."""


class Settings(Frozen):
    """Settings of runs. Whatever a method has no use for (rank without factors, chain without links) is ignored.

    An absent setting is inherited; null overrides an inherited value where null has a meaning (no clipping, no limit).
    """

    rank: Annotated[int, Words("a whole number of at least 1")] | None = Field(
        None, ge=1, description="r of every adapted place; at most the smallest place's size", examples=[8]
    )
    alpha: Alpha | None = Field(None, description="scale numerator: number, or multiple of the rank", examples=["2r"])
    scaling: Literal["alpha/r", "alpha/sqrt_r"] | None = Field(None, description="the factor s on every link")
    targets: Name | None = Field(
        None, description="target set of the model's catalog entry, e.g. qv or all", examples=["qv"]
    )
    lr: Positive | None = Field(None, description="peak learning rate; 1e-3.5 means 10^-3.5", examples=["1e-3"])
    head_lr_mult: Positive | None = Field(None, description="learning rate of the head, as a multiple of lr")
    weight_decay: NonNegative | None = Field(None, description="weight decay of the optimiser")
    optimizer: Literal["adamw", "sgd"] | None = Field(None, description="optimiser of all trained parameters")
    schedule: Literal["constant", "linear", "cosine"] | None = Field(None, description="lr after the warm-up")
    warmup_ratio: Annotated[NonNegative, Words("a number of at least 0 and below 1")] | None = Field(
        None, lt=1, description="share of all steps in which lr rises"
    )
    warmup_lr: NonNegative | None = Field(None, description="learning rate before the first warm-up step")
    min_lr: NonNegative | None = Field(None, description="learning rate at the end of linear and cosine schedules")
    clip_norm: Positive | None = Field(None, description="global L2 norm of gradients; null: no clipping")
    epochs: int | None = Field(None, ge=1, le=10_000, description="passes over the training items", examples=[3])
    batch_size: int | None = Field(
        None, ge=1, description="effective batch, over all processes and micro-batches", examples=[32]
    )
    input_size: int | None = Field(None, ge=1, description="tokens (text) or pixels (image side)", examples=[64])
    precision: Literal["fp32", "bf16"] | None = Field(None, description="arithmetic of forward and backward")
    chain_period: int | None = Field(None, ge=1, description="epochs per link; excludes chain_count")
    chain_count: int | None = Field(None, ge=1, description="number of resets spread over the run, as in the release")
    chain_spread: Literal["late", "ends"] | None = Field(None, description="how chain_count is spread")
    optimizer_reset: Literal["adapter", "all", "none"] | None = Field(
        None, description="whose optimiser state a chain reset clears"
    )
    split_seed: Seed | None = Field(None, description="seed of seeded splits; null: the run's seed")
    train_limit: int | None = Field(None, ge=1, description="first so many training items of the seeded order")
    eval_limit: int | None = Field(None, ge=1, description="so many validation and so many test items")
    selection: Literal["val_loss", "val_metric", "last"] | None = Field(None, description="which epoch is reported")
    flip: bool | None = Field(None, description="images: half of the training items, drawn anew, are mirrored")
    rand_augment: Annotated[str, Words("<operations>x<magnitude>, e.g. 2x9")] | None = Field(
        None,
        pattern=r"^[1-9][0-9]?x([0-9]|[12][0-9]|30)$",
        description="images: RandAugment in training",
        examples=['"2x9"'],
    )
    mixup: NonNegative | None = Field(None, description="images: alpha of mixup's Beta distribution; 0: none")
    cutmix: NonNegative | None = Field(None, description="images: alpha of CutMix's Beta distribution; 0: none")
    label_smoothing: Annotated[NonNegative, Words("a number of at least 0 and below 1")] | None = Field(
        None, lt=1, description="classification: share of the training target spread over all classes"
    )
    options: dict[str, Scalar] | None = Field(
        None, description="options of the method; each goes to the methods that have it"
    )

    not_null: ClassVar[tuple[str, ...]] = ()
    nullable: ClassVar[tuple[str, ...]] = (
        "clip_norm", "chain_period", "chain_count", "split_seed", "train_limit", "eval_limit",
        "rand_augment",
    )  # fmt: skip


Settings.not_null = tuple(n for n in Settings.model_fields if n not in Settings.nullable)

SWEEPABLE = (
    "rank",
    "alpha",
    "lr",
    "chain_period",
    "chain_count",
    "chain_spread",
    "scaling",
    "batch_size",
    "epochs",
    "selection",
    "targets",
    "clip_norm",
    "head_lr_mult",
    "weight_decay",
    "schedule",
    "warmup_ratio",
    "optimizer_reset",
    "flip",
    "rand_augment",
    "mixup",
    "cutmix",
    "label_smoothing",
)
OPTION = "options."
"""Start of the name of one option of methods, which grids vary as settings are: options.selector."""


def may_vary(setting: str) -> bool:
    """Whether a grid may vary it."""
    return setting in SWEEPABLE or (setting.startswith(OPTION) and setting != OPTION)


def resolve_alpha(alpha: float | str, rank: int) -> float:
    """Alpha as a number: '2r' -> 2 * rank."""
    if not isinstance(alpha, str):
        return float(alpha)
    match = re.fullmatch(r"([0-9]+)?r(?:/([0-9]+))?", alpha)
    if match is None:
        raise ValueError(f"alpha {alpha!r}: write r/4, r/2, r, 2r, 4r or a number")
    value = float(match[1] or 1) * rank / float(match[2] or 1)
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"alpha {alpha!r} at rank {rank} is {value}: it must be positive")
    return value
