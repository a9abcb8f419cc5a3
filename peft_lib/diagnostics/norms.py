"""Diagnostic `norms`: spectral and Frobenius norms of W0 and of the update Delta W = W - W0, place by place.

They are what Theorem 1 is made of (docs/theory.md), and what a run's update is measured by as a whole.
"""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Diagnostic, Row

if TYPE_CHECKING:
    from peft_lib.diagnostics.opened import OpenedRun

SPECTRAL = ("base_spectral", "delta_spectral")
FROBENIUS = ("base_frobenius", "delta_frobenius")


class Norms(Diagnostic):
    """Rows per place: `base_spectral`, `delta_spectral`, `base_frobenius`, `delta_frobenius`. Of the run, over all places:

    update_norm         sqrt(sum |Delta W|_F^2)
    relative_update     the same divided by sqrt(sum |W0|_F^2)
    update_spectral     the largest |Delta W|_2
    growth              sum log(1 + |Delta W|_2 / |W0|_2), the logarithm of prod (w + d) / prod w of Theorem 1
    """

    kind: Literal["norms"] = "norms"
    targets: str | None = Field(
        None,
        min_length=1,
        description="target set of the model whose matrices are measured; null: the run's own, or qv under full fine-tuning",
    )
    at: Literal["selected", "final"] = Field("selected", description="weights of the reported epoch, or of the last")

    scalars: ClassVar[dict[str, str]] = {
        "update_norm": "norm of the update", "relative_update": "norm of the update, relative to W0",
        "update_spectral": "largest spectral norm of an update", "growth": "growth of the product of spectral norms",
    }  # fmt: skip

    def rows(self, run: "OpenedRun") -> Iterator[Row]:
        """A place whose W0 is 0 has no finite growth, so the run has none either."""
        from peft_lib.analysis.norms import measured
        from peft_lib.analysis.theorem1 import log_growth

        found = [(place, measured(before, after)) for place, before, after in run.matrices(self.targets, self.at)]
        for place, norms in found:
            for name, value in norms._asdict().items():
                yield Row(name, value, place)
        base, update = (math.hypot(*(getattr(n, name) for _, n in found)) for name in FROBENIUS)
        yield Row("update_norm", update)
        if base:
            yield Row("relative_update", update / base)
        before_all, after_all = ([getattr(n, name) for _, n in found] for name in SPECTRAL)
        yield Row("update_spectral", max(after_all))
        growth = log_growth(before_all, after_all)
        if math.isfinite(growth):
            yield Row("growth", growth)
