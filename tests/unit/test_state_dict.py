"""A model's own state dict: what of an adapter is not in it must agree, or the load is refused before it changes anything."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from peft_lib import adapt
from peft_lib.layers.delta_file import DeltaError
from tests.unit.zoo import PLACE_CASES, Case, Trial

CASE = pytest.mark.parametrize("case", PLACE_CASES, ids=str)


def refused(trial: Trial, state: dict[str, torch.Tensor], message: str, strict: bool = True) -> None:
    before = {n: t.clone() for n, t in trial.model.state_dict().items()}
    output = trial.output()
    with pytest.raises(DeltaError, match=message):
        trial.model.load_state_dict(state, strict=strict)
    assert all(torch.equal(t, before[n]) for n, t in trial.model.state_dict().items())
    assert torch.equal(trial.output(), output)


@CASE
def test_the_same_adapter_loads_to_the_bit(case: Case, tmp_path: Path) -> None:
    """Through a file of safetensors, as save_pretrained writes it; and it trains on alike."""
    trial, fresh = case.trial(), case.trial()
    trial.train(steps=3, resets=())
    save_file({n: t.contiguous() for n, t in trial.model.state_dict().items()}, tmp_path / "m.safetensors")
    fresh.model.load_state_dict(load_file(tmp_path / "m.safetensors"), strict=True)
    assert torch.equal(fresh.output(), trial.output())
    assert fresh.train(2, "sgd", resets=()) == trial.train(2, "sgd", resets=())


def test_c3la_after_two_resets_with_the_same_seed() -> None:
    trial, fresh = Trial("c3la"), Trial("c3la")
    trial.train(steps=6, resets=(2, 4))
    refused(fresh, trial.model.state_dict(), r"links 3 \(here 1\).*adapter\.save\(\) and adapter\.load\(\)")
    fresh.adapter.next_link()
    fresh.adapter.next_link()  # as many links, but other ones
    refused(fresh, trial.model.state_dict(), "frozen")


@pytest.mark.parametrize("method", ["paca", "r_cla", "asym_lora"])
def test_another_seed(method: str) -> None:
    """A strict load used to pass, with other columns or another A, and other outputs."""
    trial, fresh = Trial(method), Trial(method, seed=99)
    trial.train(steps=2, resets=())
    refused(fresh, trial.model.state_dict(), r"seed 3 \(here 99\)")
    refused(fresh, trial.model.state_dict(), r"seed 3 \(here 99\)", strict=False)


@pytest.mark.parametrize(
    ("changes", "message"), [({"alpha": 3.0}, "scale"), ({"rank": 4}, "rank"), ({"method": "asym_lora"}, "method")]
)
def test_another_adapter(changes: dict, message: str) -> None:
    state = Trial("lora").model.state_dict()
    refused(Trial(changes.pop("method", "lora"), **changes), state, message)


@pytest.mark.parametrize("execution", ["gather", "inplace"])
def test_plain_weights_are_refused_where_an_adapter_is(execution: str) -> None:
    """In place, W's columns come from W0 as it was adapted: another W0 under them would be mixed up."""
    trial = Trial("cla", execution=execution)
    state = {f"0.base.{n}": t for n, t in trial.plain[0].state_dict().items()}
    refused(trial, state, r"no record of its adapter\. Load plain weights before adapt\(\)", strict=False)
    other = Trial("cla", execution=execution)
    other.model[0].base.weight.data.add_(1.0)
    trial.model.load_state_dict({"4.bias": torch.ones(3)}, strict=False)  # the head alone is nobody's business
    assert torch.equal(trial.model[4].bias, torch.ones(3))


def test_within_a_larger_model_and_after_a_copy() -> None:
    trial, fresh = Trial("c3la"), Trial("c3la")
    trial.train(steps=4, resets=(2,))
    outer, target = nn.ModuleDict({"inner": trial.model}), nn.ModuleDict({"inner": fresh.model})
    with pytest.raises(DeltaError, match="links"):
        target.load_state_dict(outer.state_dict())
    twin = copy.deepcopy(trial.model)
    twin.load_state_dict(trial.model.state_dict())
    with pytest.raises(DeltaError, match="links"):
        twin.load_state_dict(Trial("c3la").model.state_dict())


def test_after_merging_the_model_is_plain_again() -> None:
    trial = Trial("c3la")
    trial.train(steps=4, resets=(2,))
    merged = trial.adapter.merge()
    assert list(merged.state_dict()) == list(trial.plain.state_dict())
    merged.load_state_dict(trial.plain.state_dict())
    assert torch.equal(trial.output(), trial.plain(trial.x))


def test_every_part_of_a_model_refuses_before_it_changes() -> None:
    """Also when the state dict is loaded into a part of the model, or holds the plain layers."""

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.enc = nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6))
            self.head = nn.Linear(6, 2)

    one, other = Whole(), Whole()
    first, _ = (adapt(m, "c3la", rank=2, head=["head"]) for m in (one, other))
    first.next_link()
    before = {n: t.clone() for n, t in other.state_dict().items()}
    base = {n: t for n, t in one.enc.state_dict().items() if ".base." in n}
    for load in (
        lambda: other.enc.load_state_dict(one.enc.state_dict()),
        lambda: other.enc[0].load_state_dict(one.enc[0].state_dict()),
        lambda: other.enc.load_state_dict(base, strict=False),
        lambda: other.load_state_dict(Whole().state_dict(), strict=False),
    ):
        with pytest.raises(DeltaError, match=r"links|no record of its adapter"):
            load()
    assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())
    other.head.load_state_dict(one.head.state_dict())


@CASE
def test_factors_stay_float32_when_the_model_changes_its_dtype(case: Case) -> None:
    trial = case.trial()
    trial.train(steps=2, resets=())
    factors = {n: p.detach().clone() for n, p in trial.adapter.factors().items()}
    trial.model.to(torch.bfloat16)
    trial.x = trial.x.bfloat16()
    assert all(torch.equal(p, factors[n]) for n, p in trial.adapter.factors().items())
    state = trial.model.state_dict()
    trial.model.load_state_dict(state)
    assert torch.isfinite(trial.output().float()).all()


def test_another_execution_says_so() -> None:
    state = Trial("cla", execution="dense").model.state_dict()
    refused(Trial("cla", execution="gather"), state, r"execution 'dense' \(here 'gather'\)")
