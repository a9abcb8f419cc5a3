"""Weights and tokenizers in other formats, rewritten as safetensors and tokenizer.json when a model is fetched."""

import json
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from peft_lib.backbones.assets_errors import AssetError
from peft_lib.backbones.pretrained import quiet
from peft_lib.backbones.weights import WEIGHTS
from peft_lib.files import atomic_path, write_text


def convert_pickle(path: Path) -> str:
    """Rewrites pickled weights as model.safetensors beside them and removes the pickle; the new file's name.

    torch reads them with weights_only: nothing but tensors is made, and no code runs. Tensors that share memory (tied
    weights) become copies, since safetensors has no shared ones.

    Raises:
        AssetError: for a file that holds something else than tensors by name.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise AssetError(f"{path} is no file of tensors that can be read without running code: {error}") from error
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise AssetError(f"{path} holds {type(state).__name__}, not tensors by name: it is no state dict of a model")
    first = {tensor.untyped_storage().data_ptr(): name for name, tensor in reversed(state.items())}
    plain = {n: t if first[t.untyped_storage().data_ptr()] == n else t.clone() for n, t in state.items()}
    write_weights(plain, path.with_name(WEIGHTS))
    path.unlink()
    return WEIGHTS


def convert_gguf(path: Path, out_dir: Path) -> list[str]:
    """Writes the model of a GGUF file, dequantised to fp32, with configuration and tokenizer; the names of the files.

    Raises:
        AssetError: if transformers does not know the file's architecture.
    """
    if not path.is_file():
        raise AssetError(f"no {path}: correct the file name in the catalog's source, or reinstall the package")
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, local_files_only=True)
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(
                path.parent, gguf_file=path.name, local_files_only=True, dtype=torch.float32
            )
    except (ValueError, KeyError) as error:
        raise AssetError(f"{path} cannot be read as a GGUF language model: {error}") from error
    config = model.config.to_dict()
    config.pop("quantization_config", None)  # the weights are plain now
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    state = {n: t for n, t in model.state_dict().items() if not (tied and n == "lm_head.weight")}
    write_weights(state, out_dir / WEIGHTS)
    write_text(out_dir / "config.json", json.dumps(config, indent=1, sort_keys=True) + "\n")
    special = {f"{name}_token": getattr(tokenizer, f"{name}_token") for name in ("pad", "eos", "bos", "unk")}
    write_text(out_dir / "tokenizer_config.json", json.dumps(special, indent=1, ensure_ascii=False) + "\n")
    save_tokenizer(tokenizer, out_dir)
    return [WEIGHTS, "config.json", "tokenizer_config.json", "tokenizer.json"]


def write_fast_tokenizer(folder: Path) -> str:
    """Makes tokenizer.json from the folder's SentencePiece model or vocabulary; the file's name. Raises AssetError."""
    try:
        save_tokenizer(AutoTokenizer.from_pretrained(folder, local_files_only=True), folder)
    except (ValueError, OSError, ImportError, TypeError) as error:
        raise AssetError(
            f"{folder} has no tokenizer.json, and none can be made from what there is: {error}. Use a source with a tokenizer"
        ) from error
    return "tokenizer.json"


def save_tokenizer(tokenizer: Any, folder: Path) -> None:
    """Writes the tokenizer's tokenizer.json. Raises ValueError if it has none."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ValueError(f"{type(tokenizer).__name__} is not built on the tokenizers library")
    with atomic_path(folder / "tokenizer.json") as temporary:
        backend.save(str(temporary))


def write_weights(state: dict[str, torch.Tensor], path: Path) -> None:
    with atomic_path(path) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, temporary, metadata={"format": "pt"})
