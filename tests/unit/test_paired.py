"""Paired comparisons: known answers, an independent t test and binomial test, coverage and errors by simulation."""

import numpy as np
import pytest
from scipy import stats

from peft_lib.statistics.paired import DRAWS, Compared, mcnemar, prior_variance


def test_mcnemar_is_the_binomial_test_of_the_discordant_items():
    first = np.array([True] * 88 + [False] * 3 + [True] * 40 + [False] * 9)
    second = np.array([False] * 88 + [True] * 3 + [True] * 40 + [False] * 9)
    a, b, p = mcnemar(first, second)
    assert (a, b) == (88, 3) and p == pytest.approx(stats.binomtest(88, 91).pvalue, rel=1e-9)
    assert mcnemar(second, first) == (3, 88, p)
    assert mcnemar(first, first) == (0, 0, 1.0)


def made(rng, methods=2, seeds=3, items=200, draws=400, over_seeds=0.0, effect=0.0, shared=1.0, spread=None):
    """Means over items. An item has an effect by method, the same in all seeds, and one by method and seed; a seed has one by
    method. Standard deviations: `shared`, 1, and `over_seeds` / sqrt(items); the first method is better by `effect`."""
    x = rng.normal(0, shared, (items, methods, 1)) + rng.normal(0, 1, (items, methods, seeds))
    seed = rng.normal(0, 1, (methods, seeds)) * np.broadcast_to(over_seeds, (methods,))[:, None] / items**0.5
    seed[0] += effect
    weights = rng.multinomial(items, np.full(items, 1 / items), draws) / items
    return Compared(x.mean(0) + seed, (weights @ x.reshape(items, -1)).reshape(draws, methods, seeds) + seed, spread)


@pytest.mark.parametrize(
    ("methods", "seeds", "over_seeds"), [(2, 1, 0.0), (2, 3, 0.0), (2, 3, 3.0), (8, 3, 1.0), (8, 3, 3.0), (2, 5, 1.0)]
)
def test_coverage_and_errors_of_the_first_kind(methods: int, seeds: int, over_seeds: float):
    """Nominal 95 %, and 5 % of wrong 'differs': 90 to 98 % as docs/statistics.md says, with room for 300 draws (2.5 points)."""
    rng = np.random.default_rng([methods, seeds, int(over_seeds)])
    found = [made(rng, methods, seeds, over_seeds=over_seeds).pair(0, 1) for _ in range(300)]
    held = np.mean([d.low <= 0 <= d.high for d in found])
    assert 0.89 <= held <= 0.99
    assert np.mean([d.p < 0.05 for d in found]) == pytest.approx(1 - held, abs=0.02)


def test_resampling_three_seeds_instead_would_cover_much_less():
    """The reason for Student's t: seeds that dominate, and the usual hierarchical percentile interval."""
    rng = np.random.default_rng(7)
    held, plain = [], []
    for _ in range(200):
        row = made(rng, over_seeds=8.0)
        d = row.pair(0, 1)
        held.append(d.low <= 0 <= d.high)
        by_seed = row.resampled[:, 0] - row.resampled[:, 1]
        drawn = np.take_along_axis(by_seed, rng.integers(0, 3, by_seed.shape), 1).mean(1)
        plain.append(np.quantile(drawn, 0.025) <= 0 <= np.quantile(drawn, 0.975))
    assert np.mean(held) >= 0.92 and np.mean(plain) <= 0.86


def test_without_noise_of_items_it_is_the_paired_t_test():
    observed = np.array([[0.91, 0.93, 0.92, 0.95], [0.90, 0.90, 0.91, 0.91]])
    d = Compared(observed, np.repeat(observed[None], DRAWS, axis=0)).pair(0, 1)
    test = stats.ttest_rel(*observed)
    assert d.p == pytest.approx(test.pvalue, abs=0.002)
    assert (d.low, d.high) == pytest.approx(tuple(test.confidence_interval()), abs=2e-4)
    assert (d.value, d.df, d.se_items) == (pytest.approx(0.0225), 3, 0)


def test_one_and_two_seeds_are_items_alone():
    for seeds in (1, 2):
        row = made(np.random.default_rng(0), seeds=seeds, over_seeds=9.0, draws=2000)
        d = row.pair(0, 1)
        drawn = (row.resampled[:, 0] - row.resampled[:, 1]).mean(1)
        assert d.se_seeds is None and d.df is None and not row.over_seeds
        assert d.se_items == pytest.approx(drawn.std(ddof=1))
        assert d.high - d.low == pytest.approx(np.subtract(*np.quantile(drawn, [0.975, 0.025])))


