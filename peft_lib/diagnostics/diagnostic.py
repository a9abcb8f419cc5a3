"""What every diagnostic has: options, what it needs of a run's files, and the rows that it makes of one finished run.

A diagnostic is computed after training, from what the run has stored. Its kind is one file of this folder. Planning imports
all kinds, because artefacts name them, so nothing here loads torch before `rows` is called.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field

from peft_lib.study.types import Frozen

if TYPE_CHECKING:
    from peft_lib.diagnostics.opened import OpenedRun

Need = Literal["delta", "final", "trajectory"]
"""The delta of the reported epoch, that of the last one, those of all."""


class NotAvailable(Exception):
    """What a run has left does not define the diagnostic; the message says why, for tables. `rows` raises it before its first
    row."""


class Row(NamedTuple):
    """One number of a run. `place`: key of an adapted place, None for the whole run. `x`, `y`: coordinates, as the kind says
    (a threshold, a point of a grid, the index of a singular value, an epoch)."""

    quantity: str
    value: float
    place: str | None = None
    x: float | None = None
    y: float | None = None


class Diagnostic(Frozen):
    """One diagnostic with its options: the fields beside `kind`."""

    kind: str = Field(description="what is computed")

    scalars: ClassVar[dict[str, str]] = {}
    """Quantity -> label, of those that it gives once per run (no place, no coordinates): what may predict a run's result."""

    @property
    def needs(self) -> frozenset[Need]:
        """What a run has to have kept for it."""
        return frozenset({"delta"})

    def memory(self, parameters: int, adapted: int) -> tuple[float, float]:
        """Bytes that it holds beside the run's model, its forward passes and its delta, estimated from above: where it computes,
        and in main memory in any case. parameters: of the model; adapted: of the weights that the run's target set names."""
        return 0.0, 0.0

    def passes(self, batch_size: int, available: int) -> int:
        """How many items it passes forward through the model. batch_size: the run's own; available: validation items."""
        return 0

    @property
    def canonical(self) -> str:
        """JSON of the options that are not the default, with sorted keys."""
        given = self.model_dump(mode="json", exclude_defaults=True, exclude={"kind"})
        return json.dumps({"kind": self.kind, **given}, sort_keys=True)

    @property
    def id(self) -> str:
        """Name of its files: the kind, and 8 hex digits of the SHA-256 of `canonical`."""
        return f"{self.kind}-{hashlib.sha256(self.canonical.encode()).hexdigest()[:8]}"

    @property
    def file(self) -> str:
        """Where a run's numbers lie in its folder."""
        return f"diagnostics/{self.id}.parquet"

    @classmethod
    def like(cls, options: Frozen, **more: Any) -> Self:
        """With the options that a record (an artefact) has under the same names, and `more`."""
        names = (cls.model_fields.keys() - {"kind"} - more.keys()) & type(options).model_fields.keys()
        return cls(**{name: getattr(options, name) for name in names}, **more)

    def rows(self, run: "OpenedRun") -> Iterable[Row]:
        """The numbers of one run. Values are finite: what is not defined has no row."""
        raise NotImplementedError(f"diagnostic {self.kind} does not say how its rows are made")
