"""What a reproduced cell says of a published one: worked by hand, by simulation, and against a brute-force tau."""

import math
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from peft_lib.artefacts.reproduction import order_of
from peft_lib.results.agreement import COUNTED, STATUSES, WORDS, judge, kendall, prediction, rounding
from peft_lib.results.cells import Cell
from peft_lib.statistics.intervals import summarise
from peft_lib.study.quantities import QUANTITIES

T2, T4 = 4.302652729911275, 2.7764451051977987
"""Student's 97.5 % quantiles with 2 and 4 degrees of freedom, from a printed table."""


def cell(values: list[float], published: float | None, text: str | None = None, **changes: Any) -> Cell:
    s = summarise(values)
    found: dict[str, Any] = {
        "value": s.mean, "sd": s.sd, "n": s.n, "planned": s.n, "low": s.low, "high": s.high, "values": s.values,
        "published": published, "published_text": text,
    }  # fmt: skip
    return Cell("t", "methods", "", "m", "d", "", "lora", "gap", method="lora", digits=3, **{**found, **changes})


def status(*args: Any, **changes: Any) -> str | None:
    judged = judge(cell(*args, **changes), "accuracy")
    return judged.status if judged else None


def test_the_interval_for_three_more_seeds_by_hand():
    """Mean 0.2, sd 0.1: 4.303 * 0.1 * sqrt(1/3 + 1/3) = 0.351 to either side. Five seeds and one published: 0.304."""
    low, high = prediction(cell([0.1, 0.2, 0.3], 0.5), "accuracy") or (math.nan, math.nan)
    assert (low, high) == pytest.approx((0.2 - T2 * 0.1 * (2 / 3) ** 0.5, 0.2 + T2 * 0.1 * (2 / 3) ** 0.5))
    assert (round(low, 3), round(high, 3)) == (-0.151, 0.551)
    five = cell([0.1, 0.1, 0.2, 0.3, 0.3], 0.5)
    assert prediction(five, "accuracy", published_seeds=1) == pytest.approx(
        (0.2 - T4 * 0.1 * 1.2**0.5, 0.2 + T4 * 0.1 * 1.2**0.5)
    )


def test_within_outside_and_the_rounding_of_what_is_printed():
    assert status([0.1, 0.2, 0.3], 0.55) == "within"
    assert status([0.1, 0.2, 0.3], 0.56) == "outside"
    assert status([0.1, 0.2, 0.3], -0.16) == "outside"
    assert status([0.1, 0.2, 0.3], 0.6, "0.6") == "within", "0.6 may be 0.5513"
    assert status([0.1, 0.2, 0.3], 0.6, "0.60") == "outside"
    assert status([0.2, 0.2, 0.2], 0.2) == "within", "seeds that agree leave a point"
    assert status([0.2, 0.2, 0.2], 0.201) == "outside"


def test_a_bounded_quantity_keeps_its_range():
    """Accuracies near 100 %: 100 % itself is never reached, and the interval is not symmetric about the mean."""
    near = replace(cell([99.0, 99.5, 99.9], 100.0), metric="test_metric", unit="%")
    low, high = prediction(near, "accuracy") or (math.nan, math.nan)
    assert 0 < low < near.number < high < 100
    assert near.number - low > high - near.number
    far = replace(cell([49.9, 50.0, 50.1], 50.3), metric="test_metric", unit="%")
    assert prediction(far, "accuracy") == pytest.approx(
        (50 - T2 * 0.1 * (2 / 3) ** 0.5, 50 + T2 * 0.1 * (2 / 3) ** 0.5), abs=1e-3
    )


@pytest.mark.parametrize(("n", "m"), [(3, 3), (5, 3), (3, 1)])
def test_coverage_is_95_percent_where_nothing_changed(n: int, m: int):
    rng = np.random.default_rng([n, m])
    inside = 0
    for _ in range(2000):
        judged = judge(cell(list(rng.normal(0.3, 0.05, n)), float(rng.normal(0.3, 0.05, m).mean())), "accuracy", m)
        inside += judged is not None and judged.status == "within"
    assert abs(inside / 2000 - 0.95) < 4 * (0.95 * 0.05 / 2000) ** 0.5


def test_what_is_no_comparison():
    three = [0.1, 0.2, 0.3]
    assert status(three, None) is None
    assert status(three, 9.0, caveat="another split") == "not comparable"
    assert status(three, 9.0, status="partial") == "not run"
    assert status(three, 9.0, status="stale") == "not run"
    assert status([], 9.0, status="missing") == "not run"
    assert status([], 9.0, status="missing", caveat="another split") == "not comparable"
    assert status([0.1, 0.2], 9.0) == status([0.1], 9.0) == "no interval"
    assert status(three, 9.0, sd=None, low=None, high=None) == "no interval", "a ratio of means"
    assert set(WORDS) == set(STATUSES)


def test_efficiency_is_judged_by_its_ratio():
    seconds = replace(cell([9.0, 10.0, 11.0], 1.5), kind="efficiency", metric="wall_s", ratio=1.4)
    assert judge(seconds, "accuracy").status == "no interval"  # type: ignore[union-attr]
    assert judge(replace(seconds, ratio=None), "accuracy").status == "not run"  # type: ignore[union-attr]


