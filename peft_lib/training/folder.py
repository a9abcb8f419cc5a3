"""The folder of a run: its declared files, the finished copy of them beside the checkpoint, and the lock.

A run ends in two steps. Its files are written as checkpoint/<name>.finished, result.parquet last; then they are put in
place together. Whoever deletes them afterwards (a second Snakemake deletes a job's outputs before it learns that the job
is running elsewhere) loses nothing: the next call puts them in place again. Links cost no disk space.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from filelock import FileLock, Timeout

from peft_lib.files import flush, link_or_copy, says_no_locks, temporary_path
from peft_lib.run_files import RUN_FILES, read_rows
from peft_lib.training.errors import RunError


class RunFolder:
    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint" / "epoch.safetensors"

    def finished(self, name: str) -> Path:
        """Where the finished copy of a declared file lies."""
        return self.path / "checkpoint" / f"{name}.finished"

    @property
    def trajectory(self) -> Path:
        """Where a finished run's delta files of every epoch lie (layers/trajectory.py), if it keeps them."""
        return self.path / "trajectory"

    @property
    def growing_trajectory(self) -> Path:
        """Where they lie while the run is at work."""
        return self.checkpoint.parent / "trajectory"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps every other process out. Raises RunError if one is in, or if the file system knows no locks."""
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout as error:
            raise RunError(
                f"{self.path}: another process is running this run. Wait for it, or stop it first"
            ) from error
        except (NotImplementedError, OSError) as error:
            if not says_no_locks(error):
                raise
            raise RunError(
                f"{self.path}: this file system has no file locks ({error}), so two processes could write one run. Put "
                "the results on one that has (a local disk, NFS 4, Lustre mounted with flock)"
            ) from error
        try:
            for place in (self.path, self.checkpoint.parent):
                for leftover in place.glob(".*.tmp"):  # of a process that was killed: no other writes here now
                    leftover.unlink()
            yield
        finally:
            lock.release()

    def is_complete(self) -> bool:
        """Whether every declared file is in place."""
        return all((self.path / name).is_file() for name in RUN_FILES)

    def lost_result(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row of a finished run of this identity whose files were deleted; None if there is nothing to put back."""
        if self.is_complete() or not all(self.finished(name).is_file() for name in RUN_FILES):
            return None
        return _row_of(self.finished("result.parquet"), identity)

    def good_result(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """The row in place, if it is of a run of this identity that ended for good."""
        row = _row_of(self.path / "result.parquet", identity) if self.is_complete() else None
        return row if row is not None and row["status"] != "out_of_memory" else None

    def publish(self, trajectory: Literal["as it is", "new", "none"] = "as it is") -> None:
        """Puts the finished copy in place. While files are exchanged there is no result.parquet, so never a mix.

        trajectory: whether that of an older result stays, gives way to the one that has grown, or just goes."""
        self.path.mkdir(parents=True, exist_ok=True)
        staged: list[tuple[Path, Path]] = []
        try:
            for name in RUN_FILES:
                staged.append((temporary_path(self.path / name), self.path / name))
                link_or_copy(self.finished(name), staged[-1][0])
                os.utime(staged[-1][0])  # newer than the run's inputs, also when it is put back later
            (self.path / "result.parquet").unlink(missing_ok=True)
            if trajectory != "as it is" and self.trajectory.is_dir():
                shutil.rmtree(self.trajectory)
            if trajectory == "new" and self.growing_trajectory.is_dir():
                self.growing_trajectory.rename(self.trajectory)
            for temporary, place in staged:
                temporary.replace(place)
            flush(self.path)
        finally:
            for temporary, _ in staged:
                temporary.unlink(missing_ok=True)

    def forget_finished(self) -> None:
        """Removes the finished copy, result.parquet first: what is left is not a whole one."""
        for name in reversed(RUN_FILES):
            self.finished(name).unlink(missing_ok=True)


def _row_of(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The row of a result file, if the file can be read and its columns are those of `identity`."""
    try:
        row = read_rows(path)[0]
    except (OSError, pa.ArrowException, IndexError) as error:
        print(f"{path} is damaged and not used: {error}", flush=True)
        return None
    return row if all(row.get(name) == value for name, value in identity.items()) else None
