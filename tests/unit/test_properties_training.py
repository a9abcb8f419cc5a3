"""What moves in training: nothing at the start, gradients exactly where promised, all else bitwise as it was."""

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from tests.unit.zoo import (
    BACKWARD,
    CASES,
    FACTOR_CASES,
    FORWARD,
    HEAD,
    SCALE,
    TARGETS,
    Case,
    a_matrix,
    assert_close,
    matrix,
    plain_parameters,
    roundings,
    rows_of,
)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_adapting_changes_no_output(case: Case, dtype: torch.dtype):
    """Bitwise, with and without gradients: B = 0 adds exactly 0, and folding 0 into W returns W.

    A method with tensors of its own may round once where weight(W, start) is computed.
    """
    trial = case.trial(dtype=dtype)
    expected = trial.plain(trial.x)
    for output in (trial.model(trial.x), trial.output()):
        if case.promise.tensors:
            assert_close(output, expected, roundings(FORWARD), "at the start")
        else:
            assert torch.equal(output, expected)


def promised(case: Case) -> set[str]:
    """Names of the parameters that train, in the adapted model."""
    names = {n for n, _ in case.trial().plain.named_parameters()}
    head = {n for n in names if n.startswith(HEAD[case.kind] + ".")}
    if case.promise.trains == "backbone":
        return names
    places: dict[str, int] = {}
    promised = set(head)
    for target in TARGETS[case.kind]:
        path = target.partition("[")[0]
        index = places[path] = places.get(path, -1) + 1
        factors = (*case.promise.trains, *(f"trained_{name}" for name in case.promise.tensors))
        promised |= {f"{path}.places.{index}.{factor}" for factor in factors}
    return promised


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_exactly_where_promised(case: Case):
    trial = case.trial()
    assert {n for n, p in trial.model.named_parameters() if p.requires_grad} == promised(case)
    at_start = trial.gradients()
    assert set(at_start) == promised(case)
    for name, gradient in at_start.items():
        # dL/dA = s B^T dL/dW is exactly 0 while B is 0; everything else sees a gradient from the first step on
        if not case.promise.tensors:
            assert bool(gradient.any()) != name.endswith(".A"), name
    trial.train(steps=1)
    assert all(bool(g.any()) for g in trial.gradients().values())
    assert all(b.grad is None and not b.requires_grad for b in trial.model.buffers())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_everything_outside_the_promise_stays_bitwise(case: Case):
    """Other modules, biases, the k third of a fused qkv and, for sparse methods, all columns that were not selected."""
    trial = case.trial()
    before = plain_parameters(trial.plain)
    selected: dict[str, set[int]] = {key: set() for key in trial.adapter.places}

    def note_columns() -> None:
        for key, place in trial.adapter.places.items():
            columns = getattr(place, "columns", None)
            selected[key] |= set(columns.tolist()) if columns is not None else set(range(place.d_in))

    note_columns()
    for link in range(3):  # three links of a chain, two steps each
        if case.promise.chains and link:
            trial.adapter.next_link()
            note_columns()
        trial.train(steps=2, resets=())
    trial.adapter.merge()
    after = plain_parameters(trial.model)
    if case.promise.trains == "backbone":
        assert all(not torch.equal(after[n], before[n]) for n in before)
        return
    adapted = {key.partition("[")[0] for key in selected}
    for name in before:
        if name.startswith(HEAD[case.kind] + "."):
            assert not torch.equal(after[name], before[name]), f"{name} did not train"
        elif name.removesuffix(".weight") not in adapted:
            assert torch.equal(after[name], before[name]), f"{name} changed"
    for path in adapted:
        same = matrix(trial.plain, path) == matrix(trial.model, path)
        may_change = torch.zeros_like(same)
        for key, columns in selected.items():
            if key.partition("[")[0] == path:
                rows_of(may_change, key)[:, sorted(columns)] = True
        assert bool(same[~may_change].all()), f"{path}: something outside the adapted rows and columns changed"
        if case.promise.tensors:  # whether it moves every entry is the method's business
            assert not bool(same[may_change].all())
            continue
        assert not same[may_change].any(), f"{path}: an entry inside the promise did not change"


@pytest.mark.parametrize("case", FACTOR_CASES, ids=str)
def test_frozen_weights_and_frozen_factors_do_not_move_between_resets(case: Case):
    trial = case.trial()
    a_before = {key: a_matrix(trial, key) for key in trial.adapter.places}
    trial.train(steps=3, resets=())
    for key in trial.adapter.places:
        moved = not torch.equal(a_matrix(trial, key), a_before[key])
        assert moved == ("A" in case.promise.trains), key
    if case.execution != "inplace":  # inplace writes W + s B A into W, and `unload` takes it out again
        for path in {key.partition("[")[0] for key in trial.adapter.places}:
            assert torch.equal(trial.model.get_submodule(path).weight, trial.plain.get_submodule(path).weight)


@pytest.mark.parametrize("case", FACTOR_CASES, ids=str)
@pytest.mark.parametrize("steps", [0, 5], ids=["at_start", "after_steps"])
def test_gradients_are_those_of_the_weight_seen_through_the_factors(case: Case, steps: int):
    """Theorem 3: dL/dB = s dL/dW A^T, for a selector the r selected columns of s dL/dW; dL/dA = s B^T dL/dW.

    dL/dW comes from a plain model that holds the merged weights, so another product order: `BACKWARD` roundings twice.
    """
    trial = case.trial()
    trial.train(steps)
    gradients = trial.gradients()
    seen = {}
    for key, place in trial.adapter.places.items():
        index = list(trial.model.get_submodule(key.partition("[")[0]).places).index(place)
        names = {f: f"{key.partition('[')[0]}.places.{index}.{f}" for f in case.promise.trains}
        seen[key] = ({f: gradients[n] for f, n in names.items()}, a_matrix(trial, key), place.b().detach().clone())
    plain = trial.adapter.merge()
    for parameter in plain.parameters():
        parameter.requires_grad_(True)
    trial.gradients()
    for key, (found, a, b) in seen.items():
        module = plain.get_submodule(key.partition("[")[0])
        weight_gradient = rows_of(module.weight.grad.t() if isinstance(module, Conv1D) else module.weight.grad, key)
        factor = "P" if "P" in found else "B"
        assert_close(found[factor], SCALE * weight_gradient @ a.t(), roundings(2 * BACKWARD), f"{key}: dL/d{factor}")
        if case.promise.sparse:
            columns = a.argmax(dim=1)
            assert_close(found[factor], SCALE * weight_gradient[:, columns], roundings(2 * BACKWARD), f"{key}: masked")
        if "A" in found and steps:
            assert_close(found["A"], SCALE * b.t() @ weight_gradient, roundings(2 * BACKWARD), f"{key}: dL/dA")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_training_lowers_the_loss(case: Case):
    """Every method learns the batch; with the head frozen, its factors alone do (full fine-tuning needs no head)."""
    changes = {} if case.method == "head_only" else {"head": ()}
    losses = case.trial(**changes).train(steps=12, lr=3e-2, resets=(6,))
    assert losses[-1] < 0.97 * losses[0]
