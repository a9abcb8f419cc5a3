"""Optimiser groups of an adapted model: who learns at which rate, and what decays."""

import re
from collections.abc import Mapping
from typing import Any

from torch import nn

NOT_DECAYED = re.compile(
    r"(^|\.)(\w*pos_embed(ding)?s?(_\w+)?|\w+_tokens?|class_embedding|\w*position_embeddings?|embed_positions?|wpe|"
    r"rel_embeddings|relative_position_bias_table|relative_attention_bias|rel_pos_[hw]|rel_pos_bias|pos_bias|"
    r"r_[wrs]_bias|seg_embed|mask_emb|probe|latent)(\.|$)"
)
"""Tables of positions and single tokens, under the names that timm and transformers give them (PROTOCOL section 5)."""


def decays(name: str, parameter: nn.Parameter, excluded: frozenset[str]) -> bool:
    """Whether weight decay applies under full fine-tuning: to matrices, not to biases, norms, positions and tokens.

    `excluded`: names that the model itself leaves out.
    """
    return parameter.ndim >= 2 and name not in excluded and not NOT_DECAYED.search(name)


def own_exclusions(model: nn.Module) -> frozenset[str]:
    """What the model says must not decay: timm's `no_weight_decay()`, of the model and of its parts."""
    names: set[str] = set()
    for path, module in model.named_modules():
        says = getattr(module, "no_weight_decay", None)
        if callable(says):
            names |= {f"{path}.{name}" if path else name for name in says()}
    return frozenset(names)


def parameter_groups(
    model: nn.Module, factors: Mapping[str, Mapping[str, nn.Parameter]], head: Mapping[str, nn.Parameter],
    backbone: Mapping[str, nn.Parameter], multipliers: Mapping[str, float], lr: float, weight_decay: float,
    head_lr_mult: float, full: bool,
) -> list[dict[str, Any]]:  # fmt: skip
    """Groups {'name', 'params', 'lr', 'weight_decay'}, empty ones left out; see `Adapter.parameter_groups`."""
    excluded = own_exclusions(model) if full else frozenset()
    groups = [
        {"name": name, "params": list(p.values()), "lr": lr * multipliers.get(name, 1.0), "weight_decay": weight_decay}
        for name, p in factors.items()
    ]
    for name, members, rate in (("head", head, lr * head_lr_mult), ("backbone", backbone, lr)):
        decayed = {n for n, p in members.items() if full and decays(n, p, excluded)}
        for title, wanted, decay in ((name, True, weight_decay), (f"{name}_no_decay", False, 0.0)):
            params = [p for n, p in members.items() if (n in decayed) == wanted]
            groups.append({"name": title, "params": params, "lr": rate, "weight_decay": decay})
    return [g for g in groups if g["params"]]
