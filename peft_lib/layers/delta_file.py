"""Delta file, version 1: what a run learnt, as factors in fp32, in one safetensors file.

Tensors:   closed/<link>/<place>/{A | columns, B}      links merged at chain resets, stored once
           open/<tag>/<place>/{A | columns, B[, P]}    the open link at that snapshot
           .../<place>/<name>                          of a method with tensors of its own: the trained ones, by name
           trained/<tag>/<parameter>                   parameters trained in full: the head, or all (full fine-tuning)
Metadata:  'delta', a JSON object: format, version, method, options, rank, scale, seed, places, tensors (names of the
           trained ones, where a method has its own), frozen (SHA-256 of what is drawn anew), and snapshots: tag -> {epoch, links}. Tags are 'selected', 'final'.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peft_lib.files import atomic_path
from peft_lib.layers.links import AnyLink, DeltaError, Link, TensorLink

DELTA_VERSION = 1


@dataclass(frozen=True)
class Snapshot:
    """State of an adapter at one moment, on the CPU. Closed links are shared between snapshots, never copied."""

    closed: Mapping[str, tuple[AnyLink, ...]]
    open: Mapping[str, AnyLink]
    trained: Mapping[str, Tensor]
    epoch: int | None = None


@dataclass(frozen=True)
class Delta:
    """A delta file's content."""

    header: dict[str, Any]
    snapshots: dict[str, Snapshot] = field(default_factory=dict)

    def snapshot(self, tag: str | None = None) -> Snapshot:
        """The snapshot of that tag; by default 'selected' if there is one, else 'final'."""
        tag = tag or ("selected" if "selected" in self.snapshots else "final")
        if tag not in self.snapshots:
            raise DeltaError(f"no snapshot {tag!r} in the delta; it has {', '.join(self.snapshots)}")
        return self.snapshots[tag]


def write_delta(path: Path | str, header: Mapping[str, Any], snapshots: Mapping[str, Snapshot]) -> None:
    """Writes a delta file atomically."""
    with atomic_path(path) as temporary:
        tensors, metadata = pack(header, snapshots)
        save_file(tensors, temporary, metadata=metadata)


def pack(header: Mapping[str, Any], snapshots: Mapping[str, Snapshot]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a delta file (checkpoints store them beside the optimiser's state)."""
    tensors: dict[str, Tensor] = {}
    tags: dict[str, Any] = {}
    frozen: dict[str, str] = {}
    for tag, snapshot in snapshots.items():
        for place, links in snapshot.closed.items():
            for link in links:
                _put(tensors, frozen, f"closed/{link.index}/{place}", link)
        for place, link in snapshot.open.items():
            _put(tensors, frozen, f"open/{tag}/{place}", link)
        for name, value in snapshot.trained.items():
            tensors[f"trained/{tag}/{name}"] = value.contiguous()
        links_open = {link.index for link in snapshot.open.values()}
        tags[tag] = {"epoch": snapshot.epoch, "links": max(links_open, default=-1) + 1}
    facts = {"format": "peft_lib.delta", "version": DELTA_VERSION, **header, "snapshots": tags}
    if frozen:
        facts["frozen"] = frozen
    return tensors, {"delta": json.dumps(facts, sort_keys=True)}


def _put(tensors: dict[str, Tensor], frozen: dict[str, str], prefix: str, link: AnyLink) -> None:
    tensors.update({f"{prefix}/{name}": value.contiguous() for name, value in link.stored().items()})
    if isinstance(link, TensorLink) and link.digest is not None:
        frozen[prefix] = link.digest


def read_delta(path: Path | str) -> Delta:
    """Reads a delta file. Raises DeltaError if it is absent, damaged, or of another format or version."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error
    return unpack(tensors, metadata, str(path))


def read_header(path: Path | str) -> dict[str, Any]:
    """Facts of a delta file without its tensors, `snapshots` among them. Raises DeltaError as `read_delta` does."""
    try:
        with safe_open(path, framework="pt") as file:
            return _header(file.metadata() or {}, str(path))
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: Exception) -> DeltaError:
    return DeltaError(f"{path}: not a readable safetensors file ({error}). Rerun the run that wrote it")


def _header(metadata: Mapping[str, str], source: str) -> dict[str, Any]:
    header: dict[str, Any] = json.loads(metadata.get("delta", "{}"))
    if header.get("format") != "peft_lib.delta" or header.get("version") != DELTA_VERSION:
        found = (header.get("format"), header.get("version"))
        raise DeltaError(
            f"{source}: not a delta file of version {DELTA_VERSION}, found {found}. Use the release that wrote it"
        )
    return header


def unpack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], source: str) -> Delta:
    """Inverse of `pack`."""
    header = _header(metadata, source)
    try:
        return Delta(header, _snapshots(header, tensors))
    except KeyError as error:
        raise DeltaError(f"{source}: a damaged delta file, {error} is missing. Rerun the run that wrote it") from error


def _snapshots(header: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Snapshot]:
    snapshots = {}
    for tag, facts in header.pop("snapshots").items():
        count = facts["links"]
        stored = 0 if header.get("open_only") else count - 1  # files of a trajectory leave closed links to others
        closed = {
            place: tuple(_link(tensors, f"closed/{j}/{place}", j, header) for j in range(stored))
            for place in header["places"]
        }
        opened = {p: _link(tensors, f"open/{tag}/{p}", count - 1, header) for p in header["places"]}
        prefix = f"trained/{tag}/"
        trained = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        snapshots[tag] = Snapshot(closed, opened, trained, facts["epoch"])
    return snapshots


def _link(tensors: Mapping[str, Tensor], prefix: str, index: int, header: Mapping[str, Any]) -> AnyLink:
    if "tensors" in header:
        trained = {name: tensors[f"{prefix}/{name}"] for name in header["tensors"]}
        return TensorLink(index, header["scale"], trained, digest=header.get("frozen", {}).get(prefix))
    parts = {name: tensors.get(f"{prefix}/{name}") for name in ("A", "columns", "P")}
    return Link(index, tensors[f"{prefix}/B"], header["scale"], **parts)
