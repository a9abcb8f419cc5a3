"""Measures of a run as functions of its test items, so that a resample of the items has a measure too.

Most measures are functions of sums over items: with c_i (k numbers of item i) and how often w_i a resample has the item,
measure = g(sum_i w_i c_i). All resamples of all runs of a row are then one matrix product. Spearman's correlation is none of
them and is computed from weighted ranks. With every w_i = 1 each is what the run recorded (peft_lib/tasks, which this does not
import: it needs torch); `results/predictions.py` checks that for every run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from peft_lib.statistics.items import Items, NotComparable

if TYPE_CHECKING:
    import numpy as np

FEWEST_ITEMS = 20
"""Test items below which nothing is resampled: the bootstrap needs a sample that resembles what it was drawn from."""
MOST_NATS = 709.0
"""Mean loss beyond which exp is no number of double precision."""


class Measure(Protocol):
    """A measure of one run."""

    def at(self, weights: "np.ndarray") -> "np.ndarray":
        """(R,) its value on R resamples, given how often each has every item: (R, N)."""
        ...


@dataclass(frozen=True)
class OfSums:
    """A measure that is a function of sums over items. columns: (N, k). value: (..., k) sums -> (...) values."""

    columns: "np.ndarray"
    value: "Callable[[np.ndarray], np.ndarray]"

    def at(self, weights: "np.ndarray") -> "np.ndarray":
        return self.value(weights @ self.columns)


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's correlation: Pearson's of ranks, ties at their mean rank; 0 where one side is constant. x, y: (N,)."""

    x: "np.ndarray"
    y: "np.ndarray"

    def at(self, weights: "np.ndarray") -> "np.ndarray":
        """On the resample written out, item i w_i times."""
        import numpy as np

        a, b = (_weighted_ranks(v, weights) for v in (self.x, self.y))
        total = weights.sum(1, keepdims=True)
        a, b = (r - (weights * r).sum(1, keepdims=True) / total for r in (a, b))
        products = [(weights * u * v).sum(1) for u, v in ((a, b), (a, a), (b, b))]
        return np.asarray(_ratio(products[0], np.sqrt(products[1] * products[2])))


def _weighted_ranks(values: "np.ndarray", weights: "np.ndarray") -> "np.ndarray":
    """(R, N) mean rank of each item's value among the items written out w times: the weight below, and half of that beside."""
    import numpy as np

    distinct, level = np.unique(values, return_inverse=True)
    order = np.argsort(level, kind="stable")
    starts = np.searchsorted(level[order], np.arange(len(distinct)))
    held = np.add.reduceat(weights[:, order], starts, axis=1)
    below = np.cumsum(held, axis=1) - held
    return (below + (held + 1) / 2)[:, level]


def _ratio(above: "np.ndarray", below: "np.ndarray") -> "np.ndarray":
    """Quotient; 0 where the divisor is 0, as the tasks define measures that do not exist there."""
    import numpy as np

    below = np.where(np.abs(below) > 1e-12 * np.maximum(1.0, np.abs(above)), below, 0.0)
    return np.divide(above, below, out=np.zeros_like(np.asarray(above, dtype=float)), where=below != 0)


def measure(name: str, items: Items, positive: str | None = None, train_loss: float | None = None) -> Measure:
    """The measure of that name of a run's items: a metric of study/quantities.py, or `test_loss`, `gap`, `gap_absolute`.

    positive: the label that F1 counts as class 1. train_loss: the run's clean training loss, for the gaps, whose test part
    alone is resampled. Raises NotComparable for too few items and for a measure that cannot be resampled.
    """
    if (count := len(set(items.units))) < FEWEST_ITEMS:
        raise NotComparable(f"{count} test items are too few to resample, at least {FEWEST_ITEMS} are needed")
    if name in _BY_NAME:
        return _BY_NAME[name](items)
    if name == "f1":
        if positive is None:
            raise NotComparable("F1 cannot be resampled without knowing which label is its positive class")
        return _f1(items, positive)
    if name in ("gap", "gap_absolute"):
        if train_loss is None:
            raise NotComparable("the run has no clean training loss, so its gap cannot be resampled")
        return _gap(items, train_loss, absolute=name == "gap_absolute")
    raise NotComparable(
        f"{name} is no function of sums over items and would have to be scored anew on thousands of resampled texts; "
        "compare another measure"
    )


