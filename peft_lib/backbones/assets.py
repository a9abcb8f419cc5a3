"""Pinned snapshots of published weights: resources/models/<id>/ with a manifest. Never imports torch."""

import importlib.metadata
import importlib.util
import json
import shutil
from pathlib import Path

from peft_lib.files import atomic_path, sha256_file, write_text
from peft_lib.study.catalogs import ModelEntry

# What the loaders and the tokenizer read, and the model card (it states the licence).
WANTED = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "README.md")
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


class AssetError(ValueError):
    """An asset that cannot be had as the catalog pins it."""


def fetch_asset(entry: ModelEntry, out_dir: Path | str) -> None:
    """Copies the model's safetensors, configuration and tokenizer to out_dir, and then writes out_dir/manifest.json.

    Raises:
        AssetError: for a source that is not `package:<import name>/<folder>`, a package that is not installed or is not
            of the pinned revision, or a folder without safetensors (pickled weights are never read).
    """
    scheme, _, location = entry.source.partition(":")
    if scheme != "package" or not location:
        raise AssetError(
            f"model '{entry.id}' has source {entry.source!r}: only package:<import name>/<folder> is fetched; "
            "pretrain:... sources are made by workflow_scripts.pretrain"
        )
    package, _, folder = location.partition("/")
    version = _pinned_version(entry, package)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(f"model '{entry.id}': '{package}' is installed but is no folder with files; reinstall it")
    source = Path(spec.submodule_search_locations[0], folder)
    weights = sorted(path.name for path in source.glob("*.safetensors"))
    if not weights:
        pickled = sorted(path.name for path in source.glob("*") if path.suffix in PICKLES)
        raise AssetError(
            f"{source} has no .safetensors file (pickled: {', '.join(pickled) or 'none'}): pickles can run code and "
            "are refused; convert the weights with safetensors first"
        )
    out_dir = Path(out_dir)
    names = [*weights, *(name for name in WANTED if (source / name).is_file())]
    for name in names:
        with atomic_path(out_dir / name) as temporary:
            shutil.copyfile(source / name, temporary)
    manifest = {
        "model": entry.id,
        "source": entry.source,
        "revision": entry.revision,
        "package_version": version,
        "license": entry.license,
        "files": {name: sha256_file(out_dir / name) for name in names},
    }
    write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def _pinned_version(entry: ModelEntry, package: str) -> str:
    """Version of the distribution that installs `package`; refuses another than the entry's revision."""
    distributions = importlib.metadata.packages_distributions().get(package, [])
    if not distributions:
        raise AssetError(
            f"model '{entry.id}' comes with the Python package '{package}', which is not installed: install the pinned "
            "requirements of envs/"
        )
    version = importlib.metadata.version(distributions[0])
    if version != entry.revision:
        raise AssetError(
            f"model '{entry.id}' pins revision {entry.revision!r} of {distributions[0]}, installed is {version!r}: "
            f"install {distributions[0]}=={entry.revision}, or change the catalog's revision (a new model to all runs)"
        )
    return version
