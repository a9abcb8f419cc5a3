"""Made-up rows of each kind of diagnostic: for workflow_scripts/synthetic.py. Smooth curves and surfaces that differ by method.

One function a kind, with the rows that its class says it has. Nothing is computed of any weights: how steep and how large things
are follows from the method, the task and the run's id alone.
"""

import math
from collections.abc import Callable, Iterator
from statistics import fmean, stdev
from typing import Any, NamedTuple

from peft_lib.diagnostics.diagnostic import Diagnostic, Row
from peft_lib.diagnostics.intruders import MIDDLE, Intruders
from peft_lib.diagnostics.landscape import Landscape
from peft_lib.diagnostics.matrices import OfMatrices
from peft_lib.diagnostics.sharpness import Sharpness
from peft_lib.diagnostics.spectrum import Spectrum
from peft_lib.methods.registry import get_method
from peft_lib.results.chains import planned_links
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.spec import RunSpec
from workflow_scripts.synthetic_answers import generator

PLACE = "made_up"
"""What the names of places begin with."""


class Run(NamedTuple):
    """A run with its made-up row of result.parquet."""

    spec: RunSpec
    model: ModelEntry
    result: dict[str, Any]

    def nature(self, name: str) -> float:
        """From 0 to 1, of the method on its task (twins have the same), and a little of the run."""
        spec, method = self.spec, get_method(self.spec.method)
        base = generator(name, spec.model.id, spec.dataset.id, method.twin or spec.method).random()
        return min(1.0, float(base * (0.95 + 0.05 * generator(name, spec.run_id).random())))


class Matrix(NamedTuple):
    """An adapted place, of W0 (d_out, d_in)."""

    place: str
    d_in: int
    d_out: int
    wobble: float
    """About 1: how it differs from the others."""


def matrices(run: Run, options: OfMatrices) -> list[Matrix]:
    """Places of the target set that the options name, in layers 0, 1, ... of the catalog's counts."""
    found = []
    for shape in run.model.targets[options.targets or run.spec.targets]:
        rows = f"[{shape.rows[0]}:{shape.rows[1]}]" if shape.rows else ""
        for layer in range(shape.count):
            wobble = 0.9 + 0.2 * generator("wobble", run.model.id, shape.module, rows, layer).random()
            found.append(Matrix(f"{PLACE}.{layer}.{shape.module}{rows}", shape.d_in, shape.d_out, float(wobble)))
    return found


def intruders(diagnostic: Intruders, run: Run) -> Iterator[Row]:
    """A power of the threshold: none at 0, all vectors at 1. Steeper where a method leaves more of the weights as they were."""
    power = 1.5 + 6 * run.nature("intruders")
    whole: list[tuple[int, int]] = []

    def counted(vectors: int, threshold: float, steep: float) -> int:
        return round(vectors * threshold**steep)

    for place, d_in, d_out, wobble in matrices(run, diagnostic):
        count = min(d_in, d_out)
        parts = ((count, power * wobble, None), (min(diagnostic.first, count), 1.5 * power * wobble, diagnostic.first))
        for vectors, steep, y in parts:
            yield Row("vectors", vectors, place, None, y)
            for threshold in diagnostic.thresholds:
                yield Row("intruders", counted(vectors, threshold, steep), place, threshold, y)
        every, first = (counted(vectors, MIDDLE, steep) for vectors, steep, _ in parts)
        whole.append((every, first))
    yield Row("intruders", fmean(every for every, _ in whole))
    yield Row("intruders_first", fmean(first for _, first in whole))


def spectrum(diagnostic: Spectrum, run: Run) -> Iterator[Row]:
    """Singular values that fall off exponentially, as many as the rank of the update allows."""
    spec, links = run.spec, max(1, planned_links(run.spec))
    method = get_method(spec.method)
    top, decay = 0.2 + 2 * run.nature("update"), 0.5 + 0.5 * run.nature("decay")
    found: list[Row] = []
    for place, d_in, d_out, wobble in matrices(run, diagnostic):
        rank = min(d_in, d_out, spec.rank * links if method.has_factors else min(d_in, d_out))
        values = [top * wobble * math.exp(-j / (decay * min(rank, 64))) for j in range(rank)]
        norm, base, base_top = math.hypot(*values), 0.04 * math.sqrt(d_in * d_out), 7.0
        shares = [v / math.fsum(values) for v in values]
        numbers = {
            "update_norm": norm, "update_spectral_norm": values[0], "base_norm": base, "base_spectral_norm": base_top,
            "relative_norm": norm / base, "relative_spectral_norm": values[0] / base_top,
            "effective_rank": math.exp(-math.fsum(p * math.log(p) for p in shares)), "stable_rank": (norm / values[0]) ** 2,
            "columns_touched": _touched(run, links, d_in),
        }  # fmt: skip
        found += [Row(name, value, place) for name, value in numbers.items()]
        found += [Row("singular_value", v, place, j) for j, v in enumerate(values[: diagnostic.values], 1)]
        if method.has_factors:
            found += [Row("columns_touched", _touched(run, n, d_in), place, n) for n in range(1, links + 1)]
    yield from found
    of = {name: [r.value for r in found if r.quantity == name and r.x is None] for name in {r.quantity for r in found}}
    yield Row("update_norm", math.hypot(*of["update_norm"]))
    yield Row("relative_norm", math.hypot(*of["update_norm"]) / math.hypot(*of["base_norm"]))
    yield Row("update_spectral_norm", max(of["update_spectral_norm"]))
    yield Row("growth", math.fsum(math.log1p(d) for d in of["relative_spectral_norm"]))
    for name in ("effective_rank", "stable_rank", "columns_touched"):
        yield Row(name, fmean(of[name]))


