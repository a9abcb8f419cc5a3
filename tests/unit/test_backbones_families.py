"""Every family on tiny random models: shapes, heads, precision, padding, adapters with every method, files."""

import copy
import shutil

import pytest
import torch
from torch import nn

from peft_lib import adapt, check, seeds
from peft_lib.backbones.limits import BackboneError
from peft_lib.backbones.loading import get_backbone
from peft_lib.methods.registry import built_in, get_method
from tests.unit.tiny import DECODERS, ENCODERS, TASKS, TINY, batch

VOCABULARY = 300
UNIT = torch.finfo(torch.float32).eps
CLOSE = {"rtol": 200 * UNIT, "atol": 200 * UNIT}
"""Two ways to one number: sums of up to 48 terms through two blocks, about ten products in a row, roundings of either sign."""


def made(name, tiny_dir, outputs, seed=1, **changes) -> nn.Module:
    backbone = get_backbone(TINY[name].backbone)
    return backbone.build(TINY[name], tiny_dir(name), outputs, seeds.generator(seed, "head"), **changes)


def forward(name, model, items):
    return get_backbone(TINY[name].backbone).forward(model, items)


def shapes(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in named}


@pytest.mark.parametrize(("name", "outputs"), TASKS)
def test_outputs_heads_and_skeleton(name, outputs, tiny_dir):
    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    model = made(name, tiny_dir, outputs).eval()
    assert torch.equal(torch.get_rng_state(), before)
    items = batch(entry, outputs)
    rows = int(items["target_mask"].sum()) if outputs is None else 3
    made_of = forward(name, model, items)
    assert made_of.shape == (rows, outputs or VOCABULARY) and made_of.isfinite().all()
    assert {p.dtype for p in model.parameters()} == {torch.float32} and all(p.requires_grad for p in model.parameters())
    bare = backbone.skeleton(entry, outputs)
    assert shapes(bare) == shapes(model) and all(p.is_meta for p in bare.parameters())
    assert type(bare) is type(model)
    heads = backbone.heads(entry, outputs)
    in_head = sum(p.numel() for path in heads for p in model.get_submodule(path).parameters())
    assert in_head == entry.head_size(outputs) - (entry.head_frozen if outputs else 0) + entry.also_trained
    everything = sum(p.numel() for p in model.parameters())
    assert everything == entry.body_size(outputs) + entry.head_size(outputs) - (entry.head_frozen if outputs else 0)


@pytest.mark.parametrize("name", TINY)
def test_a_head_depends_on_its_draws_alone_and_starts_small(name, tiny_dir):
    first, same, other = (made(name, tiny_dir, 3, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], same[key]) for key in first)
    changed = {key for key in first if not torch.equal(first[key], other[key])}
    heads = tuple(f"{path}." for path in get_backbone(TINY[name].backbone).heads(TINY[name], 3) if "c_attn" not in path)
    assert changed == {key for key in first if key.startswith(heads) and key.endswith("weight")}
    for key in first:
        if key.startswith(heads):
            value = first[key]
            assert value.std().item() == pytest.approx(0.02, rel=0.25) if key.endswith("weight") else not value.any()


def test_encoders_do_not_write(tiny_dir):
    for name in ENCODERS:
        with pytest.raises(BackboneError, match=r"is an encoder .* and cannot write text"):
            made(name, tiny_dir, None)


def test_options_that_a_backbone_does_not_have_are_refused(tiny_dir):
    for name in TINY:
        backbone = get_backbone(TINY[name].backbone)
        odd = TINY[name].model_copy(update={"options": {"shuffle": True}})
        for outputs in (2,) if name in ENCODERS else (2, None):
            with pytest.raises(BackboneError, match=r"has no option 'shuffle'"):
                backbone.skeleton(odd, outputs)
    odd = TINY["tiny_gpt2"].model_copy(update={"options": {"train_k": 1}})
    with pytest.raises(BackboneError, match="it is true or false"):
        get_backbone("gpt2").skeleton(odd, None)


