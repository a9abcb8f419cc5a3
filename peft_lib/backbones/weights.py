"""A model folder's weights: are they those of its manifest, and reading them into a backbone that was built without any."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from peft_lib.files import sha256_file

WEIGHTS = "model.safetensors"


class WeightsError(ValueError):
    """Weights that are missing, are not those of their manifest, or do not fit the architecture of the catalog."""


def read_weights(asset_dir: Path | str) -> dict[str, torch.Tensor]:
    """All tensors of asset_dir/model.safetensors; floating point ones as fp32 copies in memory of their own.

    Copies, because safetensors maps the file: a tensor's alignment, and with it the last bits of a product, would
    depend on its offset in the file. Raises WeightsError as `verified_sha256` does.
    """
    verified_sha256(asset_dir)
    return {
        name: tensor.to(torch.float32, copy=True) if tensor.is_floating_point() else tensor.clone()
        for name, tensor in load_file(Path(asset_dir, WEIGHTS)).items()
    }


def verified_sha256(asset_dir: Path | str) -> str:
    """SHA-256 of asset_dir/model.safetensors, once every file that the manifest lists was found to be as it says.

    Of weights in several files it is the SHA-256 over the lines `<name> <SHA-256>` of these files, in order of their names.

    Raises:
        WeightsError: if weights or manifest are missing, or a file is not the one that was fetched or pre-trained.
    """
    folder, manifest = Path(asset_dir), Path(asset_dir, "manifest.json")
    present = {path.name for path in folder.glob("*.safetensors")}
    for path, there in ((folder / WEIGHTS, present), (manifest, manifest.is_file())):
        if not there:
            raise WeightsError(
                f"no {path}: fetch or pre-train the model first (workflow_scripts.fetch_asset, .pretrain)"
            )
    try:
        listed: dict[str, str] = json.loads(manifest.read_text(encoding="utf-8"))["files"]
        digests = {name: listed[name] for name in sorted(listed) if name.endswith(".safetensors")}
        if not digests:
            raise KeyError(WEIGHTS)
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{manifest} does not list {WEIGHTS} under 'files': delete {asset_dir}, and fetch or pre-train it again"
        ) from error
    if strange := sorted(present - set(digests)):
        raise WeightsError(f"{folder / strange[0]} is not in {manifest}: remove it, or fetch the model again")
    for name, expected in listed.items():
        path = folder / name
        actual = _digest(path, path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else "missing"
        if actual != expected:
            raise WeightsError(
                f"{path} has SHA-256 {actual}, its manifest says {expected}: the file was changed or only half "
                f"replaced; delete {asset_dir}, and fetch or pre-train the model again"
            )
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()


@cache
def _digest(path: Path, size: int, mtime_ns: int) -> str:
    """SHA-256 of a file, read once in a process as long as its size and time stay."""
    return sha256_file(path)


def assign_weights(module: nn.Module, weights: Mapping[str, torch.Tensor], source: Path | str) -> None:
    """Makes `weights` the parameters of a module built on the meta device. Every tensor must be used and none missing.

    Raises:
        WeightsError: naming what is missing, left over or of another shape.
    """
    state = module.state_dict()
    problems = [f"missing {name}" for name in sorted(set(state) - set(weights))]
    problems += [f"unexpected {name}" for name in sorted(set(weights) - set(state))]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the architecture has {tuple(state[name].shape)}"
        for name in sorted(set(state) & set(weights))
        if weights[name].shape != state[name].shape
    ]
    if problems:
        raise WeightsError(
            f"weights of {source} do not fit the catalog's architecture: {'; '.join(problems[:5])}"
            f"{f' and {len(problems) - 5} more' if len(problems) > 5 else ''}; correct its layers or architecture"
        )
    module.load_state_dict(weights, strict=True, assign=True)


def first_layers(weights: Mapping[str, torch.Tensor], prefix: str, layers: int | None) -> dict[str, torch.Tensor]:
    """Drops the blocks `prefix<i>.` with i >= layers; with layers None, drops nothing."""
    if layers is None:
        return dict(weights)
    return {
        name: tensor
        for name, tensor in weights.items()
        if not name.startswith(prefix) or int(name.removeprefix(prefix).split(".")[0]) < layers
    }
