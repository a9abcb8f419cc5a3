"""Options that landscapes and sharpness share: which weights move, how far, on which items the loss is taken."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from peft_lib.diagnostics.diagnostic import Need
from peft_lib.study.types import Frozen, Positive, Seed
from peft_lib.study.wording import Refused, Words

POINTS_WORDS = "an odd whole number of at least 3 and at most 201"


def check_points(value: int) -> int:
    """Raises Refused for a number of points whose middle is not the centre."""
    if not 3 <= value <= 201 or value % 2 == 0:
        raise Refused(f"points is {POINTS_WORDS}: the centre is one of them", "write points: 21")
    return value


Points = Annotated[int, AfterValidator(check_points), Words(POINTS_WORDS)]
Range = Annotated[Positive | Literal["auto"], Words("a number above 0, or auto")]


class Around(Frozen):
    """How a diagnostic looks around a run's weights."""

    at: Literal["selected", "final"] = Field(
        "selected", description="which weights: of the reported epoch, or the last"
    )
    subspace: Literal["all", "adapted"] = Field(
        "all",
        description="which weights move: all matrices (adapters merged), or those that the run's target set names",
    )
    normalisation: Literal["row", "tensor", "none"] = Field(
        "row",
        description="what a direction is scaled to: the norm of each row of a weight, of each weight, or length 1",
    )
    batches: Annotated[int, Field(ge=1, le=100_000)] = Field(
        12, description="batches of validation items, the same everywhere"
    )
    batch_size: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        None, description="items of a batch; null: the run's own batch size"
    )
    precision: Literal["fp32", "run"] = Field(
        "fp32",
        description="arithmetic of forward passes; run: the run's own. Rounding to bf16 is as large as what a curvature measures",
    )
    seed: Seed = Field(0, description="draws the items and the random directions, the same for every method")

    @property
    def state(self) -> frozenset[Need]:
        """What a run has to have kept for the weights in the centre."""
        return frozenset({"delta", "final"} if self.at == "final" else {"delta"})

    def moved_bytes(self, parameters: int, adapted: int) -> float:
        """Of one fp32 copy of the weights that move."""
        return 4.0 * (parameters if self.subspace == "all" else adapted)

    def items(self, batch_size: int, available: int) -> int:
        """How many items the loss is taken at."""
        return min(self.batches * (self.batch_size or batch_size), available)
