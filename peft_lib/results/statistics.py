"""Statistics over seeds: mean, standard deviation and 95 % t interval. One seed has no spread, and says so by nulls."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True)
class Summary:
    """Spread over seeds. `sd` (ddof 1), `low` and `high` are None below two values, `mean` is None without any."""

    mean: float | None
    sd: float | None
    n: int
    low: float | None
    high: float | None


def summarise(values: Iterable[float], level: float = LEVEL) -> Summary:
    """Mean, sd and two-sided Student t interval of the mean. Raises ValueError for a value that is not finite."""
    data = np.asarray(list(values), dtype=float)
    if not np.isfinite(data).all():
        raise ValueError(f"values {data.tolist()} must be finite; leave failed runs out before summarising")
    n = int(data.size)
    if n == 0:
        return Summary(None, None, 0, None, None)
    mean = float(data.mean())
    if n == 1:
        return Summary(mean, None, 1, None, None)
    sd = float(data.std(ddof=1))
    half = half_width(sd, n, level)
    return Summary(mean, sd, n, mean - half, mean + half)


def half_width(sd: float, n: int, level: float = LEVEL) -> float:
    """Half width of the t interval: t_{n-1} sd / sqrt(n). At n = 2 that is 9 sd, at n = 3 2.5 sd, at n = 5 1.2 sd."""
    return float(stats.t.ppf(0.5 + level / 2, n - 1)) * sd / n**0.5


def intervals_overlap(a: tuple[float | None, float | None], b: tuple[float | None, float | None]) -> bool | None:
    """Whether two intervals share a point; None if one of them does not exist."""
    (low_a, high_a), (low_b, high_b) = a, b
    if low_a is None or high_a is None or low_b is None or high_b is None:
        return None
    return low_a <= high_b and low_b <= high_a
