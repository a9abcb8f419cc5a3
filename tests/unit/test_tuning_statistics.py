"""The expected best of n settings against every sequence of draws, and within a decade of a learning rate."""

import itertools
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_lib.statistics.tuning import chances, expected_at_best, expected_best, within_decade

VALUES = [[0.5], [0.1, 0.9], [0.3, 0.3, 0.3], [0.2, 0.7, 0.7, 0.1], [5.0, -1.0, 2.0, 2.0, 5.0]]


@pytest.mark.parametrize("values", VALUES)
def test_with_replacement_it_is_the_mean_over_all_sequences(values: list[float]):
    for n in range(1, 5):
        every = [max(draw) for draw in itertools.product(values, repeat=n)]
        assert expected_best(values, n) == pytest.approx(sum(every) / len(every))


@pytest.mark.parametrize("values", VALUES)
def test_without_replacement_it_is_the_mean_over_all_subsets(values: list[float]):
    for n in range(1, len(values) + 1):
        every = [max(draw) for draw in itertools.combinations(values, n)]
        assert expected_best(values, n, replacement=False) == pytest.approx(sum(every) / comb(len(values), n))


@pytest.mark.parametrize("replacement", [True, False])
def test_the_test_metric_is_that_of_the_chosen_setting(replacement: bool):
    values, others = [0.2, 0.7, 0.7, 0.1], [10.0, 20.0, 40.0, 80.0]
    for n in range(1, 4):
        draws = itertools.product(range(4), repeat=n) if replacement else itertools.combinations(range(4), n)
        found = []
        for draw in draws:
            best = {i for i in draw if values[i] == max(values[j] for j in draw)}
            # Of settings that tie, each is as likely to be met first.
            tied = {i for i in range(4) if values[i] == values[next(iter(best))]}
            found.append(sum(others[i] for i in tied) / len(tied))
        assert expected_at_best(values, others, n, replacement) == pytest.approx(sum(found) / len(found))


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=12), st.integers(1, 30))
def test_it_grows_from_the_mean_to_the_best(values: list[float], n: int):
    assert sum(chances(values, n)) == pytest.approx(1)
    assert expected_best(values, 1) == pytest.approx(sum(values) / len(values), abs=1e-6)
    assert expected_best(values, n) <= expected_best(values, n + 1) + 1e-6
    assert expected_best(values, n) <= max(values) + 1e-6
    if n <= len(values):  # drawn twice is tried once
        assert expected_best(values, n) <= expected_best(values, n, replacement=False) + 1e-6
    assert expected_best(values, len(values), replacement=False) == pytest.approx(max(values), abs=1e-6)


@pytest.mark.parametrize(("values", "n", "replacement"), [([], 1, True), ([1.0], 0, True), ([1.0, 2.0], 3, False)])
def test_what_cannot_be_drawn_is_refused(values: list[float], n: int, replacement: bool):
    with pytest.raises(ValueError, match="at least 1"):
        expected_best(values, n, replacement)


def test_a_decade_to_either_side():
    rates = [1e-5, 1e-4, 10**-3.5, 1e-3, 10**-2.5, 1e-2, 0.0101]
    assert within_decade(rates, 1e-3) == [False, True, True, True, True, True, False]
