"""What a result records about the machine, the libraries and the working tree."""

import ctypes
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from peft_lib.training.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
GIT_SECONDS = 10
LIBRARIES = ("torch", "transformers", "timm", "accelerate", "tokenizers", "numpy", "safetensors", "pyarrow")


def prepare_process(threads: int, device: str, deterministic: bool) -> None:
    """Fixes what bits depend on: threads, and on CUDA deterministic kernels.

    Raises RunError if CUDA is asked for and absent.
    """
    torch.set_num_threads(threads)
    _keep_freed_memory()
    if device == "cuda" and not torch.cuda.is_available():
        raise RunError("device: cuda, but torch sees no CUDA device. Use device: cpu, or run where there is one")
    if device != "cpu" and torch.cuda.is_available():
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(deterministic)  # off again, after a deterministic run in this process
        torch.backends.cudnn.benchmark = False


def _keep_freed_memory() -> None:
    """Lets glibc keep freed blocks: by default it returns every activation to the system, and faults it in again."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL("libc.so.6")
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            libc.mallopt(option, 1 << 30)


def versions() -> str:
    installed = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a library that is not installed computed nothing
    return json.dumps(installed, sort_keys=True)


@dataclass(frozen=True)
class GitState:
    """The checkout that the code runs from; `note` says why `commit` or `dirty` is None."""

    commit: str | None = None
    dirty: bool | None = None
    note: str | None = None


def git_state() -> GitState:
    """Never fails: a repository that is absent, slow or broken is a note in the result, not the end of a run."""
    try:
        top = Path(os.fsdecode(_git("rev-parse", "--show-toplevel")))
        if top.resolve() != ROOT:  # installed somewhere inside another repository
            return GitState(note="not a git checkout")
        commit = os.fsdecode(_git("rev-parse", "HEAD"))
    except (OSError, subprocess.SubprocessError) as error:
        return GitState(note=_why(error))
    try:
        return GitState(commit, bool(_git("status", "--porcelain", "--untracked-files=no")))
    except (OSError, subprocess.SubprocessError) as error:
        return GitState(commit, note=_why(error))


def _git(*arguments: str) -> bytes:
    """Output of git in this code's folder; bytes, because file names need not be text."""
    # GIT_DIR and its like (set in hooks) would answer for another repository; status takes no lock
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, check=True, timeout=GIT_SECONDS, env=environment)
    return done.stdout.strip()


def _why(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        said = error.stderr.decode(errors="replace").strip().splitlines()
        if said and "not a git repository" in said[0]:
            return "not a git checkout"
        return f"git exited with {error.returncode}: {said[0] if said else 'no message'}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"git took longer than {GIT_SECONDS} s"
    return f"git cannot be run: {error}"


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def peak_rss_bytes() -> int:
    """Peak resident set of this process; getrusage counts KiB on Linux and bytes on macOS."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def memory_peaks(device: torch.device) -> dict[str, int | None]:
    """Columns peak_*_bytes. On CUDA since the last reset_peak_memory_stats."""
    rss = peak_rss_bytes()
    if device.type != "cuda":
        return {
            "peak_allocated_bytes": None, "peak_reserved_bytes": None, "peak_rss_bytes": rss, "peak_memory_bytes": rss
        }  # fmt: skip
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return {
        "peak_allocated_bytes": allocated, "peak_reserved_bytes": reserved, "peak_rss_bytes": rss,
        "peak_memory_bytes": allocated,
    }  # fmt: skip
