"""Schema of a study file (config.yaml). Unknown keys are refused; every field says what it means and its unit.

`peft_lib/study/settings_page.py` makes the table of docs/study.md from the descriptions.
"""

import math
import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from peft_lib.names import near_names
from peft_lib.study.catalogs import Frozen
from peft_lib.study.parsing import HOMES
from peft_lib.study.quantities import QUANTITIES
from peft_lib.study.types import Alpha, Caption, Id, Name, NonNegative, PathText, Positive, Scalar, Seed, Text
from peft_lib.study.wording import OneOrMany, Refused, Words


def check_quantity(name: str) -> str:
    """Raises Refused for a name that quantities.py does not have."""
    if name not in QUANTITIES:
        near = near_names(name, QUANTITIES)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(QUANTITIES)}"
        raise Refused("no quantity of that name can be shown", remedy)
    return name


Quantity = Annotated[str, AfterValidator(check_quantity), Words(f"one of {', '.join(QUANTITIES)}")]


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
    "scaling",
    "batch_size",
    "epochs",
    "selection",
    "targets",
    "clip_norm",
)


Names = Annotated[tuple[Name, ...], OneOrMany(), Field(min_length=1)]


class When(Frozen):
    """Which runs a rule is for: every given key must match; a list matches any of its values."""

    model: Names | None = Field(None, description="model ids", examples=[["minilm_l3"]])
    dataset: Names | None = Field(None, description="data set ids", examples=[["digits"]])
    method: Names | None = Field(None, description="method ids", examples=[["lora"]])
    lr_group: Names | None = Field(None, description="learning-rate groups of methods", examples=[["asym"]])

    not_null: ClassVar[tuple[str, ...]] = ("model", "dataset", "method", "lr_group")


class Rule(Frozen):
    """Settings for some runs; later rules win over earlier ones."""

    when: When = Field(When(), description="which runs; absent: all")
    set: Settings = Field(description="their settings", examples=["{lr: 1e-3}"])
    source: Text = Field(
        description="where the values come from: paper, inferred, ours (how chosen)", examples=['"ours: how chosen"']
    )


class Grid(Frozen):
    """Runs: tasks x methods x seeds x the product of `vary`."""

    tasks: tuple[Annotated[str, Words("a model/dataset pair of catalog ids")], ...] = Field(
        min_length=1, description="model/dataset pairs", examples=[["vit_digits/digits"]]
    )
    methods: tuple[Name, ...] = Field(min_length=1, description="method ids", examples=[["lora", "cla"]])
    seeds: tuple[Seed, ...] = Field(min_length=1, description="one run each", examples=[[12, 22]])
    vary: dict[str, Annotated[tuple[Any, ...], Field(min_length=1)]] = Field(
        default_factory=dict, description=f"setting -> values; of {', '.join(SWEEPABLE)}"
    )
    set: Settings = Field(Settings(), description="settings of this grid alone; win over rules")


class Artefact(Frozen):
    """A table or figure, as data: which grid, what along the axes, which quantity, what stands beside it."""

    id: Id = Field(description="file name of the table", examples=["table2"])
    number: Text | None = Field(None, description="number in the paper, e.g. '2 / 18'", examples=['"2 / 18"'])
    kind: Literal["methods", "efficiency", "parameters", "hyperparameters", "heatmap", "curves", "cost"] = Field(
        description="what it shows"
    )
    grid: Name = Field(description="grid whose runs it shows", examples=["main"])
    title: Text = Field(description="heading", examples=["Performance"])
    caption: Caption = Field("", description="one paragraph below the title")
    metric: Quantity = Field("test_metric", description="quantity shown (peft_lib/study/quantities.py)")
    cost: Quantity = Field("cpu_s", description="quantity on the cost axis")
    rows: Name = Field("rank", description="setting along the rows")
    columns: Name = Field("lr", description="setting along the columns")
    normalise_to: Name | None = Field(None, description="method whose value each row is divided by")
    change_vs_best: bool = Field(False, description="sparse methods: change against the row's best, in percent")
    highlight: int = Field(3, ge=0, le=3, description="how many best values of a row are marked")
    published: Name | None = Field(None, description="file of reports/reference with the paper's values")

    uses: ClassVar[dict[str, tuple[str, ...]]] = {
        "methods": ("metric", "normalise_to", "change_vs_best", "highlight", "published"),
        "efficiency": ("normalise_to", "highlight", "published"),
        "parameters": ("published",),
        "hyperparameters": ("published",),
        "heatmap": ("metric", "rows", "columns", "highlight", "published"),
        "curves": (),
        "cost": ("metric", "cost", "highlight"),
    }
    """Kind -> what it reads beside id, number, kind, grid, title and caption."""


class Catalogs(Frozen):
    """Files with the models and data sets that a study may name, relative to the repository root."""

    models: PathText = Field("config/models.yaml", description="model catalog")
    datasets: PathText = Field("config/datasets.yaml", description="data set catalog")


class Study(Frozen):
    """A study file."""

    id: Id = Field(description="names results/tables/<id> and reports/<id>", examples=["my_study"])
    title: Text = Field(description="heading of the report", examples=['"My study"'])
    question: Text = Field(description="the study in one sentence; opens the report", examples=['"Does it work?"'])
    schema_version: Literal[1] = Field(1, description="version of this schema")
    catalogs: Catalogs = Field(Catalogs(), description="files of models and data sets")
    plugins: tuple[PathText, ...] = Field((), description="Python files with further methods")
    threads: int = Field(
        1, ge=1, le=64, description="processor threads of a run: bits depend on it, so the study fixes it"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where runs compute")
    processes: int = Field(1, ge=1, le=64, description="Accelerate processes of a run")
    micro_batch: int | None = Field(None, ge=1, description="largest batch that one forward pass may take")
    deterministic: bool = Field(True, description="bitwise repeatable kernels on CUDA, at their cost")
    keep: Literal["selected", "both", "none"] = Field("selected", description="which delta a run keeps")
    execution: Literal["default", "dense", "gather", "inplace"] = Field(
        "default", description="how adapted layers compute"
    )
    defaults: Settings = Field(Settings(), description="settings of all runs; rules win over them")
    rules: tuple[Rule, ...] = Field((), description="settings of some runs")
    grids: Annotated[dict[Id, Grid], Words("a mapping: name -> tasks, methods, seeds")] = Field(
        min_length=1, description="name -> runs", examples=["{main: {...}}"]
    )
    artefacts: tuple[Artefact, ...] = Field((), description="tables and figures; none: the runs are only trained")


HOMES.update(dict.fromkeys(Settings.model_fields, "defaults, set of a rule, or set of a grid"))
HOMES.update(dict.fromkeys(Grid.model_fields.keys() - {"set"}, "a grid: grids.<name>"))
HOMES.update(dict.fromkeys(("metric", "normalise_to", "published", "highlight", "change_vs_best"), "an artefact"))
HOMES.update(dict.fromkeys(Study.model_fields.keys() - {"id", "title", "options"}, "the top level"))
HOMES.update(models="catalogs", datasets="catalogs", when="a rule")


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
