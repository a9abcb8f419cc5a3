"""Layers whose weight the model multiplies with itself: refused at `adapt`, by the weight, or by `check`; never silent."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from peft_lib import adapt, check
from peft_lib.layers.targets import TargetError
from tests.unit.zoo import PLACE_CASES, Case, assert_close, roundings


class AroundQkv(nn.Module):
    """As timm's BEiT and EVA: with a bias of its own it multiplies with the weight, without it calls the module."""

    def __init__(self, around: bool) -> None:
        super().__init__()
        self.around = around
        self.qkv, self.proj = nn.Linear(8, 24), nn.Linear(24, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.linear(x, weight=self.qkv.weight, bias=None) if self.around else self.qkv(x)
        return self.proj(y)


class Halves(nn.Module):
    """A layer that only one of two modes uses: `eval` goes round it."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


def test_a_module_that_is_never_called_is_refused_at_adapt() -> None:
    """nn.MultiheadAttention hands out_proj's weight to a function."""
    model = nn.Sequential(nn.MultiheadAttention(8, 2))
    with pytest.raises(TargetError, match=r"targets 0\.out_proj: .*without calling them.*Leave them out"):
        adapt(model, "lora", rank=2, targets=["out_proj"])
    with pytest.raises(TargetError, match=r"0\.out_proj"):
        adapt(model, "lora", rank=2)
    assert isinstance(model[0].out_proj, nn.Linear)
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("execution", ["dense", "gather", "inplace"])
@pytest.mark.parametrize("grad", [True, False])
def test_a_weight_that_is_multiplied_with_refuses(execution: str, grad: bool) -> None:
    model = AroundQkv(around=True)
    adapter = adapt(model, "cla", rank=2, targets=["qkv", "proj"], execution=execution)
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(TargetError, match=r"^qkv: .*goes round this adapted layer.*linear"),
    ):
        model(torch.ones(2, 8))
    assert model.qkv.weight.dtype == torch.float32 and model.qkv.weight.shape == (24, 8)
    with pytest.raises(TargetError, match=r"1 of 2 adapted places get no gradient: qkv\."):
        check(adapter, torch.ones(2, 8))
    fine = AroundQkv(around=False)
    check(adapt(fine, "cla", rank=2, targets=["qkv", "proj"], execution=execution), torch.ones(2, 8))


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_timms_beit_and_eva(name: str) -> None:
    timm = pytest.importorskip("timm")
    small = {"depth": 2, "embed_dim": 32, "num_heads": 2, "img_size": 28, "patch_size": 14, "num_classes": 3}
    model = timm.create_model(name, pretrained=False, **small)
    image = torch.randn(2, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    linears = [n for n, m in model.named_modules() if isinstance(m, nn.Linear) and n != "head"]
    around = [n for n in linears if n.endswith("attn.qkv")]
    adapter = adapt(model, "lora", rank=2, targets=linears, head=["head"])
    with pytest.raises(
        TargetError, match=rf"2 of {len(linears)} adapted places get no gradient: {', '.join(around)}\."
    ):
        check(adapter, image)
    with pytest.raises(TargetError, match=r"^blocks\.0\.attn\.qkv: .* goes round"):
        model(image)
    adapter.unload()
    check(adapt(model, "lora", rank=2, targets=[n for n in linears if n not in around], head=["head"]), image)


@pytest.mark.parametrize("method", ["lora", "cla", "paca"])
def test_the_fast_path_of_a_transformer_layer_sees_the_adapter(method: str) -> None:
    """In eval mode without gradients it would hand all its weights to one kernel; it used to fail on `.bias`."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, dropout=0.0, batch_first=True)
    model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(8, 3))
    adapter = adapt(model, method, rank=2, targets=["linear1", "linear2"], head=["1"])
    x = torch.randn(4, 5, 8)
    check(adapter, x)
    optimizer = torch.optim.AdamW(adapter.parameter_groups(1e-1))
    before = model(x).detach()
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()
    slow = model(x).detach()
    model.eval()
    with torch.no_grad():
        found = model(x)
    assert not torch.allclose(found, before, atol=1e-2)
    assert_close(found, slow, roundings(400), "fast path")
    with torch.no_grad():
        assert_close(adapter.merge()(x), slow, roundings(400), "merged")


def test_a_layer_that_is_not_used_is_named() -> None:
    adapter = adapt(Halves(), "lora", rank=2)
    with pytest.raises(TargetError, match=r"1 of 2 adapted places get no gradient: unused\."):
        check(adapter, torch.ones(2, 4))


@pytest.mark.parametrize("case", PLACE_CASES, ids=str)
def test_check_passes_and_leaves_no_trace(case: Case) -> None:
    """No gradient, no mode, no random state, no buffer changes; dropout and batch norm stay out of it."""
    trial = case.trial()
    trial.model.append(nn.BatchNorm1d(3)) if isinstance(trial.model, nn.Sequential) else None
    trial.model.train()
    next(iter(trial.adapter.factors().values())).grad = torch.ones(1)[0] * torch.ones_like(
        next(iter(trial.adapter.factors().values()))
    )
    grads = {n: None if p.grad is None else p.grad.clone() for n, p in trial.model.named_parameters()}
    state = {n: t.clone() for n, t in trial.model.state_dict().items()}
    random = torch.get_rng_state()
    check(trial.adapter, trial.x[:2])
    assert trial.model.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(t, state[n]) for n, t in trial.model.state_dict().items())
    for name, parameter in trial.model.named_parameters():
        assert (parameter.grad is None) == (grads[name] is None)


def test_check_takes_batches_as_the_model_does() -> None:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    adapter = adapt(BertForSequenceClassification(config), "lora", rank=2, targets=["query"], head=["classifier"])
    ids = torch.ones(2, 3, dtype=torch.long)
    check(adapter, {"input_ids": ids})
    check(adapter, (ids,))
    check(adapter, ids)
    check(adapter, ids, forward=lambda model, batch: model(batch).logits)
    with pytest.raises(TypeError, match="give `forward`"):
        check(adapter, ids, forward=lambda model, batch: {"a": 1})


def test_reading_a_dtype_is_no_bypass() -> None:
    """T5 compares its weight's dtype with its input's before it calls the layer."""
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    adapter = adapt(T5EncoderModel(config), "lora", rank=2, targets=["wo", "q"])
    check(adapter, {"input_ids": torch.ones(2, 3, dtype=torch.long)})


def test_nothing_to_adapt_is_refused() -> None:
    conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    for targets in ("all-linear", ["2"]):
        with pytest.raises(TargetError, match=r"no nn\.Linear .* outside the head"):
            adapt(conv, "lora", rank=2, targets=targets, head=["2"])
    with pytest.raises(TargetError, match="targets is empty"):
        adapt(conv, "lora", rank=2, targets=[])
    with pytest.raises(TargetError, match=r"wrap it"):
        adapt(nn.Linear(3, 3), "lora", rank=2)
    adapt(conv, "head_only", head=["2"])


def test_computed_weights_are_refused() -> None:
    from torch.nn.utils.parametrizations import weight_norm

    with pytest.raises(TargetError, match=r"target 0: its weight is computed"):
        adapt(nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2)), "lora", rank=2)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in (self.fc, self.other):
            x = layer(x)
        return x


class Child(Base):
    """Calls in a parent class and through a loop; reads the weights where starting values are set, and for a penalty."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.xavier_uniform_(self.fc.weight)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.ones_(self.other.weight)

    def penalty(self) -> torch.Tensor:
        return self.fc.weight.square().sum()


class Fused(nn.Sequential):
    """As timm's NormLinear: the container calls its children."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def fuse(self) -> torch.Tensor:
        return self.linear.weight * 2


def test_reading_a_weight_elsewhere_is_no_bypass() -> None:
    model = nn.Sequential(Child(), Fused())
    check(adapt(model, "lora", rank=2), torch.ones(2, 4))


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> dict[str, object]:
        return {"first": [self.a(x)], "second": (self.b(x), torch.ones(1, dtype=torch.long))}


def test_every_output_counts() -> None:
    """A loss may use them all: BERT's pooled output beside its hidden states, start and end logits, ..."""
    from transformers import BertConfig, BertModel

    check(adapt(Two(), "lora", rank=2), torch.ones(2, 4))
    config = BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    check(adapt(BertModel(config), "lora", rank=2), torch.ones(2, 3, dtype=torch.long))


class Transposed(nn.Module):
    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.q = how, nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.how == "transposed":
            return self.q(x) + x @ self.q.weight.t()
        return self.q(x) + torch.einsum("ni,oi->no", x, self.q.weight)


@pytest.mark.parametrize("how", ["transposed", "einsum"])
def test_views_of_a_weight_are_known_by_its_name(how: str) -> None:
    model = Transposed(how)
    adapter = adapt(model, "lora", rank=2)
    with pytest.raises(TargetError, match=r"1 of 1 adapted places get no gradient: q\."):
        check(adapter, torch.ones(2, 4))
    with pytest.raises(TargetError, match=r"^q: the model's forward pass goes round"):
        model(torch.ones(2, 4))


def test_check_after_merging_is_refused() -> None:
    from peft_lib.layers.delta_file import DeltaError

    adapter = adapt(Two(), "lora", rank=2)
    adapter.merge()
    with pytest.raises(DeltaError, match=r"check: the adapter left the model at merge\(\)"):
        check(adapter, torch.ones(2, 4))
