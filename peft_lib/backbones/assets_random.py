"""Models with random weights, made from the catalog alone: `random:<seed>`. For tests of machinery, and for trying a study.

`architecture` says how large; a text model gets a tokenizer of single bytes, with its family's special tokens.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from peft_lib import seeds
from peft_lib.backbones.assets_convert import write_weights
from peft_lib.backbones.assets_errors import AssetError
from peft_lib.backbones.loading import get_backbone
from peft_lib.backbones.pretrained import catalog_config
from peft_lib.backbones.weights import WEIGHTS
from peft_lib.files import atomic_path, write_text
from peft_lib.study.catalogs import ModelEntry


@dataclass(frozen=True)
class Special:
    """Special tokens of a family, in order of their ids; `last`: behind the bytes, as GPT-2 has it."""

    tokens: tuple[str, ...]
    pad: str | None = None
    bos: str | None = None
    eos: str | None = None
    last: bool = False


BERT = Special(("[PAD]", "[UNK]", "[CLS]", "[SEP]"), pad="[PAD]", bos="[CLS]", eos="[SEP]")
SPECIAL = {
    "bert": BERT, "deberta": BERT,
    "roberta": Special(("<s>", "<pad>", "</s>", "<unk>"), pad="<pad>", bos="<s>", eos="</s>"),
    "gpt2": Special(("<|endoftext|>",), bos="<|endoftext|>", eos="<|endoftext|>", last=True),
    "llama": Special(("<unk>", "<s>", "</s>"), bos="<s>", eos="</s>"),
}  # fmt: skip


def make_random(entry: ModelEntry, seed: int, out_dir: Path) -> list[str]:
    """Writes weights, configuration and tokenizer or pixel statistics; the names of the files.

    Weights are those that the library starts a model with, from `seed` alone. Raises AssetError if the vocabulary is too small.
    """
    backbone = get_backbone(entry.backbone)
    files: dict[str, dict[str, Any]] = {}
    ids: dict[str, int | None] = {}
    if entry.modality == "text":
        if entry.backbone not in SPECIAL:
            raise AssetError(
                f"model '{entry.id}': random text models are of {', '.join(SPECIAL)}; say in assets_random.py which special "
                f"tokens {entry.backbone} has"
            )
        special = SPECIAL[entry.backbone]
        tokenizer = _tokenizer(entry.backbone, special)
        ids = {
            f"{name}_token_id": None if token is None else tokenizer.token_to_id(token)
            for name, token in (("pad", special.pad), ("bos", special.bos), ("eos", special.eos))
        }
        files["tokenizer_config.json"] = {
            f"{name}_token": token for name, token in (("pad", special.pad), ("bos", special.bos), ("eos", special.eos)) if token
        }  # fmt: skip
        with atomic_path(out_dir / "tokenizer.json") as temporary:
            tokenizer.save(str(temporary))
        _check_vocabulary(entry, tokenizer.get_vocab_size())
    else:
        channels = entry.architecture.get("num_channels", entry.architecture.get("in_chans", 3))
        files["preprocessor_config.json"] = {name: [0.5] * int(channels) for name in ("image_mean", "image_std")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds.derive_seed(seed, "random model"))
        model, config = _model(backbone, entry, ids, seed)
    if config is not None:
        files["config.json"] = config
    state = {name: tensor for name, tensor in model.state_dict().items() if name not in _tied(model)}
    write_weights(state, out_dir / WEIGHTS)
    for name, content in files.items():
        write_text(out_dir / name, json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
    return [WEIGHTS, *sorted(files), *(["tokenizer.json"] if entry.modality == "text" else [])]


def _model(
    backbone: ModuleType, entry: ModelEntry, ids: dict[str, int | None], seed: int
) -> tuple[torch.nn.Module, dict[str, Any] | None]:
    """A fresh model and its config.json; families of timm have none."""
    if not hasattr(backbone, "FAMILY"):
        return backbone.scratch(entry, 2, seed), None
    config = catalog_config(backbone.FAMILY, entry)
    for name, value in ids.items():
        setattr(config, name, value)
    writer = getattr(backbone, "WRITER", None)
    model = writer(config) if writer else backbone.FAMILY.kind(config, **backbone.FAMILY.arguments)
    return model, config.to_dict()


def _tied(model: torch.nn.Module) -> set[str]:
    """Second names of parameters that have two: a file holds each once."""
    first = {id(parameter): name for name, parameter in model.named_parameters()}
    every = model.named_parameters(remove_duplicate=False)
    return {name for name, parameter in every if first[id(parameter)] != name}


def _check_vocabulary(entry: ModelEntry, size: int) -> None:
    stated = entry.architecture.get("vocab_size")
    if not isinstance(stated, int) or stated < size:
        raise AssetError(
            f"model '{entry.id}': architecture.vocab_size is {stated}; bytes and special tokens are {size}: use that or more"
        )


def _tokenizer(family: str, special: Special) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    order = [*alphabet, *special.tokens] if special.last else [*special.tokens, *alphabet]
    ids = {token: index for index, token in enumerate(order)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=[]))
    tokenizer.add_special_tokens(list(special.tokens))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if special is BERT:
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    elif family == "roberta":
        tokenizer.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    elif family == "llama":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", ids["<s>"])]
        )
    return tokenizer