# -------------------------------------------------------------------------------------------------- against transformers


def test_features_and_heads_are_those_of_transformers(tiny_dir):
    """RoBERTa's and the decoders' whole models are classes of transformers; ours give the same numbers from the same weights."""
    from transformers import (
        GPT2ForSequenceClassification,
        LlamaForSequenceClassification,
        RobertaForSequenceClassification,
        ViTForImageClassification,
    )

    for name, kind in (
        ("tiny_roberta", RobertaForSequenceClassification), ("tiny_gpt2", GPT2ForSequenceClassification),
        ("tiny_llama", LlamaForSequenceClassification), ("tiny_vit", ViTForImageClassification),
    ):  # fmt: skip
        ours = made(name, tiny_dir, 3).eval()
        pad = {"pad_token_id": 1} if name in DECODERS else {}
        theirs = kind.from_pretrained(tiny_dir(name), id2label={i: str(i) for i in range(3)}, **pad).eval()
        body, head = {"tiny_roberta": ("roberta", "classifier"), "tiny_vit": ("vit", "classifier")}.get(
            name, ("decoder", "score")
        )
        getattr(theirs, head).load_state_dict(getattr(ours, head).state_dict())
        kept = getattr(ours, body).state_dict()
        assert all(torch.equal(kept[n], t) for n, t in theirs.base_model.state_dict().items())
        items = {k: v for k, v in batch(TINY[name], 3).items() if k != "token_type_ids"}
        if name in DECODERS:  # theirs finds the last token by its pad token
            items["input_ids"] = items["input_ids"].where(items["attention_mask"].bool(), 1)
        with torch.no_grad():
            torch.testing.assert_close(forward(name, ours, items), theirs(**items).logits, **CLOSE)


def test_the_papers_deberta_head():
    """First token, linear, ReLU, linear (PROTOCOL section 2), written out."""
    from peft_lib.backbones.heads import DebertaHead

    head = DebertaHead(6, 2, False, seeds.generator(0, "head"), "cpu").eval()
    x = torch.randn(4, 6, generator=seeds.generator(0, "x"))
    hidden = (x @ head.dense.weight.T + head.dense.bias).clamp(min=0)
    torch.testing.assert_close(head(x), hidden @ head.out.weight.T + head.out.bias)
    assert head.dropout.p == 0.3
    head.train()
    torch.manual_seed(0)
    assert not torch.equal(head(x), head.eval()(x))


# ------------------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize(("name", "outputs"), [t for t in TASKS if t[1] in (3, None)])
def test_frozen_weights_in_bf16_and_what_trains_in_fp32(name, outputs, tiny_dir):
    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    exact, low = made(name, tiny_dir, outputs), made(name, tiny_dir, outputs, dtype=torch.bfloat16)
    heads = tuple(f"{path}." for path in backbone.heads(entry, outputs))
    for key, parameter in low.named_parameters():
        assert parameter.dtype == (torch.float32 if heads and key.startswith(heads) else torch.bfloat16), key
    # constants do not lose digits: rotary frequencies in bf16 would shift far positions
    buffers = dict(exact.named_buffers())
    assert all(torch.equal(b, buffers[n]) for n, b in low.named_buffers() if b.dtype == torch.float32)
    adapter = adapt(low, "lora", rank=2, targets=entry.targets["qv"], head=backbone.heads(entry, outputs))
    assert {p.dtype for p in adapter.factors().values()} == {torch.float32}
    items = batch(entry, outputs)
    forward(name, low, items).float().logsumexp(dim=-1).sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in low.parameters() if p.requires_grad)
    with torch.no_grad():
        reference, rounded = forward(name, exact.eval(), items), forward(name, low.eval(), items).float()
    # bf16 has 8 significant bits; two blocks with about ten roundings each, of random sign
    scale = reference.abs().max()
    assert (rounded - reference).abs().max() < 0.15 * scale and not torch.equal(rounded, reference)


