"""Llama decoders (Llama-3, TinyLlama, DeepSeek-Coder, SmolLM2, stories260K): text, or a linear `score` on the last token."""

from pathlib import Path

import torch
from torch import nn
from transformers.models.llama.configuration_llama import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaForCausalLM, LlamaModel

from peft_lib.backbones import causal
from peft_lib.backbones.causal import forward, generate
from peft_lib.backbones.limits import check_options
from peft_lib.backbones.pretrained import Family
from peft_lib.study.catalogs import ModelEntry

__all__ = ["OPTIONS", "STYLE", "build", "forward", "generate", "heads", "skeleton", "targets"]

STYLE = "prompt"
OPTIONS = ()
WRITER = LlamaForCausalLM
FAMILY = Family(
    LlamaModel, LlamaConfig, blocks="layers",
    dropped=(r"lm_head\.", r"score\.", r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq$"),
)  # fmt: skip


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full: none where text is generated."""
    return () if outputs is None else ("score",)


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    return {
        "qv": ("q_proj", "v_proj"),
        "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    }


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> nn.Module:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`; a new fp32 `score`, or the checkpoint's output layer.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check_options(entry, OPTIONS)
    return causal.build(FAMILY, WRITER, entry, asset_dir, outputs, draws, dtype, device)


def skeleton(entry: ModelEntry, outputs: int | None) -> nn.Module:
    """The same module on the meta device, from the catalog alone."""
    check_options(entry, OPTIONS)
    return causal.build_skeleton(FAMILY, WRITER, entry, outputs)
