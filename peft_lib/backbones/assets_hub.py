"""Downloading a model from the Hugging Face hub."""

import re
import shutil
from pathlib import Path

from httpx import HTTPError
from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

from peft_lib.backbones.assets_errors import AssetError
from peft_lib.study.catalogs import ModelEntry


def download(entry: ModelEntry, name: str, out_dir: Path, wanted: list[str]) -> str:
    """Downloads the wanted files of the pinned commit into out_dir (a broken download goes on where it was); the commit id.

    A branch such as `main` is resolved once, so that all files are of one commit.

    Raises:
        AssetError: if the hub cannot be reached, has no such model or revision, or wants a licence to be accepted.
    """
    revision = entry.revision or "main"
    try:
        commit = (
            revision if re.fullmatch(r"[0-9a-f]{40}", revision) else HfApi().model_info(name, revision=revision).sha
        )
        # files of sub-folders are the same weights in other formats
        snapshot_download(name, revision=commit, local_dir=out_dir, allow_patterns=wanted, ignore_patterns=["*/*"])
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
    shutil.rmtree(out_dir / ".cache", ignore_errors=True)
    assert commit is not None
    return commit