# --------------------------------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize(("name", "outputs"), [(n, o) for n in DECODERS for o in (3, None)])
def test_the_side_and_the_token_of_padding_change_nothing(name, outputs, tiny_dir):
    model = made(name, tiny_dir, outputs).eval()
    right, left = (batch(TINY[name], outputs, left=side) for side in (False, True))
    other = copy.deepcopy(left)
    other["input_ids"] = other["input_ids"].where(other["attention_mask"].bool(), 11)
    with torch.no_grad():
        expected = forward(name, model, right)
        for items in (left, other):
            torch.testing.assert_close(forward(name, model, items), expected, **CLOSE)


@pytest.mark.parametrize("name", [n for n in ENCODERS if TINY[n].modality == "text"])
def test_padding_does_not_change_an_encoder(name, tiny_dir):
    model = made(name, tiny_dir, 3).eval()
    items = batch(TINY[name], 3)
    with torch.no_grad():
        together = forward(name, model, items)[1:2]
        alone = forward(name, model, {key: value[1:2, :5] for key, value in items.items()})
    torch.testing.assert_close(together, alone, **CLOSE)


# -------------------------------------------------------------------------------------------------------------- adapters


def small(name: str, method: str) -> dict:
    chosen = get_method(method)
    return {"rank": 3, "targets": TINY[name].targets["all"]} if chosen.has_factors else {}


@pytest.mark.parametrize("method", built_in())
@pytest.mark.parametrize("name", TINY)
def test_every_method_adapts_every_family(name, method, tiny_dir):
    """For each task: all places train, the start changes nothing, counts are the catalog's, files bring the same model back."""
    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    for outputs in {o for n, o in TASKS if n == name and o != 1}:
        model = made(name, tiny_dir, outputs).eval()
        items = batch(entry, outputs)
        with torch.no_grad():
            before = forward(name, model, items)
        heads = backbone.heads(entry, outputs)
        adapter = adapt(model, method, head=heads, **small(name, method))
        check(adapter, items, backbone.forward)
        with torch.no_grad():
            torch.testing.assert_close(forward(name, model, items), before, **CLOSE)
        in_full = entry.head_size(outputs) - (entry.head_frozen if outputs else 0) + entry.also_trained
        if "backbone" in get_method(method).trains:
            in_full += entry.body_size(outputs) - entry.also_trained
        size = [(s.d_in, s.d_out, s.count) for s in entry.targets["all"]] if adapter.places else []
        assert adapter.counts()["trainable"] == in_full + get_method(method).trained_size(size, 3)


@pytest.mark.parametrize("name", ["tiny_gpt2_train_k", "tiny_deberta_frozen", "tiny_llama", "tiny_vit"])
def test_a_delta_brings_back_the_model_whatever_the_seed(name, tiny_dir, tmp_path):
    """All that a run trained is in its file; all else is the same in a model built with another seed."""
    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    outputs = None if name == "tiny_gpt2_train_k" else 3
    heads, items = backbone.heads(entry, outputs), batch(entry, outputs)
    for method in ("lora", "r_cla", "fft"):
        first, second = (made(name, tiny_dir, outputs, seed) for seed in (1, 2))
        adapters = [adapt(m, method, seed=s, head=heads, **small(name, method)) for s, m in ((1, first), (2, second))]
        optimiser = torch.optim.SGD([p for p in first.parameters() if p.requires_grad], lr=0.1)
        for _ in range(2):
            optimiser.zero_grad()
            forward(name, first, items).logsumexp(dim=-1).sum().backward()
            optimiser.step()
        adapters[0].save(tmp_path / "delta.safetensors")
        adapters[1].load(tmp_path / "delta.safetensors")
        with torch.no_grad():
            assert torch.equal(forward(name, first.eval(), items), forward(name, second.eval(), items))