def test_equal_methods_do_not_differ_and_order_only_turns_signs():
    row = made(np.random.default_rng(1), methods=6, effect=0.1, over_seeds=1.0)
    a, b = row.pair(0, 3), row.pair(3, 0)
    assert a.value == -b.value and (a.low, a.high) == pytest.approx((-b.high, -b.low), abs=0.02)
    twins = Compared(row.observed[[0, 0]], row.resampled[:, [0, 0]])
    same = twins.pair(0, 1)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_an_interval_stays_within_what_the_range_allows():
    d = made(np.random.default_rng(2), over_seeds=200.0, spread=1.0).pair(0, 1)
    assert -1 <= d.low <= d.value <= d.high <= 1 or abs(d.value) > 1


def test_p_is_never_less_than_the_resamples_can_show():
    d = made(np.random.default_rng(3), effect=50.0, draws=DRAWS).pair(0, 1)
    assert d.p == pytest.approx(2 / (DRAWS + 1))


def test_items_explain_their_own_noise_and_no_more():
    """Two methods, sd of items 1 by method and seed: e = 2 / 200; seeds add 2 (2)^2 / 200."""
    rng = np.random.default_rng(5)
    still, moving = ([made(rng, over_seeds=sd).pair(0, 1) for _ in range(200)] for sd in (0.0, 2.0))
    for found in (still, moving):
        assert 3 * np.mean([d.se_within**2 for d in found]) == pytest.approx(2 / 200, rel=0.05)
        assert np.mean([d.se_items**2 for d in found]) == pytest.approx(2 / 200 + 2 / 600, rel=0.05)
    assert 3 * np.mean([d.se_seeds**2 for d in moving]) == pytest.approx(8 / 200, rel=0.2)
    assert np.median([d.se_seeds for d in still]) < 0.3 * np.median([d.se_seeds for d in moving])


def test_pairs_of_a_steady_row_lend_each_other_strength():
    """Eight methods of three seeds, alike: up to 14 degrees of freedom in place of 2."""
    rng = np.random.default_rng(9)
    found = [made(rng, 8, over_seeds=3.0).pair(0, 1) for _ in range(40)]
    assert np.median([d.df for d in found]) > 8 and max(d.df for d in found) <= 14
    assert {made(rng, 4, over_seeds=3.0).pair(0, 1).df for _ in range(5)} == {2.0}


def test_the_prior_of_variances_is_recovered():
    """Variances drawn as the model says: scaled inverse chi-square, nu0 = 8, s0^2 = 4, each seen with 3 degrees of freedom."""
    rng = np.random.default_rng(6)
    true = 4 * 8 / rng.chisquare(8, 20_000)
    prior, variance = prior_variance(true * rng.chisquare(3, 20_000) / 3, 3)
    assert (prior, variance) == (pytest.approx(8, rel=0.1), pytest.approx(4, rel=0.05))
    assert prior_variance(4 * rng.chisquare(3, 2000) / 3, 3)[0] > 20
    assert prior_variance(np.zeros(6), 2) == (np.inf, 0)


def test_a_steady_method_is_not_judged_by_an_unsteady_one():
    """One method's seeds scatter a hundred times as much: the others keep their own, narrow intervals."""
    spread = np.array([1.0] * 7 + [100.0])
    rng = np.random.default_rng(8)
    pairs = [(row.pair(0, 1), row.pair(0, 7)) for row in (made(rng, 8, over_seeds=spread) for _ in range(40))]
    calm, wild = (np.median([d[i].high - d[i].low for d in pairs]) for i in (0, 1))
    assert wild > 10 * calm
    assert np.mean([d[1].low <= 0 <= d[1].high for d in pairs]) >= 0.85


def test_failed_runs_are_refused():
    with pytest.raises(ValueError, match="finite"):
        Compared(np.array([[1.0, np.nan]]), np.zeros((3, 1, 2)))
    with pytest.raises(ValueError, match=r"must be \(R, 1, 2\)"):
        Compared(np.zeros((1, 2)), np.zeros((3, 2, 1)))
