"""Vision transformers of transformers (ViT-Base, DeiT-Tiny): separate q, k, v linears; a linear classifier on the class token."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from peft_lib.backbones.heads import new_linear
from peft_lib.backbones.limits import check_options, head_width
from peft_lib.backbones.pretrained import Family, load
from peft_lib.backbones.pretrained import skeleton as body_of
from peft_lib.study.catalogs import ModelEntry

STYLE = "pixels"
OPTIONS = ()
FAMILY = Family(
    ViTModel, ViTConfig, blocks=r"(encoder\.layer|layers)", dropped=(r"pooler\.", r"classifier\."),
    arguments={"add_pooling_layer": False},
)  # fmt: skip


class VitClassifier(nn.Module):
    """classifier(class token of vit(x))."""

    def __init__(self, vit: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.vit = vit
        self.classifier = classifier

    def forward(self, pixel_values: Tensor) -> Tensor:
        """(B, C, H, W), normalised, of the checkpoint's size -> (B, outputs)."""
        return self.classifier(self.vit(pixel_values=pixel_values).last_hidden_state[:, 0])


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full."""
    return ("classifier",)


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> VitClassifier:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check_options(entry, OPTIONS)
    head = new_linear(entry.hidden, head_width(entry, outputs), draws, device)
    return VitClassifier(load(FAMILY, entry, asset_dir, dtype, device), head)


def skeleton(entry: ModelEntry, outputs: int | None) -> VitClassifier:
    """The same module on the meta device, from the catalog alone."""
    check_options(entry, OPTIONS)
    return VitClassifier(body_of(FAMILY, entry), new_linear(entry.hidden, head_width(entry, outputs), None, "meta"))


def forward(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(B, outputs) of a batch with pixel_values (B, C, H, W)."""
    return model(batch["pixel_values"])
