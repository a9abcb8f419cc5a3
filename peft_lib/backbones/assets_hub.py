"""Downloading a model from the Hugging Face hub."""

import shutil
from fnmatch import fnmatchcase
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HTTPError, RepositoryNotFoundError, RevisionNotFoundError

from peft_lib.backbones.assets_errors import AssetError
from peft_lib.study.catalogs import ModelEntry


def download(entry: ModelEntry, name: str, out_dir: Path, wanted: list[str]) -> str:
    """Downloads the wanted files of the pinned commit into out_dir (a broken download goes on where it was); the commit id.

    A branch such as `main` is resolved once, so that all files are of one commit. Files of sub-folders are left out: they are
    the same weights in other formats.

    Raises:
        AssetError: if the hub cannot be reached, has no such model or revision, or wants a licence to be accepted.
    """
    revision = entry.revision or "main"
    try:
        # Asked first, for snapshot_download takes a folder that is there for a whole one if the hub cannot be reached.
        info = HfApi().model_info(name, revision=revision)
        commit = str(info.sha)
        folder = out_dir / f".download-{commit}"
        snapshot_download(name, revision=commit, local_dir=folder, allow_patterns=wanted, ignore_patterns=["*/*"])
    except GatedRepoError as error:
        raise AssetError(
            f"model '{entry.id}': {name} is gated. Log in on https://huggingface.co/{name}, accept its licence "
            f"({entry.license}), and set HF_TOKEN to a token of yours that may read it (huggingface.co/settings/tokens)"
        ) from error
    except RevisionNotFoundError as error:
        raise AssetError(
            f"model '{entry.id}': {name} has no revision {revision!r}: correct the catalog's revision to a commit of "
            f"https://huggingface.co/{name}/commits/main"
        ) from error
    except RepositoryNotFoundError as error:
        raise AssetError(
            f"model '{entry.id}': the hub shows no model {name}: correct the catalog's source, or set HF_TOKEN if it is "
            "private"
        ) from error
    except (HTTPError, OSError) as error:
        raise AssetError(
            f"model '{entry.id}': {name} could not be fetched from the hub ({type(error).__name__}: {error}). Run this where "
            f"there is internet, or give --mirror, a folder with models/{name.replace('/', '__')}/"
        ) from error
    listed = [file.rfilename for file in info.siblings or () if any(fnmatchcase(file.rfilename, w) for w in wanted)]
    for file in (file for file in listed if "/" not in file):
        if not (folder / file).is_file():
            raise AssetError(
                f"model '{entry.id}': {file} of {name} was not downloaded: run this again, it goes on from there"
            )
        (folder / file).replace(out_dir / file)
    shutil.rmtree(folder)
    return commit
