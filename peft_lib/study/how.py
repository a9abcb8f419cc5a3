"""How a run is executed: what a study, its rules and the model catalog may say of it, outside the run's specification.

It depends on a run's model, data set and method alone, so that runs which grids share have one way of being executed.
"""

from typing import ClassVar, Literal

from pydantic import Field

from peft_lib.study.types import Frozen

KEEPS_DELTA = ("selected", "both", "trajectory", "dense_trajectory")
"""Values of `keep` that leave the selected delta."""


def keeps_trajectory(keep: str, *, backbone_trains: bool) -> bool:
    """Whether a run leaves a delta of every epoch."""
    return keep == "dense_trajectory" or (keep == "trajectory" and not backbone_trains)


class How(Frozen):
    """Recorded with each result, and in no run id: two ways of executing a run are the same run.

    One record serves twice: as a layer, of which only the given fields count (`model_fields_set`), and resolved.
    """

    processes: int = Field(1, ge=1, le=64, description="Accelerate processes of a run; each has a GPU of its own")
    micro_batch: int | None = Field(
        None, ge=1, description="largest batch that one forward pass of one process takes; null: the whole batch"
    )
    execution: Literal["default", "dense", "gather", "inplace"] = Field(
        "default", description="how adapted layers compute"
    )
    keep: Literal["selected", "both", "none", "trajectory", "dense_trajectory"] = Field(
        "selected",
        description=(
            "which delta a run keeps: of the selected epoch, of the last one too, or none; trajectory: beside the selected "
            "one that of every epoch, where only adapters and head train; dense_trajectory: also under full fine-tuning, "
            "all weights an epoch"
        ),
    )
    storage: Literal["fp32", "bf16"] = Field(
        "fp32", description="how frozen weights are stored; bf16 rounds those of a checkpoint that has more digits"
    )
    gradient_checkpointing: bool = Field(
        False, description="keep only the inputs of blocks for the backward pass: less memory, a third more time"
    )

    not_null: ClassVar[tuple[str, ...]] = ("processes", "execution", "keep", "storage", "gradient_checkpointing")
    nullable: ClassVar[tuple[str, ...]] = ("micro_batch",)
