"""Merging, saving, loading and unloading: what was learnt is kept exactly, and W0 comes back bit for bit."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from peft_lib import read_delta
from peft_lib.layers.factor_place import FactorPlace
from peft_lib.layers.linear import AdaptedLinear
from tests.unit.zoo import (
    CASES,
    EXECUTIONS,
    FACTOR_CASES,
    FORWARD,
    HEAD,
    Case,
    Trial,
    assert_close,
    place_matrix,
    roundings,
)

CASE = pytest.mark.parametrize("case", CASES, ids=str)
BOTH_DTYPES = pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(c, torch.float32, id=f"{c}-fp32") for c in CASES]
    # rounding to the weights' dtype is the same for every kind of place, and the slices of a fused one are the hardest
    + [pytest.param(c, torch.bfloat16, id=f"{c}-bf16") for c in CASES if c.kind == "fused"],
)


def trained(case: Case, **changes: object) -> Trial:
    """Six steps; a chain has three links by then."""
    trial = case.trial(**changes)
    trial.train(steps=6, resets=(2, 4))
    return trial


def same_state(one: nn.Module, other: nn.Module, leaving_out: str | None = None) -> bool:
    """Parameters and buffers equal bit for bit, under equal names."""
    mine, its = one.state_dict(), other.state_dict()
    kept = [n for n in mine if leaving_out is None or not n.startswith(leaving_out + ".")]
    return list(mine) == list(its) and all(torch.equal(mine[n], its[n]) for n in kept)


@CASE
def test_merged_computes_what_the_adapted_model_computed(case: Case):
    """Two product orders of one sum: (W + s B A) x and W x + s B (A x)."""
    trial = trained(case)
    expected = trial.output()
    merged = trial.adapter.merge()
    assert merged is trial.model
    assert not any(isinstance(m, AdaptedLinear) for m in merged.modules())
    assert [n for n, _ in merged.named_parameters()] == [n for n, _ in trial.plain.named_parameters()]
    assert_close(trial.output(), expected, roundings(2 * FORWARD), "merged")


@CASE
def test_merging_is_the_sum_that_the_delta_says(case: Case):
    trial = trained(case)
    deltas = dict(trial.adapter.deltas())
    merged = trial.adapter.merge()
    for key, delta in deltas.items():
        assert delta.dtype == torch.float32
        # three links: their sum first, or each added to W in turn: three roundings apart
        assert_close(place_matrix(merged, key), place_matrix(trial.plain, key) + delta, roundings(6), key)
        assert bool(delta.any())


@BOTH_DTYPES
def test_unload_returns_w0_bit_for_bit(case: Case, dtype: torch.dtype):
    trial = trained(case, dtype=dtype)
    trial.adapter.unload()
    if case.promise.trains == "backbone":
        assert not same_state(trial.model, trial.plain)  # full fine-tuning has no factors to take away
    else:
        assert same_state(trial.model, trial.plain, leaving_out=HEAD[case.kind])
        assert not same_state(trial.model, trial.plain)  # the head stays trained
    assert not any(isinstance(m, AdaptedLinear) for m in trial.model.modules())
    assert trial.adapter.places == {}


@BOTH_DTYPES
def test_save_then_load_is_exact_head_included(case: Case, dtype: torch.dtype, tmp_path: Path):
    """Into a fresh model from the same W0, adapted with another seed: outputs, factors, head and links, bit for bit."""
    trial = trained(case, dtype=dtype)
    trial.adapter.save(tmp_path / "delta.safetensors")
    fresh = case.trial(seed=99, dtype=dtype)
    assert not torch.equal(fresh.output(), trial.output())
    fresh.adapter.load(tmp_path / "delta.safetensors")
    assert torch.equal(fresh.output(), trial.output())
    assert fresh.adapter.links == trial.adapter.links
    mine, its = trial.adapter.factors(), fresh.adapter.factors()
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[n], its[n]) for n in mine)
    for key, place in trial.adapter.places.items():
        again = fresh.adapter.places[key]
        assert all(torch.equal(a, b) for a, b in zip(again.frozen(), place.frozen(), strict=True))
        if isinstance(place, FactorPlace):
            assert torch.equal(again.b(), place.b())
    assert same_state(fresh.adapter.merge(), trial.adapter.merge())


@CASE
def test_a_loaded_adapter_trains_on_as_the_saved_one(case: Case, tmp_path: Path):
    trial = trained(case)
    trial.adapter.save(tmp_path / "delta.safetensors")
    fresh = case.trial()
    fresh.adapter.load(tmp_path / "delta.safetensors")
    # SGD has no state of its own; a reset comes before the second step, so the next link's draw must agree as well
    assert fresh.train(3, "sgd", resets=(1,)) == trial.train(3, "sgd", resets=(1,))


@BOTH_DTYPES
def test_restoring_an_earlier_state_undoes_everything_since(case: Case, dtype: torch.dtype):
    """The selected epoch is restored so, from within the same adapter and across chain resets."""
    trial = trained(case, dtype=dtype)
    expected, snapshot = trial.output(), trial.adapter.snapshot()
    kept = copy.deepcopy(snapshot.trained)
    trial.train(steps=3, resets=(1,))
    assert not torch.equal(trial.output(), expected)
    trial.adapter.restore(snapshot)
    assert torch.equal(trial.output(), expected)
    assert all(torch.equal(snapshot.trained[n], kept[n]) for n in kept)  # the snapshot itself did not move
    trial.adapter.unload()
    if case.promise.trains != "backbone":
        assert same_state(trial.model, trial.plain, leaving_out=HEAD[case.kind])


@pytest.mark.parametrize("case", [c for c in FACTOR_CASES if c.promise.sparse], ids=str)
def test_a_delta_does_not_depend_on_the_execution(case: Case, tmp_path: Path):
    trial = trained(case)
    trial.adapter.save(tmp_path / "delta.safetensors")
    for execution in EXECUTIONS:
        other = case.trial(execution=execution, seed=99)
        other.adapter.load(tmp_path / "delta.safetensors")
        assert_close(other.output(), trial.output(), roundings(2 * FORWARD), execution)


@CASE
def test_delta_files_hold_factors_not_matrices(case: Case, tmp_path: Path):
    """fp32 factors of every link and the head; W only under full fine-tuning."""
    trial = trained(case)
    trial.adapter.save(tmp_path / "delta.safetensors", run_id="abc")
    delta = read_delta(tmp_path / "delta.safetensors")
    assert (delta.header["method"], delta.header["run_id"]) == (case.method, "abc")
    snapshot = delta.snapshot()
    assert set(snapshot.open) == set(trial.adapter.places)
    for key, link in snapshot.open.items():
        place = trial.adapter.places[key]
        assert len(snapshot.closed[key]) == (2 if case.promise.chains else 0)
        for one in (*snapshot.closed[key], link):
            if case.promise.tensors:  # the trained ones, and nothing else
                assert set(one.stored()) == set(case.promise.tensors)
                continue
            assert one.B.shape == (place.d_out, place.rank)
            assert one.B.dtype == torch.float32
            assert (one.columns is None) == (not case.promise.sparse)
            assert one.kind == ("columns" if case.promise.sparse else "lowrank")
    names = {n for n, _ in trial.plain.named_parameters()}
    full = case.promise.trains == "backbone"
    assert set(snapshot.trained) == {n for n in names if full or n.startswith(HEAD[case.kind])}
