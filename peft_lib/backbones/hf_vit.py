"""Vision transformers of transformers (ViT-Base, DeiT-Tiny): separate q, k, v linears; a linear classifier on the class token."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.vit.configuration_vit import ViTConfig
from transformers.models.vit.modeling_vit import ViTModel

from peft_lib.backbones.heads import new_linear
from peft_lib.backbones.limits import check, head_width
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


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    return {"qv": ("q_proj", "v_proj"), "all": ("q_proj", "k_proj", "v_proj", "o_proj", "mlp.fc1", "mlp.fc2")}


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> VitClassifier:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check(entry, outputs, OPTIONS)
    return _with_head(load(FAMILY, entry, asset_dir, dtype, device), entry, outputs, draws)


def skeleton(entry: ModelEntry, outputs: int | None) -> VitClassifier:
    """The same module on the meta device, from the catalog alone."""
    check(entry, outputs, OPTIONS)
    return _with_head(body_of(FAMILY, entry), entry, outputs, None)


def forward(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(B, outputs) of a batch with pixel_values (B, C, H, W)."""
    return model(batch["pixel_values"])


def _with_head(
    body: PreTrainedModel, entry: ModelEntry, outputs: int | None, draws: torch.Generator | None
) -> VitClassifier:
    return VitClassifier(body, new_linear(body.config.hidden_size, head_width(entry, outputs), draws, body.device))
