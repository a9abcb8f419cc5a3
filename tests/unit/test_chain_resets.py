"""When chain resets happen: every row of PROTOCOL 7's table, under the period and under the count reading."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_lib.study.catalogs import DatasetRef, ModelRef
from peft_lib.study.spec import RunSpec
from peft_lib.training.schedule import chain_resets


def resets(epochs: int, **chain: object) -> tuple[int, ...]:
    """Epochs (1-based) before which a reset happens."""
    spec = RunSpec(
        model=ModelRef(id="m", source="package:m"), dataset=DatasetRef(id="d", source="generated:d"), method="cola",
        seed=0, lr=1e-3, epochs=epochs, batch_size=8, input_size=16, **chain,
    )  # fmt: skip
    return chain_resets(spec)


@pytest.mark.parametrize(
    "number, epochs, expected",
    [
        pytest.param(5, 40, (6, 11, 16, 21, 26, 31, 36), id="deberta-40"),
        pytest.param(5, 25, (6, 11, 16, 21), id="deberta-25"),
        pytest.param(5, 20, (6, 11, 16), id="deberta-20"),
        pytest.param(5, 10, (6,), id="deberta-10"),
        pytest.param(2, 10, (3, 5, 7, 9), id="tinyllama"),
        pytest.param(2, 5, (3, 5), id="llama3"),
        pytest.param(1, 5, (2, 3, 4, 5), id="deepseek"),
        pytest.param(3, 20, (4, 7, 10, 13, 16, 19), id="roberta"),
        pytest.param(5, 30, (6, 11, 16, 21, 26), id="vit"),
        pytest.param(1, 30, tuple(range(2, 31)), id="gpt2"),
    ],
)
def test_period_reading(number: int, epochs: int, expected: tuple[int, ...]):
    assert resets(epochs, chain_period=number) == expected


@pytest.mark.parametrize(
    "number, epochs, spread, expected",
    [
        pytest.param(5, 40, "late", (10, 17, 25, 32, 40), id="deberta-40"),
        pytest.param(5, 25, "late", (7, 11, 16, 20, 25), id="deberta-25"),
        pytest.param(5, 20, "late", (6, 9, 13, 16, 20), id="deberta-20"),
        pytest.param(5, 10, "late", (4, 5, 7, 8, 10), id="deberta-10"),
        pytest.param(2, 10, "ends", (2, 10), id="tinyllama"),
        pytest.param(2, 5, "ends", (2, 5), id="llama3"),
        pytest.param(1, 5, "late", (5,), id="deepseek"),
    ],
)
def test_count_reading_of_the_release(number: int, epochs: int, spread: str, expected: tuple[int, ...]):
    assert resets(epochs, chain_count=number, chain_spread=spread) == expected


fixed = settings(max_examples=100, derandomize=True, database=None, deadline=None)


@given(st.integers(1, 60), st.integers(1, 70))
@fixed
def test_period_resets_follow_whole_periods_and_never_the_last_epoch(epochs: int, period: int):
    found = resets(epochs, chain_period=period)
    assert found == tuple(e + 1 for e in range(1, epochs) if e % period == 0)
    assert len(found) == (epochs - 1) // period


@given(st.integers(1, 60), st.integers(1, 70), st.sampled_from(["late", "ends"]))
@fixed
def test_counted_resets_are_distinct_and_inside_the_run(epochs: int, count: int, spread: str):
    """Never before the first epoch: a link without a step would adapt nothing. No more than there are epochs."""
    found = resets(epochs, chain_count=count, chain_spread=spread)
    assert list(found) == sorted(set(found))
    assert all(2 <= e <= epochs for e in found)
    assert len(found) <= count
    if epochs >= 2 and count <= (epochs - 1) // 2:
        assert len(found) == count
        assert found[-1] == epochs


def test_without_a_chain_there_is_no_reset():
    assert resets(30) == ()
    assert resets(1, chain_period=1) == resets(1, chain_count=3) == ()
