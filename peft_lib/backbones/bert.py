"""BERT encoders (MiniLM): transformers' BertModel, mean over the tokens, dropout, one linear classifier.

Mean pooling, not BERT's pooler: sentence-transformers trained these weights through the mean over tokens, and their
pooler never saw that training.
"""

from pathlib import Path

import torch
from torch import nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertModel

from peft_lib.backbones.weights import (
    WeightsError,
    assign_weights,
    first_layers,
    new_head,
    read_weights,
    verified_sha256,
)
from peft_lib.study.catalogs import ModelEntry

HEAD = ("classifier",)
HEAD_DROPOUT = 0.1


class BertClassifier(nn.Module):
    """logits = classifier(dropout(mean over tokens of bert(x)))."""

    def __init__(self, bert: BertModel, classifier: nn.Linear) -> None:
        super().__init__()
        self.bert = bert
        self.dropout = nn.Dropout(HEAD_DROPOUT)
        self.classifier = classifier

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor
    ) -> torch.Tensor:
        """(B, L) token ids, mask (1 = token) and segment ids -> (B, num_labels)."""
        hidden = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        # The sum over tokens is kept in fp32: bf16 has 8 significant bits and L may be hundreds.
        mask = attention_mask.to(torch.float32)[..., None]
        pooled = (hidden.to(torch.float32) * mask).sum(dim=1) / mask.sum(dim=1)
        return self.classifier(self.dropout(pooled.to(self.classifier.weight.dtype)))


def build(entry: ModelEntry, asset_dir: Path, num_labels: int, head_generator: torch.Generator) -> BertClassifier:
    """The first `entry.layers` blocks in fp32 on the CPU, with a new head. Draws nothing from torch's global generator.

    Raises:
        WeightsError: if the folder lacks config.json or model.safetensors, or they are not those of its manifest, or do not fit the
            catalog entry.
    """
    config_file = Path(asset_dir, "config.json")
    if not config_file.is_file():
        raise WeightsError(f"no {config_file}: fetch the model first (python -m workflow_scripts.fetch_asset)")
    verified_sha256(asset_dir)
    config = BertConfig.from_json_file(config_file)
    if entry.layers is not None and entry.layers > config.num_hidden_layers:
        raise WeightsError(
            f"model '{entry.id}' asks for {entry.layers} layers, {config_file} has {config.num_hidden_layers}: lower "
            "`layers` in the catalog"
        )
    config.num_hidden_layers = entry.layers or config.num_hidden_layers
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        bert = BertModel(config, add_pooling_layer=False)
    weights = {
        name: tensor
        for name, tensor in first_layers(read_weights(asset_dir), "encoder.layer.", config.num_hidden_layers).items()
        if not name.startswith("pooler.") and name != "embeddings.position_ids"  # unused, and a constant
    }
    assign_weights(bert, weights, asset_dir)
    # Constants that are not in a state dict were made on the meta device too.
    positions = torch.arange(config.max_position_embeddings)[None]
    bert.embeddings.register_buffer("position_ids", positions, persistent=False)
    bert.embeddings.register_buffer("token_type_ids", torch.zeros_like(positions), persistent=False)
    left = [name for name, buffer in bert.named_buffers() if buffer.is_meta]
    if left:
        raise WeightsError(f"this version of transformers has constants {left} in BertModel: install the pinned one")
    return BertClassifier(bert, new_head(config.hidden_size, num_labels, head_generator))


def forward(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Logits (B, num_labels) of a batch with input_ids, attention_mask and token_type_ids."""
    return model(batch["input_ids"], batch["attention_mask"], batch["token_type_ids"])
