"""Trajectory of a run: one delta file an epoch, 0 (before the first step) to the last.

An epoch's file holds the open link and the parameters trained in full. A closed link is the open one of its last epoch, so
nothing is stored twice and no file grows along the chain.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from peft_lib.layers.delta_file import DeltaError, Snapshot, read_delta, read_header, write_delta
from peft_lib.layers.links import AnyLink, Link

TAG = "epoch"


def epoch_file(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:04}.safetensors"


def write_epoch(folder: Path, header: Mapping[str, Any], snapshot: Snapshot, epoch: int) -> None:
    """Writes one epoch's file, atomically."""
    write_delta(
        epoch_file(folder, epoch), {**header, "open_only": True}, {TAG: replace(snapshot, closed={}, epoch=epoch)}
    )


@dataclass(frozen=True)
class Trajectory:
    """The files of a folder; only one epoch, and the links that its chain has closed, is in memory at a time."""

    folder: Path

    @cached_property
    def epochs(self) -> tuple[int, ...]:
        """Epochs that have a file, in order. Raises DeltaError if there are none, or if one is missing between them."""
        names = (re.fullmatch(r"(\d{4,})\.safetensors", path.name) for path in self.folder.glob("*.safetensors"))
        found = sorted(int(match[1]) for match in names if match)
        if not found or found != list(range(len(found))):
            has = f"it has {found}" if found else "it has none"
            raise DeltaError(
                f"{self.folder}: a trajectory is one file for each epoch from 0 on, {has}. Set keep: trajectory and repeat "
                "the run (snakemake --forcerun train)"
            )
        return tuple(found)

    def header(self, epoch: int) -> dict[str, Any]:
        """Facts of an epoch's file. Raises DeltaError for one that cannot be read."""
        return read_header(epoch_file(self.folder, epoch))

    def snapshot(self, epoch: int) -> Snapshot:
        """State after an epoch, closed links included. Raises DeltaError for an epoch without a file or a damaged one."""
        if epoch not in self.epochs:
            raise DeltaError(f"{self.folder}: no epoch {epoch}; it has 0 to {self.epochs[-1]}")
        found = read_delta(epoch_file(self.folder, epoch)).snapshot(TAG)
        links = {place: link.index for place, link in found.open.items()}
        closed: dict[str, tuple[AnyLink, ...]] = dict.fromkeys(links, ())
        for index in range(max(links.values(), default=0)):
            last = read_delta(epoch_file(self.folder, self._last_of[index])).snapshot(TAG)
            closed = {place: (*closed[place], _closed(last.open[place])) for place in links}
        return replace(found, closed=closed)

    @cached_property
    def _last_of(self) -> dict[int, int]:
        """Index of a link -> the last epoch in which it was open."""
        last: dict[int, int] = {}
        for epoch in self.epochs:
            last[max(self.header(epoch)["snapshots"][TAG]["links"] - 1, 0)] = epoch
        return last


def _closed(link: AnyLink) -> AnyLink:
    """As a place keeps it once it is closed: without P."""
    return replace(link, P=None) if isinstance(link, Link) else link
