"""Means and intervals over seeds: known answers, ranges, coverage by simulation."""

import math

import numpy as np
import pytest

from peft_lib.statistics.intervals import half_width, summarise


class TestStatistics:
    def test_known_interval(self):
        # 4.303 is the 97.5 % quantile of t with two degrees of freedom in any printed table; sd 1, n 3.
        spread = summarise([1.0, 2.0, 3.0])
        assert (spread.mean, spread.sd, spread.n) == (2.0, 1.0, 3)
        assert spread.high - spread.mean == pytest.approx(4.303 / 3**0.5, rel=1e-4)
        assert spread.mean - spread.low == pytest.approx(spread.high - spread.mean)

    def test_below_three_seeds_there_is_no_interval_but_the_values(self):
        two = summarise([0.0, 2.0])
        assert (two.mean, two.low, two.high, two.values) == (1.0, None, None, (0.0, 2.0))
        assert two.sd == pytest.approx(2**0.5)
        one = summarise([5.0])
        assert (one.mean, one.sd, one.low, one.values) == (5.0, None, None, (5.0,))
        assert summarise([]).mean is None

    def test_logit_interval_of_a_proportion(self):
        # By hand: mean 0.9, sd 0.06, h = 4.3027 * 0.06 / sqrt 3 = 0.14905; logit 0.9 = 2.19722, +- h / 0.09 = 1.65609.
        spread = summarise([84.0, 90.0, 96.0], 0, 100)
        ends = [100 / (1 + math.exp(-(2.19722 + s * 1.65609))) for s in (-1, 1)]
        assert (spread.low, spread.high) == pytest.approx(ends, rel=1e-4)
        plain = summarise([84.0, 90.0, 96.0])
        assert plain.high > 100 > spread.high > 90 > spread.low

    def test_on_minus_100_to_100_it_is_fisher_s_z(self):
        spread = summarise([80.0, 90.0, 94.0], -100, 100)
        z, slope = math.atanh(spread.mean / 100), 1 / (1 - (spread.mean / 100) ** 2)
        half = half_width(spread.sd / 100, 3) * slope
        assert (spread.low, spread.high) == pytest.approx([100 * math.tanh(z - half), 100 * math.tanh(z + half)])

    def test_log_interval_of_a_positive_quantity(self):
        spread = summarise([1.0, 2.0, 6.0], 0)
        factor = math.exp(half_width(spread.sd, 3) / 3)
        assert (spread.low, spread.high) == pytest.approx([3 / factor, 3 * factor])

    @pytest.mark.parametrize(
        ("values", "low", "high"),
        [
            ([81.8, 95.9, 99.0], 0, 100), ([100.0, 100.0, 99.0], 0, 100), ([0.0, 0.0, 1e-9], 0, 100),
            ([0.0, 100.0, 100.0], 0, 100), ([-100.0, 99.0, 100.0], -100, 100), ([0.0, 0.0, 5.0], 0, None),
            ([1.0, 1.0, 30.0], 1, None),
        ],
    )  # fmt: skip
    def test_an_interval_stays_in_range_around_the_mean(self, values: list[float], low: float, high: float | None):
        spread = summarise(values, low, high)
        assert low <= spread.low <= spread.mean <= spread.high <= (math.inf if high is None else high)

    def test_equal_seeds_give_a_point(self):
        spread = summarise([100.0] * 3, 0, 100)
        assert (spread.low, spread.high) == (100, 100)
        assert summarise([1.0 + 2e-16] * 3, -1, 1).high == 1

    def test_values_out_of_range_are_refused(self):
        with pytest.raises(ValueError, match="range 0 to 100"):
            summarise([99.0, 101.0, 98.0], 0, 100)

    @pytest.mark.parametrize(
        ("n", "mean", "sd", "least"),
        [(3, 0.9, 0.006, 0.94), (3, 0.93, 0.02, 0.94), (3, 0.95, 0.06, 0.93), (3, 0.99, 0.012, 0.93),
         (5, 0.9, 0.006, 0.94), (5, 0.93, 0.02, 0.94), (5, 0.95, 0.06, 0.915), (5, 0.99, 0.012, 0.915)],
    )  # fmt: skip
    def test_coverage_of_accuracies(self, n: int, mean: float, sd: float, least: float):
        """Nominal 95 %; what the docstring of `interval` says of it, with room for 2,000 draws (0.5 points)."""
        size = mean * (1 - mean) / sd**2 - 1
        draws = 100 * np.random.default_rng(0).beta(mean * size, (1 - mean) * size, (2000, n))
        ends = [(s.low, s.high) for s in (summarise(d, 0, 100) for d in draws)]
        assert least <= np.mean([low <= 100 * mean <= high for low, high in ends]) <= 0.965

    @pytest.mark.parametrize(("n", "least"), [(3, 0.94), (5, 0.93)])
    def test_coverage_of_positive_values(self, n: int, least: float):
        sigma = math.sqrt(math.log(1 + 0.3**2))
        draws = np.exp(np.random.default_rng(1).normal(-sigma * sigma / 2, sigma, (2000, n)))
        assert least <= np.mean([s.low <= 1 <= s.high for s in (summarise(d, 0) for d in draws)]) <= 0.965

    def test_failed_values_are_refused(self):
        with pytest.raises(ValueError, match="finite"):
            summarise([1.0, float("nan")])