def test_a_frozen_first_head_layer_never_trains(tiny_dir):
    entry, backbone = TINY["tiny_deberta_frozen"], get_backbone("deberta")
    for method in ("lora", "fft", "head_only"):
        model = made("tiny_deberta_frozen", tiny_dir, 3)
        dense = model.classifier.dense.weight
        adapter = adapt(model, method, head=backbone.heads(entry, 3), **small("tiny_deberta_frozen", method))
        assert not dense.requires_grad and dense.std().item() == pytest.approx(0.02, rel=0.1)
        assert set(adapter.head_parameters()) == {"classifier.out.weight", "classifier.out.bias"}
        assert "classifier.dense.weight" in model.state_dict()


def test_gpt2_with_k_projections_is_the_same_function(tiny_dir):
    plain, split = (made(n, tiny_dir, None).eval() for n in ("tiny_gpt2", "tiny_gpt2_train_k"))
    items = batch(TINY["tiny_gpt2"], None)
    heads = get_backbone("gpt2").heads(TINY["tiny_gpt2_train_k"], None)
    with torch.no_grad():
        torch.testing.assert_close(split(**items), plain(**items), **CLOSE)
    adapter = adapt(split, "lora", rank=2, targets=TINY["tiny_gpt2_train_k"].targets["qv"], head=heads)
    assert {n.split(".")[-2] for n in adapter.trained_in_full()} == {"k"} and len(adapter.trained_in_full()) == 4
    d = 32
    assert adapter.counts()["trainable"] == 2 * (2 * 2 * (d + d)) + 2 * (d * d + d)


# --------------------------------------------------------------------------------------------------------------- decoders


@pytest.mark.parametrize("name", DECODERS)
def test_target_logits_are_those_of_the_full_logits(name, tiny_dir):
    model = made(name, tiny_dir, None).eval()
    for left in (False, True):
        items = batch(TINY[name], None, left=left)
        with torch.no_grad():
            # one row at a time and without padding, through transformers' own forward pass
            rows = []
            for ids, mask, target in zip(
                *(items[k] for k in ("input_ids", "attention_mask", "target_mask")), strict=True
            ):
                keep = mask.bool()
                logits = model.decoder(input_ids=ids[keep][None]).logits[0]
                rows.append(logits[:-1][target[keep][1:]])
            torch.testing.assert_close(forward(name, model, items), torch.cat(rows), **CLOSE)


def naive(model: nn.Module, ids: torch.Tensor, steps: int, ends: set[int]) -> list[int]:
    """Greedy decoding of one row by its definition: no cache, no padding."""
    made_tokens: list[int] = []
    while len(made_tokens) < steps and not (made_tokens and made_tokens[-1] in ends):
        logits = model.decoder(input_ids=ids[None], use_cache=False).logits[0, -1]
        made_tokens.append(int(logits.argmax()))
        ids = torch.cat([ids, torch.tensor(made_tokens[-1:])])
    return made_tokens


@pytest.mark.parametrize("name", DECODERS)
def test_generation_is_greedy_decoding_with_the_adapter(name, tiny_dir):
    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    model = made(name, tiny_dir, None).eval()
    heads = backbone.heads(entry, None)
    adapter = adapt(model, "lora", rank=3, targets=entry.targets["qv"], head=heads)
    items = batch(entry, None, left=True)
    prompts = [ids[mask.bool()] for ids, mask in zip(items["input_ids"], items["attention_mask"], strict=True)]
    with torch.no_grad():
        untouched = backbone.generate(model, items, 6, eos_id=299, stop=frozenset())
        for key, factor in adapter.factors().items():
            factor.normal_(0, 0.3, generator=seeds.generator(0, key))
        free = [naive(model, ids, 6, {299}) for ids in prompts]
        stop = free[0][2]  # a token that is surely written: the row must end there, and the others go on
        for ends in (frozenset(), frozenset({stop, 298})):
            expected = [naive(model, ids, 6, {299, *ends}) for ids in prompts]
            written = backbone.generate(model, items, 6, eos_id=299, stop=ends)
            longest = max(map(len, expected))
            assert written.tolist() == [row + [299] * (longest - len(row)) for row in expected]
    assert untouched.tolist() != list(free), "the adapter changed nothing"


