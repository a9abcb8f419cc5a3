"""Vision transformers of timm, built from the constructor arguments in the catalog (`architecture`)."""

from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from peft_lib import seeds
from peft_lib.backbones.heads import new_linear
from peft_lib.backbones.limits import check_options, head_width
from peft_lib.backbones.weights import WeightsError, assign_weights, first_layers, read_weights
from peft_lib.study.catalogs import ModelEntry

STYLE = "pixels"
OPTIONS = ()


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full."""
    return ("head",)


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    return {
        "qv": ("attn.qkv[0/3]", "attn.qkv[2/3]"),
        "all": ("attn.qkv[0/3]", "attn.qkv[1/3]", "attn.qkv[2/3]", "attn.proj", "mlp.fc1", "mlp.fc2"),
    }


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> VisionTransformer:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head. Draws nothing from torch's global
    generator.

    Raises:
        WeightsError: if the folder lacks model.safetensors, or it is not that of its manifest, or does not fit the catalog entry.
        BackboneError: as `limits` does.
    """
    model = _body(entry)
    weights = first_layers(read_weights(asset_dir), "blocks.", entry.layers)
    assign_weights(model, {n: t for n, t in weights.items() if not n.startswith("head.")}, asset_dir)
    left = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if left:
        raise WeightsError(f"this version of timm has constants {left} in VisionTransformer: install the pinned one")
    return _with_head(model.to(device, dtype), entry, outputs, draws, device)


def skeleton(entry: ModelEntry, outputs: int | None) -> VisionTransformer:
    """The same module on the meta device, from the catalog alone."""
    return _with_head(_body(entry), entry, outputs, None, "meta")


def scratch(entry: ModelEntry, num_labels: int, seed: int) -> VisionTransformer:
    """The architecture with timm's own random start from a derived seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive_seed(seed, "init"))
        return _Vit(**_arguments(entry), num_classes=num_labels)


def forward(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (B, outputs) of a batch with pixel_values (B, C, H, W)."""
    return model(batch["pixel_values"])


def _body(entry: ModelEntry) -> VisionTransformer:
    check_options(entry, OPTIONS)
    with torch.device("meta"):
        return _Vit(**_arguments(entry), num_classes=0, weight_init="skip")


def _with_head(
    model: VisionTransformer, entry: ModelEntry, outputs: int | None, draws: torch.Generator | None,
    device: torch.device | str,
) -> VisionTransformer:  # fmt: skip
    model.num_classes = head_width(entry, outputs)
    model.head = new_linear(model.num_features, model.num_classes, draws, device)
    return model


class _Vit(VisionTransformer):
    """Pixels are fp32 whatever the weights are stored in."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return super().forward(x.to(self.patch_embed.proj.weight.dtype), *args, **kwargs)


def _arguments(entry: ModelEntry) -> dict[str, Any]:
    arguments: dict[str, Any] = dict(entry.architecture)
    if entry.layers is not None:
        if entry.layers > arguments["depth"]:
            raise WeightsError(
                f"model '{entry.id}' asks for {entry.layers} layers, its architecture has depth {arguments['depth']}: "
                "lower `layers` in the catalog"
            )
        arguments["depth"] = entry.layers
    return arguments
