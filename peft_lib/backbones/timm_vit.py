"""Vision transformers of timm, built from the constructor arguments in the catalog (`architecture`)."""

from pathlib import Path
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from peft_lib import seeds
from peft_lib.backbones.weights import WeightsError, assign_weights, first_layers, new_head, read_weights
from peft_lib.study.catalogs import ModelEntry

HEAD = ("head",)


def build(entry: ModelEntry, asset_dir: Path, num_labels: int, head_generator: torch.Generator) -> VisionTransformer:
    """The first `entry.layers` blocks in fp32 on the CPU, with a new head. Draws nothing from torch's global generator.

    Raises:
        WeightsError: if the folder lacks model.safetensors, or it is not that of its manifest, or does not fit the catalog entry.
    """
    with torch.device("meta"):
        model = VisionTransformer(**_arguments(entry), num_classes=0, weight_init="skip")
    weights = first_layers(read_weights(asset_dir), "blocks.", entry.layers)
    assign_weights(model, {n: t for n, t in weights.items() if not n.startswith("head.")}, asset_dir)
    left = [name for name, buffer in model.named_buffers() if buffer.is_meta]
    if left:
        raise WeightsError(f"this version of timm has constants {left} in VisionTransformer: install the pinned one")
    model.head = new_head(model.num_features, num_labels, head_generator)
    model.num_classes = num_labels
    return model


def scratch(entry: ModelEntry, num_labels: int, seed: int) -> VisionTransformer:
    """The architecture with timm's own random start from a derived seed; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive_seed(seed, "init"))
        return VisionTransformer(**_arguments(entry), num_classes=num_labels)


def forward(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (B, num_labels) of a batch with pixel_values (B, C, H, W)."""
    return model(batch["pixel_values"])


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
