"""Chains: a reset keeps the function, closes the link in fp32, and starts the next one from B = 0."""

import math

import pytest
import torch

from peft_lib.layers.links import effective_weight
from peft_lib.layers.targets import TargetError
from tests.unit.zoo import (
    CHAIN_CASES,
    FACTOR_CHAIN_CASES,
    FORWARD,
    KINDS,
    PROMISES,
    SCALE,
    Case,
    Trial,
    a_matrix,
    assert_close,
    place_matrix,
    roundings,
)

CASE = pytest.mark.parametrize("case", CHAIN_CASES, ids=str)
FACTORS = pytest.mark.parametrize("case", FACTOR_CHAIN_CASES, ids=str)


def b_matrix(trial: Trial, key: str, plain: torch.Tensor) -> torch.Tensor:
    """B of the open link from the factor that trains: B itself, or P - W[:, columns] / s."""
    place = trial.adapter.places[key]
    if "P" not in trial.adapter.method.trains:
        return place.B.detach().clone()
    return place.P.detach() - plain[:, place.columns] / SCALE


@CASE
def test_a_reset_keeps_the_function(case: Case):
    """W x + s B (A x) before, (W + s B A) x + 0 after: two product orders of one sum."""
    trial = case.trial()
    for _ in range(3):
        trial.train(steps=2, resets=())
        before = trial.output()
        trial.adapter.next_link()
        assert_close(trial.output(), before, roundings(2 * FORWARD), "reset")


@FACTORS
def test_a_reset_starts_the_next_link(case: Case):
    """B = 0 exactly (P = W[:, columns] / s), another A, and the very same parameters: an optimiser holds them."""
    trial = case.trial()
    trial.train(steps=2, resets=())
    factors = trial.adapter.factors()
    a_before = {key: a_matrix(trial, key) for key in trial.adapter.places}
    trial.adapter.next_link()
    assert trial.adapter.links == 2
    now = trial.adapter.factors()
    assert factors.keys() == now.keys()
    assert all(factors[n] is now[n] and now[n].requires_grad for n in now)
    for key, place in trial.adapter.places.items():
        assert not place.b().any()
        if "P" in case.promise.trains:
            current = effective_weight(place_matrix(trial.plain, key), place.closed)
            assert torch.equal(place.P, current[:, place.columns] / SCALE)
        assert not torch.equal(a_matrix(trial, key), a_before[key])
    trial.train(steps=1, resets=())
    assert all(place.b().any() for place in trial.adapter.places.values())


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_a_is_redrawn_at_a_reset_and_stays_frozen(kind: str):
    """RAC-LoRA; a part of the release trains A there, which makes it CoLA."""
    trial = Trial("rac_lora", kind)
    key = next(iter(trial.adapter.places))
    seen = []
    for _ in range(3):
        before = a_matrix(trial, key)
        trial.train(steps=2, resets=())
        assert torch.equal(a_matrix(trial, key), before)
        assert not any(name.endswith(".A") for name in trial.adapter.factors())
        seen.append(before)
        trial.adapter.next_link()
    assert not torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[1], seen[2])


@FACTORS
def test_the_delta_of_k_links_is_their_sequential_sum(case: Case):
    """((W0 + s B_1 A_1) + s B_2 A_2) + ..., in fp32, bit for bit, with A and B read while each link was open."""
    trial = case.trial()
    expected = {key: place_matrix(trial.plain, key).clone() for key in trial.adapter.places}
    total = {key: torch.zeros_like(w) for key, w in expected.items()}
    for link in range(4):
        if link:
            trial.adapter.next_link()
        opened = {key: w.clone() for key, w in expected.items()}
        trial.train(steps=2, resets=())
        for key in expected:
            update = SCALE * (b_matrix(trial, key, opened[key]) @ a_matrix(trial, key))
            expected[key] = opened[key] + update
            total[key] = total[key] + update
    for key, delta in trial.adapter.deltas():
        assert torch.equal(delta, total[key]), key
    snapshot = trial.adapter.snapshot()
    for key, weight in expected.items():
        links = [*snapshot.closed[key], snapshot.open[key]]
        assert [link.index for link in links] == [0, 1, 2, 3]
        assert torch.equal(effective_weight(place_matrix(trial.plain, key), links), weight)
    merged = trial.adapter.merge()
    assert all(torch.equal(place_matrix(merged, key), weight) for key, weight in expected.items())


