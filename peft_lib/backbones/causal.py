"""What all decoders do: numbers from the last token, logits of target tokens, greedy decoding.

Positions are counted from each row's first token, so padding on either side changes nothing.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from peft_lib.backbones.heads import last_token, new_linear
from peft_lib.backbones.pretrained import Family, load, skeleton
from peft_lib.study.catalogs import ModelEntry


class Scorer(nn.Module):
    """score(features of the last token), for classification and regression; `score` has no bias."""

    def __init__(self, decoder: PreTrainedModel, score: nn.Linear) -> None:
        super().__init__()
        self.decoder = decoder
        self.score = score

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) token ids and mask (1 = token) -> (B, outputs)."""
        return self.score(last_token(features(self.decoder, input_ids, attention_mask), attention_mask))


class Writer(nn.Module):
    """A decoder with its output layer, for generation."""

    def __init__(self, decoder: PreTrainedModel) -> None:
        super().__init__()
        self.decoder = decoder
        # what a checkpoint says of sampling and penalties is not ours: decoding is greedy
        self.decoder.generation_config = GenerationConfig()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, target_mask: Tensor) -> Tensor:
        """(B, L) token ids, mask (1 = token) and target mask (true = target token) -> (T, V), the rows in order.

        The features at position p - 1 predict token p. Only T rows go through the output layer: with 128 thousand tokens in
        the vocabulary, logits of a whole batch would be the largest tensor of a run. A target at position 0 has no
        prediction, and no row.
        """
        hidden = features(self.decoder.base_model, input_ids, attention_mask)
        return self.decoder.get_output_embeddings()(hidden[:, :-1][target_mask[:, 1:].bool()])


def features(decoder: nn.Module, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
    """Last hidden states (B, L, d)."""
    positions = (attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return decoder(
        input_ids=input_ids, attention_mask=attention_mask, position_ids=positions, use_cache=False
    ).last_hidden_state


def build(
    family: Family, writer: type[PreTrainedModel], entry: ModelEntry, asset_dir: Path | str, outputs: int | None,
    draws: torch.Generator, dtype: torch.dtype, device: torch.device | str,
) -> Scorer | Writer:  # fmt: skip
    """A `Scorer` with a new fp32 head, or for `outputs` None a `Writer`. Raises WeightsError as `pretrained.load` does."""
    if outputs is None:
        return Writer(load(replace(family, kind=writer), entry, asset_dir, dtype, device))
    body = load(family, entry, asset_dir, dtype, device)
    return Scorer(body, new_linear(body.config.hidden_size, outputs, draws, device, bias=False))


def build_skeleton(
    family: Family, writer: type[PreTrainedModel], entry: ModelEntry, outputs: int | None
) -> Scorer | Writer:
    """The same module on the meta device, from the catalog alone."""
    if outputs is None:
        return Writer(skeleton(replace(family, kind=writer), entry))
    body = skeleton(family, entry)
    return Scorer(body, new_linear(body.config.hidden_size, outputs, None, "meta", bias=False))


def forward(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(B, outputs) of a batch with input_ids and attention_mask; with target_mask too the logits (T, V) of its targets."""
    if "target_mask" in batch:
        return model(batch["input_ids"], batch["attention_mask"], batch["target_mask"])
    return model(batch["input_ids"], batch["attention_mask"])


@torch.no_grad()
def generate(
    model: nn.Module, batch: dict[str, Tensor], max_new_tokens: int, eos_id: int, stop: frozenset[int] = frozenset()
) -> Tensor:
    """Greedy continuation (B, n), n <= max_new_tokens, of a LEFT padded batch with input_ids and attention_mask.

    A row ends with `eos_id` or a token of `stop`, which is part of it; what follows is filled with `eos_id`. The adapted
    layers and a key-value cache are used. The mode (dropout) is the caller's.
    """
    decoder: Any = model.decoder
    settings = GenerationConfig(
        do_sample=False, num_beams=1, max_new_tokens=max_new_tokens, eos_token_id=sorted({eos_id, *stop}),
        pad_token_id=eos_id, use_cache=True,
    )  # fmt: skip
    ids = batch["input_ids"]
    made = decoder.generate(input_ids=ids, attention_mask=batch["attention_mask"], generation_config=settings)
    return made[:, ids.shape[1] :]
