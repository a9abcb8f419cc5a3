"""GPT-2: text, or a linear `score` on the last token.

q, k and v are one Conv1D, c_attn; methods adapt slices of its output. The option `train_k` is the paper's released code, which
trains every K projection in full (PROTOCOL 13.27): c_attn is cut into three linears, and the K ones are heads.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.gpt2.configuration_gpt2 import GPT2Config
from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel, GPT2Model

from peft_lib.backbones import causal
from peft_lib.backbones.causal import forward, generate
from peft_lib.backbones.heads import HeadLinear
from peft_lib.backbones.limits import check_options
from peft_lib.backbones.pretrained import Family, catalog_config
from peft_lib.study.catalogs import ModelEntry

__all__ = ["OPTIONS", "STYLE", "build", "forward", "generate", "heads", "skeleton", "targets"]

STYLE = "prompt"
OPTIONS = ("train_k",)
WRITER = GPT2LMHeadModel
FAMILY = Family(
    GPT2Model, GPT2Config, blocks="h", dropped=(r"lm_head\.", r"score\.", r"h\.\d+\.attn\.(masked_)?bias$")
)  # causal masks: constants that old checkpoints carry


class SplitAttention(nn.Module):
    """[q(x), k(x), v(x)]: what the fused c_attn computes, as three linears. `k` is fp32: it trains in full."""

    def __init__(self, fused: nn.Module) -> None:
        super().__init__()
        assert isinstance(fused.weight, Tensor) and isinstance(fused.bias, Tensor)
        parts = zip(fused.weight.chunk(3, dim=1), fused.bias.chunk(3), strict=True)
        self.q, self.k, self.v = (_linear(weight, bias) for weight, bias in parts)
        self.k.float()

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., 3 d)."""
        q = self.q(x)
        return torch.cat([q, self.k(x).to(q.dtype), self.v(x)], dim=-1)


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full: `score`, and with `train_k` the K projections."""
    score = () if outputs is None else ("score",)
    if not entry.options.get("train_k"):
        return score
    body = "decoder.transformer" if outputs is None else "decoder"
    layers = entry.layers or catalog_config(FAMILY, entry).num_hidden_layers
    return (*score, *(f"{body}.h.{index}.attn.c_attn.k" for index in range(layers)))


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    if entry.options.get("train_k"):
        query_value = ("c_attn.q", "c_attn.v")
        return {"qv": query_value, "all": (*query_value, "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    q, k, v = (f"attn.c_attn[{part}/3]" for part in range(3))
    return {"qv": (q, v), "all": (q, k, v, "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> nn.Module:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`; a new fp32 `score`, or the tied output layer.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check_options(entry, OPTIONS)
    model = causal.build(FAMILY, WRITER, entry, asset_dir, outputs, draws, dtype, device)
    return _split(entry, model)


def skeleton(entry: ModelEntry, outputs: int | None) -> nn.Module:
    """The same module on the meta device, from the catalog alone."""
    check_options(entry, OPTIONS)
    return _split(entry, causal.build_skeleton(FAMILY, WRITER, entry, outputs))


def _split(entry: ModelEntry, model: nn.Module) -> nn.Module:
    if entry.options.get("train_k"):
        decoder: Any = model.decoder
        for block in decoder.base_model.h:
            block.attn.c_attn = SplitAttention(block.attn.c_attn)
    return model


def _linear(weight: Tensor, bias: Tensor) -> HeadLinear:
    """A linear with a copy of Conv1D's (d_in, d_out) weight."""
    layer = torch.nn.utils.skip_init(HeadLinear, *weight.shape, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.t())
        layer.bias.copy_(bias)
    return layer
