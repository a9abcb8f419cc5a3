"""Tiny models of every family (tiny_models.yaml), and batches for them."""

from pathlib import Path

import torch

from peft_lib.backbones.loading import get_backbone
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.loading import load_models

TINY = load_models(Path(__file__).with_name("tiny_models.yaml"))
DECODERS = tuple(name for name, entry in TINY.items() if entry.backbone in ("gpt2", "llama"))
ENCODERS = tuple(name for name in TINY if name not in DECODERS)
TASKS = tuple((name, outputs) for name in TINY for outputs in (3, 1, None) if outputs or name in DECODERS)
"""Every model with what it can be asked for: classes, a number, text (None)."""
LENGTHS = (9, 5, 7)


def batch(entry: ModelEntry, outputs: int | None, left: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    """Three items: tokens of LENGTHS, padded on either side (with token 7: what it is must not matter), or images."""
    draws = torch.Generator().manual_seed(seed)
    if entry.modality == "image":
        size = entry.architecture.get("image_size", entry.architecture.get("img_size"))
        assert isinstance(size, int)
        return {"pixel_values": torch.randn(3, 3, size, size, generator=draws)}
    tokens = [torch.randint(10, 250, (length,), generator=draws) for length in LENGTHS]
    longest = max(LENGTHS)
    ids, mask = torch.full((3, longest), 7), torch.zeros(3, longest, dtype=torch.int64)
    target = torch.zeros(3, longest, dtype=torch.bool)
    for row, text in enumerate(tokens):
        start = longest - len(text) if left else 0
        ids[row, start : start + len(text)] = text
        mask[row, start : start + len(text)] = 1
        target[row, start + 3 : start + len(text)] = True
    made = {"input_ids": ids, "attention_mask": mask}
    if get_backbone(entry.backbone).STYLE == "pair":
        made["token_type_ids"] = torch.zeros_like(ids)
    if outputs is None:
        made["target_mask"] = target
    return made
