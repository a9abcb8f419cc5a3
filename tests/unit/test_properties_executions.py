"""Executions compute one mathematics: outputs, gradients and 20-step trajectories, also in mixed and low precision."""

import pytest
import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from peft_lib.layers.linear import AdaptedLinear
from tests.unit.zoo import (
    BACKWARD,
    CASES,
    DEPTH,
    FACTOR_CASES,
    FORWARD,
    PLACE_CASES,
    RESETS,
    SPARSE_CASES,
    STEPS,
    Case,
    Trial,
    a_matrix,
    assert_close,
    place_matrix,
    roundings,
)

OTHERS = pytest.mark.parametrize("case", [c for c in SPARSE_CASES if c.execution != "dense"], ids=str)
BF16 = torch.finfo(torch.bfloat16).eps / 2


def twin(case: Case, **changes: object) -> Trial:
    """The same trial under the reference execution."""
    return case.trial(**{"execution": "dense", **changes})


def mature(*trials: Trial) -> None:
    """Gives trials equal factors that are far from zero (steps of training would differ by rounding)."""
    for trial in trials:
        for index, (name, factor) in enumerate(sorted(trial.adapter.factors().items())):
            draws = torch.Generator().manual_seed(index)
            with torch.no_grad():
                if not name.endswith(".A"):
                    factor.add_(0.3 * torch.randn(factor.shape, generator=draws))


@OTHERS
def test_outputs_and_gradients_agree_with_the_reference(case: Case):
    """After 0 and 1 resets, from equal factors: the forward pass, and every gradient, once each."""
    trial, reference = case.trial(), twin(case)
    for _ in range(1 + case.promise.chains):
        mature(trial, reference)
        assert_close(trial.output(), reference.output(), roundings(2 * FORWARD), "output")
        assert_close(trial.model(trial.x), reference.output(), roundings(2 * FORWARD), "output with gradients")
        found, expected = trial.gradients(), reference.gradients()
        assert found.keys() == expected.keys()
        for name in found:
            assert_close(found[name], expected[name], roundings(2 * BACKWARD), name)
        if case.promise.chains:
            trial.adapter.next_link()
            reference.adapter.next_link()


@OTHERS
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_twenty_steps_agree_with_the_reference(case: Case, optimizer: str):
    """Outputs and learnt factors after 20 steps, with resets before steps 7 and 14.

    Every step leaves BACKWARD roundings in each gradient, so 20 * BACKWARD in their sum. Adam divides a gradient by its
    own size, down to its eps: with eps = 1e-3 an error in g moves a step by at most lr / eps of it, ten times what a
    rate of 1 makes of it; at 1e-8 the sign of a gradient that is all rounding would decide about a whole step.
    """
    settings = {"sgd": {"lr": 0.1}, "adamw": {"lr": 1e-2, "eps": 1e-3}}[optimizer]
    tolerance = roundings(STEPS * 2 * BACKWARD) * {"sgd": 1, "adamw": 10}[optimizer]
    trial, reference = case.trial(), twin(case)
    losses = [t.train(STEPS, optimizer, resets=RESETS, **settings) for t in (trial, reference)]
    assert losses[0][-1] < losses[0][0] * 0.99
    assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), tolerance, "losses")
    assert_close(trial.output(), reference.output(), tolerance, "output")
    for (key, found), (_, expected) in zip(trial.adapter.deltas(), reference.adapter.deltas(), strict=True):
        assert_close(found, expected, tolerance, key)


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_gradient_checkpointing_changes_no_gradient(case: Case):
    """Bitwise: the forward pass is computed again from the same weights, by the same kernels, on one thread."""
    trial = case.trial()
    trial.train(steps=3, resets=(2,))
    expected = trial.gradients()
    trial.model.zero_grad()
    x = trial.x.clone().requires_grad_(True)
    logits = checkpoint(trial.model, x, use_reentrant=False)
    F.cross_entropy(logits, trial.y).backward()
    found = {n: p.grad for n, p in trial.model.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[n], expected[n]) for n in found)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_accumulated_gradients_are_those_of_the_whole_batch(case: Case):
    """Two halves of a batch, each weighing one half: the same sums in another order."""
    trial = case.trial()
    trial.train(steps=3, resets=(2,))
    expected = trial.gradients()
    trial.model.zero_grad()
    for half in (slice(0, 4), slice(4, 8)):
        (F.cross_entropy(trial.model(trial.x[half]), trial.y[half]) / 2).backward()
    for name, parameter in trial.model.named_parameters():
        if name in expected:
            assert parameter.grad is not None
            assert_close(parameter.grad, expected[name], roundings(2 * BACKWARD), name)


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_inputs_get_the_merged_models_gradient(case: Case):
    """Layers below see dL/dx = (W + s B A)^T dL/dy: the adapted layers pass it on."""
    trial = case.trial()
    mature(trial)
    x = trial.x.clone().requires_grad_(True)
    F.cross_entropy(trial.model(x), trial.y).backward()
    merged = trial.adapter.merge()
    again = trial.x.clone().requires_grad_(True)
    F.cross_entropy(merged(again), trial.y).backward()
    assert_close(x.grad, again.grad, roundings(2 * BACKWARD), "dL/dx")


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_autocast_is_close_and_finite(case: Case):
    """bf16 autocast rounds at most 6 results in each of DEPTH successive products (see the test below), forward."""
    trial = case.trial()
    mature(trial)
    exact, exact_gradients = trial.output(), trial.gradients()
    trial.model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = trial.model(trial.x)
        loss = F.cross_entropy(logits.float(), trial.y)
    loss.backward()
    assert logits.dtype == torch.bfloat16
    assert_close(logits, exact, roundings(DEPTH * 6, BF16), "logits")
    for name, gradient in exact_gradients.items():
        found = trial.model.get_parameter(name).grad
        assert found is not None
        assert found.dtype == torch.float32
        assert_close(found, gradient, roundings(3 * DEPTH * 6, BF16), name)


