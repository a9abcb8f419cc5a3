"""The plan of the last calls, kept: every job of a cluster reads the Snakefile anew, and finds the plan here.

A plan with the fingerprints of all its runs lies under a key that hashes everything it depends on, by content: the merged
study, its files, catalogs, lock, rule files and plug-ins, every Python file of peft_lib (planning and what fingerprints
read), the files of reports/reference and reports/templates that artefacts are checked against, and the versions of Python,
pydantic and PyYAML. So a file that was edited or reformatted means another key, a touched one the same, and no time is
trusted. A damaged file is told of and planned over; files are replaced as a whole (peft_lib/files.py), so that jobs may
read and write at the same time, and a plan during which a file was edited is not kept.

The files hold pickles. They lie below the working directory, where whoever can write can change this code as well.
"""

import contextlib
import hashlib
import json
import os
import pickle
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pydantic
import yaml

from peft_lib.files import atomic_path
from peft_lib.methods.method import MethodError
from peft_lib.methods.registry import available, built_in, load_plugin, method_file
from peft_lib.names import first_line
from peft_lib.study import expand
from peft_lib.study.documents import read_document, short
from peft_lib.study.fingerprint import PACKAGE, Readings, readings, remember
from peft_lib.study.loading import lock_file
from peft_lib.study.plan import Plan
from peft_lib.study.schema import Catalogs

FOLDER = Path(".snakemake/plans")
"""Where plans are kept, below the working directory."""
KEPT = 20
"""Plans that stay: the latest."""
MAGIC = b"plan 1\n"
CHECKED = ("reports/reference", "reports/templates")
DAY_S = 86_400


@dataclass(frozen=True)
class Kept:
    """What a file holds: the plan, and what was read of the code, so that no file of it is parsed again."""

    plan: Plan
    readings: Readings


@dataclass(frozen=True)
class Found:
    """A plan, whether it was found or made, and what there is to say about the cache (a damaged file)."""

    plan: Plan
    hit: bool
    notes: tuple[str, ...] = ()


def plan_config(
    config: Mapping[str, Any], files: Sequence[Path | str], root: Path | str = ".", folder: Path = FOLDER
) -> Found:
    """As `expand.plan_config`, from the cache where the same was planned before. Raises StudyError as it does."""
    return _found(config, files, Path(root), folder, lambda: expand.plan_config(config, files, root))


def plan_file(path: Path | str, root: Path | str = ".", folder: Path = FOLDER) -> Found:
    """As `expand.plan_file`, likewise."""
    return _found(read_document(path).data, [path], Path(root), folder, lambda: expand.plan_file(path, root), b"file")


def _found(
    config: Mapping[str, Any], files: Sequence[Path | str], root: Path, folder: Path, make: Callable[[], Plan],
    kind: bytes = b"",
) -> Found:  # fmt: skip
    key = key_of(config, files, root, kind)
    if key is None:
        return Found(make(), False)
    path, notes = folder / f"{key}.plan", []
    try:
        if (kept := _read(path)) is not None:
            remember(kept.readings)
            return Found(kept.plan, True)
    except (OSError, ValueError) as error:
        notes.append(f"{path} is damaged and not used ({first_line(error)}): planned anew")
    plan = make()
    for run_id in plan.runs:
        plan.fingerprint(run_id)
    if key_of(config, files, root, kind) != key:  # a file was edited meanwhile, and this is the plan of which text?
        return Found(plan, False)
    try:
        _write(path, Kept(plan, readings()))
        _prune(folder)
    except OSError as error:
        notes.append(f"{path}: the plan is not kept for the next call ({first_line(error)})")
    return Found(plan, False, tuple(notes))


