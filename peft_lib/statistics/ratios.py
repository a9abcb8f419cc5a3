"""A ratio of two means over the same seeds, with Fieller's interval."""

from collections.abc import Sequence
from dataclasses import dataclass

from peft_lib.statistics.intervals import FEWEST, LEVEL


@dataclass(frozen=True)
class Ratio:
    """mean(x) / mean(y). `low` and `high` are None where there is no interval; `reason` then says why."""

    value: float
    low: float | None = None
    high: float | None = None
    reason: str | None = None


def fieller(x: Sequence[float], y: Sequence[float], lowest: float | None = None, level: float = LEVEL) -> Ratio:
    """Ratio of the means of x and y, both (n,), x[i] and y[i] of one seed; `lowest`: a bound that no ratio can pass.

    The interval holds every theta for which a t test of n - 1 degrees of freedom does not refute mean(x - theta y) = 0:
    a theta^2 - 2 b theta + c <= 0 with a = my^2 - t^2 syy / n, b = mx my - t^2 sxy / n, c = mx^2 - t^2 sxx / n. Pairs count: what
    a seed does to both cancels. It is bounded only where a > 0, i.e. where the mean of y differs from zero by the same
    test; otherwise nothing is known of the ratio, and no interval is given. Exact for normal pairs, whatever n.

    Source: E. C. Fieller, Some Problems in Interval Estimation, J. R. Stat. Soc. B 16 (1954) 175-185. Raises ValueError for
    different lengths, no values and a mean of y of zero.
    """
    import numpy as np
    from scipy import stats

    first, second = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if first.shape != second.shape or not first.size:
        raise ValueError(
            f"a ratio of {first.size} and {second.size} values: it needs as many of either, and one at least"
        )
    mx, my, n = float(first.mean()), float(second.mean()), first.size
    if my == 0:
        raise ValueError("a ratio to a mean of zero")
    if n < FEWEST:
        return Ratio(mx / my, reason=f"fewer than {FEWEST} seeds: no interval")
    (sxx, sxy), (_, syy) = np.cov(first, second, ddof=1)
    t2 = float(stats.t.ppf(0.5 + level / 2, n - 1)) ** 2
    a, b, c = my**2 - t2 * syy / n, mx * my - t2 * sxy / n, mx**2 - t2 * sxx / n
    if a <= 0:
        return Ratio(mx / my, reason="what it is divided by may be zero by its seeds: nothing bounds the ratio")
    root = max(b * b - a * c, 0.0) ** 0.5
    low, high = float((b - root) / a), float((b + root) / a)
    if lowest is not None:
        low = max(low, lowest)
    return Ratio(mx / my, min(low, mx / my), max(high, mx / my))
