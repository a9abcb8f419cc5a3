"""Holm by hand, groups by brute force, power by simulation."""

from itertools import combinations

import numpy as np
import pytest

from peft_lib.statistics.families import groups, holm, letters
from peft_lib.statistics.paired import Compared
from peft_lib.statistics.power import Noise, detectable


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == [] and holm([0.2]) == [0.2] and holm([0.6, 0.7]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, float("nan")])


def test_holm_keeps_its_promise_under_the_null():
    p = np.random.default_rng(0).uniform(size=(300, 10))
    assert np.mean([min(holm(row)) < 0.05 for row in p]) <= 0.08


def brute(count: int, apart: set[tuple[int, int]]) -> list[tuple[int, ...]]:
    """Every set of methods without a pair that is told apart, less those within another."""
    sets = [set(s) for size in range(1, count + 1) for s in combinations(range(count), size)]
    good = [s for s in sets if not any({a, b} <= s for a, b in apart)]
    return sorted(tuple(sorted(s)) for s in good if not any(s < other for other in good))


@pytest.mark.parametrize("seed", range(30))
def test_groups_are_the_largest_sets_without_a_difference(seed: int):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 9))
    apart = {pair for pair in combinations(range(count), 2) if rng.uniform() < rng.choice([0.2, 0.5, 0.8])}
    assert groups(count, apart) == brute(count, apart)
    shown = letters(count, apart)
    for a, b in combinations(range(count), 2):
        assert bool(set(shown[a]) & set(shown[b])) == ((a, b) not in apart)


def test_letters_of_a_plain_case():
    assert letters(4, {(0, 2), (0, 3), (1, 3)}) == ["a", "ab", "bc", "c"]
    assert letters(3, set()) == ["a", "a", "a"] and letters(0, set()) == []


def test_letters_stay_apart_where_there_are_many_groups():
    """Pairs of twins that are told apart only from each other: 2^6 groups, more than there are letters of one case."""
    apart = {(2 * i, 2 * i + 1) for i in range(6)}
    shown = letters(12, apart)
    assert len(groups(12, apart)) == 64 and len(set("".join(shown))) == 64
    assert {(a, b) for a, b in combinations(range(12), 2) if not set(shown[a]) & set(shown[b])} == apart


@pytest.mark.parametrize(("seeds", "over_seeds"), [(1, 0.0), (4, 0.0), (5, 3.0), (10, 2.0)])
def test_the_detectable_difference_is_found_four_times_in_five(seeds: int, over_seeds: float):
    """The test of paired.py on data that truly differ by it. Noise is known here: items 1 (and shared 0), seeds `over_seeds`."""
    items, rng = 150, np.random.default_rng([seeds, int(over_seeds)])
    per_seed = 2 / items  # variance of a difference of two means over items
    noise = Noise(seeds, (per_seed / seeds) ** 0.5)
    if seeds > 2:
        noise = Noise(seeds, noise.items, noise.items, over_seeds * noise.items, seeds - 1)
    effect = detectable(noise)
    found = []
    for _ in range(300):
        x = rng.normal(0, 1, (items, 2, seeds))
        shift = rng.normal(0, over_seeds / items**0.5, (2, seeds)) + np.array([[effect], [0]])
        weights = rng.multinomial(items, np.full(items, 1 / items), 300) / items
        row = Compared(x.mean(0) + shift, (weights @ x.reshape(items, -1)).reshape(300, 2, seeds) + shift)
        found.append(row.pair(0, 1).p < 0.05)
    assert np.mean(found) == pytest.approx(0.8, abs=0.07)


def test_detectable_known_answers():
    from statsmodels.stats.power import TTestPower

    assert detectable(Noise(1, 1.0)) == pytest.approx(1.95996 + 0.84162, abs=1e-4)
    assert detectable(Noise(1, 0.0)) == detectable(Noise(3, 0.0, 0.0, 0.0, 2.0)) == 0
    # Seeds alone: a paired t test of 5, sd of the differences 1.
    size = TTestPower().solve_power(nobs=5, alpha=0.05, power=0.8)
    assert detectable(Noise(5, 0.0, 0.0, 5**-0.5, 4.0)) == pytest.approx(size, rel=0.02)
    with pytest.raises(ValueError, match="negative"):
        detectable(Noise(1, -1.0))


def test_more_seeds_help_until_the_items_are_what_is_left():
    noise = Noise(3, 1.0, 0.6, 2.0, 2.0)
    found = [detectable(noise.with_seeds(n)) for n in (3, 5, 10, 1000)]
    assert found[0] == detectable(noise) and found == sorted(found, reverse=True)
    assert found[-1] == pytest.approx(2.8016 * 0.8, rel=0.02)  # sqrt(1 - 0.6^2): what all seeds share
    with pytest.raises(ValueError, match="from three on"):
        Noise(2, 1.0).with_seeds(5)
