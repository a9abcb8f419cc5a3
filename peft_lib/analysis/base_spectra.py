"""Singular vectors of a model's weights before training, kept on disk: all runs of a model compare with the same ones.

One file per place and side, <folder>/<SHA-256 of the model's weights>/<place>.<side>.v<version>.<SHA-256 of W0>.safetensors.
The last part is of the matrix itself (shape, dtype and bytes), so that weights which a run stored in bf16, or a fused
projection that is cut otherwise, never meet each other's vectors.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peft_lib.analysis.singular import Side, SingularVectors, singular_vectors
from peft_lib.files import atomic_path, says_no_locks
from peft_lib.layers.links import content

VERSION = 1
"""Of the algorithm and of the file's form: vectors of another one are not read."""
HEX = 16
"""Digits of the hashes in names."""


class BaseSpectra:
    """Singular vectors of the weights of one model, computed when they are first asked for.

    folder: shared by all runs and jobs. weights_sha256: of the model's weights.
    """

    def __init__(self, folder: Path, weights_sha256: str) -> None:
        self.folder = folder / weights_sha256[:HEX]

    def of(self, place: str, weight: Tensor, side: Side = "left") -> SingularVectors:
        """`singular_vectors(weight, side)`, bit for bit. `weight`: W0 at that place, (d_out, d_in).

        Raises ValueError for a weight that is not finite, and OSError if the folder cannot be written.
        """
        path = self.folder / f"{place}.{side}.v{VERSION}.{_digest(weight)[:HEX]}.safetensors"
        found = _read(path)
        if found is None:
            with self._locked():
                found = _read(path)  # by whoever held the lock
                if found is None:
                    found = singular_vectors(weight, side)
                    _write(path, found)
        return SingularVectors(found.values.to(weight.device), found.vectors.to(weight.device))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lets one process at a time compute. It saves work and nothing else (files are replaced as a whole), so a file
        system without locks is no error."""
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock", fallback_to_soft=False)
        try:
            lock.acquire()
        except (NotImplementedError, OSError) as error:
            if not says_no_locks(error):
                raise
        try:
            yield
        finally:
            lock.release()


def _digest(*tensors: Tensor) -> str:
    """SHA-256 of tensors with their shapes and dtypes."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(content(tensor))
    return digest.hexdigest()


def _write(path: Path, found: SingularVectors) -> None:
    tensors = {"values": found.values.cpu(), "vectors": found.vectors.cpu()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={"sha256": _digest(found.values, found.vectors)})


def _read(path: Path) -> SingularVectors | None:
    """None if there is no whole file of that name."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            found = SingularVectors(file.get_tensor("values"), file.get_tensor("vectors"))
    except (OSError, SafetensorError) as error:
        print(f"{path} is damaged and made again: {error}", flush=True)
        return None
    if metadata.get("sha256") != _digest(found.values, found.vectors):
        print(f"{path} is damaged and made again: its content does not fit its hash", flush=True)
        return None
    return found
