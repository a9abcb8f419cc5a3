"""DeBERTa-v2 and -v3 encoders with the paper's head: first token, linear d -> d, ReLU, dropout 0.3, linear.

Option `freeze_head_dense`: the first of these linears never trains, as in the released code (PROTOCOL 13.24).
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.deberta_v2.configuration_deberta_v2 import DebertaV2Config
from transformers.models.deberta_v2.modeling_deberta_v2 import DebertaV2Model

from peft_lib.backbones.heads import DebertaHead
from peft_lib.backbones.limits import check, head_width
from peft_lib.backbones.pretrained import Family, load
from peft_lib.backbones.pretrained import skeleton as body_of
from peft_lib.study.catalogs import ModelEntry

STYLE = "pair"
OPTIONS = ("freeze_head_dense",)
FAMILY = Family(
    DebertaV2Model, DebertaV2Config, blocks=r"encoder\.layer", attention="eager",
    dropped=(
        r"lm_predictions\.", r"mask_predictions\.", r"cls\.", r"pooler\.", r"classifier\.",
        r"embeddings\.position_(ids|embeddings\.weight)$",
    ),
)  # fmt: skip


class DebertaClassifier(nn.Module):
    """classifier(first token of deberta(x)). Segments are not told: the models were trained without."""

    def __init__(self, deberta: nn.Module, classifier: DebertaHead) -> None:
        super().__init__()
        self.deberta = deberta
        self.classifier = classifier

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, L) token ids and mask (1 = token) -> (B, outputs)."""
        hidden = self.deberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return self.classifier(hidden[:, 0])


def heads(entry: ModelEntry, outputs: int | None) -> tuple[str, ...]:
    """Paths of the modules that every method trains in full."""
    return ("classifier.out",) if entry.options.get("freeze_head_dense") else ("classifier",)


def targets(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """Target sets by name, as ends of module paths or parts of an output; see `describe`."""
    return {
        "qv": ("query_proj", "value_proj"),
        "all": ("query_proj", "key_proj", "value_proj", "attention.output.dense", "intermediate.dense", "output.dense"),
    }


def build(
    entry: ModelEntry, asset_dir: Path | str, outputs: int | None, draws: torch.Generator,
    dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
) -> DebertaClassifier:  # fmt: skip
    """The first `entry.layers` blocks in `dtype` on `device`, with a new fp32 head.

    Raises WeightsError as `pretrained.load` does, BackboneError as `limits` does.
    """
    check(entry, outputs, OPTIONS)
    return _with_head(load(FAMILY, entry, asset_dir, dtype, device), entry, outputs, draws)


def skeleton(entry: ModelEntry, outputs: int | None) -> DebertaClassifier:
    """The same module on the meta device, from the catalog alone."""
    check(entry, outputs, OPTIONS)
    return _with_head(body_of(FAMILY, entry), entry, outputs, None)


def forward(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """(B, outputs) of a batch with input_ids and attention_mask."""
    return model(batch["input_ids"], batch["attention_mask"])


def _with_head(
    body: PreTrainedModel, entry: ModelEntry, outputs: int | None, draws: torch.Generator | None
) -> DebertaClassifier:
    frozen = bool(entry.options.get("freeze_head_dense"))
    head = DebertaHead(body.config.hidden_size, head_width(entry, outputs), frozen, draws, body.device)
    return DebertaClassifier(body, head)
