"""Draws: one seed gives one start, and no generator shifts another."""

import pytest
import torch

from peft_lib.layers.draws import Draws
from peft_lib.methods.registry import get_method
from peft_lib.seeds import derive_seed, generator
from tests.unit.zoo import FACTOR_CASES, PLACE_CASES, PROMISES, TARGETS, Case, Trial, a_matrix, start_of

CASE = pytest.mark.parametrize("case", PLACE_CASES, ids=str)
PAPER = pytest.mark.parametrize("case", [c for c in FACTOR_CASES if c.method in PROMISES], ids=str)


def starts(trial: Trial) -> dict[str, torch.Tensor]:
    return {key: start_of(trial, key) for key in trial.adapter.places}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


@PAPER
def test_same_seed_same_start_other_seed_other_start(case: Case):
    first, again, other = starts(case.trial()), starts(case.trial()), starts(case.trial(seed=4))
    assert equal(first, again)
    if case.promise.start == "first":
        assert equal(first, other)  # [I_r | 0] has nothing to draw
    else:
        assert all(not torch.equal(first[key], other[key]) for key in first)


@CASE
def test_same_seed_same_run_bitwise(case: Case):
    one, other = case.trial(), case.trial()
    assert one.train(steps=6) == other.train(steps=6)
    assert torch.equal(one.output(), other.output())


@CASE
def test_torchs_global_generator_is_neither_read_nor_moved(case: Case):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = starts(case.trial())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert equal(first, starts(case.trial()))


@CASE
def test_draws_of_a_place_do_not_depend_on_the_other_places_or_the_head(case: Case):
    everywhere = case.trial()
    for key in TARGETS[case.kind]:
        alone = case.trial(targets=(key,), head=())
        for reset in range(3):
            assert torch.equal(start_of(alone, key), start_of(everywhere, key)), (key, reset)
            if not case.promise.chains:
                break
            alone.adapter.next_link()
            everywhere.adapter.next_link()
        everywhere = case.trial()
    backwards = case.trial(targets=tuple(reversed(TARGETS[case.kind])))
    assert equal(starts(everywhere), starts(backwards))


@PAPER
def test_draws_do_not_depend_on_training_or_the_execution(case: Case):
    """The second link's A is the same after any number of steps, and under any execution."""
    if not case.promise.chains:
        still, moved = case.trial(), case.trial()
        moved.train(steps=2)
        if "A" not in case.promise.trains:
            assert equal(starts(still), starts(moved))
    else:
        still, moved = Trial(case.method, case.kind, execution="dense"), case.trial()
        moved.train(steps=3, resets=())
        still.adapter.next_link()
        moved.adapter.next_link()
        assert equal(starts(still), starts(moved))


@pytest.mark.parametrize("kind", TARGETS)
def test_methods_of_one_kind_draw_alike(kind: str):
    """The tables compare methods on the same A and the same columns: the method's name is not in a seed."""
    for group in ("gaussian", "columns", "first"):
        methods = [m for m, p in PROMISES.items() if p.start == group]
        reference = starts(Trial(methods[0], kind))
        assert all(equal(reference, starts(Trial(m, kind))) for m in methods[1:])


@pytest.mark.parametrize("method", ["lora", "r_cla", "rac_lora", "r_c3la"])
def test_places_and_links_draw_on_their_own(method: str):
    """Equal layers must not get equal draws (the release's DeBERTa code gives every layer the same A)."""
    trial = Trial(method, "fused")
    q, v = (a_matrix(trial, key) for key in TARGETS["fused"])
    assert not torch.equal(q, v)
    if PROMISES[method].chains:
        seen = [q]
        for _ in range(3):
            trial.adapter.next_link()
            seen.append(a_matrix(trial, TARGETS["fused"][0]))
        assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


@pytest.mark.parametrize("method", [m for m, p in PROMISES.items() if p.start == "gaussian"])
def test_gaussian_starts_have_the_papers_mean_and_deviation(method: str):
    """N(0, 0.02^2): with n = 65,536 entries, mean within 5 * 0.02 / sqrt(n), deviation within 5 * 0.02 / sqrt(2n)."""
    found = get_method(method)
    a = found.start(draws(d_in=512, rank=128), found.parse_options({})).A
    assert a.shape == (128, 512)
    assert abs(a.mean().item()) < 5 * 0.02 / 256
    assert abs(a.std().item() - 0.02) < 5 * 0.02 / (256 * 2**0.5)


def draws(seed: int = 0, place: str = "layer.0", index: int = 0, d_in: int = 64, rank: int = 4) -> Draws:
    return Draws(seed=seed, place=place, d_in=d_in, d_out=8, rank=rank, index=index)


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"place": "layer.1"}, {"index": 1}], ids=["other_seed", "other_place", "other_link"]
)
def test_every_kind_of_draw_depends_on_seed_place_and_link(change: dict):
    """A chance agreement of two integers has probability 2^-40."""
    one, again, other = draws(), draws(), draws(**change)
    for ask in (lambda d: d.integer(2**40), lambda d: d.permutation(64), lambda d: d.normal(1.0).tolist()):
        assert ask(one) == ask(again)
        assert ask(one) != ask(other)
    # with a cycle, an order belongs to the cycle and not to the link
    same = "index" in change
    assert (one.permutation(64, cycle=2) == other.permutation(64, cycle=2)) == same
    assert one.permutation(64, cycle=2) != one.permutation(64, cycle=3)


def test_seeds_are_named_not_counted():
    names = [(0,), (1,), (0, "A"), (0, "A", "x"), (0, "A", "x", 1), (0, "A", "x1"), (0, "Ax", 1), (0, "selector", "x")]
    seeds = [derive_seed(*n) for n in names]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)
    first, second = generator(7, "A"), generator(7, "B")
    torch.rand(100, generator=second)
    assert torch.equal(torch.rand(3, generator=first), torch.rand(3, generator=generator(7, "A")))


def test_seeds_keep_their_meaning():
    """The derivation is part of what a run id promises: SHA-256 of the names joined by U+001F, first 63 bits."""
    import hashlib

    digest = hashlib.sha256(b"12\x1forder\x1f3").hexdigest()
    assert derive_seed(12, "order", 3) == int(digest[:16], 16) // 2