def test_sampling_settings_of_a_checkpoint_do_not_reach_generation(tiny_dir, tmp_path):
    folder = tmp_path / "llama"
    shutil.copytree(tiny_dir("tiny_llama"), folder)
    (folder / "generation_config.json").write_text(
        '{"do_sample": true, "temperature": 9.0, "repetition_penalty": 3.0, "max_new_tokens": 2, "min_new_tokens": 1}'
    )
    backbone, entry = get_backbone("llama"), TINY["tiny_llama"]
    items = batch(entry, None, left=True)
    plain, odd = (
        backbone.build(entry, f, None, seeds.generator(0, "head")).eval() for f in (tiny_dir("tiny_llama"), folder)
    )
    assert torch.equal(*(backbone.generate(m, items, 5, 2, frozenset()) for m in (plain, odd)))


def test_only_target_rows_go_through_the_output_layer(tiny_dir):
    model = made("tiny_llama", tiny_dir, None)
    items = batch(TINY["tiny_llama"], None)
    seen = []
    model.decoder.lm_head.register_forward_hook(lambda layer, inputs, output: seen.append(tuple(inputs[0].shape)))
    model(**items)
    assert seen == [(int(items["target_mask"].sum()), 32)]


def test_first_blocks_alone(tiny_dir):
    """`layers` cuts every family: the kept blocks are the same, and nothing else is missing."""
    for name in TINY:
        entry, backbone = TINY[name].model_copy(update={"layers": 1}), get_backbone(TINY[name].backbone)
        outputs = None if name in DECODERS else 2
        short = backbone.build(entry, tiny_dir(name), outputs, seeds.generator(1, "head"))
        whole = made(name, tiny_dir, outputs).state_dict()
        kept = short.state_dict()
        assert 0 < len(kept) < len(whole) and all(torch.equal(t, whole[n]) for n, t in kept.items())
        assert set(kept) == set(backbone.skeleton(entry, outputs).state_dict())
        assert backbone.forward(short.eval(), batch(entry, outputs)).isfinite().all()


@pytest.mark.parametrize("method", ["lora", "r_cla", "paca"])
@pytest.mark.parametrize("name", TINY)
def test_gradient_checkpointing_computes_blocks_twice_and_the_same_gradients(name, method, tiny_dir):
    from peft_lib.training.assemble import recompute_activations

    entry, backbone = TINY[name], get_backbone(TINY[name].backbone)
    outputs = None if name in DECODERS else 3
    found = []
    for again in (False, True):
        model = made(name, tiny_dir, outputs).train()
        if again:
            recompute_activations(model, name)
        adapter = adapt(model, method, head=backbone.heads(entry, outputs), **small(name, method))
        calls = []
        for path in {place.target.path for place in adapter.places.values()}:
            model.get_submodule(path).register_forward_pre_hook(lambda *unused, calls=calls: calls.append(1))
        torch.manual_seed(0)  # dropout is on: what is computed again must draw the same
        forward(name, model, batch(entry, outputs)).logsumexp(dim=-1).sum().backward()
        found.append((len(calls), {n: p.grad for n, p in model.named_parameters() if p.requires_grad}))
    (once, plain), (twice, recomputed) = found
    assert twice == 2 * once and plain.keys() == recomputed.keys()
    for key, grad in plain.items():
        torch.testing.assert_close(recomputed[key], grad, rtol=1e-5, atol=1e-6, msg=key)
