"""Rank correlations and wrong pairs against scipy, brute force, and data whose answer is known."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from peft_lib.statistics.prediction import (
    FEWEST,
    Pairs,
    Runs,
    _correlations,
    _shares,
    difference,
    spearman,
    told_apart,
    wrong_share,
)


def runs(x, y, clusters=None) -> Runs:
    return Runs(
        np.arange(len(x)) if clusters is None else np.asarray(clusters), np.asarray(x, float), np.asarray(y, float)
    )


def drawn(seed: int, n: int = 24, slope: float = 0.7, clusters: int = 8) -> Runs:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 9, n)  # with ties
    return runs(x, slope * x + rng.normal(0, 2, n), np.arange(n) % clusters)


def test_of_one_task_it_is_scipy_s():
    task = drawn(0)
    assert spearman([task]).value == pytest.approx(stats.spearmanr(task.x, task.y).statistic)


def test_a_cluster_drawn_twice_counts_as_its_runs_repeated():
    task = drawn(1)
    weight = np.array([[2, 0, 1, 3, 0, 1, 0, 1]], dtype=float)
    repeated = np.repeat(np.arange(len(task.x)), weight[0].astype(int)[task.clusters])
    expected = stats.spearmanr(task.x[repeated], task.y[repeated]).statistic
    assert _correlations([task], weight)[0] == pytest.approx(expected)


def test_tasks_are_ranked_by_themselves():
    """Units and levels of a task do not matter: over two tasks that are the same but for them it is the correlation of one."""
    task = drawn(2)
    other = Runs(task.clusters, 100 + 1e3 * task.x, np.exp(task.y))
    assert spearman([task, other]).value == pytest.approx(spearman([task]).value)
    apart = spearman([runs(range(6), range(6)), runs(range(6), [-v for v in range(6)])])
    assert apart.value == pytest.approx(0.0)


def test_permutation_p_is_that_of_all_orders():
    task = runs([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5])
    rho = stats.spearmanr(task.x, task.y).statistic
    all_of = [abs(stats.spearmanr(task.x, list(order)).statistic) >= rho - 1e-12 for order in permutations(task.y)]
    found = spearman([task])
    assert found.value == pytest.approx(rho) and found.p == pytest.approx(np.mean(all_of))


def test_seeds_of_a_method_are_no_further_evidence():
    """Six methods with ten equal runs each have the p-value of six runs."""
    x, y = [1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5]
    many = runs(np.repeat(x, 10), np.repeat(y, 10), np.repeat(range(6), 10))
    assert spearman([many]).p == pytest.approx(spearman([runs(x, y)]).p)


def test_p_is_uniform_and_the_interval_holds_zero_where_nothing_is_to_be_found():
    """300 samples of 10 methods with 3 seeds: of p-values 5 % are below 0.05, give or take 3 standard errors (3.8 %); the
    percentile interval has 0 in 9 of 10 cases."""
    rng = np.random.default_rng(7)
    low, held = 0, 0
    for sample in range(300):
        x, y = (np.repeat(rng.normal(size=10), 3) + 0.5 * rng.normal(size=30) for _ in range(2))
        found = spearman([runs(x, y, np.repeat(range(10), 3))], str(sample))
        low += found.p is not None and found.p < 0.05
        held += found.low is not None and found.high is not None and found.low <= 0 <= found.high
    assert low <= 0.088 * 300
    assert held >= 0.85 * 300


@pytest.mark.parametrize("same", ["x", "y"])
def test_what_is_the_same_everywhere_predicts_nothing(same: str):
    task = drawn(3)
    flat = Runs(task.clusters, np.full(24, 0.1) if same == "x" else task.x, np.full(24, 0.1) if same == "y" else task.y)
    found = spearman([flat])
    assert (found.value, found.low, found.p) == (None, None, None)
    assert spearman([runs([], [])]).value is None


def test_few_methods_get_no_interval():
    found = spearman([runs(range(FEWEST - 1), range(FEWEST - 1))])
    assert found.value == pytest.approx(1.0) and found.low is None and found.p is None


def test_a_method_that_lacks_in_one_task_counts_in_the_other():
    whole, part = drawn(4), drawn(5)
    keep = part.clusters != 3
    found = spearman([whole, Runs(part.clusters[keep], part.x[keep], part.y[keep])])
    assert found.p is not None and found.p < 0.05


def pairs(wrong, clusters=None) -> Pairs:
    """All pairs of the clusters 0, 1, ..."""
    made = [(a, b) for b in range(8) for a in range(b)][: len(wrong)]
    return Pairs(np.array(made if clusters is None else clusters), np.array(wrong, float))


def test_share_of_wrong_pairs():
    task = pairs([1, 0, np.nan, 0, 0, 1, 0, 0, 0, 0] + [0] * 18)
    found = wrong_share([task])
    assert found.value == pytest.approx(2 / 27)  # the pair without a preference does not count
    assert found.low is not None and found.high is not None and 0 <= found.low <= 2 / 27 <= found.high < 0.5


def test_agreement_in_all_pairs_is_no_certainty():
    assert wrong_share([pairs([0] * 28)]).low is None and wrong_share([pairs([1] * 28)]).low is None


def test_a_pair_counts_as_often_as_both_its_methods_were_drawn():
    rng = np.random.default_rng(0)
    task = pairs(rng.integers(0, 2, 28))
    weight = rng.integers(0, 3, (5, 8)).astype(float)
    for row, found in zip(weight, _shares([task], weight), strict=True):
        repeated = [w for (a, b), w in zip(task.clusters, task.wrong, strict=True) for _ in range(int(row[a] * row[b]))]
        assert found == pytest.approx(np.mean(repeated))


def test_predictors_are_compared_on_the_pairs_of_both():
    first, second = pairs([0] * 20 + [1] * 8), pairs([1] * 8 + [0] * 12 + [np.nan] * 8)
    found = difference([first], [second])
    assert found.value == pytest.approx(-8 / 20)
    equal = difference([first], [first])
    assert (equal.value, equal.low, equal.p) == (0.0, None, 1.0)
    with pytest.raises(ValueError, match="same outcome"):
        difference([first], [pairs([0] * 28, first.clusters[::-1])])


def test_a_predictor_that_is_always_right_beats_a_coin():
    rng = np.random.default_rng(0)
    found = difference([pairs([0] * 28)], [pairs(rng.integers(0, 2, 28))])
    assert found.p is not None and found.p < 0.05 and found.high is not None and found.high < 0


def test_nothing_to_decide_is_no_share():
    assert wrong_share([pairs([np.nan])]).value is None
    assert difference([pairs([np.nan])], [pairs([1])]).value is None


def test_noise_of_two_methods():
    assert told_apart([1.0], [1.1]) and not told_apart([1.0], [1.0])
    assert not told_apart([1.0, 2.0, 3.0], [1.1, 2.1, 3.1])
    assert told_apart([1.0, 1.1, 0.9], [3.0, 3.1, 2.9])
    assert told_apart([1.0, 1.0, 1.0], [1.1, 1.1, 1.1])
