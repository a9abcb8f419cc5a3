"""Whatever writes into a factor, the forward pass sees it: every execution trains like `dense`.

Fused optimisers, `.data`, vector_to_parameters and compiled graphs do not raise a tensor's version; an execution that
keeps s B A inside W must not rely on it.
"""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.utils.checkpoint import checkpoint

from peft_lib import adapt
from tests.unit.zoo import BACKWARD, PLACE_CASES, SPARSE_CASES, Case, Trial, assert_close, roundings

STEPS, LR = 12, 1e-2
TOLERANCE = 10 * roundings(STEPS * 2 * BACKWARD)
"""As in test_properties_executions: Adam with eps = 1e-3 at most multiplies a gradient's roundings by lr / eps = 10."""
# one kind of place is enough for compiling (seconds each), and the fused one has two places in one module
COMPILED = [c for c in PLACE_CASES if c.kind == "fused" and c.method in ("lora", "cla", "c3la", "paca", "vera")]


def write_data(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.data = parameter.data - LR * parameter.grad


def write_data_in_place(parameters: list[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.data.sub_(LR * parameter.grad)


def write_vector(parameters: list[nn.Parameter]) -> None:
    moved = parameters_to_vector(parameters) - LR * parameters_to_vector([p.grad for p in parameters])
    vector_to_parameters(moved.detach(), parameters)


WAYS: dict[str, Callable[[list[nn.Parameter]], Callable[[], object]]] = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=LR, eps=1e-3, weight_decay=0.0, foreach=False).step,
    "adamw_fused": lambda p: torch.optim.AdamW(p, lr=LR, eps=1e-3, weight_decay=0.0, fused=True).step,
    "sgd": lambda p: torch.optim.SGD(p, lr=LR, foreach=False).step,
    "sgd_fused": lambda p: torch.optim.SGD(p, lr=LR, fused=True).step,
    "data": lambda p: lambda: write_data(p),
    "data_in_place": lambda p: lambda: write_data_in_place(p),
    "vector": lambda p: lambda: write_vector(p),
}


def losses(trial: Trial, way: str, forward: Callable[[torch.Tensor], torch.Tensor] | None = None) -> list[float]:
    parameters = [p for g in trial.adapter.parameter_groups(LR) for p in g["params"]]
    step = WAYS[way](parameters)
    run = trial.model if forward is None else forward
    seen = []
    for index in range(STEPS):
        if trial.adapter.method.chains and index in (4, 8):
            trial.adapter.next_link()  # the optimiser keeps its state: both executions do alike
        for parameter in parameters:
            parameter.grad = None
        loss = F.cross_entropy(run(trial.x).float(), trial.y)
        loss.backward()
        step()
        seen.append(loss.item())
    return seen


def assert_like_dense(case: Case, way: str, found: list[float], trial: Trial) -> None:
    reference = case.trial(execution="dense")
    expected = losses(reference, way)
    assert found[-1] < found[0] * (0.999 if "sgd" in way or "data" in way or way == "vector" else 0.98)
    assert_close(torch.tensor(found), torch.tensor(expected), TOLERANCE, "losses")
    assert_close(trial.output(), reference.output(), TOLERANCE, "output")
    merged, plain = trial.adapter.merge(), reference.adapter.merge()
    assert_close(merged(trial.x).detach(), plain(trial.x).detach(), TOLERANCE, "merged")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_every_way_of_writing_trains_like_dense(case: Case, way: str) -> None:
    trial = case.trial()
    assert_like_dense(case, way, losses(trial, way), trial)


@pytest.mark.parametrize("way", ["adamw", "adamw_fused"])
@pytest.mark.parametrize("reentrant", [False, True], ids=["non_reentrant", "reentrant"])
@pytest.mark.parametrize("case", [c for c in PLACE_CASES if c.kind == "fused"], ids=str)
def test_gradient_checkpointing_trains_like_dense(case: Case, way: str, reentrant: bool) -> None:
    trial = case.trial()

    def forward(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(trial.model, x.clone().requires_grad_(True), use_reentrant=reentrant)

    assert_like_dense(case, way, losses(trial, way, forward), trial)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    import torch._dynamo

    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("fresh_compiler")
@pytest.mark.parametrize("way", ["adamw", "adamw_fused"])
@pytest.mark.parametrize("case", COMPILED, ids=str)
def test_compiled_models_train_like_dense(case: Case, way: str) -> None:
    trial = case.trial()
    assert_like_dense(case, way, losses(trial, way, torch.compile(trial.model, backend="aot_eager")), trial)


@pytest.mark.parametrize("case", SPARSE_CASES, ids=str)
def test_a_copy_made_right_after_a_step_computes_the_same(case: Case) -> None:
    """Before any forward pass: W is one step behind B then."""
    trial = case.trial()
    losses(trial, "adamw_fused")
    twin = copy.deepcopy(trial.model)
    with torch.no_grad():
        assert torch.equal(twin(trial.x), trial.model(trial.x))
    for parameter in twin.parameters():  # and the copy is one of its own
        parameter.data.add_(0.1)
    before = trial.output()
    twin(trial.x)
    assert torch.equal(trial.output(), before)


@pytest.mark.parametrize("case", [c for c in SPARSE_CASES if c.execution == "inplace"], ids=str)
def test_evaluation_sees_a_silent_write(case: Case) -> None:
    """The forward pass without gradients, straight after a fused step, and a state dict made there."""
    trial = case.trial()
    losses(trial, "adamw_fused")
    for factor in trial.adapter.factors().values():
        factor.data.add_(0.05)
    held = {n: t.clone() for n, t in trial.model.state_dict().items() if n.endswith("base.weight")}
    found = trial.output()
    assert all(torch.equal(trial.model.state_dict()[n], t) for n, t in held.items())
    assert_close(trial.adapter.merge()(trial.x).detach(), found, roundings(2 * BACKWARD), "merged")


@pytest.mark.parametrize("case", SPARSE_CASES, ids=str)
def test_inference_mode_is_no_different(case: Case) -> None:
    """And training goes on after it: no inference tensor is left in the adapter."""
    trial = case.trial()
    losses(trial, "adamw_fused")
    with torch.inference_mode():
        found = trial.model(trial.x)
    assert torch.equal(found.clone(), trial.output())
    assert len(losses(trial, "adamw_fused")) == STEPS


class Twice(nn.Module):
    """One layer used twice in a forward pass, as in ALBERT."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(torch.tanh(self.inner(x)))


@pytest.mark.parametrize("method", ["cla", "paca"])
def test_a_layer_used_twice_trains_like_dense(method: str) -> None:
    results = []
    for execution in ("dense", "inplace"):
        torch.manual_seed(0)
        model = Twice()
        adapter = adapt(model, method, rank=2, execution=execution)
        optimizer = torch.optim.AdamW(adapter.parameter_groups(1e-2), eps=1e-3, fused=True)
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)).requires_grad_(True)
        for _ in range(8):
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            optimizer.step()
        results.append(model(x).detach())
    assert_close(results[1], results[0], TOLERANCE, method)


def test_a_known_write_between_forward_and_backward_is_caught() -> None:
    """dL/dx would use the new W: autograd's version check refuses, as it does for dense factors."""
    trial = Trial("cla", "linear", execution="inplace")
    x = trial.x.clone().requires_grad_(True)
    loss = trial.model(x).sum()
    with torch.no_grad():
        for factor in trial.adapter.factors().values():
            factor.add_(1.0)
    trial.output()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("method", ["cla", "paca", "c3la"])
@pytest.mark.parametrize("act", ["output", "merge", "load", "restore", "unload"])
def test_w0_survives_a_state_dict_loaded_before_the_first_forward_pass(
    method: str, dtype: torch.dtype, act: str, tmp_path: Path
) -> None:
    """As Trainer and accelerate resume: the W in the state dict holds the factors already."""
    trial, fresh = (Trial(method, execution="inplace", dtype=dtype) for _ in range(2))
    losses(trial, "adamw_fused") if method != "c3la" else trial.train(steps=4, resets=())
    expected = trial.output()
    trial.adapter.save(tmp_path / "d.safetensors")
    fresh.model.load_state_dict(trial.model.state_dict())
    if act == "unload":
        fresh.adapter.unload()
        plain = trial.plain.state_dict()
        for name in ("0.weight", "2.weight"):
            assert torch.equal(fresh.model.state_dict()[name], plain[name])
        return
    if act == "merge":
        fresh.adapter.merge()
    elif act == "load":
        fresh.adapter.load(tmp_path / "d.safetensors")
    elif act == "restore":
        fresh.adapter.restore(fresh.adapter.snapshot())
    assert_close(fresh.output().float(), expected.float(), roundings(2 * BACKWARD, torch.finfo(dtype).eps / 2), act)


def test_gradients_of_gradients_are_refused_in_place_and_right_elsewhere() -> None:
    """In place, dL/dB of a gradient penalty would take W for a constant."""
    grads = {}
    for execution in ("dense", "gather", "inplace"):
        trial = Trial("cla", execution=execution)
        x = trial.x.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(trial.model(x).square().sum(), x, create_graph=True)
        if execution == "inplace":
            with pytest.raises(RuntimeError, match="once_differentiable"):
                slope.square().sum().backward()
        else:
            slope.square().sum().backward()
            grads[execution] = next(iter(trial.adapter.factors().values())).grad
    assert_close(grads["gather"], grads["dense"], roundings(8 * BACKWARD), "dB")


@pytest.mark.parametrize("execution", ["dense", "gather", "inplace"])
@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_model_may_write_into_the_layers_output(execution: str, width: int) -> None:
    """DeBERTa scales its queries in place; ReLU(inplace=True) does too."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.inner = nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.inner(x)
            y /= 2.0
            return torch.relu_(y)

    x = torch.randn([2, 3, 4, 6][-width:], generator=torch.Generator().manual_seed(1)).requires_grad_(True)
    model, reference = Scaled(), Scaled()
    adapter = adapt(model, "cla", rank=2, execution=execution)
    other = adapt(reference, "cla", rank=2, execution="dense")
    for one in (adapter, other):
        one.places["inner"].B.data.fill_(0.3)
    results = []
    for each, handle in ((model, adapter), (reference, other)):
        (gradient,) = torch.autograd.grad(each(x).square().sum(), x, retain_graph=False)
        each(x).square().sum().backward()
        results.append((gradient, handle.places["inner"].B.grad))
    for mine, its in zip(*results, strict=True):
        assert_close(mine, its, roundings(4 * BACKWARD), execution)


def test_two_sets_of_factors_before_one_backward_pass_are_refused_in_place() -> None:
    """torch.func.functional_call with other factors: W cannot hold both; both versions are 0."""
    trial = Trial("cla", execution="inplace")
    names = [n for n, p in trial.model.named_parameters() if n.endswith(".B")]
    x = trial.x.clone().requires_grad_(True)
    total = torch.zeros(())
    for scale in (0.1, 0.2):
        factors = {n: torch.full_like(trial.model.get_parameter(n), scale).requires_grad_() for n in names}
        total = total + torch.func.functional_call(trial.model, factors, (x,)).square().sum()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
