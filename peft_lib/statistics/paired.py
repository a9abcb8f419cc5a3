"""Paired comparisons of methods that were trained with the same seeds and tested on the same items.

What is compared. M methods, S seeds, and d_s = f(first, s) - f(second, s), the difference of a measure f in seed s; reported is
their mean D. Two things would come out otherwise another time: which items are in the test set (the same for all seeds and
methods, or shared between them) and what a seed does to training (it is a block: both methods have its head, its order of the
data, its split). Seeds are not independent repetitions of a test, because they answer the same items: McNemar's test is
therefore done for each seed, and its p-values are never multiplied or averaged.

The distribution of D. Items are resampled, with the same weights for all methods and seeds: D*(w). Three seeds cannot be
resampled: there are ten ways to do it, their variance is a third too small, and an interval from them covers 80 % instead of 95 %
where seeds dominate (test_paired.py). So the seeds' part is Student's t, which is right for few seeds:

    D* = D(w) + t_nu sqrt(V),    V = max(0, v - e) / S,

v being the variance of d_s over seeds, e what of it the choice of items alone explains (mean over resamples of the variance over
seeds of d_s(w) - d_s), so that item noise is not counted twice. The 95 % interval are the 2.5 % and 97.5 % quantiles of D*, and p
is twice the smaller share of D* on one side of zero, at least 2 / (R + 1): it is below 0.05 where the interval leaves out zero.

The variance over seeds. v from S = 3 has two degrees of freedom, and a t of those needs differences of forty standard errors in a
family of ninety comparisons. All pairs of a row are therefore looked at together, and each v is moderated as in limma (G. K. Smyth,
Statistical Applications in Genetics and Molecular Biology 3 (2004), article 3): variances are taken to be draws from
s0^2 nu0 / chi^2(nu0), nu0 and s0^2 are fitted to the log v of all pairs, and v becomes (nu0 s0^2 + (S - 1) v) / (nu0 + S - 1) with
nu = nu0 + S - 1, at most the (S - 1)(M - 1) that the row has. Where methods differ much in how steady they are nu0 is small and each
pair keeps its own; where they do not, all lend each other strength. Twins (methods with the same answers) count once. Below FEWEST_MODERATED methods each pair keeps its own.

Below three seeds there is no variance over seeds to speak of: items alone are resampled, and the statement is of the runs as they
are, not of other seeds.

Assumed: items, or groups of them that ask the same (references of one input, as in E2E), are independent, seeds are independent
draws, near normal. Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 6 and 13; Koehn, EMNLP 2004
(paired bootstrap of test items); Dror et al., ACL 2018 (which test for which measure); Bouthillier et al., MLSys 2021 (variance of
seeds beside that of test sets); Owen, Annals of Applied Statistics 1 (2007) 386-411 (why resampling items and seeds at once
counts their common noise more than once).
"""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING

from peft_lib.statistics.intervals import FEWEST, LEVEL

if TYPE_CHECKING:
    import numpy as np

DRAWS = 9999
"""Resamples; with them p is at least 0.0002."""
NOTHING = 1e-12
"""Differences below it are rounding."""
FEWEST_MODERATED = 5
"""Methods from which on their variances over seeds are looked at together."""


@dataclass(frozen=True)
class Difference:
    """First minus second. `singles`: by seed.

    se_items: standard error from the choice of items; se_within: the part of it that is not the same in all seeds, sqrt(e / S).
    se_seeds: standard error from the seeds, sqrt(V), and its degrees of freedom. The last three are None below three seeds: then
    interval and p are of these runs alone.
    """

    value: float
    singles: tuple[float, ...]
    low: float
    high: float
    p: float
    se_items: float
    se_within: float | None
    se_seeds: float | None
    df: float | None


def mcnemar(first: "np.ndarray", second: "np.ndarray") -> tuple[int, int, float]:
    """Exact McNemar test of one seed: items that the first alone has right, the second alone, and the two-sided p.

    first, second: (N,) whether each item was right, in one order. Source: McNemar, Psychometrika 12 (1947) 153-157; p by
    statsmodels, binomial with n = discordant items. Without any, p is 1.
    """
    from statsmodels.stats.contingency_tables import mcnemar as exact

    a, b = int((first & ~second).sum()), int((~first & second).sum())
    if a + b == 0:
        return 0, 0, 1.0
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    return a, b, float(exact([[both, a], [b, neither]], exact=True).pvalue)


