"""Catalog entries: what a study may name as a model or a data set (config/models.yaml, config/datasets.yaml).

A catalog entry holds two kinds of fields. The *identity* fields change the numbers; they travel inside every RunSpec
(`ModelRef`, `DatasetRef`). The others are facts about the entry (dimensions, sizes, names, licence): planning checks
ranks and counts parameters with them, and never loads a weight.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from peft_lib.study.how import How
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.settings import Settings
from peft_lib.study.types import SAFE_ID, Frozen, Id, Line, Name, NonNegative, Positive, Scalar, Seed, Text
from peft_lib.study.wording import Words, known


def check_metric(name: str) -> str:
    """Raises Refused for a metric that quantities.py does not have."""
    return known(name, DATASET_METRICS, "no metric of that name is known")


Size = Annotated[int, Field(ge=1)]
Source = Annotated[str, Words("a source: <scheme>:<what>, e.g. package:my_package/model or sklearn:digits")]
Revision = Annotated[Line, Words("a text that pins the content: a version or a hash")]
Options = dict[str, Scalar]
Metric = Annotated[str, AfterValidator(check_metric), Words(f"one of {', '.join(DATASET_METRICS)}")]


class PretrainRecipe(Frozen):
    """How a study pre-trains a backbone itself, from random weights. Part of the model's identity."""

    dataset: Name = Field(description="data set id whose train split is used")
    epochs: int = Field(ge=1, description="passes over the train split")
    batch_size: int = Field(ge=1, description="items a step")
    lr: Positive = Field(description="peak learning rate of AdamW, cosine to zero after a 10 % warm-up")
    weight_decay: NonNegative = Field(0.05, description="decoupled weight decay")
    seed: Seed = Field(0, description="seed of start and order")


class Shape(Frozen):
    """`count` adapted places of the same size, found at modules whose path ends in `module`."""

    module: Line = Field(description="last part of the module path, e.g. 'query' or 'qkv'")
    d_in: int = Field(ge=1, le=1_000_000, description="width of the adapted input")
    d_out: int = Field(ge=1, le=1_000_000, description="height of the adapted output slice")
    count: int = Field(ge=1, le=10_000, description="number of such places in the model")
    rows: tuple[int, int] | None = Field(None, description="output slice [start, stop) of a fused projection")


class ModelRef(Frozen):
    """The part of a model's catalog entry that changes numbers."""

    id: str = Field(pattern=SAFE_ID)
    source: str = Field(description="URI of the weights: hub:..., package:..., mirror:..., pretrain:... or random:...")
    revision: str | None = Field(None, description="pinned revision or package version")
    layers: int | None = Field(None, ge=1, description="use only the first so many transformer blocks")
    architecture: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="constructor arguments of a backbone built from scratch"
    )
    options: dict[str, int | float | str | bool] = Field(default_factory=dict, description="options of the backbone")
    pretrain: PretrainRecipe | None = None


class DatasetRef(Frozen):
    """The part of a data set's catalog entry that changes numbers."""

    id: str = Field(pattern=SAFE_ID)
    source: str = Field(description="URI: generated:..., sklearn:..., mlxtend:...")
    revision: str | None = Field(None, description="pinned revision or package version")
    options: dict[str, int | float | str | bool] = Field(default_factory=dict, description="loader options")


class LockedSplit(Frozen):
    """What a split is: its rows, and the hash of their content (data/lock.py)."""

    rows: int = Field(ge=0, description="number of rows")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="hash of the rows' content, as the loader reads them")


class Lock(Frozen):
    """A data set's entry in the lock file beside the catalog. `commit` says where to look; the splits say what it is."""

    source: str = Field(description="source that was locked")
    commit: str | None = Field(
        None, pattern=r"^[0-9a-f]{40}$", description="commit of the hub's repository, once known"
    )
    columns: tuple[str, ...] = Field(description="columns that the loader reads")
    splits: dict[str, LockedSplit] = Field(description="the splits that the loader reads, as far as they are known")


class Entry(Frozen):
    id: Id
    name: Text = Field(description="display name, plain text")
    license: Text = Field(description="licence of weights or data")
    homepage: Text | None = Field(None, description="address of a page about it")


