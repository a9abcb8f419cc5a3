"""Schema of a study file (config.yaml). Unknown keys are refused; every field says what it means and its unit."""

import math
import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from peft_lib.study.catalogs import SAFE_ID, Frozen
from peft_lib.study.quantities import QUANTITIES


def parse_number(value: Any) -> Any:
    """Reads '1e-3.5' as 10^-3.5, the paper's notation, and '1e-3', which YAML 1.1 takes for a text."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9.]*)e([+-]?[0-9]+(?:\.[0-9]+)?)", value.strip())):
        return float(match[1] or 1) * 10.0 ** float(match[2])
    return value


def parse_alpha(value: Any) -> Any:
    """Reads alpha given as a multiple of the rank, in the paper's notation: r/4, r/2, r, 2r, 4r."""
    value = parse_number(value)
    if isinstance(value, str) and not re.fullmatch(r"([0-9]+)?r(/[0-9]+)?", value):
        raise ValueError("alpha is a number, or a multiple of the rank written r/4, r/2, r, 2r, 4r")
    return value


Number = Annotated[float, BeforeValidator(parse_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
Id = Annotated[str, Field(pattern=SAFE_ID, max_length=64)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


def as_list(value: Any) -> Any:
    return value if isinstance(value, (list, tuple)) or value is None else [value]


class Settings(Frozen):
    """Settings of runs. Whatever a method has no use for (rank without factors, chain without links) is ignored."""

    rank: int | None = Field(None, ge=1)
    alpha: Annotated[Number | str | None, BeforeValidator(parse_alpha)] = Field(
        None, description="scale numerator: number, or multiple of the rank ('2r')"
    )
    scaling: Literal["alpha/r", "alpha/sqrt_r"] | None = None
    targets: Id | None = Field(None, description="target set of the model's catalog entry: qv, all")
    lr: Positive | None = Field(None, description="peak learning rate; 1e-3.5 means 10^-3.5")
    head_lr_mult: Positive | None = Field(None, description="learning rate of the head, as a multiple of lr")
    weight_decay: NonNegative | None = None
    optimizer: Literal["adamw", "sgd"] | None = None
    schedule: Literal["constant", "linear", "cosine"] | None = None
    warmup_ratio: Annotated[NonNegative | None, Field(le=1)] = Field(None, description="share of all steps")
    warmup_lr: NonNegative | None = Field(None, description="learning rate before the first warm-up step")
    min_lr: NonNegative | None = Field(None, description="learning rate at the end of linear and cosine schedules")
    clip_norm: Positive | None = Field(None, description="global L2 norm of gradients; absent: no clipping")
    epochs: int | None = Field(None, ge=1, le=10_000)
    batch_size: int | None = Field(None, ge=1, description="effective batch, over all processes and micro-batches")
    input_size: int | None = Field(None, ge=1, description="tokens (text) or pixels (image side)")
    precision: Literal["fp32", "bf16"] | None = None
    chain_period: int | None = Field(None, ge=1, description="epochs per link; excludes chain_count")
    chain_count: int | None = Field(None, ge=1, description="number of resets spread over the run, as in the release")
    chain_spread: Literal["late", "ends"] | None = Field(None, description="how chain_count is spread")
    optimizer_reset: Literal["adapter", "all", "none"] | None = Field(
        None, description="whose optimiser state a chain reset clears"
    )
    split_seed: Seed | None = Field(None, description="seed of seeded splits; absent: the run's seed")
    train_limit: int | None = Field(None, ge=1, description="first so many training items of the seeded order")
    eval_limit: int | None = Field(None, ge=1, description="so many validation and so many test items")
    selection: Literal["val_loss", "val_metric", "last"] | None = Field(None, description="which epoch is reported")
    options: dict[str, str | int | float | bool] | None = Field(None, description="options of the method")


SWEEPABLE = (
    "rank",
    "alpha",
    "lr",
    "chain_period",
    "chain_count",
    "scaling",
    "batch_size",
    "epochs",
    "selection",
    "targets",
)


class When(Frozen):
    """Which runs a rule is for: every given key must match; a list matches any of its values."""

    model: Annotated[tuple[Id, ...] | None, BeforeValidator(as_list)] = None
    dataset: Annotated[tuple[Id, ...] | None, BeforeValidator(as_list)] = None
    method: Annotated[tuple[Id, ...] | None, BeforeValidator(as_list)] = None
    lr_group: Annotated[tuple[Literal["fft", "lora", "asym"], ...] | None, BeforeValidator(as_list)] = None


class Rule(Frozen):
    """Settings for some runs; later rules win over earlier ones."""

    when: When = When()
    set: Settings
    source: str = Field(min_length=1, description="where the values come from: paper, inferred, ours (how chosen)")


class Grid(Frozen):
    """Runs: tasks x methods x seeds x the product of `vary`."""

    tasks: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+/[a-z0-9_]+$")], ...] = Field(
        min_length=1, description="model/dataset pairs"
    )
    methods: tuple[Id, ...] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(min_length=1)
    vary: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="setting -> values")
    set: Settings = Settings()

    @model_validator(mode="after")
    def _distinct(self) -> "Grid":
        for name in ("tasks", "methods", "seeds"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name} lists a value twice: {list(values)}")
        for name, values in self.vary.items():
            if name not in SWEEPABLE:
                raise ValueError(f"vary: {name!r} cannot be varied. Use one of {', '.join(SWEEPABLE)}")
            if not values:
                raise ValueError(f"vary: {name} has no values")
        return self


class Artefact(Frozen):
    """A table or figure, as data: which grid, what along the axes, which quantity, what stands beside it."""

    id: Id
    number: str | None = Field(None, description="number in the paper, e.g. '2 / 18'")
    kind: Literal["methods", "efficiency", "parameters", "hyperparameters", "heatmap", "curves", "cost"]
    grid: Id
    title: str = Field(min_length=1)
    caption: str = ""
    metric: str = Field("test_metric", description="one of peft_lib/study/quantities.py")
    cost: str = Field("cpu_s", description="quantity on the cost axis (kind cost)")
    rows: str = Field("rank", description="setting along the rows (kind heatmap)")
    columns: str = Field("lr", description="setting along the columns (kind heatmap)")
    normalise_to: Id | None = Field(None, description="method whose value each row is divided by")
    change_vs_best: bool = Field(False, description="sparse methods: change against the row's best, in percent")
    highlight: int = Field(3, ge=0, le=3, description="how many best values of a row are marked")
    published: str | None = Field(None, description="file of reports/reference with the paper's values")

    @model_validator(mode="after")
    def _known(self) -> "Artefact":
        for name in (self.metric, self.cost):
            if name not in QUANTITIES:
                raise ValueError(f"unknown quantity {name!r}. Use one of {', '.join(QUANTITIES)}")
        return self


class Catalogs(Frozen):
    """Files with the models and data sets that a study may name, relative to the repository root."""

    models: str = "config/models.yaml"
    datasets: str = "config/datasets.yaml"


class Study(Frozen):
    """A study file."""

    id: Id
    title: str = Field(min_length=1)
    question: str = Field(min_length=1, description="the study in one sentence; opens the report")
    schema_version: Literal[1] = 1
    catalogs: Catalogs = Catalogs()
    plugins: tuple[str, ...] = Field((), description="Python files with further methods")
    threads: int = Field(
        1, ge=1, le=64, description="processor threads of a run: bits depend on it, so the study fixes it"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    processes: int = Field(1, ge=1, le=64, description="Accelerate processes of a run")
    micro_batch: int | None = Field(None, ge=1, description="largest batch that one forward pass may take")
    deterministic: bool = Field(True, description="bitwise repeatable kernels on CUDA, at their cost")
    keep: Literal["selected", "both", "none"] = Field("selected", description="which delta a run keeps")
    execution: Literal["default", "dense", "gather", "inplace"] = "default"
    defaults: Settings = Settings()
    rules: tuple[Rule, ...] = ()
    grids: dict[Id, Grid] = Field(min_length=1)
    artefacts: tuple[Artefact, ...] = ()

    @model_validator(mode="after")
    def _distinct(self) -> "Study":
        ids = [a.id for a in self.artefacts]
        if len(set(ids)) < len(ids):
            raise ValueError(f"artefacts: ids must differ, found {sorted({i for i in ids if ids.count(i) > 1})} twice")
        return self


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
