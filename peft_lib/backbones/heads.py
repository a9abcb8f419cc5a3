"""Heads: what a backbone's features go through to become logits. Weights are drawn from the run's seed, and fp32 always."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peft_lib import seeds

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


def last_token(hidden: Tensor, attention_mask: Tensor) -> Tensor:
    """(B, L, d) features and (B, L) mask (1 = token) -> (B, d) at each row's last token, wherever the padding is."""
    positions = torch.arange(attention_mask.shape[1], device=attention_mask.device)
    last = (attention_mask * positions).argmax(dim=1)
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


class RobertaHead(nn.Module):
    """out_proj(dropout(tanh(dense(dropout(x))))) of the first token's features x (B, d): transformers' RoBERTa head."""

    def __init__(
        self, features: int, outputs: int, dropout: float, draws: torch.Generator | None, device: torch.device | str
    ) -> None:
        super().__init__()
        self.dense = new_linear(features, features, draws, device)
        self.dropout = nn.Dropout(dropout)
        self.out_proj = new_linear(features, outputs, draws, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(x)))))


class DebertaHead(nn.Module):
    """out(dropout(relu(dense(x)))) of the first token's features x (B, d): the paper's head (PROTOCOL section 2).

    frozen: `dense` never trains (PROTOCOL 13.24); see `FixedLinear`.
    """

    DROPOUT = 0.3

    def __init__(
        self, features: int, outputs: int, frozen: bool, draws: torch.Generator | None, device: torch.device | str
    ) -> None:
        super().__init__()
        self.dense = FixedLinear(features, device) if frozen else new_linear(features, features, draws, device)
        self.dropout = nn.Dropout(self.DROPOUT)
        self.out = new_linear(features, outputs, draws, device)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.dropout(torch.relu(self.dense(x))))


class FixedLinear(nn.Module):
    """y = x W^T with W (d, d) ~ N(0, 0.02^2), the same numbers in every run, whatever its seed: a part of the model.

    A delta file holds what a run trained, and nothing else. If W came from a run's seed, the file would be wrong in a model
    built with another one. W and the bias of zeros are buffers: no method trains them, full fine-tuning neither.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, device: torch.device | str) -> None:
        super().__init__()
        draws = None if torch.device(device).type == "meta" else seeds.generator(0, "frozen head", features)
        made = new_linear(features, features, draws, device)
        self.register_buffer("weight", made.weight.detach())
        self.register_buffer("bias", made.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x.to(self.weight.dtype), self.weight, self.bias)