@dataclass(frozen=True)
class Compared:
    """Measures of one row of a table, ready to be compared in pairs.

    observed: (M, S) methods by seeds. resampled: (R, M, S), the same on R resamples of the items. spread: largest difference that
    the range of the measure allows (None: no bound); intervals stay within it.
    """

    observed: "np.ndarray"
    resampled: "np.ndarray"
    spread: float | None = None

    def __post_init__(self) -> None:
        import numpy as np

        if self.resampled.shape[1:] != self.observed.shape:
            raise ValueError(
                f"resampled {self.resampled.shape} must be (R, {', '.join(map(str, self.observed.shape))})"
            )
        if not (np.isfinite(self.observed).all() and np.isfinite(self.resampled).all()):
            raise ValueError("measures must be finite: leave failed runs out before comparing")

    @property
    def over_seeds(self) -> bool:
        """Whether the statement is about seeds too."""
        return self.observed.shape[1] >= FEWEST

    @cached_property
    def same_as(self) -> tuple[int, ...]:
        """For each method the first one with its values in all seeds and all resamples: itself, but for twins."""
        import numpy as np

        whole = np.concatenate([self.observed[None], self.resampled])
        found: list[int] = []
        for m in range(len(self.observed)):
            alike = (k for k in dict.fromkeys(found) if np.allclose(whole[:, k], whole[:, m], rtol=0, atol=NOTHING))
            found.append(next(alike, m))
        return tuple(found)

    @property
    def distinct(self) -> tuple[int, ...]:
        """Methods without those that another one before them equals: twins would be counted twice."""
        return tuple(dict.fromkeys(self.same_as))

    @cached_property
    def _prior(self) -> tuple[float, float]:
        """nu0 and s0^2 of the variances of all pairs; (0, 0) where each keeps its own."""
        import numpy as np

        if len(self.distinct) < FEWEST_MODERATED:
            return 0.0, 0.0
        kept = self.observed[list(self.distinct)]
        first, second = np.triu_indices(len(kept), 1)
        return prior_variance((kept[first] - kept[second]).var(1, ddof=1), kept.shape[1] - 1)

    def _seeds(self, singles: "np.ndarray", drawn: "np.ndarray") -> tuple[float, float, float]:
        """(e / S, V, nu) of a pair: singles (S,) and their resamples (R, S)."""
        import numpy as np

        seeds = self.observed.shape[1]
        own, others = float(seeds - 1), max(1, len(self.distinct) - 1)
        v, e = float(singles.var(ddof=1)), float((drawn - singles).var(1, ddof=1).mean())
        prior, variance = self._prior
        if np.isinf(prior):
            v, nu = variance, own * others
        else:
            v, nu = (prior * variance + own * v) / (prior + own), prior + own
            nu = min(nu, own * others)
        return e / seeds, max(0.0, v - e) / seeds, nu

    def pair(self, a: int, b: int, level: float = LEVEL) -> Difference:
        """Method a minus method b: difference, interval and p."""
        import numpy as np

        singles = self.observed[a] - self.observed[b]
        by_seed = self.resampled[:, a] - self.resampled[:, b]
        drawn = by_seed.mean(1)
        # Equal numbers of right answers are equal, whatever the rounding of their shares.
        drawn = np.where(np.abs(drawn) < NOTHING, 0.0, drawn)
        value, se_items = float(singles.mean()), float(drawn.std(ddof=1))
        within, seeds, nu = None, None, None
        if self.over_seeds:
            parts = self._seeds(singles, by_seed)
            within, seeds, nu = parts[0] ** 0.5, parts[1] ** 0.5, parts[2]
            if seeds > NOTHING:
                drawn = drawn + seeds * student(len(drawn), round(nu, 2))
        if self.spread is not None:
            drawn = np.clip(drawn, -self.spread, self.spread)
        low, high = (float(q) for q in np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2]))
        share = (1 + min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))) / (1 + len(drawn))
        return Difference(
            value, tuple(map(float, singles)), min(low, value), max(high, value), min(1.0, 2 * share), se_items, within,
            seeds, nu,
        )  # fmt: skip


def prior_variance(v: "np.ndarray", df: float) -> tuple[float, float]:
    """nu0 and s0^2 of variances v (each of df degrees of freedom): Smyth (2004), section 6.2, moments of log v. (inf, s0^2): they
    differ no more than chance explains. All zero: (inf, 0)."""
    import numpy as np
    from scipy import optimize, special

    floor = 1e-5 * float(np.median(v))  # as limma: the logarithm of a variance of 0 would outweigh all others
    if floor == 0:
        return np.inf, float(v.mean())
    logs = np.log(np.maximum(v, floor)) - special.digamma(df / 2) + np.log(df / 2)
    excess = float(logs.var(ddof=1) - special.polygamma(1, df / 2))
    if excess <= 1e-6:
        return np.inf, float(v.mean())
    half = float(optimize.brentq(lambda x: special.polygamma(1, np.exp(x)) - excess, -20, 20))
    prior = 2 * float(np.exp(half))
    return prior, float(np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2)))


@cache
def student(draws: int, df: float) -> "np.ndarray":
    """(draws,) quantiles of Student's t at evenly spaced levels, in an order that has nothing to do with the items."""
    import numpy as np
    from scipy import stats

    from peft_lib.statistics.draws import generator

    return generator("student", draws).permutation(stats.t.ppf((np.arange(draws) + 0.5) / draws, df))
