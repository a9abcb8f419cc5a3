"""Schema of a study file (config.yaml). Unknown keys are refused; every field says what it means and its unit.

`peft_lib/study/settings_page.py` makes the table of docs/study.md from the descriptions.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from peft_lib.artefacts.registry import AnyArtefact
from peft_lib.study.how import How
from peft_lib.study.parsing import HOMES
from peft_lib.study.settings import SWEEPABLE, Settings
from peft_lib.study.types import Frozen, Id, Name, Names, PathText, Seed, Text
from peft_lib.study.wording import OneOrMany, Words


class When(Frozen):
    """Which runs a rule is for: every given key must match; a list matches any of its values."""

    model: Names | None = Field(None, description="model ids", examples=[["minilm_l3"]])
    dataset: Names | None = Field(None, description="data set ids", examples=[["digits"]])
    method: Names | None = Field(None, description="method ids", examples=[["lora"]])
    lr_group: Names | None = Field(None, description="learning-rate groups of methods", examples=[["asym"]])
    grid: Names | None = Field(None, description="names of grids; not for how", examples=[["main"]])

    not_null: ClassVar[tuple[str, ...]] = ("model", "dataset", "method", "lr_group", "grid")


class Rule(Frozen):
    """Settings for some runs, and how these are executed; later rules win over earlier ones."""

    when: When = Field(When(), description="which runs; absent: all")
    set: Settings = Field(Settings(), description="their settings", examples=["{lr: 1e-3}"])
    how: How = Field(How(), description="how they are executed; a rule has set, how, or both")
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
        default_factory=dict, description=f"setting -> values; of {', '.join(SWEEPABLE)}, options.<name>"
    )
    set: Settings = Field(Settings(), description="settings of this grid alone; win over rules")


class Catalogs(Frozen):
    """Files with the models and data sets that a study may name, relative to the repository root."""

    models: PathText = Field("config/models.yaml", description="model catalog")
    datasets: PathText = Field("config/datasets.yaml", description="data set catalog")


class Assets(Frozen):
    """Where files come from that are fetched once. Transport only: what they have to contain is pinned elsewhere."""

    mirror: PathText | None = Field(
        None, description="folder that holds copies of hub repositories; absent: that of BEYOND_LORA_MIRROR, if set"
    )


class Only(Frozen):
    """A part of a study: the runs that fit every given key. It changes no run and no table, only what is asked for."""

    artefact: Names | None = Field(None, description="ids of artefacts: the runs that they show", examples=[["table2"]])
    grid: Names | None = Field(None, description="names of grids", examples=[["main"]])
    model: Names | None = Field(None, description="model ids", examples=[["minilm_l3"]])
    dataset: Names | None = Field(None, description="data set ids", examples=[["digits"]])
    method: Names | None = Field(None, description="method ids", examples=[["lora"]])
    seed: Annotated[tuple[Seed, ...], OneOrMany(), Field(min_length=1)] | None = Field(
        None, description="seeds", examples=[[12]]
    )

    not_null: ClassVar[tuple[str, ...]] = ("artefact", "grid", "model", "dataset", "method", "seed")


class Study(How):
    """A study file. Its own keys of `How` are the defaults of all its runs."""

    id: Id = Field(description="names results/tables/<id> and reports/<id>", examples=["my_study"])
    title: Text = Field(description="heading of the report", examples=['"My study"'])
    question: Text = Field(description="the study in one sentence; opens the report", examples=['"Does it work?"'])
    schema_version: Literal[1] = Field(1, description="version of this schema")
    catalogs: Catalogs = Field(Catalogs(), description="files of models and data sets")
    assets: Assets = Field(Assets(), description="where files are fetched from")
    plugins: tuple[PathText, ...] = Field((), description="Python files with further methods")
    threads: int = Field(
        1, ge=1, le=64, description="processor threads of a run: bits depend on it, so the study fixes it"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where runs compute")
    deterministic: bool = Field(True, description="bitwise repeatable kernels on CUDA, at their cost")
    defaults: Settings = Field(Settings(), description="settings of all runs; rules win over them")
    rules_from: tuple[PathText, ...] = Field(
        (), description="CSV files of rules, applied in order before `rules`", examples=[["config/rules.csv"]]
    )
    rule_texts: dict[PathText, str] = Field(
        default_factory=dict, description="recorded studies: file of rules_from -> its text, read in place of the file"
    )
    rules: tuple[Rule, ...] = Field((), description="settings of some runs")
    grids: Annotated[dict[Id, Grid], Words("a mapping: name -> tasks, methods, seeds")] = Field(
        default_factory=dict,
        min_length=1,
        description="name -> runs; absent: no runs, which only artefacts without a grid of their own can do without",
        examples=["{main: {...}}"],
    )
    artefacts: tuple[AnyArtefact, ...] = Field((), description="tables and figures; none: the runs are only trained")
    runs_per_diagnosis: int = Field(
        1,
        ge=1,
        le=1000,
        description="runs of a task that one diagnostic job takes, so that a small model is loaded once",
    )
    only: Only = Field(Only(), description="the part of the study whose runs are asked for; absent: all")


HOMES.update(dict.fromkeys(Settings.model_fields, "defaults, set of a rule, or set of a grid"))
HOMES.update(dict.fromkeys(Grid.model_fields.keys() - {"set"}, "a grid: grids.<name>"))
HOMES.update(dict.fromkeys(("metric", "normalise_to", "published", "highlight", "change_vs_best"), "an artefact"))
HOMES.update(dict.fromkeys(Study.model_fields.keys() - How.model_fields.keys() - {"id", "title"}, "the top level"))
HOMES.update(dict.fromkeys(How.model_fields, "the top level, how of a rule, or how of a model's catalog entry"))
HOMES.update(models="catalogs", datasets="catalogs", when="a rule", how="a rule", mirror="assets")
