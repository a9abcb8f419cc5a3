"""Catalog entries: what a study may name as a model or a data set (config/models.yaml, config/datasets.yaml).

A catalog entry holds two kinds of fields. The *identity* fields change the numbers; they travel inside every RunSpec
(`ModelRef`, `DatasetRef`). The others are facts about the entry (dimensions, sizes, names, licence): planning checks
ranks and counts parameters with them, and never loads a weight.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

SAFE_ID = r"^[a-z0-9][a-z0-9_]*$"


class Frozen(BaseModel):
    """A validated, immutable record that refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PretrainRecipe(Frozen):
    """How a study pre-trains a backbone itself, from random weights. Part of the model's identity."""

    dataset: str = Field(description="data set id whose train split is used")
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0, description="peak learning rate of AdamW, cosine to zero after a 10 % warm-up")
    weight_decay: float = Field(0.05, ge=0)
    seed: int = 0


class Shape(Frozen):
    """`count` adapted places of the same size, found at modules whose path ends in `module`."""

    module: str = Field(description="last part of the module path, e.g. 'query' or 'qkv'")
    d_in: int = Field(ge=1)
    d_out: int = Field(ge=1, description="height of the adapted output slice")
    count: int = Field(ge=1, description="number of such places in the model")
    rows: tuple[int, int] | None = Field(None, description="output slice [start, stop) of a fused projection")


class ModelRef(Frozen):
    """The part of a model's catalog entry that changes numbers."""

    id: str = Field(pattern=SAFE_ID)
    source: str = Field(description="URI of the weights: package:..., or pretrain:<architecture>")
    revision: str | None = Field(None, description="pinned revision or package version")
    layers: int | None = Field(None, ge=1, description="use only the first so many transformer blocks")
    architecture: dict[str, int | float | str | bool] = Field(
        default_factory=dict, description="constructor arguments of a backbone built from scratch"
    )
    pretrain: PretrainRecipe | None = None


class DatasetRef(Frozen):
    """The part of a data set's catalog entry that changes numbers."""

    id: str = Field(pattern=SAFE_ID)
    source: str = Field(description="URI: generated:..., sklearn:..., mlxtend:...")
    revision: str | None = Field(None, description="pinned revision or package version")
    options: dict[str, int | float | str | bool] = Field(default_factory=dict, description="loader options")


class Entry(Frozen):
    id: str = Field(pattern=SAFE_ID)
    name: str = Field(description="display name, plain text")
    license: str
    homepage: str | None = None


class ModelEntry(Entry):
    """One line of config/models.yaml."""

    backbone: str = Field(pattern=SAFE_ID, description="file in peft_lib/backbones that builds it")
    modality: Literal["text", "image"]
    source: str
    revision: str | None = None
    layers: int | None = Field(None, ge=1)
    architecture: dict[str, int | float | str | bool] = Field(default_factory=dict)
    pretrain: PretrainRecipe | None = None
    hidden: int = Field(ge=1, description="width of the features that the head reads")
    parameters: int = Field(ge=1, description="parameters of the backbone without any head")
    head_parameters: int = Field(ge=0, description="parameters of the head that do not depend on the number of classes")
    targets: dict[str, tuple[Shape, ...]] = Field(description="named target sets, e.g. qv and all")
    max_length: int | None = Field(None, ge=1, description="longest token sequence (text)")

    def ref(self) -> ModelRef:
        return ModelRef(**{k: getattr(self, k) for k in ModelRef.model_fields})

    def head_size(self, num_labels: int) -> int:
        """Parameters of the classification head: a fixed part plus one weight row and bias per class."""
        return self.head_parameters + num_labels * (self.hidden + 1)


class DatasetEntry(Entry):
    """One line of config/datasets.yaml."""

    loader: str = Field(pattern=SAFE_ID, description="file in peft_lib/data that reads or makes it")
    modality: Literal["text", "image"]
    task: Literal["classification"] = "classification"
    source: str
    revision: str | None = None
    options: dict[str, int | float | str | bool] = Field(default_factory=dict)
    num_labels: int = Field(ge=2)
    metric: Literal["accuracy"] = "accuracy"
    sizes: dict[str, int] = Field(description="rows of train, validation and test as used")
    description: str = Field(description="one sentence for the report")

    @field_validator("sizes")
    @classmethod
    def _three_splits(cls, sizes: dict[str, int]) -> dict[str, int]:
        if set(sizes) - {"train", "validation", "test"} or "train" not in sizes:
            raise ValueError("sizes has train and, where they exist, validation and test")
        return sizes

    def ref(self) -> DatasetRef:
        return DatasetRef(**{k: getattr(self, k) for k in DatasetRef.model_fields})
