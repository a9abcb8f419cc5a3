"""Diagnostic `sharpness`: how fast the loss rises around a run's weights, as a few numbers that all runs can afford."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.around import centre_of
from peft_lib.diagnostics.diagnostic import Diagnostic, Need, NotAvailable, Row
from peft_lib.diagnostics.options import Around
from peft_lib.study.types import Positive

if TYPE_CHECKING:
    from peft_lib.diagnostics.opened import OpenedRun


class Ball(Around):
    """Which directions are looked along, and how far."""

    directions: Annotated[int, Field(ge=2, le=1000)] = Field(5, description="random directions")
    radius: Positive = Field(0.5, description="how far along each, both ways, the rise of the loss is taken")
    step: Positive = Field(0.05, description="step of the central differences of the curvature")
    eigenvalue: bool = Field(
        False, description="also the largest eigenvalue of the Hessian in all parameters: some dozen products with it"
    )


class Sharpness(Diagnostic, Ball):
    """Along K random directions, scaled as a landscape's (filter normalisation).

    Rows: `centre` (loss there), `curvature` (mean of the second derivatives) and `curvature_sd`, `rise` (mean over directions of
    the larger rise of the loss at +- radius) and `rise_max`, `direction_curvature` and `direction_rise` (x = 1..K); on request
    `eigenvalue`. What is not finite has no row, nor has a mean of it.
    """

    kind: Literal["sharpness"] = "sharpness"

    scalars: ClassVar[dict[str, str]] = {
        "curvature": "curvature along random directions", "rise": "rise of the loss at a distance",
        "rise_max": "largest rise of the loss at a distance", "eigenvalue": "largest eigenvalue of the Hessian",
    }  # fmt: skip

    @property
    def needs(self) -> frozenset[Need]:
        return self.state

    def memory(self, parameters: int, adapted: int) -> tuple[float, float]:
        """A direction and the centre; for the eigenvalue a vector, gradients and their gradients, and in main memory the 20
        vectors in fp64 of Lanczos' method and a product."""
        moving = 2 * self.moved_bytes(parameters, adapted)
        return (max(moving, 12.0 * parameters), 8.0 * 22 * parameters) if self.eigenvalue else (moving, 0.0)

    def passes(self, batch_size: int, available: int) -> int:
        """A product with the Hessian counts as 6 passes, and some 40 of them are taken."""
        return (4 * self.directions + 1 + (240 if self.eigenvalue else 0)) * self.items(batch_size, available)

    def rows(self, run: "OpenedRun") -> Iterator[Row]:
        """Raises NotAvailable where the eigenvalue does not converge, or the loss at the centre is not finite."""
        from peft_lib.analysis.sharpness import along_random, top_eigenvalue

        centre = centre_of(run, self)
        objective = centre.objective
        found = along_random(
            objective, centre.space, self.directions, self.radius, self.normalisation, self.seed, self.step
        )
        if not math.isfinite(found.centre):
            raise NotAvailable(f"the loss at the run's weights is {found.centre}")
        top = None
        if self.eigenvalue:
            try:
                top = top_eigenvalue(
                    objective.model, objective.batches, objective.loss, objective.weight, objective.model.parameters(),
                    self.seed,
                )  # fmt: skip
            except ValueError as error:
                raise NotAvailable(str(error)) from error
        values = {
            "centre": found.centre, "curvature": found.curvatures.mean(), "curvature_sd": found.curvatures.std(ddof=1),
            "rise": found.rises.mean(), "rise_max": found.rises.max(),
        }  # fmt: skip
        for quantity, value in {**values, **({} if top is None else {"eigenvalue": top})}.items():
            if math.isfinite(value):
                yield Row(quantity, float(value))
        for name, several in (("direction_curvature", found.curvatures), ("direction_rise", found.rises)):
            for index, value in enumerate(several, 1):
                if math.isfinite(value):
                    yield Row(name, float(value), x=float(index))
