"""Epoch checkpoints: one safetensors file with everything an interrupted run needs, replaced atomically.

It holds the adapter's snapshots ('current', and 'selected' once there is one), the optimiser's state and the progress.
No generator state: seeds are stateless. A checkpoint of another spec, other code, data, weights or library versions is not
resumed, nor one that is damaged: it counts as absent.
"""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from peft_lib.files import atomic_path
from peft_lib.layers.delta_file import DeltaError, Snapshot, pack, unpack
from peft_lib.layers.links import content

CHECKPOINT_VERSION = 2


@dataclass
class Progress:
    """Where a run stands; plain JSON values only."""

    identity: str = ""
    """JSON of what must agree for a resume (build.py: Built.identity)."""
    epoch: int = 0
    step: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    selected_epoch: int | None = None
    selected_score: float | None = None
    attempts: int = 0
    started: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def at_selected(self, split: str) -> dict[str, float]:
        """Values recorded for `split` at the selected epoch, by metric."""
        return {r["metric"]: r["value"] for r in self.rows if r["epoch"] == self.selected_epoch and r["split"] == split}


def save_checkpoint(
    path: Path, header: Mapping[str, Any], snapshots: Mapping[str, Snapshot], optimizer: Mapping[str, torch.Tensor],
    progress: Progress,
) -> None:  # fmt: skip
    tensors, metadata = pack(header, snapshots)
    tensors.update({f"optimizer/{name}": tensor for name, tensor in optimizer.items()})
    metadata["progress"] = json.dumps({"version": CHECKPOINT_VERSION, **asdict(progress)})
    metadata["crc32"] = _checksum(tensors)
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_checkpoint(path: Path, identity: str) -> tuple[dict[str, Snapshot], dict[str, torch.Tensor], Progress] | None:
    """Snapshots, optimiser state and progress; None if there is no whole checkpoint of this identity."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            progress = json.loads(metadata.get("progress", "{}"))
            if progress.pop("version", None) != CHECKPOINT_VERSION or progress.get("identity") != identity:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        if metadata.get("crc32") != _checksum(tensors):
            raise DeltaError("its content does not fit its checksum")
        optimizer = {n.removeprefix("optimizer/"): t for n, t in tensors.items() if n.startswith("optimizer/")}
        return unpack(tensors, metadata, str(path)).snapshots, optimizer, Progress(**progress)
    except (OSError, SafetensorError, ValueError, TypeError, KeyError) as error:  # DeltaError, JSON: ValueErrors
        print(f"{path} is damaged and not used: {error}", flush=True)
        return None


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """CRC-32 of the tensors' bytes in order of their names: finds what a bad disk or cable did."""
    value = 0
    for name in sorted(tensors):
        value = zlib.crc32(content(tensors[name]), value)
    return f"{value:08x}"
