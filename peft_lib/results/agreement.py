"""How a reproduced cell relates to the published one: within what seeds explain, outside, or no fair comparison.

A published value is itself a mean over a few seeds whose spread the paper does not print. So it is not asked whether it lies
in the interval of our mean, which would be too narrow, but in the interval for the mean of as many further seeds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

from peft_lib.results.cells import Cell
from peft_lib.results.marks import goodness
from peft_lib.study.quantities import quantity

PUBLISHED_SEEDS = 3
"""Seeds behind a published mean (paper, section 4.1)."""
COUNTED = ("trainable_parameters", "trainable_pct")
"""Quantities that follow from the model: no seed moves them, so they agree at the printed digits or not at all."""
SLACK = 1e-9

Agrees = Literal["within", "outside", "no interval", "not run", "not comparable"]
STATUSES: tuple[Agrees, ...] = ("within", "outside", "no interval", "not run", "not comparable")
WORDS: dict[Agrees, str] = {
    "within": "the published value lies in the 95 % interval that our seeds predict for a mean of as many seeds",
    "outside": "it does not",
    "no interval": "a value that has none: fewer than three seeds, or a ratio",
    "not run": "no good value from all planned runs: some have not run, are stale or failed",
    "not comparable": "the published value is no fair target; the note says why",
}


@dataclass(frozen=True)
class Judged:
    """A cell with a published value: what came of it, and the interval that decided (None where there is none)."""

    cell: Cell
    status: Agrees
    low: float | None = None
    high: float | None = None


def judge(cell: Cell, dataset_metric: str, published_seeds: int = PUBLISHED_SEEDS) -> Judged | None:
    """What a reproduced cell says of the published value; None where the paper prints no number for it.

    The first that holds: `not comparable` (the cell has a caveat), `not run` (no value from all planned runs), then

    - counted quantities: `within` if ours is the published one at the printed digits, else `outside`;
    - values without spread (fewer than three seeds, ratios): `no interval`;
    - else `within` if `prediction` meets the numbers that are printed as the published value, else `outside`.

    `dataset_metric`: the metric of the cell's data set, whose range bounds `test_metric`.
    """
    if cell.published is None:
        return None
    if cell.caveat:
        return Judged(cell, "not comparable")
    ours = compared(cell)
    if ours is None:
        return Judged(cell, "not run")
    slack = rounding(cell)
    if cell.metric in COUNTED:
        return Judged(cell, "within" if abs(ours - cell.published) <= slack else "outside", ours, ours)
    ends = None if cell.kind == "efficiency" else prediction(cell, dataset_metric, published_seeds)
    if ends is None:
        return Judged(cell, "no interval")
    low, high = ends
    meets = low - slack <= cell.published <= high + slack
    return Judged(cell, "within" if meets else "outside", low, high)


def compared(cell: Cell) -> float | None:
    """What stands against the published number: of efficiency the ratio, else the value. None unless every run is in it."""
    if not cell.complete:
        return None
    return cell.ratio if cell.kind == "efficiency" else cell.value


def prediction(cell: Cell, dataset_metric: str, published_seeds: int = PUBLISHED_SEEDS) -> tuple[float, float] | None:
    r"""95 % prediction interval for the mean of `published_seeds` further seeds, in the range of the quantity.

    If the published seeds and our n are draws of one distribution, the difference of the two means has the variance
    sigma^2 (1/n + 1/m), m = `published_seeds`, and with sigma estimated by our sd

        mean -/+ t_{n-1} sd sqrt(1/n + 1/m)

    holds the published mean in 95 of 100 cases (G. J. Hahn and W. Q. Meeker, Statistical Intervals (1991), section 4.8).
    It is carried into the range of the quantity as the interval of the mean is (statistics/intervals.py: interval), of which
    it is sqrt(1 + n/m) times the half width: 1.4 times at 3 and 3 seeds. None where the cell has no interval of its own.
    """
    from peft_lib.statistics.intervals import interval

    if cell.value is None or cell.sd is None or cell.low is None or cell.high is None:
        return None
    what = quantity(cell.metric, dataset_metric)
    widened = cell.sd * (1 + cell.n / published_seeds) ** 0.5
    return interval(cell.value, widened, cell.n, what.low, what.high)


def rounding(cell: Cell) -> float:
    """Half a unit in the last printed place of the published value: 0.05 for 66.4, 0.005e-2 for 3.16e-2, 5e4 for 124.6e6.

    Where the cell has no printed text, 0: the number is taken as exact. A trifle is added for binary fractions.
    """
    if not cell.published_text:
        return SLACK * abs(cell.published or 0.0)
    exponent = Decimal(cell.published_text).as_tuple().exponent
    if not isinstance(exponent, int):
        raise ValueError(f"published value {cell.published_text!r} is no finite number")
    return 0.5 * 10.0**exponent * (1 + SLACK) + SLACK * abs(cell.published or 0.0)


def kendall(cells: Iterable[Cell]) -> float | None:
    """Kendall's tau-b between the published and the reproduced order of the complete cells of one row; ties count as ties.

    1: the same order, -1: the reverse, 0: none in common. Better is what the quantity's direction says; without one the
    nearest to zero. None for fewer than three cells, and where all are equal in one of the two orders: there is no order.
    """
    from scipy.stats import kendalltau

    pairs = [(_published(c), goodness(c)) for c in cells if c.published is not None and compared(c) is not None]
    if len(pairs) < 3:
        return None
    theirs, ours = zip(*pairs, strict=True)
    if len(set(theirs)) == 1 or len(set(ours)) == 1:
        return None
    return float(kendalltau(theirs, ours, variant="b").statistic)


def _published(cell: Cell) -> float:
    """How good the published value is, as `goodness` says of ours."""
    return goodness(replace(cell, value=cell.published))
