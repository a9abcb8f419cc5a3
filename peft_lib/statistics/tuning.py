"""What tuning gives: the expected best of n settings tried, and how far a result depends on the learning rate.

Sources: Dodge et al., Show Your Work: Improved Reporting of Experimental Results (EMNLP 2019), section 3, for the expected
best of n settings drawn with replacement; Tang et al., Showing Your Work Doesn't Always Work (ACL 2020), for the same
without replacement, which is unbiased.
"""

from collections.abc import Sequence
from math import comb, log10

from peft_lib.statistics.across import DIGITS

DECADE = 1.0
"""Powers of ten to either side of the best learning rate."""


def chances(values: Sequence[float], n: int, replacement: bool = True) -> list[float]:
    """The chance of each of N settings to be the best of n that are tried at random. Larger values are better.

    With v_(1) <= ... <= v_(N): with replacement (i / N)^n - ((i - 1) / N)^n for v_(i), as in Dodge et al.; without
    C(i - 1, n - 1) / C(N, n). Settings with equal values share the sum of theirs, so that no order among them counts.
    The sum is 1. Raises ValueError for no values, and for n below 1 or, without replacement, above N.
    """
    total = len(values)
    if not total or n < 1 or (n > total and not replacement):
        raise ValueError(
            f"the best of {n} settings out of {total}: n is at least 1, without replacement at most {total}"
        )
    rounded = [round(v, DIGITS) for v in values]
    ordered = sorted(range(total), key=lambda i: rounded[i])
    single = [_single(place, total, n, replacement) for place in range(1, total + 1)]
    shared: dict[float, list[float]] = {}
    for place, index in enumerate(ordered):
        shared.setdefault(rounded[index], []).append(single[place])
    return [sum(shared[v]) / len(shared[v]) for v in rounded]


def _single(place: int, total: int, n: int, replacement: bool) -> float:
    if replacement:
        return (place / total) ** n - ((place - 1) / total) ** n
    return comb(place - 1, n - 1) / comb(total, n)


def expected_best(values: Sequence[float], n: int, replacement: bool = True) -> float:
    """E[max of n of the values], each draw equally likely to be any of them. Raises ValueError as `chances` does."""
    return expected_at_best(values, values, n, replacement)


def expected_at_best(values: Sequence[float], others: Sequence[float], n: int, replacement: bool = True) -> float:
    """Mean of another number of the setting that is best of n by `values`: its test metric, say. In the unit of `others`."""
    weights = chances(values, n, replacement)
    return sum(w * other for w, other in zip(weights, others, strict=True))


def within_decade(rates: Sequence[float], best: float) -> list[bool]:
    """Which learning rates lie within a factor of ten of the best one, on either side, both ends included."""
    return [abs(log10(rate / best)) <= DECADE + 1e-9 for rate in rates]
