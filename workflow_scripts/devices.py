"""CUDA devices of this machine, found without torch, and a job's own ones among them.

Jobs that run at the same time take different devices: each device has a lock file that its job holds. Where a cluster's
scheduler has given a job its devices (SLURM_JOB_ID), the locks are that job's alone, since device 0 of two such jobs need
not be the same.
"""

import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

DRIVER = Path("/proc/driver/nvidia/gpus")
PAUSE_S = 1.0


class DeviceError(RuntimeError):
    """Devices that a run needs and the machine does not have."""


def visible_devices() -> tuple[str, ...]:
    """Names of the devices as CUDA_VISIBLE_DEVICES takes them: what that variable lists up to a -1, or else '0', '1', ...
    for all that the driver, or `nvidia-smi -L`, knows."""
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        names = [name.strip() for name in listed.split(",")]
        return tuple(names[: next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))])
    count = sum(1 for _ in DRIVER.iterdir()) if DRIVER.is_dir() else _listed_by_nvidia_smi()
    return tuple(map(str, range(count)))


def _listed_by_nvidia_smi() -> int:
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return len(re.findall(r"^GPU [0-9]+:", listed.stdout, re.MULTILINE)) if listed.returncode == 0 else 0


@contextmanager
def own_devices(count: int, devices: tuple[str, ...], folder: Path | None = None) -> Iterator[tuple[str, ...]]:
    """Holds `count` of `devices` that no other job holds, waiting for them if need be.

    All or none are taken, so that two waiting jobs cannot block each other. Raises DeviceError if there are too few.
    """
    if len(devices) < count:
        has = f"this machine shows {', '.join(devices)}" if devices else "this machine shows none"
        raise DeviceError(
            f"a run of {count} process{'es' * (count > 1)} on CUDA needs as many devices; {has} "
            "(CUDA_VISIBLE_DEVICES, nvidia-smi -L). Set `device: cpu` or fewer `processes` in the study"
        )
    folder = folder or _lock_folder()
    folder.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with ExitStack() as held:
            taken = []
            for device in devices:
                try:
                    held.enter_context(FileLock(folder / f"{re.sub('[^A-Za-z0-9-]', '_', device)}.lock", timeout=0))
                except Timeout:
                    continue
                taken.append(device)
                if len(taken) == count:
                    yield tuple(taken)
                    return
        if not told:
            print(f"waiting for {count} of the devices {', '.join(devices)}: other jobs hold them", flush=True)
            told = True
        time.sleep(PAUSE_S)


def _lock_folder() -> Path:
    job = os.environ.get("SLURM_JOB_ID")
    return Path(tempfile.gettempdir(), f"peft_lib_devices_{os.getuid()}{f'_{job}' if job else ''}")