class ModelEntry(Entry):
    """One line of config/models.yaml."""

    backbone: Name = Field(description="file in peft_lib/backbones that builds it", examples=["bert"])
    modality: Literal["text", "image"] = Field(description="what it reads")
    source: Source = Field(
        description="hub:<org>/<name>, package:<import name>/<folder or GGUF file>, mirror:<folder>, pretrain:<architecture> "
        "or random:<seed>", examples=["hub:openai-community/gpt2"],
    )  # fmt: skip
    revision: Revision | None = Field(
        None, description="commit on the hub, version of the package, or hash of the weights", examples=['"1.0"']
    )
    convert: Literal["pytorch_model.bin"] | None = Field(
        None, description="pickled weights to read, without running code, where a repository has no safetensors"
    )
    layers: int | None = Field(None, ge=1, description="use only the first so many transformer blocks")
    architecture: Options = Field(
        default_factory=dict, description="what its config.json says of shapes, or constructor arguments"
    )
    options: Options = Field(default_factory=dict, description="options of the backbone, e.g. a frozen head layer")
    pretrain: PretrainRecipe | None = Field(None, description="recipe of a pretrain: source")
    hidden: int = Field(ge=1, description="width of the features that the head reads")
    parameters: int = Field(ge=1, description="parameters of the backbone without any head")
    head_parameters: int = Field(ge=0, description="parameters of the head that do not depend on the number of outputs")
    head_bias: bool = Field(True, description="whether the head's last layer has a bias")
    head_frozen: int = Field(0, ge=0, description="of the head's parameters, those that no method trains")
    lm_head: int = Field(0, ge=0, description="parameters of the output layer, where it is not the token embedding")
    also_trained: int = Field(0, ge=0, description="parameters of the backbone that every method trains in full")
    targets: dict[Id, Annotated[tuple[Shape, ...], Field(min_length=1)]] = Field(
        min_length=1, description="named target sets, e.g. qv and all"
    )
    max_length: int | None = Field(None, ge=1, description="longest token sequence (text)")
    settings: Settings = Field(Settings(), description="recommended settings of its runs; a study's own win")
    how: How = Field(How(), description="recommended way of executing its runs; a study's own keys and rules win")

    def ref(self) -> ModelRef:
        return ModelRef(**{k: getattr(self, k) for k in ModelRef.model_fields})

    def target_set(self, wanted: str) -> str:
        """Name of the target set that diagnostics of a run look at: the run's; where the entry has none of that name (full
        fine-tuning adapts none), qv, or the first. Empty without any."""
        return wanted if wanted in self.targets else "qv" if "qv" in self.targets else next(iter(self.targets), "")

    def body_size(self, outputs: int | None) -> int:
        """Parameters of the model without a head: where text is generated, its output layer is a part of it."""
        return self.parameters + (self.lm_head if outputs is None else 0)

    def head_size(self, outputs: int | None) -> int:
        """Parameters of the head: a fixed part plus one weight row (and bias) per output; none where text is generated."""
        return 0 if outputs is None else self.head_parameters + outputs * (self.hidden + self.head_bias)


class DatasetEntry(Entry):
    """One line of config/datasets.yaml."""

    loader: Name = Field(description="file in peft_lib/data that reads or makes it", examples=["digits"])
    modality: Literal["text", "image"] = Field(description="what a model must read")
    task: Literal["classification", "regression", "generation"] = Field("classification", description="what is learnt")
    source: Source = Field(description="where the data come from: <scheme>:<what>", examples=["sklearn:digits"])
    revision: Revision | None = Field(None, description="what content it is; the loader checks it", examples=['"1"'])
    options: Options = Field(default_factory=dict, description="options of the loader")
    num_labels: int | None = Field(None, ge=2, description="classes (classification only)")
    metric: Metric = Field("accuracy", description="headline metric on test")
    measures: tuple[Metric, ...] = Field((), description="metrics that are recorded beside the headline")
    carve_out: Text | None = Field(
        None, description="how the splits differ from the published ones; shown with results"
    )
    sizes: dict[Literal["train", "validation", "test"], Size] = Field(
        description="rows of train, validation and test as used", examples=["{train: 800, validation: 100, test: 100}"]
    )
    settings: Settings = Field(
        Settings(), description="recommended settings of runs on it; they win over the model's, a study's own over both"
    )
    description: Text = Field(description="one sentence for the report")
    _lock: Lock | None = PrivateAttr(None)

    @property
    def lock(self) -> Lock | None:
        """What the lock file beside the catalog says of its data; None for data that a loader makes itself."""
        return self._lock

    def locked(self, lock: Lock | None) -> "DatasetEntry":
        """The same entry with that lock."""
        entry = self.model_copy()
        entry._lock = lock
        return entry

    @property
    def outputs(self) -> int | None:
        """Numbers that a head gives per item: the classes, one for regression, None where text is generated."""
        return {"classification": self.num_labels, "regression": 1, "generation": None}[self.task]

    def ref(self) -> DatasetRef:
        return DatasetRef(**{k: getattr(self, k) for k in DatasetRef.model_fields})
