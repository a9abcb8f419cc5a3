"""A data mirror: a folder with copies of hub data sets, for machines without internet.

    manifest.json                                        datasets -> <org>__<name>[/<config>] -> status, splits
    datasets/<org>__<name>[/<config>]/<split>.parquet    its file, rows and SHA-256 are in the manifest

The status says in words which splits are the published ones: `full`, or a text that starts with the splits that are
(`train and test full; validation absent`). Only those stand for the hub's.
"""

import json
import re
from pathlib import Path

from peft_lib.files import sha256_file


class MirrorError(ValueError):
    """A mirror that lacks a split, has it in part, or was changed."""


class Mirror:
    """A mirror folder, its manifest read. Raises MirrorError if it has none."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        manifest = self.folder / "manifest.json"
        try:
            self._datasets = json.loads(manifest.read_text(encoding="utf-8"))["datasets"]
        except FileNotFoundError as error:
            raise MirrorError(
                f"{self.folder} is no data mirror: there is no {manifest}; name the folder that has it"
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise MirrorError(f"{manifest} is damaged: copy the mirror again") from error

    def file(self, name: str, config: str | None, split: str, uri: str, full: bool) -> Path:
        """The Parquet file of a split, its bytes checked.

        Args:
            name: `org/name` on the hub.
            config: configuration, or None.
            split: train, validation or test.
            uri: what is asked for, for messages.
            full: refuse a split that the manifest does not call full.

        Raises:
            MirrorError: if the mirror lacks the data set or the split, has only part of it or another release (`full`), or
                the file's bytes are not those of the manifest.
        """
        key = "/".join([name.replace("/", "__"), *([config] if config else [])])
        if key not in self._datasets:
            known = ", ".join(sorted(self._datasets)) or "nothing"
            raise MirrorError(f"the mirror {self.folder} does not have {uri} ({key}); it has {known}. {REMEDY}")
        splits, status = self._datasets[key]["splits"], str(self._datasets[key]["status"])
        if split not in splits:
            raise MirrorError(
                f"the mirror {self.folder} does not have split '{split}' of {uri}; it has {', '.join(sorted(splits))} "
                f"({status}). {REMEDY}"
            )
        if full and split not in full_splits(status, list(splits)):
            raise MirrorError(
                f"the mirror {self.folder} has {splits[split]['rows']} rows as split '{split}' of {uri}, which are not the "
                f"published ones ({status}). {REMEDY}"
            )
        path = self.folder / splits[split]["file"]
        found = sha256_file(path) if path.is_file() else "no such file"
        if found != splits[split]["sha256"]:
            raise MirrorError(
                f"{path} has SHA-256 {found}, the mirror's manifest says {splits[split]['sha256']}: copy the file again"
            )
        return path


REMEDY = (
    "Leave out `assets: {mirror: ...}` to read it from the hub, where there is internet, or name a data set of the catalog "
    "that is made for what the mirror has"
)


def full_splits(status: str, splits: list[str]) -> list[str]:
    """The splits that a manifest's status calls full: all for "full", those named in "train and test full; ...", or none.

    "full, but release v0.0" is another release, and "full image set, re-encoded" other images: none.
    """
    if status == "full":
        return splits
    match = re.match(r"([a-z, ]+) full\b", status)
    named = re.split(r", | and ", match[1]) if match else []
    return [name for name in splits if name in named]
