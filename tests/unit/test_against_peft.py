"""Independent check: the same steps as Hugging Face PEFT's LoRA, with A copied in, on a tiny random BERT classifier."""

import copy
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from peft_lib import adapt
from peft_lib.layers.adapter import Adapter
from tests.unit.zoo import PROMISES, STEPS, assert_close, roundings, selector_matrix

RANK, ALPHA, WIDTH, DEPTH = 4, 8.0, 16, 2 * 7 + 3
"""DEPTH: products in a row: q, k, scores, values, output and two of the MLP in each of 2 layers; pooler and head."""
TARGETS = ["query", "value"]
PATHS = [f"bert.encoder.layer.{i}.attention.self.{name}" for i in range(2) for name in TARGETS]
TOLERANCE = roundings(STEPS * 6 * DEPTH * (2 * WIDTH + RANK + 4))
"""20 steps of two programs, each a forward pass and twice as much backwards, over sums of at most 2 * WIDTH terms."""
SGD_LR = 0.1
"""At 0.5 the loss rises and falls: differences of rounding grow from step to step there, and the bound above is none."""
EPS = 1e-3
"""Adam's: at lr 1e-2 a gradient's rounding moves a step by lr / eps, ten times itself (test_properties_executions)."""


@pytest.fixture(scope="session")
def peft() -> ModuleType:
    """Importing PEFT takes seconds."""
    return pytest.importorskip("peft")


@pytest.fixture(scope="session")
def bert() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=50, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2, intermediate_size=2 * WIDTH,
        max_position_embeddings=16, num_labels=3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = BertForSequenceClassification(config).eval()  # no dropout: the two would draw it in other orders
        with torch.no_grad():
            for parameter in model.parameters():  # BERT's N(0, 0.02^2) would leave gradients of rounding size
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return model


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(1)
    return torch.randint(0, 50, (8, 10), generator=draws), torch.randint(0, 3, (8,), generator=draws)


def peft_twin(peft: ModuleType, bert: nn.Module, adapter: Adapter, head: bool) -> nn.Module:
    """PEFT's LoRA on a copy of the same model, holding our A."""
    config = peft.LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, lora_dropout=0.0, bias="none",
        modules_to_save=["classifier"] if head else None,
    )  # fmt: skip
    model = peft.get_peft_model(copy.deepcopy(bert), config).eval()
    with torch.no_grad():
        for path in PATHS:
            ours, theirs = adapter.places[path], model.base_model.model.get_submodule(path)
            columns = ours.columns
            a = ours.A if columns is None else selector_matrix(columns.tolist(), WIDTH)
            theirs.lora_A["default"].weight.copy_(a)
            assert not theirs.lora_B["default"].weight.any()
    return model


