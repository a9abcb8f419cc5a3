"""Windows and selectors for all sizes: which columns a sparse method touches (PROTOCOL 6.4)."""

import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from peft_lib.layers.draws import Draws
from peft_lib.methods.method import Columns, LowRank
from peft_lib.methods.registry import get_method
from peft_lib.methods.selectors import windows
from tests.unit.zoo import Trial

fixed = settings(max_examples=60, derandomize=True, database=None, deadline=None)
SIZES = st.integers(1, 40).flatmap(lambda d: st.tuples(st.just(d), st.integers(1, d)))
"""(d_in, rank) with rank <= d_in."""


def draws(d_in: int, rank: int, index: int = 0, seed: int = 0, place: str = "layer.0.query") -> Draws:
    return Draws(seed=seed, place=place, d_in=d_in, d_out=rank, rank=rank, index=index)


def chosen(method: str, d_in: int, rank: int, index: int = 0, seed: int = 0, **options: str) -> tuple[int, ...]:
    """Columns that a method's link adapts."""
    found = get_method(method)
    factor = found.start(draws(d_in, rank, index, seed), found.parse_options(options))
    assert isinstance(factor, Columns)
    return factor.indices


@given(SIZES)
@fixed
def test_windows_cover_every_column_once_as_far_as_they_can(size: tuple[int, int]):
    """ceil(d / r) windows; only the last may overlap its neighbour, and only where r does not divide d."""
    d_in, rank = size
    starts = windows(d_in, rank)
    assert len(starts) == math.ceil(d_in / rank)
    assert starts[:-1] == [j * rank for j in range(len(starts) - 1)]
    assert starts[-1] == d_in - rank
    assert {c for s in starts for c in range(s, s + rank)} == set(range(d_in))


