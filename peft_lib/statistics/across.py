"""Methods over many rows (tasks): mean rank, interquartile mean, probability of improvement; Friedman's test.

A row is an array (..., methods, seeds), larger is better; all rows have the same methods in the same order, and may have
different numbers of seeds. Leading axes are draws of the bootstrap. Nothing here is averaged over rows before it has been
put on a scale that rows share: ranks, shares of a row's range, or shares of pairs.

Sources: Agarwal et al., Deep Reinforcement Learning at the Edge of the Statistical Precipice (2021), sections 4 and A, and
their library rliable, for the interquartile mean, the probability of improvement and the stratified bootstrap; Demsar,
Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006), for Friedman's test and what follows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peft_lib.statistics.intervals import FEWEST, LEVEL

DRAWS = 10_000
FEWEST_ROWS = 10
"""Rows from which on Friedman's test is made: below, its distribution is not near the one that it is compared with, and
its power is low (Demsar 2006, section 3.2.2: more than 10 data sets and 5 methods for the chi-squared form)."""
DIGITS = 9
"""Decimals that count: means that differ in less are ties of rounding."""

Rows = Sequence[Any]
"""Arrays (..., methods, seeds)."""
Statistic = Callable[[list[Any]], Any]
"""From rows to one number per method: (..., methods)."""


def mean_rank(rows: Rows) -> Any:
    """Mean over rows of each method's rank by its mean over seeds; 1 is the best, ties share the mean of their places."""
    import numpy as np
    from scipy.stats import rankdata

    _check(rows)
    ranks = [rankdata(-np.round(np.mean(row, axis=-1), DIGITS), axis=-1) for row in rows]
    return np.mean(ranks, axis=0)


def normalised(rows: Rows, zeros: Sequence[float]) -> list[Any]:
    """Rows on a common scale: (score - zero) / (best - zero), best: the mean over seeds of the row's best method.

    So 0 is `zeros[row]` (what needs no learning), 1 the row's best method, and a score below 0 is worse than that. Raises
    ValueError for a row whose best method is no better than its zero: it has no such scale.
    """
    import numpy as np

    _check(rows)
    scaled = []
    for place, (row, zero) in enumerate(zip(rows, zeros, strict=True)):
        best = float(np.mean(row, axis=-1).max())
        if not best > zero:
            raise ValueError(f"row {place}: the best mean {best:g} is not above the zero {zero:g}; leave the row out")
        scaled.append((np.asarray(row, dtype=float) - zero) / (best - zero))
    return scaled


def interquartile_mean(rows: Rows) -> Any:
    """Mean of the middle half of all normalised scores of a method, runs and rows thrown together.

    A quarter (rounded down to whole runs) is left out at either end: scipy's `trim_mean` with 0.25, as in rliable. It
    neither hangs on one extreme row, as the mean does, nor is it blind to half of the rows, as the median is.
    """
    import numpy as np
    from scipy.stats import trim_mean

    _check(rows)
    return trim_mean(np.concatenate([np.asarray(row, dtype=float) for row in rows], axis=-1), 0.25, axis=-1)


def improvement(rows: Rows, reference: int) -> Any:
    """Probability that a run of a method scores better than one of the reference method on a row drawn at random.

    Per row the share of pairs of runs (one of either) in which the method's is better, ties by half: Mann and Whitney's
    U / (seeds * seeds). Then the mean over rows. It says how often, not by how much; of the reference itself it is 1/2.
    """
    import numpy as np

    _check(rows)
    shares = []
    for row in rows:
        scores = np.round(np.asarray(row, dtype=float), DIGITS)
        mine, other = scores[..., :, :, None], scores[..., reference : reference + 1, None, :]
        shares.append(((mine > other) + 0.5 * (mine == other)).mean(axis=(-2, -1)))
    return np.mean(shares, axis=0)