@FACTORS
def test_low_precision_weights_are_rounded_once_from_the_effective_weight(case: Case):
    """W = bf16(W0 + all links in fp32), never bf16 of a rounded predecessor: ten links of small steps would be lost."""
    trial = case.trial(dtype=torch.bfloat16)
    expected = {key: place_matrix(trial.plain, key).float() for key in trial.adapter.places}
    for link in range(10):
        if link:
            trial.adapter.next_link()
        for key, place in trial.adapter.places.items():
            with torch.no_grad():  # 1/3 of a bf16 unit in the last place per link, which rounding each link would drop
                step = torch.finfo(torch.bfloat16).eps / 3 * torch.ones_like(place.B)
                getattr(place, "P" if "P" in case.promise.trains else "B").add_(step / SCALE)
            a = a_matrix(trial, key)
            update = SCALE * (b_matrix(trial, key, expected[key]) @ a)
            expected[key] = expected[key] + update
    trial.output()
    trial.adapter.merge()
    for key, weight in expected.items():
        found = place_matrix(trial.model, key)
        assert found.dtype == torch.bfloat16
        assert torch.equal(found, weight.bfloat16()), key


@pytest.mark.parametrize("rank", [3, 4])
def test_c3la_follows_algorithm_3_where_r_divides_the_width(rank: int):
    """Link j adapts columns jr .. (j+1)r - 1 and starts over after d_in / r links (ERRATA 23-25)."""
    trial = Trial("c3la", rank=rank)
    for link in range(20):
        for place in trial.adapter.places.values():
            start = link * rank % place.d_in
            assert place.columns.tolist() == list(range(start, start + rank))
        trial.adapter.next_link()


def test_c3la_where_r_does_not_divide_the_width():
    """12 columns, r = 5: a last window flush right before the offsets return to 0, or the remainder is dropped."""
    for remainder, starts in (("wrap", [0, 5, 7, 0, 5, 7, 0]), ("drop", [0, 5, 0, 5, 0, 5, 0])):
        trial = Trial("c3la", targets=("0",), remainder=remainder)
        place = trial.adapter.places["0"]
        for start in starts:
            assert place.columns.tolist() == list(range(start, start + 5))
            trial.adapter.next_link()
    assert Trial("c3la").adapter.options == Trial("c3la", remainder="wrap").adapter.options


@pytest.mark.parametrize("case", [c for c in CHAIN_CASES if c.method == "c3la"], ids=str)
@pytest.mark.parametrize("rank", [4, 5], ids=["r_divides", "r_does_not_divide"])
def test_proposition_1_enough_links_of_one_step_touch_every_element(case: Case, rank: int):
    """ceil(d_in / r) links with one SGD step each; gradients are not zero anywhere (ERRATA 14)."""
    trial = case.trial(rank=rank)
    widest = max(place.d_in for place in trial.adapter.places.values())
    for link in range(math.ceil(widest / rank)):
        untouched = [int((delta == 0).sum()) for _, delta in trial.adapter.deltas()]
        assert sum(untouched) > 0, f"every element was touched after {link} links already"
        if link:
            trial.adapter.next_link()
        trial.train(steps=1, optimizer="sgd", lr=0.1, resets=())
    assert all(bool(delta.all()) for _, delta in trial.adapter.deltas())


def test_without_the_remainder_the_last_columns_are_never_touched():
    """What Proposition 1 loses under remainder: drop."""
    trial = Trial("c3la", targets=("0",), remainder="drop")
    for _ in range(4):
        trial.train(steps=1, optimizer="sgd", resets=())
        trial.adapter.next_link()
    delta = dict(trial.adapter.deltas())["0"]
    assert bool(delta[:, :10].all())
    assert not delta[:, 10:].any()


@pytest.mark.parametrize("method", [m for m, p in PROMISES.items() if not p.chains])
def test_methods_without_a_chain_refuse_a_reset(method: str):
    with pytest.raises(TargetError, match=f"method {method} does not chain"):
        Trial(method).adapter.next_link()
