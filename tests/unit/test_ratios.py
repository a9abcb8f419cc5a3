"""Fieller's interval: by inverting the t test on a grid, by simulation, and where there is none."""

import numpy as np
import pytest
from scipy import stats

from peft_lib.statistics.ratios import fieller

RNG = np.random.default_rng(3)


def test_it_holds_what_a_t_test_does_not_refute():
    x, y = RNG.normal(3, 0.4, 5), RNG.normal(2, 0.2, 5)
    found = fieller(x, y)
    assert found.value == pytest.approx(x.mean() / y.mean())
    thetas = np.linspace(found.value - 2, found.value + 2, 8001)
    inside = [theta for theta in thetas if stats.ttest_1samp(x - theta * y, 0).pvalue > 0.05]
    assert (found.low, found.high) == pytest.approx((min(inside), max(inside)), abs=1e-3)


@pytest.mark.parametrize("n", [3, 5])
def test_it_holds_the_true_ratio_in_95_of_100_cases(n: int):
    shared = RNG.normal(0, 0.2, (4000, n))  # what a seed does to both
    x, y = 1.5 + shared + RNG.normal(0, 0.1, (4000, n)), 1.0 + shared / 2 + RNG.normal(0, 0.05, (4000, n))
    found = [fieller(a, b) for a, b in zip(x, y, strict=True)]
    held = [f.low is None or f.low <= 1.5 <= f.high for f in found]  # without bounds every ratio is held
    assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5


def test_of_itself_it_is_one():
    y = RNG.normal(2, 0.1, 4)
    found = fieller(y, y)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_a_divisor_that_may_be_zero_leaves_it_unbounded():
    found = fieller([1.0, 1.1, 1.2], [-0.1, 0.3, 0.2])
    assert found.value == pytest.approx(1.1 / (0.4 / 3)) and found.low is None and "may be zero" in found.reason


def test_it_stays_above_what_no_ratio_can_pass():
    x, y = [0.01, 0.0, 0.2], [1.0, 1.1, 0.9]
    assert fieller(x, y).low < 0 == fieller(x, y, lowest=0).low


def test_few_seeds_have_a_ratio_and_no_interval():
    assert fieller([2.0, 2.0], [1.0, 1.0]).low is None and fieller([2.0], [4.0]).value == 0.5


@pytest.mark.parametrize(("x", "y"), [([1.0], [1.0, 2.0]), ([], []), ([1.0, 2.0], [-1.0, 1.0])])
def test_what_has_no_ratio_is_refused(x: list[float], y: list[float]):
    with pytest.raises(ValueError, match="a ratio"):
        fieller(x, y)
