"""Theorem 1's products of spectral norms over the adapted matrices of a run, from the diagnostic `spectrum`."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from peft_lib.analysis.theorem1 import log_excess, log_growth
from peft_lib.diagnostics.spectrum import Spectrum
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.quantities import Quantity

if TYPE_CHECKING:
    from peft_lib.results.diagnosed import Diagnosed

PRODUCTS, PLACES = "products", "places"
"""Panels: numbers of a whole run; spectral norms place by place."""
BASE, UPDATE = "base_spectral_norm", "update_spectral_norm"
NORM = Quantity("spectral norm", UPDATE, "", "none", digits=3, low=0)


def _norms(found: "Diagnosed", name: str) -> list[float]:
    return [row.value for row in found.of(name) if row.place]


def _log10(name: str) -> Callable[["Diagnosed"], float | None]:
    """Reads log10 of a product from a run's norms; None where it is not finite, or the run has none."""

    def read(found: "Diagnosed") -> float | None:
        base, update = _norms(found, BASE), _norms(found, UPDATE)
        if not base:
            return None
        made = {
            "growth": lambda: log_growth(base, update),
            "around_base": lambda: log_excess(base, update),
            "around_delta": lambda: log_excess(update, base),
        }[name]()
        return made / math.log(10) if math.isfinite(made) else None

    return read


def _largest(found: "Diagnosed") -> float | None:
    return max(_norms(found, UPDATE), default=None)


READERS: dict[str, tuple[Quantity, Callable[["Diagnosed"], float | None]]] = {
    "largest": (NORM, _largest),
    "growth": (Quantity("growth", "growth", "", "none", digits=3, low=0), _log10("growth")),
    "around_base": (Quantity("around W0", "around_base", "", "none", digits=2), _log10("around_base")),
    "around_delta": (Quantity("around the update", "around_delta", "", "none", digits=2), _log10("around_delta")),
}
"""Column -> how it is shown, and how it is read from one run: the largest spectral norm of an update; log10 of prod (w + d) / prod w,
of prod (w + d) - prod w, and of prod (w + d) - prod d."""


def norm_cells(context: Context, group: Group, diagnostic: Spectrum) -> list[Cell]:
    """A run's products, and the norm of W0 and of the update at each place; means over seeds."""
    cells = [
        context.diagnosed_cell(group, diagnostic, what, read, name, panel=PRODUCTS, column=name)
        for name, (what, read) in READERS.items()
    ]
    found = [context.diagnosed(run_id, diagnostic) for run_id in group.run_ids]
    places = dict.fromkeys(row.place for one in found for row in one.of(UPDATE) if row.place)
    for place in places:
        for name in (BASE, UPDATE):
            cells.append(
                context.diagnosed_cell(
                    group, diagnostic, NORM, lambda one, name=name, place=place: _at(one, name, place), name,  # type: ignore[misc]
                    panel=f"{PLACES}/{place}", column=name,
                )
            )  # fmt: skip
    return cells


def _at(found: "Diagnosed", name: str, place: str) -> float | None:
    return next((row.value for row in found.of(name) if row.place == place), None)
