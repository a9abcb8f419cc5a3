"""What a run must know of a model beside its weights, read from the files that it was published with."""

import json
from pathlib import Path
from typing import Any

from peft_lib.backbones.assets_errors import AssetError


def token_facts(folder: Path) -> dict[str, int | None]:
    """pad_token_id, eos_token_id and bos_token_id; None for an eos or bos that a model does not have.

    The tokenizer's special tokens come before config.json's. Without a pad token, pad is eos: masked positions are not read.
    Raises AssetError if there is neither.
    """
    config, tokens = _json(folder / "config.json"), _json(folder / "tokenizer_config.json")
    ids: dict[str, int | None] = {}
    for name in ("pad", "eos", "bos"):
        token = tokens.get(f"{name}_token")
        text = token["content"] if isinstance(token, dict) else token
        stated = config.get(f"{name}_token_id")
        first = stated[0] if isinstance(stated, list) and stated else stated
        known = _token_id(folder, text) if isinstance(text, str) else None
        fallback = first if isinstance(first, int) and not isinstance(first, bool) and first >= 0 else None
        ids[f"{name}_token_id"] = known if known is not None else fallback
    if ids["pad_token_id"] is None:
        ids["pad_token_id"] = ids["eos_token_id"]
    if ids["pad_token_id"] is None:
        raise AssetError(
            f"{folder}: neither tokenizer_config.json nor config.json names a pad or eos token: there is nothing to fill "
            "batches with. Add pad_token_id to config.json at its source"
        )
    return ids


def image_facts(folder: Path) -> dict[str, Any]:
    """image_mean and image_std, by channel, for pixels in 0..1. Raises AssetError without preprocessor_config.json."""
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        raise AssetError(
            f"no {path}: how its pixels are normalised is a part of an image model; use a source that has it"
        )
    settings = _json(path)
    if not settings.get("do_normalize", True):
        return {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    try:
        return {name: [float(value) for value in settings[name]] for name in ("image_mean", "image_std")}
    except (KeyError, TypeError, ValueError) as error:
        raise AssetError(
            f"{path} has no list image_mean and image_std ({error!r}): use a source that has them"
        ) from error


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _token_id(folder: Path, text: str) -> int | None:
    from tokenizers import Tokenizer  # here: images need no tokenizer

    return Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(text)
