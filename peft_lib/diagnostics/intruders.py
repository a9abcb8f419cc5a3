"""Kind `intruders`: how many singular vectors of the trained weights are like none of the weights before (Figure 4).

Rows: `intruders` at a place and a threshold (x); `vectors` at a place, how many were compared; and once per run `intruders`, the
mean over places at a threshold of 0.5. What is computed: peft_lib/analysis/intruders.py; docs/diagnostics.md.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Diagnostic, Row
from peft_lib.diagnostics.matrices import CACHE, OfMatrices
from peft_lib.study.types import Frozen, Number
from peft_lib.study.wording import Words

if TYPE_CHECKING:
    from peft_lib.diagnostics.opened import OpenedRun

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""The paper's figures: 0.05 to 1 in steps of 0.05."""
MIDDLE = 0.5
"""Threshold of the one number per run."""

Threshold = Annotated[Number, Field(gt=0, le=1), Words("a number above 0 and at most 1")]
Thresholds = Annotated[tuple[Threshold, ...], Field(min_length=1, max_length=100)]


class IntruderOptions(Frozen):
    """What is counted."""

    thresholds: Thresholds = Field(THRESHOLDS, description="largest cosines below which a vector is an intruder")
    k: Annotated[int, Field(ge=1)] | None = Field(
        None, description="only the k vectors of the largest singular values (Shuttleworth et al.: 10); null: all"
    )
    side: Literal["left", "right"] = Field("left", description="which singular vectors: of outputs, or of inputs")


class Intruders(OfMatrices, IntruderOptions, Diagnostic):
    """Counts of each matrix."""

    kind: Literal["intruders"] = "intruders"

    scalars: ClassVar[dict[str, str]] = {"intruders": f"intruder dimensions at {MIDDLE}, mean over matrices"}

    def rows(self, run: "OpenedRun") -> Iterable[Row]:
        from peft_lib.analysis.base_spectra import BaseSpectra
        from peft_lib.analysis.intruders import count, intruder_cosines

        spectra = BaseSpectra(run.cache / CACHE, run.weights_sha256)
        in_the_middle = []
        self.snapshot(run)  # or it is not available
        for place, before, after in run.matrices(self.targets, self.at):
            before, after = before.to(run.device), after.to(run.device)
            base = spectra.of(place, before, self.side)
            cosines = intruder_cosines(before, after, base, self.side, self.k)
            yield Row("vectors", len(cosines), place)
            for threshold, number in zip(self.thresholds, count(cosines, self.thresholds), strict=True):
                yield Row("intruders", number, place, threshold)
            in_the_middle += count(cosines, [MIDDLE])
        yield Row("intruders", sum(in_the_middle) / len(in_the_middle))