def bootstrap(
    rows: Rows, statistic: Statistic, paired: bool, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> tuple[Any, Any]:
    """Percentile interval of a statistic under the stratified bootstrap: seeds are drawn anew with replacement within rows.

    `paired`: one draw of seeds for all methods of a row, because a seed fixes the order of the data, the head and the
    split for all of them; else a draw for each method, as rliable does. Returns two arrays (methods,). Rows themselves
    are not drawn: the interval is for these rows, and says nothing about other tasks.

    With n seeds a resampled mean varies by (n - 1) / n of what it should, so that intervals are somewhat narrow: at nominal
    95 %, by simulation with as much noise of seeds as of methods, they hold the statistic's mean in 94 % (mean rank), 87 %
    (interquartile mean) and 97 % (improvement) of cases for 24 rows of 3 seeds; in 98, 94 and 99 % with 10 seeds; in 82, 85
    and 79 % for 2 rows of 3 seeds. Raises ValueError below three seeds in a row.
    """
    import numpy as np

    _check(rows)
    arrays = [np.asarray(row, dtype=float) for row in rows]
    fewest = min(row.shape[-1] for row in arrays)
    if fewest < FEWEST:
        raise ValueError(f"a row of {fewest} seeds: no interval is given below {FEWEST}")
    generator = np.random.default_rng(seed)
    made = []
    for start in range(0, draws, 500):  # of a size that stays small in memory
        count = min(500, draws - start)
        made.append(statistic([_drawn(row, count, paired, generator) for row in arrays]))
    found = np.concatenate(made)
    half = 50 * (1 - level)
    return np.percentile(found, half, axis=0), np.percentile(found, 100 - half, axis=0)


def _drawn(row: Any, count: int, paired: bool, generator: Any) -> Any:
    """(count, methods, seeds): the row's seeds, drawn with replacement."""
    import numpy as np

    methods, seeds = row.shape
    shape = (count, 1, seeds) if paired else (count, methods, seeds)
    picks = np.broadcast_to(generator.integers(0, seeds, shape), (count, methods, seeds))
    return np.take_along_axis(np.broadcast_to(row, (count, methods, seeds)), picks, axis=-1)


@dataclass(frozen=True)
class Friedman:
    """Whether methods differ at all over rows. `critical_difference`: Nemenyi's, of two mean ranks, at 5 %."""

    statistic: float
    p: float
    rows: int
    critical_difference: float


def friedman(rows: Rows) -> Friedman | None:
    """Friedman's test on the ranks of the methods' means over seeds, rows as blocks; None below ten rows or three methods.

    With N rows, k methods and Friedman's chi2 (corrected for ties), F = (N - 1) chi2 / (N (k - 1) - chi2) is compared with
    F of k - 1 and (k - 1)(N - 1) degrees of freedom (Iman and Davenport 1980), which chi2 alone is too cautious for. Two
    methods differ at 5 % by Nemenyi if their mean ranks are q sqrt(k (k + 1) / (6 N)) or more apart, q: the 95 % point of
    the studentized range over sqrt 2. Assumes that rows are independent: rows of one data set or one model are not quite.
    """
    import numpy as np
    from scipy import stats

    _check(rows)
    means = np.array([np.round(np.mean(row, axis=-1), DIGITS) for row in rows])
    count, methods = means.shape
    if count < FEWEST_ROWS or methods < 3:
        return None
    if bool((means == means[:, :1]).all()):
        return Friedman(0.0, 1.0, count, _critical(methods, count))
    chi2 = float(stats.friedmanchisquare(*means.T).statistic)
    rest = count * (methods - 1) - chi2
    f = float("inf") if rest <= 1e-9 else (count - 1) * chi2 / rest
    p = float(stats.f.sf(f, methods - 1, (methods - 1) * (count - 1)))
    return Friedman(f, p, count, _critical(methods, count))


def _critical(methods: int, rows: int) -> float:
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(LEVEL, methods, float("inf"))) / 2**0.5
    return q * (methods * (methods + 1) / (6 * rows)) ** 0.5


def rank_p_values(rows: Rows, reference: int) -> list[float]:
    """Two-sided p of each method's mean rank against the reference's: z = difference / sqrt(k (k + 1) / (6 N)).

    Of the reference itself 1. To be corrected for the number of methods (Holm), and to be asked only after Friedman's
    test has found a difference (Demsar 2006, section 3.2.2).
    """
    from scipy.stats import norm

    ranks = mean_rank(rows)
    error = (len(ranks) * (len(ranks) + 1) / (6 * len(rows))) ** 0.5
    return [float(2 * norm.sf(abs(rank - ranks[reference]) / error)) for rank in ranks]


def _check(rows: Rows) -> None:
    """Raises ValueError for no rows, rows with other methods, and scores that are not finite."""
    import numpy as np

    if not rows:
        raise ValueError("no rows: at least one complete row is needed")
    counts = {np.shape(row)[-2] for row in rows}
    if len(counts) > 1:
        raise ValueError(f"rows have {sorted(counts)} methods: each needs the same methods in the same order")
    if not all(np.isfinite(row).all() for row in rows):
        raise ValueError("scores must be finite: leave rows with failed runs out")
