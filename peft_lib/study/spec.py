"""RunSpec: everything that may change a run's numbers, and nothing else; its canonical form and run id."""

import hashlib
import json
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from peft_lib.study.catalogs import DatasetRef, ModelRef
from peft_lib.study.types import Frozen

SPEC_VERSION = 1


class RunSpec(Frozen):
    """One training run. Defaults here are part of the run id's meaning: never change one, add a field instead."""

    model: ModelRef
    dataset: DatasetRef
    method: str
    seed: int
    lr: float = Field(gt=0)
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    input_size: int = Field(ge=1)
    options: dict[str, str | int | float | bool] = Field(default_factory=dict)
    targets: str = "qv"
    rank: int = Field(16, ge=1)
    alpha: float = Field(32.0, gt=0)
    scaling: Literal["alpha/r", "alpha/sqrt_r"] = "alpha/r"
    head_lr_mult: float = Field(1.0, gt=0)
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_ratio: float = Field(0.0, ge=0, le=1)
    warmup_lr: float = Field(1e-6, ge=0)
    min_lr: float = Field(1e-6, ge=0)
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    chain_period: int | None = Field(None, ge=1)
    chain_count: int | None = Field(None, ge=1)
    chain_spread: Literal["late", "ends"] = "late"
    optimizer_reset: Literal["adapter", "all", "none"] = "adapter"
    split_seed: int | None = None
    train_limit: int | None = Field(None, ge=1)
    eval_limit: int | None = Field(None, ge=1)
    selection: Literal["val_loss", "val_metric", "last"] = "val_loss"
    flip: bool = False
    rand_augment: str | None = None
    mixup: float = Field(0.0, ge=0)
    cutmix: float = Field(0.0, ge=0)
    label_smoothing: float = Field(0.0, ge=0, lt=1)

    @cached_property
    def canonical(self) -> str:
        """Canonical JSON: defaults left out, numbers to 6 significant digits (32 and 32.0 alike), keys sorted."""
        return _text(rounded({"spec_version": SPEC_VERSION, **self.model_dump(exclude_defaults=True)}))

    @cached_property
    def run_id(self) -> str:
        """First 12 hex digits of the canonical form's SHA-256."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()[:12]

    @property
    def folder(self) -> str:
        """Where the run lives below results/runs."""
        return f"{self.model.id}/{self.dataset.id}/{self.method}/{self.run_id}"

    def with_seed(self, seed: int) -> "RunSpec":
        """The same run with another seed, without validating anew what has been validated."""
        other = self.model_copy(update={"seed": seed})
        other.__dict__.pop("run_id", None)  # copied with the rest
        other.__dict__["canonical"] = _text({**json.loads(self.canonical), "seed": seed})
        return other

    @classmethod
    def from_canonical(cls, text: str) -> "RunSpec":
        """Inverse of `canonical` (numbers as rounded there, which is what runs are given)."""
        fields = json.loads(text)
        version = fields.pop("spec_version", None)
        if version != SPEC_VERSION:
            raise ValueError(
                f"spec_version {version!r}: this code reads {SPEC_VERSION}. Use the release that wrote the spec"
            )
        return cls.model_validate(fields)


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def rounded(value: Any) -> Any:
    """A value as the canonical form has it: numbers to 6 significant digits, whole ones as integers, tuples as lists."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(v) for v in value]
    if isinstance(value, float):
        short = float(f"{value:.6g}")
        return int(short) if short.is_integer() and abs(short) < 2**53 else short
    return value