def _touched(run: Run, links: int, d_in: int) -> float:
    """A sparse method's links move on by their rank; the others touch all columns."""
    return min(1.0, links * run.spec.rank / d_in) if get_method(run.spec.method).column_sparse else 1.0


def landscape(diagnostic: Landscape, run: Run) -> Iterator[Row]:
    """A bowl that levels off, with ripples; its path comes in as a spiral."""
    centre, height = float(run.result["val_loss"]), 1.0 + 3 * run.nature("height")
    across, down, ripple = (
        scale * run.nature(f"{name} {diagnostic.directions}")
        for name, scale in (("a", 3.0), ("b", 3.0), ("ripple", 0.15))
    )
    path = _path(run) if diagnostic.directions == "pca" else []
    reach = max((abs(v) for _, *place in path for v in place), default=0.0)
    half = 1.05 * reach if diagnostic.range == "auto" else float(diagnostic.range)

    def loss(a: float, b: float) -> float:
        bowl = height * (1 - math.exp(-(0.2 + across) * a * a / (2 * height) - (0.2 + down) * b * b / (2 * height)))
        return centre + bowl + ripple * (math.sin(4 * a) ** 2 + math.sin(4 * b) ** 2)

    middle = diagnostic.points // 2
    axis = [half * (i - middle) / middle for i in range(diagnostic.points)]
    losses = [(a, b, loss(a, b)) for b in axis for a in axis]
    yield from (Row("loss", value, x=a, y=b) for a, b, value in losses)
    yield Row("half", half)
    yield Row("centre", centre)
    yield Row("curvature", (0.4 + across + down) / 2 + 32 * ripple)
    yield Row("volume", fmean(value <= centre + diagnostic.level for _, _, value in losses))
    for epoch, a, b in path:
        yield Row("path_a", a, x=epoch)
        yield Row("path_b", b, x=epoch)
    if path:
        shares = [0.6**i for i in range(1, len(path))]
        yield from (Row("variance", share / sum(shares), x=i) for i, share in enumerate(shares, 1))
        yield Row("explained", 0.3 + 0.4 * run.nature("explained"))


def _path(run: Run) -> list[tuple[int, float, float]]:
    """(epoch, a, b) from before the first step to the selected epoch, which is the centre."""
    last, turn = int(run.result["selected_epoch"]), 1 + 2 * run.nature("turn")
    size = 0.8 + 0.6 * run.nature("length")
    left = [(epoch, 1 - epoch / last) for epoch in range(last + 1)]
    return [(e, size * s**1.5 * math.cos(turn * (1 - s)), size * s**1.5 * math.sin(turn * (1 - s))) for e, s in left]


def sharpness(diagnostic: Sharpness, run: Run) -> Iterator[Row]:
    """Curvatures about the method's own; rises as of a parabola that levels off."""
    scale = 0.2 + 4 * run.nature("curvature")
    draws = generator("directions", run.spec.run_id).random(diagnostic.directions).tolist()
    curvatures = [scale * (0.9 + 0.2 * d) for d in draws]
    rises = [3 * (1 - math.exp(-c * diagnostic.radius**2 / 6)) for c in curvatures]
    yield Row("centre", float(run.result["val_loss"]))
    yield Row("curvature", fmean(curvatures))
    yield Row("curvature_sd", stdev(curvatures))
    yield Row("rise", fmean(rises))
    yield Row("rise_max", max(rises))
    if diagnostic.eigenvalue:
        yield Row("eigenvalue", 40 * scale)
    for name, several in (("direction_curvature", curvatures), ("direction_rise", rises)):
        yield from (Row(name, value, x=index) for index, value in enumerate(several, 1))


MADE: dict[type[Diagnostic], Callable[[Any, Run], Iterator[Row]]] = {
    Intruders: intruders, Landscape: landscape, Sharpness: sharpness, Spectrum: spectrum
}  # fmt: skip
"""Class of a diagnostic -> what makes its rows up. One that is not here stays missing."""
