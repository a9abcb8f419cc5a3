"""How small a difference a comparison could have found: planning numbers, from the noise that the study itself measured."""

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from peft_lib.statistics.families import ALPHA

if TYPE_CHECKING:
    import numpy as np

POWER = 0.8
STUDIES = 2000
"""Studies that are imagined: their variances over seeds at evenly spaced levels, so that the answer is always the same."""


@dataclass(frozen=True)
class Noise:
    """Standard errors of a difference of means over S seeds, as statistics/paired.py finds them (Difference).

    items: choice of items; within: the part of it that is not the same in all seeds; over_seeds: what seeds add; df: degrees of
    freedom of that. Below three seeds `over_seeds` and `df` are None.
    """

    seeds: int
    items: float
    within: float = 0.0
    over_seeds: float | None = None
    df: float | None = None

    def with_seeds(self, seeds: int) -> "Noise":
        """The same with another number of seeds on the same test items: what seeds share stays, the rest falls with their square
        root. Raises ValueError where there is nothing to tell it from."""
        if self.over_seeds is None or self.df is None or seeds < 3:
            raise ValueError(f"from {self.seeds} to {seeds} seeds: the noise of seeds is known from three on")
        rate = self.seeds / seeds
        shared = max(0.0, self.items**2 - self.within**2)
        return replace(
            self, seeds=seeds, items=(shared + self.within**2 * rate) ** 0.5, within=self.within * rate**0.5,
            over_seeds=self.over_seeds * rate**0.5, df=self.df * (seeds - 1) / (self.seeds - 1),
        )  # fmt: skip


def detectable(noise: Noise, alpha: float = ALPHA, power: float = POWER) -> float:
    """The true difference that the test of paired.py finds with that power at level alpha, in the unit of the standard errors.

    A study sees D ~ normal(delta, items^2 + over_seeds^2) and v = S (over_seeds^2 + within^2) chi^2(df) / df, and finds the
    difference if D lies beyond the 1 - alpha / 2 quantile of items z + sqrt(max(0, v / S - within^2)) t(df). delta is where the mean
    over v of that chance is `power`. Below three seeds v plays no part: delta = (z_{1 - alpha / 2} + z_{power}) items.

    It is a property of the design and says nothing of the difference that was found (Hoenig and Heisey, The American
    Statistician 55 (2001) 19-24). Raises ValueError for a negative standard error.
    """
    import numpy as np
    from scipy import optimize, stats

    if min(noise.items, noise.within, noise.over_seeds or 0.0) < 0:
        raise ValueError(f"standard errors {noise} must not be negative")
    if noise.over_seeds is None or noise.df is None:
        return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * noise.items
    scale = float(np.hypot(noise.items, noise.over_seeds))
    if scale == 0:
        return 0.0
    chi = stats.chi2.ppf((np.arange(STUDIES) + 0.5) / STUDIES, noise.df) / noise.df
    seen = np.sqrt(np.maximum(0, (noise.over_seeds**2 + noise.within**2) * chi - noise.within**2))
    ratios, ends = _critical(round(noise.df, 2), alpha)
    # In units of hypot(items, seen): from a normal's quantile, seeds nothing, to Student's, seeds everything.
    whole = np.hypot(noise.items, seen)
    share = np.divide(seen, whole, out=np.zeros_like(seen), where=whole > 0)
    limit = whole * np.interp(share, ratios, ends)

    def short(delta: float) -> float:
        return float(stats.norm.cdf((delta - limit) / scale).mean()) - power

    beyond = scale
    while short(beyond) < 0:
        beyond *= 2
    return float(optimize.brentq(short, 0, beyond))


@cache
def _critical(df: float, alpha: float) -> "tuple[np.ndarray, np.ndarray]":
    """The 1 - alpha / 2 quantile of sqrt(1 - r^2) z + r t(df) at shares r from 0 to 1, z normal."""
    import numpy as np
    from scipy import stats

    from peft_lib.statistics.draws import generator
    from peft_lib.statistics.paired import DRAWS, student

    levels = (np.arange(DRAWS) + 0.5) / DRAWS
    z, t = generator("normal", DRAWS).permutation(stats.norm.ppf(levels)), student(DRAWS, df)
    ratios = np.linspace(0, 1, 41)
    return ratios, np.array([np.quantile(np.sqrt(1 - r * r) * z + r * t, 1 - alpha / 2) for r in ratios])
