"""Whether a number of a run predicts its outcome: rank correlation over runs, and pairs that it puts the wrong way round.

Runs of one method share its hyper-parameters, and more runs of it tell little more, so methods are the units that are drawn and
exchanged: a `cluster` is a method, with its twin if that takes the same steps. What is said holds for methods like these on these
tasks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from peft_lib.statistics.draws import generator

if TYPE_CHECKING:  # planning loads the kinds of artefacts, which name this room
    import numpy as np

DRAWS = 2000
"""Resamples, and permutations."""
FEWEST = 5
"""Clusters from which on intervals and p-values are given: of four there are 24 orders, so no two-sided p-value is below 0.08."""
DEFINED = 0.95
"""Share of resamples in which a statistic has to be defined for its interval to be given."""


@dataclass(frozen=True)
class Runs:
    """Runs of one task: (n,) each. clusters: from 0 on, the same numbers in all tasks. x: what predicts. y: the outcome."""

    clusters: "np.ndarray"
    x: "np.ndarray"
    y: "np.ndarray"


@dataclass(frozen=True)
class Estimate:
    """A statistic, its 95 % interval and p-value; None where they are not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None


def spearman(tasks: Sequence[Runs], name: str = "") -> Estimate:
    """Spearman's rank correlation of x and y, of ranks within each task, over all tasks together.

    Ranks (ties: their mean) are divided by the task's number of runs and centred, so that tasks of different size and unit count
    alike run by run; of one task it is Spearman's correlation as it is. Interval: 95 % percentile bootstrap over clusters, each
    with all its runs in all tasks. p: permutation of the clusters' mean ranks, jointly in all tasks (all orders where there are
    few), two-sided. `name` names the random draws. Nothing is defined where x or y is the same everywhere.
    """
    import numpy as np

    count = clusters_of(tasks)
    ones = np.ones((1, max((int(t.clusters.max()) for t in tasks if len(t.clusters)), default=-1) + 1))
    value = float(_correlations(tasks, ones)[0]) if ones.size else math.nan
    if not math.isfinite(value):
        return Estimate(None)
    if count < FEWEST:
        return Estimate(value)
    found = _correlations(tasks, weights(tasks, generator("spearman", name)))
    return Estimate(value, *percentiles(found), _permuted(tasks, generator("permutation", name)))


def clusters_of(tasks: Sequence["Runs | Pairs"]) -> int:
    """How many different clusters the tasks have."""
    return len({int(c) for task in tasks for c in task.clusters.ravel()})


def weights(tasks: Sequence["Runs | Pairs"], rng: "np.random.Generator", draws: int = DRAWS) -> "np.ndarray":
    """(draws, clusters): how often each cluster was drawn, when as many as there are were drawn with replacement."""
    import numpy as np

    present = np.unique(np.concatenate([task.clusters.ravel() for task in tasks]))
    made = np.zeros((draws, int(present.max()) + 1))
    made[:, present] = rng.multinomial(len(present), np.full(len(present), 1 / len(present)), size=draws)
    return made


def percentiles(found: "np.ndarray") -> tuple[float | None, float | None]:
    """2.5 and 97.5 % of what is defined; None where too little is."""
    import numpy as np

    defined = found[np.isfinite(found)]
    if len(defined) < DEFINED * len(found):
        return None, None
    return float(np.quantile(defined, 0.025)), float(np.quantile(defined, 0.975))


def _correlations(tasks: Sequence[Runs], drawn: "np.ndarray") -> "np.ndarray":
    """(draws,): the correlation with each run counted as often as its cluster was drawn."""
    import numpy as np

    xy = xx = yy = np.zeros(len(drawn))
    for task in tasks:
        weight = drawn[:, task.clusters]
        x, y = _ranks(task.x, weight), _ranks(task.y, weight)
        xy, xx, yy = xy + (weight * x * y).sum(1), xx + (weight * x * x).sum(1), yy + (weight * y * y).sum(1)
    return _ratio(xy, xx, yy)


def _ranks(values: "np.ndarray", weight: "np.ndarray") -> "np.ndarray":
    """(draws, n): mean ranks among the drawn items, divided by their number, less their mean."""
    import numpy as np

    below = (values[None, :] < values[:, None]) + 0.5 * (values[None, :] == values[:, None])
    total = np.maximum(weight.sum(1, keepdims=True), 1)
    ranks: np.ndarray = weight @ below.T / total - 0.5
    return ranks


def _ratio(xy: "np.ndarray", xx: "np.ndarray", yy: "np.ndarray") -> "np.ndarray":
    import numpy as np

    tiny = 1e-12  # of sums of squares of shares: what rounding leaves of equal ranks
    below = np.sqrt(np.where((xx > tiny) & (yy > tiny), xx * yy, np.nan))
    return np.clip(xy / below, -1, 1)