@pytest.mark.parametrize("metric", COUNTED)
def test_counts_agree_at_the_printed_digits(metric: str):
    counted = replace(cell([], 0.944, "0.944"), metric=metric, kind="parameters", n=3)
    for value, wanted in ((0.94449, "within"), (0.9435, "within"), (0.9446, "outside")):
        assert judge(replace(counted, value=value), "accuracy").status == wanted  # type: ignore[union-attr]
    millions = replace(counted, published=124.6e6, published_text="124.6e6")
    assert judge(replace(millions, value=124_647_170), "accuracy").status == "within"  # type: ignore[union-attr]
    assert judge(replace(millions, value=124_657_170), "accuracy").status == "outside"  # type: ignore[union-attr]


def test_half_a_unit_of_the_last_printed_place():
    def of(text: str) -> float:
        return rounding(cell([], float(text), text))

    assert of("66.4") == pytest.approx(0.05, rel=1e-5)
    assert of("80.00") == pytest.approx(0.005, rel=1e-4)
    assert of("3.16e-2") == pytest.approx(5e-5, rel=1e-5)
    assert of("124.6e6") == pytest.approx(5e4, rel=1e-5)
    assert of("7") == pytest.approx(0.5, rel=1e-5)
    assert rounding(cell([], 7.0)) < 1e-6
    with pytest.raises(ValueError, match="NaN"):
        rounding(cell([], 1.0, "NaN"))


def brute_tau(x: list[float], y: list[float]) -> float:
    """Tau-b by its definition: (C - D) / sqrt((pairs - ties in x) (pairs - ties in y))."""
    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    agree = sum(a * b for a, b in signs)
    return float(agree / math.sqrt(sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)))


def row(ours: list[float | None], theirs: list[float | None], direction: str) -> list[Cell]:
    return [
        replace(cell([], p, direction=direction), value=v, status="ok" if v is not None else "missing")
        for v, p in zip(ours, theirs, strict=True)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_tau_is_that_of_all_pairs(seed: int):
    """Whole numbers, so that there are ties; lower is better on one side and the other alike, so tau keeps its sign."""
    rng = np.random.default_rng(seed)
    ours, theirs = rng.integers(0, 5, 9).tolist(), rng.integers(0, 5, 9).tolist()
    wanted = pytest.approx(brute_tau(ours, theirs))
    assert kendall(row(ours, theirs, "higher")) == wanted
    assert kendall(row(ours, theirs, "lower")) == wanted


def test_tau_by_hand():
    assert kendall(row([1, 2, 3], [10, 20, 30], "higher")) == 1
    assert kendall(row([1, 2, 3], [30, 20, 10], "higher")) == -1
    assert kendall(row([1, 2, 3], [10, 30, 20], "higher")) == pytest.approx(1 / 3)
    # Signed gaps: -0.1 is nearer to zero than 0.2.
    assert kendall(row([-0.1, 0.2, 0.3], [0.05, 0.06, 0.07], "none")) == 1


def test_tau_needs_three_complete_cells_and_an_order():
    assert kendall(row([1, 2], [1, 2], "higher")) is None
    assert kendall(row([1, 2, None], [1, 2, 3], "higher")) is None
    assert kendall(row([1, 2, 3], [1, 2, None], "higher")) is None
    assert kendall(row([2, 2, 2], [1, 2, 3], "higher")) is None
    assert kendall([]) is None


def test_every_quantity_with_spread_can_be_judged():
    for name, what in QUANTITIES.items():
        if name in COUNTED:
            continue
        middle = 50.0 if what.low is None or what.low <= 0 else what.low + 1
        judged = judge(replace(cell([middle, middle + 0.1, middle + 0.2], middle), metric=name), "accuracy")
        assert judged is not None and judged.status == "within", name


@pytest.mark.parametrize(
    ("kind", "panel", "row"),
    [
        ("heatmap", "m/{data}/{method}", "8"), ("heatmap", "m/{data}/{method}, epochs 3", "8"), ("sweep", "m/{data}", "8"),
        ("sweep", "m/{data}/epochs 3/label smoothing 0.1", "8"), ("methods", "", "rank 8"), ("efficiency", "wall_s", ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("data", ["cola", "cola_val_as_test", "lora_set", "d"])
def test_methods_of_a_place_are_one_order_whatever_their_names_are_part_of(kind: str, panel: str, row: str, data: str):
    """A method may have the name of a data set, or one that its name starts with."""
    cells = [
        Cell(
            "t", kind, panel.format(data=data, method=m), "m", data, row, m if kind != "heatmap" else "0.001", "gap", m
        )
        for m in ("cola", "lora", "la", "fft")
    ]
    assert len({order_of(c) for c in cells}) == 1
    elsewhere = (
        replace(cells[0], row="16"),
        replace(cells[0], panel=cells[0].panel + ", batch_size 4"),
        replace(cells[0], column="s_cola"),
    )
    assert len({order_of(c) for c in (cells[0], *elsewhere)}) == 4
