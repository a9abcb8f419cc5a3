"""Heads: what a backbone's features go through to become logits. Weights are drawn from the run's seed, and fp32 always."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

HEAD_STD = 0.02


class HeadLinear(nn.Linear):
    """y = x W^T + b in the dtype of W: the head trains in fp32 where the backbone is stored in bf16."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)


def new_linear(
    features: int, outputs: int, draws: torch.Generator | None, device: torch.device | str = "cpu", bias: bool = True
) -> HeadLinear:
    """Linear layer (features -> outputs), fp32 on `device`: weights N(0, 0.02^2) from `draws` alone, on the CPU; bias 0.

    Without `draws` (a skeleton) the values are left as they come; the device is 'meta' then.
    """
    layer = torch.nn.utils.skip_init(HeadLinear, features, outputs, bias=bias, device=device)
    if draws is not None:
        with torch.no_grad():
            layer.weight.copy_(torch.empty(outputs, features).normal_(0.0, HEAD_STD, generator=draws))
            if bias:
                layer.bias.zero_()
    return layer


def mean_over_tokens(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, L, d) features and (B, L) mask (1 = token) -> (B, d), fp32: bf16 has 8 significant bits and L may be hundreds."""
    mask = attention_mask.to(torch.float32)[..., None]
    return (hidden.to(torch.float32) * mask).sum(dim=1) / mask.sum(dim=1)
