"""Pinned snapshots of published weights: resources/models/<id>/ with a manifest. Imports torch only where weights are converted
or made.

A source is `hub:<org>/<name>`, `package:<import name>/<folder or GGUF file>`, `mirror:<folder>` or `random:<seed>`. Pickled
weights can run code when they are read, and are refused; an entry that names `convert` has them read without (`assets_convert`).
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from peft_lib.backbones.assets_errors import AssetError
from peft_lib.backbones.assets_facts import image_facts, token_facts
from peft_lib.files import atomic_path, sha256_file, write_text
from peft_lib.study.catalogs import ModelEntry

__all__ = ["WANTED", "AssetError", "fetch_asset"]

# What the loaders, the tokenizer and preparation read, and the model card (it states the licence).
WANTED = (
    "config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.txt",
    "vocab.json", "merges.txt", "spm.model", "tokenizer.model", "preprocessor_config.json", "README.md", "LICENSE",
)  # fmt: skip
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def fetch_asset(entry: ModelEntry, out_dir: Path | str, mirror: Path | str | None = None) -> None:
    """Puts the model's safetensors, configuration and tokenizer into out_dir, and then writes out_dir/manifest.json.

    mirror: a folder with models/<folder>/ that `mirror:` sources are in, and `hub:` ones may be (as <org>__<name>).

    The manifest has the SHA-256 of every file, and what a run needs to know: pad_token_id, eos_token_id, bos_token_id (text;
    pad is eos where a tokenizer has none), image_mean and image_std (images).

    Raises:
        AssetError: for a source that is not there, is not of the pinned revision, needs a licence to be accepted, or has no
            safetensors (and the entry names no `convert`).
    """
    scheme, _, location = entry.source.partition(":")
    if scheme not in FETCHERS or not location:
        raise AssetError(
            f"model '{entry.id}' has source {entry.source!r}: {', '.join(f'{name}:...' for name in FETCHERS)} sources are "
            "fetched; pretrain:... sources are made by workflow_scripts.pretrain"
        )
    out_dir = Path(out_dir)
    names, facts = FETCHERS[scheme](entry, location, out_dir, None if mirror is None else Path(mirror))
    if entry.convert and entry.convert in names:
        from peft_lib.backbones.assets_convert import convert_pickle

        names = [name for name in names if name != entry.convert] + [convert_pickle(out_dir / entry.convert)]
    if entry.modality == "text" and "tokenizer.json" not in names:
        from peft_lib.backbones.assets_convert import write_fast_tokenizer

        names.append(write_fast_tokenizer(out_dir))
    for stale in (path for path in out_dir.glob("*.safetensors") if path.name not in names):
        stale.unlink()  # of an earlier fetch: the library would read it in place of the files of this one
    facts |= token_facts(out_dir) if entry.modality == "text" else image_facts(out_dir)
    manifest = {
        "model": entry.id, "source": entry.source, "revision": entry.revision, **facts, "license": entry.license,
        "files": {name: sha256_file(out_dir / name) for name in names},
    }  # fmt: skip
    write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1) + "\n")


def _from_package(
    entry: ModelEntry, location: str, out_dir: Path, mirror: Path | None
) -> tuple[list[str], dict[str, Any]]:
    package, _, inner = location.partition("/")
    version = _pinned_version(entry, package)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise AssetError(f"model '{entry.id}': '{package}' is installed but is no folder with files; reinstall it")
    source = Path(spec.submodule_search_locations[0], inner)
    facts = {"package_version": version}
    if source.suffix == ".gguf":
        from peft_lib.backbones.assets_convert import convert_gguf

        return convert_gguf(source, out_dir), facts
    return copy_files(entry, source, out_dir), facts


def _from_mirror(
    entry: ModelEntry, location: str, out_dir: Path, mirror: Path | None
) -> tuple[list[str], dict[str, Any]]:
    if mirror is None:
        raise AssetError(
            f"model '{entry.id}' comes from a mirror folder: say where it is (--mirror, or `assets.mirror` of the study)"
        )
    source = mirror / "models" / location
    if not source.is_dir():
        raise AssetError(
            f"model '{entry.id}': there is no folder {source}: give the folder that holds models/{location}"
        )
    actual = f"sha256:{content_of(entry, source)[:12]}"
    if actual != entry.revision:
        raise AssetError(
            f"model '{entry.id}' pins revision {entry.revision!r}, {source} has {actual!r}: use the mirror that has it, or "
            "change the catalog's revision (a new model to all runs)"
        )
    return copy_files(entry, source, out_dir), {}


def _from_hub(entry: ModelEntry, location: str, out_dir: Path, mirror: Path | None) -> tuple[list[str], dict[str, Any]]:
    folder = mirror / "models" / location.replace("/", "__") if mirror is not None else None
    if folder is not None and folder.is_dir():
        return copy_files(entry, folder, out_dir), {"fetched_from": "mirror"}
    from peft_lib.backbones.assets_hub import download

    commit = download(entry, location, out_dir, wanted(entry))
    return choose(entry, out_dir), {"commit": commit}


def _random(entry: ModelEntry, location: str, out_dir: Path, mirror: Path | None) -> tuple[list[str], dict[str, Any]]:
    from peft_lib.backbones.assets_random import make_random

    return make_random(entry, int(location), out_dir), {}


FETCHERS: dict[str, Callable[[ModelEntry, str, Path, Path | None], tuple[list[str], dict[str, Any]]]] = {
    "hub": _from_hub, "package": _from_package, "mirror": _from_mirror, "random": _random,
}  # fmt: skip
"""Scheme -> function that puts files into a folder and gives their names and facts for the manifest."""


def wanted(entry: ModelEntry) -> list[str]:
    """Patterns of the files that a model needs."""
    return [*WANTED, *([entry.convert] if entry.convert else ["*.safetensors", INDEX])]


def choose(entry: ModelEntry, folder: Path) -> list[str]:
    """Names of the files of `folder` that a model needs. Raises AssetError if its weights are not among them."""
    if entry.convert:
        weights: Iterable[str] = [entry.convert] if (folder / entry.convert).is_file() else []
    elif (folder / INDEX).is_file():
        parts = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        if missing := [name for name in parts if Path(name).name != name or not (folder / name).is_file()]:
            raise AssetError(f"{folder / INDEX} names {missing[0]!r}, which is not beside it: fetch the model again")
        weights = [INDEX, *parts]
    else:
        weights = ["model.safetensors"] if (folder / "model.safetensors").is_file() else []
    if not weights:
        pickled = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
        raise AssetError(
            f"{folder} has no {entry.convert or '.safetensors file'} (pickled: {', '.join(pickled) or 'none'}): pickles can "
            "run code and are refused; convert the weights with safetensors first, or name pytorch_model.bin under "
            "`convert` in the catalog: it is then read without running code"
        )
    return [*weights, *(name for name in WANTED if (folder / name).is_file())]


def content_of(entry: ModelEntry, folder: Path) -> str:
    """SHA-256 of a folder's weights: of the one file, or over the lines `<name> <SHA-256>` of several."""
    names = [name for name in choose(entry, folder) if name not in (INDEX, *WANTED)]
    digests = {name: sha256_file(folder / name) for name in sorted(names)}
    if len(digests) == 1:
        return next(iter(digests.values()))
    return hashlib.sha256("".join(f"{name} {digest}\n" for name, digest in digests.items()).encode()).hexdigest()


def copy_files(entry: ModelEntry, source: Path, out_dir: Path) -> list[str]:
    """Copies what a model needs, and gives the names."""
    names = choose(entry, source)
    for name in names:
        with atomic_path(out_dir / name) as temporary:
            shutil.copyfile(source / name, temporary)
    return names


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
