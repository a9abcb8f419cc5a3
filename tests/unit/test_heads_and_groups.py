"""Heads of other shapes, tied heads, a file asked of an adapter that is gone; and what decays under full fine-tuning."""

from pathlib import Path

import pytest
import torch
from torch import nn

from peft_lib import adapt
from peft_lib.layers.delta_file import DeltaError
from peft_lib.layers.groups import decays
from peft_lib.layers.targets import TargetError
from tests.unit.zoo import CASES, Case, Trial


@pytest.mark.parametrize("leave", ["merge", "unload"])
@pytest.mark.parametrize("case", [c for c in CASES if c.kind == "linear"], ids=str)
def test_an_adapter_that_is_gone_refuses(case: Case, leave: str, tmp_path: Path) -> None:
    """save() used to write a file without factors, and a second merge() to add nothing."""
    trial = case.trial()
    trial.adapter.save(tmp_path / "kept.safetensors")
    content = (tmp_path / "kept.safetensors").read_bytes()
    getattr(trial.adapter, leave)()
    for act in (
        lambda: trial.adapter.save(tmp_path / "kept.safetensors"),
        lambda: trial.adapter.load(tmp_path / "kept.safetensors"),
        trial.adapter.snapshot, trial.adapter.next_link, trial.adapter.merge, trial.adapter.unload,
        lambda: list(trial.adapter.deltas()),
    ):  # fmt: skip
        with pytest.raises(DeltaError, match=rf"the adapter left the model at {leave}\(\).*Call save\(\) before"):
            act()
    assert (tmp_path / "kept.safetensors").read_bytes() == content


class Classes(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(classes)
        self.body, self.head = nn.Linear(6, 6), nn.Linear(6, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(x)))


@pytest.mark.parametrize(("saved", "wanted"), [(1, 3), (3, 1), (3, 4), (4, 3)])
@pytest.mark.parametrize("method", ["lora", "c3la", "fft", "head_only"])
def test_a_head_of_another_class_count_is_refused_whole(saved: int, wanted: int, method: str, tmp_path: Path) -> None:
    """1 -> 3 used to broadcast: equal logits for all classes. Nothing may be overwritten before all shapes are known."""
    settings = {"rank": 2, "targets": ["body"], "head": ["head"]}
    first = Classes(saved)
    adapter = adapt(first, method, **settings)
    with torch.no_grad():
        for parameter in [*adapter.factors().values(), *adapter.trained_in_full().values()]:
            parameter.add_(1.0)
    adapter.save(tmp_path / "d.safetensors")
    second = Classes(wanted)
    target = adapt(second, method, **settings)
    before = {n: t.clone() for n, t in second.state_dict().items()}
    with pytest.raises(DeltaError, match=r"head\.(weight|bias): the delta has shape .*number of classes"):
        target.load(tmp_path / "d.safetensors")
    assert all(torch.equal(t, before[n]) for n, t in second.state_dict().items())


@pytest.mark.parametrize("method", ["lora", "fft", "head_only"])
def test_a_tied_head_is_refused(method: str) -> None:
    """GPT-2's lm_head is its token embedding: named there, it was neither counted as a head nor trained at the head's rate."""
    from transformers import GPT2Config, GPT2LMHeadModel

    small = {"vocab_size": 11, "n_embd": 8, "n_layer": 1, "n_head": 1, "n_positions": 8}
    model = GPT2LMHeadModel(GPT2Config(**small))
    with pytest.raises(
        TargetError, match=r"head lm_head\.weight: its weight is shared by transformer\.wte\.weight\. Untie"
    ):
        adapt(model, method, rank=2, targets=["c_attn"], head=["lm_head"])
    assert all(p.requires_grad for p in model.parameters())
    untied = GPT2LMHeadModel(GPT2Config(**small, tie_word_embeddings=False))
    counts = adapt(untied, method, rank=2, targets=["c_attn"], head=["lm_head"]).counts()
    assert counts["head"] == 88