def _stack(*columns: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.column_stack([np.asarray(c, dtype=float) for c in columns])


def _share(items: Items) -> Measure:
    """Accuracy, exact match: right answers over answers; of a group that is the one answer, right if any reference is it."""
    import numpy as np

    columns, right = np.zeros((len(items), 2)), items.right
    for group in items.groups:
        columns[group[0]] = right[group].any(), 1  # at the first of the group: the others add nothing
    return OfSums(columns, lambda s: s[..., 0] / s[..., 1])


def _loss(items: Items) -> Measure:
    """Sum of losses over sum of weights."""
    return OfSums(_stack(items.loss, items.weight), lambda s: s[..., 0] / s[..., 1])


def _gap(items: Items, train_loss: float, absolute: bool) -> Measure:
    """Mean test loss minus the clean training loss, which stays as it is."""

    def value(sums: "np.ndarray") -> "np.ndarray":
        signed = sums[..., 0] / sums[..., 1] - train_loss
        return abs(signed) if absolute else signed

    return OfSums(_stack(items.loss, items.weight), value)


def _perplexity(items: Items) -> Measure:
    """exp of the mean loss, bounded where it is no number any more."""
    import numpy as np

    return OfSums(_stack(items.loss, items.weight), lambda s: np.exp(np.minimum(s[..., 0] / s[..., 1], MOST_NATS)))


def _mcc(items: Items) -> Measure:
    """Matthews correlation of K classes (Gorodkin 2004): (c n - sum_k p_k t_k) / sqrt((n^2 - sum p_k^2)(n^2 - sum t_k^2)) with
    c right answers of n, p_k answers and t_k labels of class k."""
    import numpy as np

    classes = sorted({*map(str, items.label), *map(str, items.prediction)})
    given, true = ([[str(v) == k for k in classes] for v in side] for side in (items.prediction, items.label))
    count = len(classes)

    def value(sums: "np.ndarray") -> "np.ndarray":
        n, c, p, t = sums[..., 0], sums[..., 1], sums[..., 2 : 2 + count], sums[..., 2 + count :]
        spread = (n**2 - (p**2).sum(-1)) * (n**2 - (t**2).sum(-1))
        return np.asarray(_ratio(c * n - (p * t).sum(-1), np.sqrt(spread)))

    columns = _stack(np.ones(len(items)), items.right)
    return OfSums(np.hstack([columns, np.asarray(given, float), np.asarray(true, float)]), value)


def _f1(items: Items, positive: str) -> Measure:
    """2 TP / (2 TP + FP + FN) of the positive class; 0 where it is neither given nor true."""
    import numpy as np

    given, true = (np.asarray([str(v) == positive for v in side]) for side in (items.prediction, items.label))
    return OfSums(
        _stack(given & true, given ^ true), lambda s: np.asarray(_ratio(2 * s[..., 0], 2 * s[..., 0] + s[..., 1]))
    )


def _numbers(items: Items) -> tuple["np.ndarray", "np.ndarray"]:
    """Labels and answers of a regression; the score is the answer with all its digits."""
    return items.label.astype(float), items.score.astype(float)


def _pearson(items: Items) -> Measure:
    """Pearson's correlation, from sums of centred values; 0 where one side is constant."""
    import numpy as np

    x, y = (v - v.mean() for v in _numbers(items))

    def value(sums: "np.ndarray") -> "np.ndarray":
        n, sx, sy, xx, yy, xy = (sums[..., i] for i in range(6))
        vx, vy = (np.maximum(n * q - s**2, 0) for q, s in ((xx, sx), (yy, sy)))
        return np.asarray(_ratio(n * xy - sx * sy, np.sqrt(vx * vy)))

    return OfSums(_stack(np.ones(len(x)), x, y, x * x, y * y, x * y), value)


def _spearman(items: Items) -> Measure:
    return RankCorrelation(*_numbers(items))


def _rmse(items: Items) -> Measure:
    """Root of the mean squared error."""
    import numpy as np

    x, y = _numbers(items)
    return OfSums(_stack((x - y) ** 2, np.ones(len(x))), lambda s: np.sqrt(s[..., 0] / s[..., 1]))


def _bleu(items: Items) -> Measure:
    """Corpus BLEU as a fraction, all references of a group for its one answer: matches and lengths of n-grams are sums over
    answers; what is made of them is sacrebleu's own formula, with the smoothing of its defaults."""
    import numpy as np
    from sacrebleu.metrics import BLEU

    metric = BLEU()
    rows = np.zeros((len(items), 10))
    for group in items.groups:
        one = metric.corpus_score([str(items.prediction[group[0]])], [[str(items.label[i])] for i in group])
        rows[group[0]] = [*one.counts, *one.totals, one.sys_len, one.ref_len]

    def value(sums: "np.ndarray") -> "np.ndarray":
        whole = np.rint(sums).astype(int).reshape(-1, 10).tolist()
        made = [BLEU.compute_bleu(r[:4], r[4:8], r[8], r[9], smooth_method="exp").score / 100 for r in whole]
        return np.asarray(made).reshape(sums.shape[:-1])

    return OfSums(rows, value)


_BY_NAME: dict[str, Callable[[Items], Measure]] = {
    "accuracy": _share, "exact_match": _share, "test_loss": _loss, "perplexity": _perplexity, "mcc": _mcc,
    "pearson": _pearson, "spearman": _spearman, "rmse": _rmse, "bleu": _bleu,
}  # fmt: skip
RIGHT_OR_WRONG = frozenset({"accuracy", "exact_match"})
"""Measures for which each item is right or wrong, so that McNemar's test applies."""


def resample(
    measures: Sequence[Measure], where: Sequence["np.ndarray"], units: int, draws: int, rng: "np.random.Generator"
) -> "np.ndarray":
    """(draws, len(measures)): all measures on the same resamples of `units` items, or groups of them. where: the unit of each one's
    items, (N,). Items of a unit are drawn together.

    A run that was not tested on a unit takes no part of it: its rows of c are zero there.
    """
    import numpy as np

    from peft_lib.statistics.draws import item_weights

    blocks, slices, at = [], [], 0
    for one, place in zip(measures, where, strict=True):
        if isinstance(one, OfSums):
            block = np.zeros((units, one.columns.shape[1]))
            np.add.at(block, place, one.columns)
            blocks.append(block)
        slices.append(slice(at, at := at + (one.columns.shape[1] if isinstance(one, OfSums) else 0)))
    stacked = np.hstack(blocks) if blocks else np.zeros((units, 0))
    parts = []
    for weights in item_weights(units, draws, rng):
        sums = weights @ stacked
        parts.append(np.column_stack([
            one.value(sums[:, part]) if isinstance(one, OfSums) else one.at(weights[:, place])
            for one, part, place in zip(measures, slices, where, strict=True)
        ]))  # fmt: skip
    return np.vstack(parts)
