"""Options that diagnostics of weight matrices share, and artefacts that show them: which matrices, of which epoch."""

from typing import Literal

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Diagnostic, Need
from peft_lib.study.types import Frozen, Name

CACHE = "spectra"
"""Folder below the runs' cache for the singular vectors of weights before training."""


class OfMatrices(Frozen):
    """Which weights W are looked at, each beside its W0."""

    targets: Name | None = Field(
        None, description="target set of the model's catalog entry; null: the run's own (full fine-tuning: qv)"
    )
    at: Literal["selected", "final"] = Field(
        "selected",
        description="weights of the reported epoch, or of the last one (runs that differ in the two: keep: both)",
    )


class DiagnosticOfMatrices(OfMatrices, Diagnostic):
    """A diagnostic that compares W with W0, one matrix at a time."""

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"delta", "final"} if self.at == "final" else {"delta"})

    def memory(self, parameters: int, adapted: int) -> tuple[float, float]:
        """A second model in main memory for W0, and a quarter more for decompositions of one matrix in fp64."""
        return 0.0, 5.0 * parameters
