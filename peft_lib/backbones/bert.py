"""BERT encoders (MiniLM): transformers' BertModel, mean over the tokens, dropout, one linear classifier.

Mean pooling, not BERT's pooler: sentence-transformers trained these weights through the mean over tokens, and their
pooler never saw that training.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from peft_lib.backbones.heads import mean_over_tokens, new_linear
from peft_lib.backbones.limits import check, head_width
from peft_lib.backbones.pretrained import Family, load
from peft_lib.backbones.pretrained import skeleton as body_of
from peft_lib.study.catalogs import ModelEntry

STYLE = "pair"
OPTIONS = ()
HEAD_DROPOUT = 0.1

MINILM = {
    "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12,
    "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2,
}  # fmt: skip
"""MiniLM-L6's, for its catalog entries: their run ids are older than an `architecture` of fetched models."""
FAMILY = Family(
    BertModel, BertConfig, blocks=r"encoder\.layer", dropped=(r"pooler\.", r"cls\.", r"classifier\."), facts=MINILM,
    arguments={"add_pooling_layer": False},
)  # fmt: skip


class BertClassifier(nn.Module):
    """logits = classifier(dropout(mean over tokens of bert(x)))."""

    def __init__(self, bert: nn.Module, classifier: nn.Linear) -> None:
        super().__init__()
        self.bert = bert
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.classifier = classifier

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(B, L) token ids, mask (1 = token) and segment ids -> (B, outputs)."""
        hidden = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        pooled = mean_over_tokens(hidden, attention_mask)
        return self.classifier(self.dropout(pooled.to(self.classifier.weight.dtype)))


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full."""
    return ("classifier",)


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    return {
        "qv": ("query", "value"),
        "all": ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"),
    }


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> BertClassifier:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head. Draws nothing from torch's global
    generator. Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check(entry, outputs, OPTIONS)
    return _with_head(load(FAMILY, entry, asset_dir, dtype, device), entry, outputs, draws)


def skeleton(entry: ModelEntry, outputs: int | None) -> BertClassifier:
    """The same module on the meta device, from the catalog alone."""
    check(entry, outputs, OPTIONS)
    return _with_head(body_of(FAMILY, entry), entry, outputs, None)


def forward(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (B, outputs) of a batch with input_ids, attention_mask and token_type_ids."""
    return model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])


def _with_head(
    body: PreTrainedModel, entry: ModelEntry, outputs: int | None, draws: torch.Generator | None
) -> BertClassifier:
    return BertClassifier(body, new_linear(body.config.hidden_size, head_width(entry, outputs), draws, body.device))
