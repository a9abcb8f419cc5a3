"""Kind `intruders`: how many singular vectors of the trained weights are like none of the weights before (Figure 4).

Rows: `intruders` at a place and a threshold (x), and the same among the first y vectors; `vectors` at a place, how many were
compared; and once per run, means over places at a threshold of 0.5: `intruders` and `intruders_first`. What is computed:
peft_lib/analysis/intruders.py; docs/diagnostics.md.
"""

from collections.abc import Iterable
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.matrices import CACHE, DiagnosticOfMatrices
from peft_lib.study.types import Frozen, Number
from peft_lib.study.wording import Words

if TYPE_CHECKING:
    from peft_lib.diagnostics.opened import OpenedRun

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 21))
"""The paper's figures: 0.05 to 1 in steps of 0.05."""
MIDDLE = 0.5
"""Threshold of the numbers of a whole run."""
FIRST = 10
"""Shuttleworth et al."""

Threshold = Annotated[Number, Field(gt=0, le=1), Words("a number above 0 and at most 1")]
Thresholds = Annotated[tuple[Threshold, ...], Field(min_length=1, max_length=100)]


class IntruderOptions(Frozen):
    """What is counted."""

    thresholds: Thresholds = Field(THRESHOLDS, description="largest cosines below which a vector is an intruder")
    side: Literal["left", "right"] = Field("left", description="which singular vectors: of outputs, or of inputs")


class Intruders(IntruderOptions, DiagnosticOfMatrices):
    """Counts of each matrix."""

    kind: Literal["intruders"] = "intruders"

    first: Annotated[int, Field(ge=1)] = Field(
        FIRST, description="also counted among so many vectors, those of the largest singular values"
    )

    scalars: ClassVar[dict[str, str]] = {
        "intruders": f"intruder dimensions at {MIDDLE}",
        "intruders_first": f"intruders at {MIDDLE}, first vectors",
    }

    def rows(self, run: "OpenedRun") -> Iterable[Row]:
        from peft_lib.analysis.base_spectra import BaseSpectra
        from peft_lib.analysis.intruders import count, intruder_cosines

        spectra = BaseSpectra(run.cache / CACHE, run.weights_sha256)
        in_the_middle: list[tuple[int, int]] = []
        for place, before, after in run.matrices(self.targets, run.require(self.at)):
            before, after = before.to(run.device), after.to(run.device)
            cosines = intruder_cosines(before, after, spectra.of(place, before, self.side), self.side)
            for part, y in ((cosines, None), (cosines[: self.first], self.first)):
                yield Row("vectors", len(part), place, None, y)
                for threshold, number in zip(self.thresholds, count(part, self.thresholds), strict=True):
                    yield Row("intruders", number, place, threshold, y)
            in_the_middle.append((*count(cosines, [MIDDLE]), *count(cosines[: self.first], [MIDDLE])))  # type: ignore[arg-type]
        every, first = zip(*in_the_middle, strict=True)
        yield Row("intruders", fmean(every))
        yield Row("intruders_first", fmean(first))
