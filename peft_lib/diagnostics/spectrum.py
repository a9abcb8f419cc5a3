"""Kind `spectrum`: singular values, ranks and norms of what was learnt, delta = W - W0, and the columns that it touches.

Rows of a place: `update_norm` and `update_spectral_norm` of delta, `base_norm` and `base_spectral_norm` of W0, `relative_norm`
and `relative_spectral_norm` (their ratios), `effective_rank`, `stable_rank`, `columns_touched` (a share; at x after that
many links of the chain), `singular_value` (x: 1 is the largest). Once per run: norms of all matrices together (root of the
sum of squares; of spectral norms the largest), and the mean over matrices of ranks and of the share of columns. A delta of
zero has no ranks, a W0 of zero no ratios. What is computed: peft_lib/analysis/spectrum.py; docs/diagnostics.md.
"""

import math
from collections.abc import Iterable, Iterator
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.matrices import CACHE, DiagnosticOfMatrices
from peft_lib.study.types import Frozen

if TYPE_CHECKING:
    from peft_lib.analysis.spectrum import Update
    from peft_lib.diagnostics.opened import OpenedRun
    from peft_lib.layers.delta_file import Snapshot
    from peft_lib.layers.links import Link


class SpectrumOptions(Frozen):
    """What is kept."""

    values: Annotated[int, Field(ge=1, le=100_000)] = Field(
        32, description="how many of the largest singular values of each update are kept"
    )


class Spectrum(SpectrumOptions, DiagnosticOfMatrices):
    """Spectra and norms of each matrix's update."""

    kind: Literal["spectrum"] = "spectrum"

    scalars: ClassVar[dict[str, str]] = {
        "update_norm": "norm of the update",
        "relative_norm": "relative norm of the update",
        "update_spectral_norm": "largest spectral norm of an update",
        "growth": "growth of spectral norms",
        "effective_rank": "effective rank of the update",
        "stable_rank": "stable rank of the update",
        "columns_touched": "share of columns touched",
    }

    def rows(self, run: "OpenedRun") -> Iterable[Row]:
        from peft_lib.analysis.base_spectra import BaseSpectra
        from peft_lib.analysis.spectrum import of_links, of_matrices, touched

        spectra = BaseSpectra(run.cache / CACHE, run.weights_sha256)
        snapshot = run.require(self.at)
        found: list[Row] = []
        for place, before, after in run.matrices(self.targets, snapshot):
            before, after = before.to(run.device), after.to(run.device)
            links = factors_of(snapshot, place)
            d_in = before.shape[1]
            update = of_links(links, d_in) if links else of_matrices(before, after)
            base = spectra.of(place, before).values
            found += self._of_place(place, update, float(before.double().norm()), float(base[0]) if len(base) else 0.0)
            for number in range(1, len(links) + 1):
                share = float(touched(links[:number], d_in).double().mean())
                found.append(Row("columns_touched", share, place, number))
        yield from found
        yield from _of_run(found)

    def _of_place(self, place: str, update: "Update", norm: float, spectral_norm: float) -> Iterator[Row]:
        yield Row("update_norm", update.norm, place)
        yield Row("update_spectral_norm", update.spectral_norm, place)
        yield Row("base_norm", norm, place)
        yield Row("base_spectral_norm", spectral_norm, place)
        if norm:
            yield Row("relative_norm", update.norm / norm, place)
        if spectral_norm:
            yield Row("relative_spectral_norm", update.spectral_norm / spectral_norm, place)
        if update.effective_rank is not None and update.stable_rank is not None:
            yield Row("effective_rank", update.effective_rank, place)
            yield Row("stable_rank", update.stable_rank, place)
        yield Row("columns_touched", update.share_touched, place)
        for number, value in enumerate(update.values[: self.values].tolist(), 1):
            yield Row("singular_value", value, place, number)


def factors_of(snapshot: "Snapshot", place: str) -> "list[Link]":
    """The chain at a place, if all its links are factors s B A; none where the method adapts no layer, or has tensors of its
    own."""
    from peft_lib.layers.links import Link

    if place not in snapshot.open:
        return []
    chain = (*snapshot.closed[place], snapshot.open[place])
    factors = [link for link in chain if isinstance(link, Link)]
    return factors if len(factors) == len(chain) else []


def _of_run(found: list[Row]) -> Iterator[Row]:
    """One number each, over all places."""
    by_quantity: dict[str, list[float]] = {}
    for row in found:
        if row.x is None:
            by_quantity.setdefault(row.quantity, []).append(row.value)
    norm, base = (math.hypot(*by_quantity[name]) for name in ("update_norm", "base_norm"))
    yield Row("update_norm", norm)
    if base:
        yield Row("relative_norm", norm / base)
    yield Row("update_spectral_norm", max(by_quantity["update_spectral_norm"]))
    shares = by_quantity.get("relative_spectral_norm", [])
    if len(shares) == len(by_quantity["update_spectral_norm"]):
        yield Row("growth", math.fsum(math.log1p(d) for d in shares))  # log of prod (w + d) / prod w
    for name in ("effective_rank", "stable_rank", "columns_touched"):
        if name in by_quantity:
            yield Row(name, fmean(by_quantity[name]))