def key_of(config: Mapping[str, Any], files: Sequence[Path | str], root: Path, kind: bytes = b"") -> str | None:
    """The key of a study's plan; None for what cannot be planned as it is, or rests on methods that are in no file."""
    try:
        plugins = _texts(config.get("plugins"))
        for plugin in plugins:
            load_plugin(root / Path(plugin).expanduser())
        text = json.dumps(config)  # in its order, which tables have too
        catalogs = {**Catalogs().model_dump(), **config.get("catalogs", {})}
        mirror = config.get("assets", {}).get("mirror")
        named = [*_texts(config.get("rules_from")), *catalogs.values(), lock_file(catalogs["datasets"])]
        read = [*files, *(root / Path(path).expanduser() for path in named)]
        found_mirror = mirror is None or (root / Path(mirror).expanduser()).is_dir()
    except (MethodError, TypeError, ValueError, AttributeError, RecursionError, OSError, RuntimeError):
        return None  # planning says what is wrong with it
    others = [method_file(method) for method in available() if method not in built_in()]
    if any(file is None for file in others):
        return None
    digest = hashlib.sha256(kind)
    versions = (platform.python_version(), sys.implementation.cache_tag, pydantic.VERSION, yaml.__version__)
    for part in (text, str(versions), str([short(file) for file in files]), str(found_mirror)):
        digest.update(f"{len(part)}:{part}\n".encode())
    with_methods = [*(file for file in others if file), *_helpers(bool(others))]
    for file in (*map(Path, read), *sorted(with_methods), *_code()):
        digest.update(f"{_name(file)}:{_content(file)}\n".encode())
    return digest.hexdigest()[:32]


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [path for path in value or () if isinstance(path, str)]


def _name(file: Path) -> str:
    """A file's name in the key: fingerprints have those of peft_lib, nothing has the folder around it."""
    return file.relative_to(PACKAGE.parent).as_posix() if file.is_relative_to(PACKAGE.parent) else file.name


def _content(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        return type(error).__name__


def _code() -> Iterator[Path]:
    """Files of this repository that a plan rests on."""
    yield from sorted(path for path in PACKAGE.rglob("*.py"))
    for folder in CHECKED:
        yield from sorted(path for path in (PACKAGE.parent / folder).rglob("*") if path.is_file())


def _helpers(wanted: bool) -> set[Path]:
    """Files that plug-ins have imported from anywhere but Python, its packages and this repository's code."""
    if not wanted:
        return set()
    known = {
        Path(path).resolve() for path in (sys.prefix, sys.base_prefix, PACKAGE, PACKAGE.parent / "workflow_scripts")
    }
    loaded = {
        Path(file).resolve() for module in list(sys.modules.values()) if (file := getattr(module, "__file__", None))
    }
    return {file for file in loaded if not known.intersection(file.parents)}


def _read(path: Path) -> Kept | None:
    """What a file holds; None if there is no such file. Raises ValueError for one that is damaged or of something else."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    head, payload = raw[: len(MAGIC) + 64], raw[len(MAGIC) + 64 :]
    if head != MAGIC + hashlib.sha256(payload).hexdigest().encode():
        raise ValueError("its content does not fit its checksum")
    try:
        kept = pickle.loads(payload)
    except (pickle.UnpicklingError, AttributeError, ImportError, TypeError, LookupError, EOFError) as error:
        raise ValueError(f"it cannot be read: {error}") from error
    if not isinstance(kept, Kept):
        raise ValueError("it holds no plan")
    if time.time() - path.stat().st_mtime > DAY_S:
        with contextlib.suppress(PermissionError):  # of another user, who uses it too
            os.utime(path)
    return kept


def _write(path: Path, kept: Kept) -> None:
    payload = pickle.dumps(kept, protocol=pickle.HIGHEST_PROTOCOL)
    with atomic_path(path) as temporary:
        temporary.write_bytes(MAGIC + hashlib.sha256(payload).hexdigest().encode() + payload)


def _prune(folder: Path) -> None:
    """Keeps the latest plans, and no temporary file of a process that was killed."""
    times = {path: time_of for path in folder.iterdir() if (time_of := _time(path)) is not None}
    plans = sorted((path for path in times if path.suffix == ".plan"), key=times.__getitem__, reverse=True)
    left = [path for path in times if path.suffix == ".tmp" and time.time() - times[path] > DAY_S]
    _remove([*plans[KEPT:], *left])


def _time(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process was quicker
        return None


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