def steps(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Logits before each of 20 steps, and after the last."""
    ids, labels = batch()
    seen = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        logits = model(input_ids=ids).logits
        seen.append(logits.detach().clone())
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    with torch.no_grad():
        seen.append(model(input_ids=ids).logits)
    return seen


def compare(
    peft: ModuleType, bert: nn.Module, method: str, optimizer: str, head: bool = False, **options: object
) -> None:
    ours = copy.deepcopy(bert)
    adapter = adapt(
        ours, method, rank=RANK, alpha=ALPHA, targets=TARGETS, seed=5, head=("classifier",) if head else (), **options
    )
    theirs = peft_twin(peft, bert, adapter, head)
    if "A" not in PROMISES[method].trains:
        for name, parameter in theirs.named_parameters():
            if "lora_A" in name:
                parameter.requires_grad_(False)
    trained = [p for p in theirs.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == adapter.counts()["trainable"]
    adam = {"eps": EPS, "weight_decay": 0.0}
    if method == "lora_plus":
        from peft.optimizers import create_loraplus_optimizer

        its = create_loraplus_optimizer(theirs, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0, eps=EPS)
        # PEFT's rate is A's: our anchor A; anchor B is the same with a sixteenth of the rate
        anchor = options.get("anchor", "B")
        mine = torch.optim.AdamW(adapter.parameter_groups(1e-3 if anchor == "A" else 16e-3), **adam)
    elif optimizer == "adamw":
        its = torch.optim.AdamW(trained, lr=1e-2, **adam)
        mine = torch.optim.AdamW(adapter.parameter_groups(1e-2), **adam)
    else:
        its, mine = torch.optim.SGD(trained, lr=SGD_LR), torch.optim.SGD(adapter.parameter_groups(SGD_LR))
    found, expected = steps(ours, mine), steps(theirs, its)
    tolerance = TOLERANCE * (10 if isinstance(mine, torch.optim.AdamW) else 1)
    for step, (a, b) in enumerate(zip(found, expected, strict=True)):
        assert_close(a, b, tolerance, f"logits before step {step}")
    assert (found[-1] - found[0]).abs().max() > 20 * tolerance * found[0].abs().max()  # learnt far more
    for path in PATHS:
        layer = theirs.base_model.model.get_submodule(path)
        delta = dict(adapter.deltas())[path]
        assert_close(delta, layer.get_delta_weight("default"), tolerance, path)
    merged, plain = adapter.merge(), theirs.merge_and_unload()
    for path in PATHS:
        assert_close(merged.get_submodule(path).weight, plain.get_submodule(path).weight, tolerance, f"merged {path}")
    if head:
        assert_close(merged.classifier.weight, plain.classifier.weight, tolerance, "head")


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("method", ["lora", "asym_lora"])
@pytest.mark.parametrize("head", [False, True], ids=["factors", "with_head"])
def test_lora_and_frozen_a(peft: ModuleType, bert: nn.Module, method: str, optimizer: str, head: bool):
    compare(peft, bert, method, optimizer, head)


@pytest.mark.parametrize("anchor", ["A", "B"])
def test_lora_plus(peft: ModuleType, bert: nn.Module, anchor: str):
    """Against PEFT's own LoRA+ optimiser. Without a head: PEFT trains one-dimensional parameters at B's rate."""
    compare(peft, bert, "lora_plus", "adamw", anchor=anchor)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("execution", ["dense", "gather", "inplace"])
@pytest.mark.parametrize("method", ["cla", "r_cla"])
def test_selectors_as_frozen_a(peft: ModuleType, bert: nn.Module, method: str, execution: str, optimizer: str):
    """cLA is LoRA with [I_r | 0] for a frozen A, and r-cLA with r unit vectors."""
    compare(peft, bert, method, optimizer, head=True, execution=execution)


@pytest.mark.parametrize("method", ["paca", "d_paca"])
def test_paca_as_frozen_a(peft: ModuleType, bert: nn.Module, method: str):
    compare(peft, bert, method, "sgd")


def test_a_chain_is_merging_and_starting_again(peft: ModuleType, bert: nn.Module):
    """CoLA's reset is PEFT's merge_and_unload, followed by a new LoRA with our next A."""
    ours, theirs = copy.deepcopy(bert), bert
    adapter = adapt(ours, "cola", rank=RANK, alpha=ALPHA, targets=TARGETS, seed=5)
    for link in range(3):
        if link:
            adapter.next_link()
        wrapped = peft_twin(peft, theirs, adapter, head=False)
        trained = [p for p in wrapped.parameters() if p.requires_grad]
        mine, its = torch.optim.SGD(adapter.parameter_groups(SGD_LR)), torch.optim.SGD(trained, lr=SGD_LR)
        for step, (a, b) in enumerate(zip(steps(ours, mine), steps(wrapped, its), strict=True)):
            assert_close(a, b, 3 * TOLERANCE, f"link {link}, step {step}")
        theirs = wrapped.merge_and_unload()


def test_scaling_by_the_root_of_r_is_rslora(peft: ModuleType, bert: nn.Module):
    config = peft.LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=TARGETS, use_rslora=True)
    theirs = peft.get_peft_model(copy.deepcopy(bert), config)
    adapter = adapt(copy.deepcopy(bert), "lora", rank=RANK, alpha=ALPHA, targets=TARGETS, scaling="alpha/sqrt_r")
    assert theirs.base_model.model.get_submodule(PATHS[0]).scaling["default"] == adapter.places[PATHS[0]].scale