def decayed(model: nn.Module, head: tuple[str, ...]) -> set[str]:
    adapter = adapt(model, "fft", head=head)
    names = {id(p): n for n, p in model.named_parameters()}
    groups = adapter.parameter_groups(1e-3, weight_decay=0.05)
    assert {id(p) for g in groups for p in g["params"]} == set(names)
    return {names[id(p)] for g in groups if g["weight_decay"] for p in g["params"]}


def test_positions_and_tokens_do_not_decay_in_timm() -> None:
    """PROTOCOL 5: 2-D weights decay; biases, norms, position embeddings and the class token do not."""
    timm = pytest.importorskip("timm")
    vit = timm.create_model("vit_tiny_patch16_224", pretrained=False, depth=1, img_size=32, num_classes=3)
    found = decayed(vit, ("head",))
    assert found == {
        "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "blocks.0.attn.proj.weight", "blocks.0.mlp.fc1.weight",
        "blocks.0.mlp.fc2.weight", "head.weight",
    }  # fmt: skip
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", pretrained=False, depths=(1,), num_heads=(1,), embed_dim=8, num_classes=3
    )
    assert not any("relative_position_bias_table" in name for name in decayed(swin, ("head",)))


@pytest.mark.parametrize("family", ["bert", "gpt2", "vit", "deberta", "t5"])
def test_positions_do_not_decay_in_transformers(family: str) -> None:
    import transformers as t

    makers = {
        "bert": lambda: t.BertModel(t.BertConfig(vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                                 intermediate_size=8)),
        "gpt2": lambda: t.GPT2Model(t.GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=1, n_positions=8)),
        "vit": lambda: t.ViTModel(t.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1,
                                              intermediate_size=8, image_size=8, patch_size=4)),
        "deberta": lambda: t.DebertaV2Model(t.DebertaV2Config(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
            relative_attention=True, position_buckets=4, max_relative_positions=8)),
        "t5": lambda: t.T5EncoderModel(t.T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)),
    }  # fmt: skip
    excluded = {
        "bert": {"embeddings.position_embeddings.weight"},
        "gpt2": {"wpe.weight"},
        "vit": {"embeddings.cls_token", "embeddings.position_embeddings"},
        "deberta": {"encoder.rel_embeddings.weight", "embeddings.position_embeddings.weight"},
        "t5": {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
    }[family]
    model = makers[family]()
    matrices = {n for n, p in model.named_parameters() if p.ndim >= 2}
    assert excluded <= matrices
    assert matrices - decayed(model, ()) == excluded


@pytest.mark.parametrize(
    "name",
    [
        "deit.embeddings.distillation_token", "layoutlm.embeddings.x_position_embeddings.weight", "encoder.pos_embedding",
        "vision_model.head.probe", "attn_pool.latent", "transformer.mask_emb", "transformer.layer.0.rel_attn.r_w_bias",
        "transformer.layer.0.rel_attn.seg_embed", "model.embed_positions.weight", "mask_token", "reg_token",
        "blocks.0.attn.rel_pos_h", "pos_embed_window",
    ],
)  # fmt: skip
def test_tables_of_other_families_do_not_decay(name: str) -> None:
    assert not decays(name, nn.Parameter(torch.ones(2, 2)), frozenset())
    assert decays("layer.0.attention.query.weight", nn.Parameter(torch.ones(2, 2)), frozenset())
    assert not decays("layer.0.mine", nn.Parameter(torch.ones(2, 2)), frozenset({"layer.0.mine"}))


def test_a_head_in_another_precision_is_refused(tmp_path: Path) -> None:
    """It would be rounded without a word, and load() promises the bits."""
    trial = Trial("lora")
    trial.adapter.save(tmp_path / "d.safetensors")
    with pytest.raises(DeltaError, match=r"float32, the model torch\.bfloat16\. Use the same precision"):
        Trial("lora", dtype=torch.bfloat16).adapter.load(tmp_path / "d.safetensors")


def test_under_adapters_nothing_of_the_head_decays() -> None:
    groups = Trial("lora").adapter.parameter_groups(1e-3, weight_decay=0.1)
    assert {g["name"]: g["weight_decay"] for g in groups} == {"A": 0.1, "B": 0.1, "head_no_decay": 0.0}
