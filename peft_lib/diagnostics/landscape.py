"""Diagnostic `landscape`: the loss on a square around a run's weights, along two directions (paper E.4.1, Li et al. 2018)."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.around import Centre, centre_of, epochs_before, offsets_of
from peft_lib.diagnostics.diagnostic import Diagnostic, Need, NotAvailable, Row
from peft_lib.diagnostics.options import Around, Points, Range
from peft_lib.diagnostics.registry import DiagnosticError
from peft_lib.study.types import Positive

if TYPE_CHECKING:
    from peft_lib.analysis.space import Direction
    from peft_lib.analysis.trajectory_pca import Offsets, Path
    from peft_lib.diagnostics.opened import OpenedRun


class Square(Around):
    """Which square is looked at."""

    directions: Literal["random", "pca"] = Field(
        "random",
        description="Gaussian directions, or the two principal ones of the run's trajectory (keep: trajectory)",
    )
    points: Points = Field(51, description="points along each axis")
    range: Range = Field(
        2.0, description="half the side of the square; auto (pca): 1.05 times the largest coordinate of the path"
    )
    level: Positive = Field(
        0.5, description="the volume is the share of the square where the loss has risen by at most this"
    )


class Landscape(Diagnostic, Square):
    """L(W + a d + b e) for (a, b) on a square grid, at the same items everywhere.

    Rows: `loss` (x = a, y = b; none where the loss is not finite), `centre` (L at a = b = 0), `curvature` (mean of the second
    derivatives along d and e), `volume` (share of the square where the loss is at most centre + level), `half` (half the side).
    With pca: `path_a`, `path_b` (x = epoch: coordinates of the epochs up to the centre's, by least squares), `variance` (x = 1,
    2, ...: share of each principal direction), `explained` (share of the offsets' squares that lies in the plane as scaled).
    """

    kind: Literal["landscape"] = "landscape"

    scalars: ClassVar[dict[str, str]] = {
        "curvature": "curvature of the landscape", "volume": "volume of the landscape, share of the square",
    }  # fmt: skip

    @property
    def needs(self) -> frozenset[Need]:
        return self.state | ({"trajectory"} if self.directions == "pca" else set())

    def memory(self, parameters: int, adapted: int) -> tuple[float, float]:
        """Two directions, the centre and the start of a row."""
        return 4 * self.moved_bytes(parameters, adapted), 0.0

    def passes(self, batch_size: int, available: int) -> int:
        return (self.points**2 + 5) * self.items(batch_size, available)

    def rows(self, run: "OpenedRun") -> Iterator[Row]:
        """Raises NotAvailable for a loss at the centre that is not finite and for a trajectory that spans no plane,
        DiagnosticError for `range: auto` without one."""
        from peft_lib.analysis.landscape import Moved, area_below, axis, curvature, surface

        if self.range == "auto" and self.directions != "pca":
            raise DiagnosticError("range auto holds the path of directions: pca; give a number for random directions")
        centre = centre_of(run, self)
        at_centre = centre.objective()
        if not math.isfinite(at_centre):
            raise NotAvailable(f"the loss at the run's weights is {at_centre}")
        directions, told, half = self._plane(centre)
        yield from told
        with Moved(centre.space, directions) as moved:
            coordinates = axis(half, self.points)
            losses = surface(centre.objective, moved, coordinates)
            curved = [curvature(centre.objective, moved, i, at_centre) for i in range(2)]
        for i, b in enumerate(coordinates):
            for j, a in enumerate(coordinates):
                if math.isfinite(losses[i, j]):
                    yield Row("loss", float(losses[i, j]), x=float(a), y=float(b))
        yield Row("half", half)
        yield Row("centre", at_centre)
        if all(map(math.isfinite, curved)):
            yield Row("curvature", sum(curved) / 2)
        yield Row("volume", area_below(losses, at_centre + self.level))

    def _plane(self, centre: Centre) -> "tuple[list[Direction], list[Row], float]":
        """Two scaled directions, what there is to tell of the path, and half the side of the square."""
        from peft_lib.analysis.directions import normalise, random_direction
        from peft_lib.analysis.trajectory_pca import covering_range, principal, project

        if self.directions == "random":
            made = [random_direction(centre.space, self.seed, axis) for axis in ("a", "b")]
            assert self.range != "auto"
            return [normalise(d, centre.space, self.normalisation) for d in made], [], float(self.range)
        epochs = epochs_before(centre)
        offsets: Offsets = offsets_of(centre, epochs)
        try:
            made, shares = principal(offsets, centre.space)
            path = project(offsets, *(normalise(d, centre.space, self.normalisation) for d in made))
        except ValueError as error:
            raise NotAvailable(str(error)) from error
        told = [Row("variance", float(share), x=float(index)) for index, share in enumerate(shares, 1)]
        half = covering_range(path) if self.range == "auto" else float(self.range)
        return made, [*told, *_path_rows(path, epochs, centre.epoch)], half


def _path_rows(path: "Path", epochs: list[int], last: int) -> list[Row]:
    """The path with its end, the centre itself."""
    points = [*zip(epochs, path.coordinates.tolist(), strict=True), (last, (0.0, 0.0))]
    rows = [
        Row(name, place[i], x=float(epoch)) for i, name in enumerate(("path_a", "path_b")) for epoch, place in points
    ]
    return [*rows, Row("explained", path.explained)]
