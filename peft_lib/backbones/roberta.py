"""RoBERTa encoders with transformers' classification head: first token, dense, tanh, dropout, out_proj."""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.roberta.configuration_roberta import RobertaConfig
from transformers.models.roberta.modeling_roberta import RobertaModel

from peft_lib.backbones.heads import RobertaHead
from peft_lib.backbones.limits import check, head_width
from peft_lib.backbones.pretrained import Family, load
from peft_lib.backbones.pretrained import skeleton as body_of
from peft_lib.study.catalogs import ModelEntry

STYLE = "pair"
OPTIONS = ()
HEAD_DROPOUT = 0.1
FAMILY = Family(
    RobertaModel, RobertaConfig, blocks=r"encoder\.layer",
    dropped=(r"lm_head\.", r"pooler\.", r"classifier\.", r"embeddings\.position_ids$"), arguments={"add_pooling_layer": False},
)  # fmt: skip


class RobertaClassifier(nn.Module):
    """classifier(first token of roberta(x)). Segments are not told to RoBERTa: it was trained with one kind."""

    def __init__(self, roberta: nn.Module, classifier: RobertaHead) -> None:
        super().__init__()
        self.roberta = roberta
        self.classifier = classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) token ids and mask (1 = token) -> (B, outputs)."""
        hidden = self.roberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.classifier(hidden[:, 0])


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
) -> RobertaClassifier:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check(entry, outputs, OPTIONS)
    return _with_head(load(FAMILY, entry, asset_dir, dtype, device), entry, outputs, draws)


def skeleton(entry: ModelEntry, outputs: int | None) -> RobertaClassifier:
    """The same module on the meta device, from the catalog alone."""
    check(entry, outputs, OPTIONS)
    return _with_head(body_of(FAMILY, entry), entry, outputs, None)


def forward(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(B, outputs) of a batch with input_ids and attention_mask."""
    return model(batch["input_ids"], batch["attention_mask"])


def _with_head(
    body: PreTrainedModel, entry: ModelEntry, outputs: int | None, draws: torch.Generator | None
) -> RobertaClassifier:
    head = RobertaHead(body.config.hidden_size, head_width(entry, outputs), HEAD_DROPOUT, draws, body.device)
    return RobertaClassifier(body, head)