@pytest.mark.parametrize("case", FACTOR_CASES, ids=str)
def test_low_precision_weights_with_float32_factors(case: Case):
    """Each adapted output, computed in bf16, against (W + s B A) x + b in float64, entry by entry.

    Roundings to bf16 on the longest way: A, B, A x, B (A x), times s, and the sum; the products add up in fp32. Each is
    at most one unit roundoff of |W| |x| + |b| + s |B| |A| |x|, whichever execution: folding rounds W + s B A once.
    """
    trial = case.trial(dtype=torch.bfloat16)
    mature(trial)
    by_layer: dict[str, list[str]] = {}
    for key in trial.adapter.places:
        by_layer.setdefault(key.partition("[")[0], []).append(key)
    for path, keys in by_layer.items():
        layer = trial.model.get_submodule(path)
        assert isinstance(layer, AdaptedLinear)
        width = trial.adapter.places[keys[0]].d_in
        value = torch.randn(7, width, generator=torch.Generator().manual_seed(5)).bfloat16()
        with torch.no_grad():
            found = layer(value).double()
        plain = trial.plain.get_submodule(path)
        exact = plain.double()(value.double())
        size = place_matrix(trial.plain, path).abs() @ value.double().abs().t()
        allowed = size.t() + plain.bias.detach().abs()
        for key in keys:
            rows = slice(*map(int, key[:-1].split("[")[1].split(":"))) if "[" in key else slice(None)
            place = trial.adapter.places[key]
            s, b, a = place.scale, place.b().detach().double(), a_matrix(trial, key).double()
            exact[:, rows] += s * (value.double() @ a.t() @ b.t())
            allowed[:, rows] += s * (value.double().abs() @ a.abs().t() @ b.abs().t())
        assert bool(((found - exact).abs() <= 6 * BF16 * allowed).all()), path
        assert ((found - exact).abs() > 0).any()  # it was computed in bf16 at all


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_low_precision_models_train_their_float32_factors(case: Case):
    """Steps far below a bf16 unit of W reach the factors: none is lost to the weights' precision."""
    trial = case.trial(dtype=torch.bfloat16)
    before = {n: p.detach().clone() for n, p in trial.adapter.factors().items()}
    trial.train(steps=3, lr=1e-6, resets=())
    for name, factor in trial.adapter.factors().items():
        assert not torch.equal(factor, before[name]), name
    reference = {name: p.detach().clone() for name, p in trial.adapter.factors().items()}
    trial.output()
    assert all(torch.equal(p, reference[n]) for n, p in trial.adapter.factors().items())


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_single_vectors_and_extra_dimensions(case: Case):
    """(d_in,), (n, d_in) and (n, t, d_in) inputs, as the adapted linears take them, forward and backward."""
    trial = case.trial()
    mature(trial)
    key = next(iter(trial.adapter.places))
    layer, width = trial.model.get_submodule(key.partition("[")[0]), trial.adapter.places[key].d_in
    x = torch.randn(2, 3, width, generator=torch.Generator().manual_seed(6))
    expected = layer(x)
    assert_close(layer(x[0]), expected[0], roundings(2 * FORWARD), "matrix")
    vector = layer(x[0, 0])
    assert_close(vector, expected[0, 0], roundings(2 * FORWARD), "vector")
    vector.sum().backward()
    assert all(p.grad is not None for n, p in trial.adapter.factors().items() if n.startswith(key))