def _permuted(tasks: Sequence[Runs], rng: "np.random.Generator") -> float | None:
    """Two-sided p-value: how often clusters' mean ranks agree as much when the outcomes are exchanged between clusters."""
    import numpy as np

    size = max(int(task.clusters.max()) for task in tasks if len(task.clusters)) + 1
    x, y = np.full((2, len(tasks), size), np.nan)
    for place, task in enumerate(tasks):
        whole = np.ones((1, len(task.x)))
        for means, values in ((x, task.x), (y, task.y)):
            ranks = _ranks(values, whole)[0]
            for cluster in np.unique(task.clusters):
                means[place, cluster] = ranks[task.clusters == cluster].mean()
    present = np.flatnonzero(np.isfinite(x).any(0))
    x, y = x[:, present], y[:, present]
    every = math.factorial(len(present)) <= DRAWS
    orders = (
        np.array(list(permutations(range(len(present)))))
        if every
        else np.array([rng.permutation(len(present)) for _ in range(DRAWS)])
    )
    observed = _agreement(x, y[:, None, :])[0]
    if not math.isfinite(observed):
        return None
    found = _agreement(x, y[:, orders])
    as_large = int((np.abs(found[np.isfinite(found)]) >= abs(observed) - 1e-12).sum())
    return as_large / len(orders) if every else (as_large + 1) / (DRAWS + 1)


def _agreement(x: "np.ndarray", y: "np.ndarray") -> "np.ndarray":
    """Correlation over tasks and clusters, centred within tasks. x: (tasks, clusters), y: (tasks, orders, clusters)."""
    import numpy as np

    both = np.isfinite(x)[:, None, :] & np.isfinite(y)
    number = np.maximum(both.sum(2, keepdims=True), 1)

    def centred(values: "np.ndarray") -> "np.ndarray":
        kept = np.where(both, values, 0.0)
        return np.where(both, kept - kept.sum(2, keepdims=True) / number, 0.0)

    a, b = centred(np.broadcast_to(x[:, None, :], both.shape)), centred(y)
    return _ratio((a * b).sum((0, 2)), (a * a).sum((0, 2)), (b * b).sum((0, 2)))


@dataclass(frozen=True)
class Pairs:
    """Pairs of methods of one task that the outcome tells apart. clusters: (n, 2). wrong: (n,), 1 where what predicts prefers the
    worse one, 0 where the better one, NaN where it prefers neither."""

    clusters: "np.ndarray"
    wrong: "np.ndarray"


def wrong_share(tasks: Sequence[Pairs], name: str = "") -> Estimate:
    """Share of wrong pairs among those on which what predicts prefers one, with a 95 % percentile bootstrap over clusters.

    Where all pairs are right, or all wrong, every resample is the same, which does not mean that it is certain: no interval.
    """
    import numpy as np

    kept = [_kept(task, np.isfinite(task.wrong)) for task in tasks]
    if not sum(len(task.wrong) for task in kept):
        return Estimate(None)
    value = float(np.concatenate([task.wrong for task in kept]).mean())
    if clusters_of(kept) < FEWEST or value in (0, 1):
        return Estimate(value)
    return Estimate(value, *percentiles(_shares(kept, weights(kept, generator("wrong", name)))))


def difference(first: Sequence[Pairs], second: Sequence[Pairs], name: str = "") -> Estimate:
    """Share of wrong pairs of one predictor less that of another, on the pairs on which both prefer one. p: two-sided, twice the
    smaller share of resamples on one side of 0; 1, without an interval, where both are wrong on the same pairs. The pairs of both have to be the same ones. Raises ValueError if not."""
    import numpy as np

    kept = []
    for a, b in zip(first, second, strict=True):
        if not np.array_equal(a.clusters, b.clusters):
            raise ValueError("the pairs of the two predictors differ: make both from the same outcome")
        kept.append(_kept(Pairs(a.clusters, a.wrong - b.wrong), np.isfinite(a.wrong - b.wrong)))
    if not sum(len(task.wrong) for task in kept):
        return Estimate(None)
    every = np.concatenate([task.wrong for task in kept])
    value = float(every.mean())
    if clusters_of(kept) < FEWEST:
        return Estimate(value)
    if not every.any():
        return Estimate(0.0, p=1.0)
    found = _shares(kept, weights(kept, generator("difference", name)))
    low, high = percentiles(found)
    found = found[np.isfinite(found)]
    one_side = min(int((found <= 0).sum()), int((found >= 0).sum()))
    return Estimate(value, low, high, min(1.0, 2 * (one_side + 1) / (len(found) + 1)) if low is not None else None)


def _kept(task: Pairs, which: "np.ndarray") -> Pairs:
    return Pairs(task.clusters[which], task.wrong[which])


def _shares(tasks: Sequence[Pairs], drawn: "np.ndarray") -> "np.ndarray":
    """(draws,): mean of `wrong`, each pair counted as often as both its clusters were drawn together."""
    import numpy as np

    above, below = np.zeros((2, len(drawn)))
    for task in tasks:
        weight = drawn[:, task.clusters[:, 0]] * drawn[:, task.clusters[:, 1]]
        above, below = above + weight @ task.wrong, below + weight.sum(1)
    return np.where(below > 0, above / np.maximum(below, 1), np.nan)


def told_apart(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether two methods' outcomes differ by more than their noise over seeds: Welch's 95 % interval of the difference of means
    does not hold 0. Below three seeds of either nothing is known of the noise, and any difference counts."""
    from scipy import stats

    mean_of = [math.fsum(values) / len(values) for values in (first, second)]
    if mean_of[0] == mean_of[1]:
        return False
    if min(len(first), len(second)) < 3:
        return True
    if all(len(set(values)) == 1 for values in (first, second)):
        return True  # no spread in either
    return bool(stats.ttest_ind(first, second, equal_var=False).pvalue < 0.05)