@given(SIZES)
@fixed
def test_dropping_the_remainder_keeps_whole_windows_only(size: tuple[int, int]):
    d_in, rank = size
    starts = windows(d_in, rank, "drop")
    assert starts == [j * rank for j in range(d_in // rank)]
    assert {c for s in starts for c in range(s, s + rank)} == set(range(d_in - d_in % rank))


@given(SIZES, st.integers(0, 100))
@fixed
def test_c3la_links(size: tuple[int, int], index: int):
    """Algorithm 3 where r divides d; the same windows again and again; link 0 is cLA's."""
    d_in, rank = size
    period = math.ceil(d_in / rank)
    columns = chosen("c3la", d_in, rank, index)
    first = min(index % period * rank, d_in - rank)
    assert columns == tuple(range(first, first + rank))
    if d_in % rank == 0:
        assert first == index * rank % d_in
    assert chosen("c3la", d_in, rank, index + period) == columns
    assert chosen("c3la", d_in, rank) == chosen("cla", d_in, rank) == chosen("d_paca", d_in, rank) == tuple(range(rank))


@given(SIZES, st.integers(0, 20), st.integers(0, 2**31 - 1))
@fixed
@pytest.mark.parametrize("method", ["r_cla", "paca", "r_c3la", "c_paca"])
def test_drawn_columns_are_distinct_sorted_and_inside(method: str, size: tuple[int, int], index: int, seed: int):
    """Reading (d), the default."""
    d_in, rank = size
    columns = chosen(method, d_in, rank, index, seed)
    assert columns == tuple(sorted(set(columns)))
    assert len(columns) == rank
    assert set(columns) <= set(range(d_in))
    assert columns == chosen(method, d_in, rank, index, seed)


@given(SIZES, st.integers(0, 20), st.integers(0, 2**31 - 1))
@fixed
@pytest.mark.parametrize("selector", ["aligned", "window"])
def test_drawn_windows(selector: str, size: tuple[int, int], index: int, seed: int):
    """Readings (c) and (f): r neighbours inside the layer, at a multiple of r under (c)."""
    d_in, rank = size
    for method in ("r_cla", "paca", "r_c3la", "c_paca"):
        columns = chosen(method, d_in, rank, index, seed, selector=selector)
        assert columns == tuple(range(columns[0], columns[0] + rank))
        assert 0 <= columns[0] <= d_in - rank
        if selector == "aligned":
            assert columns[0] % rank == 0


@pytest.mark.parametrize(
    "selector, expected",
    [("columns", set(range(10))), ("aligned", {0, 3, 6}), ("window", set(range(8)))],
)
def test_every_start_can_be_drawn(selector: str, expected: set[int]):
    """10 columns, r = 3, 400 links: the chance to miss one of ten equally likely values is 10 * 0.9^400 < 1e-17."""
    seen = [chosen("r_c3la", 10, 3, index, selector=selector) for index in range(400)]
    assert {c for columns in seen for c in columns} == (set(range(10)) if selector != "aligned" else set(range(9)))
    if selector != "columns":
        assert {columns[0] for columns in seen} == expected


def test_drawn_columns_are_uniform():
    """2000 links, r = 3 of 10: each column 600 times on average; 5 deviations of a binomial are 5 * sqrt(420) = 103."""
    counts = torch.zeros(10)
    for index in range(2000):
        counts[list(chosen("r_c3la", 10, 3, index))] += 1
    assert (counts - 600).abs().max() < 103


@given(SIZES, st.integers(0, 3), st.integers(0, 2**31 - 1))
@fixed
@pytest.mark.parametrize("selector", ["columns", "aligned"])
def test_without_replacement_uses_everything_up_before_it_repeats(
    selector: str, size: tuple[int, int], cycle: int, seed: int
):
    """floor(d / r) links share out one random order; where r does not divide d, d mod r columns are left over."""
    d_in, rank = size
    shares = d_in // rank
    options = {"selector": selector, "draw": "without_replacement"}
    links = [chosen("r_c3la", d_in, rank, cycle * shares + j, seed, **options) for j in range(shares)]
    columns = [c for link in links for c in link]
    assert len(set(columns)) == len(columns) == shares * rank
    assert set(columns) <= set(range(d_in))
    assert all(link == tuple(sorted(link)) for link in links)
    if selector == "aligned":
        assert {link[0] for link in links} == {j * rank for j in range(shares)}
    assert links[0] == chosen("c_paca", d_in, rank, cycle * shares, seed, **options)


def test_each_cycle_without_replacement_has_its_own_order():
    options = {"draw": "without_replacement"}
    cycles = [[chosen("r_c3la", 40, 4, cycle * 10 + j, **options) for j in range(10)] for cycle in range(3)]
    assert cycles[0] != cycles[1]
    assert cycles[1] != cycles[2]


def test_independent_draws_do_repeat_columns():
    """Algorithm 4 draws anew each time: over ten links of 4 in 40 a column comes twice (else it was no fresh draw)."""
    columns = [c for j in range(10) for c in chosen("r_c3la", 40, 4, j)]
    assert len(set(columns)) < len(columns)


@pytest.mark.parametrize("method", ["r_cla", "r_c3la"])
def test_gaussian_selectors_are_dense(method: str):
    """Reading (h)."""
    found = get_method(method)
    options = found.parse_options({"selector": "gaussian"})
    factor = found.start(draws(64, 16), options)
    assert isinstance(factor, LowRank)
    assert factor.A.shape == (16, 64)
    assert not (factor.A == 0).any()
    assert found.executions(options) == ("dense",)
    assert not found.is_column_sparse(options)


@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
@fixed
def test_run_seeds_draw_other_columns(one: int, other: int):
    """16 of 256 columns: a chance agreement has probability 1 / C(256, 16) < 1e-24."""
    assume(one != other)
    assert chosen("r_cla", 256, 16, seed=one) != chosen("r_cla", 256, 16, seed=other)


@pytest.mark.parametrize(
    "method, options",
    [
        ("r_cla", {"selector": "permutation"}),
        ("paca", {"selector": "gaussian"}),
        ("c_paca", {"selector": "gaussian"}),
        ("r_c3la", {"selector": "window", "draw": "without_replacement"}),
        ("r_c3la", {"selector": "gaussian", "draw": "without_replacement"}),
        ("r_cla", {"draw": "without_replacement"}),
        ("c3la", {"remainder": "pad"}),
        ("cla", {"selector": "columns"}),
        ("lora", {"init": "kaiming"}),
        ("lora_plus", {"ratio": 0}),
        ("lora_plus", {"anchor": "both"}),
    ],
)
def test_options_that_mean_nothing_are_refused(method: str, options: dict):
    with pytest.raises(ValidationError, match=next(iter(options)) if "draw" not in options else "draw"):
        Trial(method, **options)


@pytest.mark.parametrize("selector", ["columns", "aligned", "window"])
@pytest.mark.parametrize("method", ["r_cla", "paca", "r_c3la", "c_paca"])
def test_options_reach_the_layers(method: str, selector: str):
    trial = Trial(method, selector=selector, rank=4)
    for place in trial.adapter.places.values():
        context = draws(place.d_in, 4, seed=3, place=place.target.key)
        options = get_method(method).parse_options({"selector": selector})
        assert tuple(place.columns.tolist()) == get_method(method).start(context, options).indices
