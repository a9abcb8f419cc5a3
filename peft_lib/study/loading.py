"""Studies and catalogs as records; every problem is found before any is reported."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from peft_lib.study.catalogs import DatasetEntry, Entry, Lock, ModelEntry
from peft_lib.study.check_datasets import check_datasets
from peft_lib.study.check_models import check_models
from peft_lib.study.documents import Document, read_document, read_yaml
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Lines, Problem, StudyError
from peft_lib.study.schema import Study
from peft_lib.study.settings import Settings, may_vary
from peft_lib.study.types import Id, Scalar

__all__ = ["Lines", "load_datasets", "load_models", "parse_study", "read_catalog", "read_study", "read_yaml"]

E = TypeVar("E", bound=Entry)


def parse_study(data: Mapping[str, Any], lines: Lines | None = None, source: str = "study") -> Study:
    """A validated study: types and names of its own fields. Raises StudyError with every problem at once."""
    parser = Parser(lines or {})
    study = read_study(dict(data), parser)
    if parser.problems:
        raise StudyError(parser.problems, source)
    return study


def read_study(data: dict[str, Any], parser: Parser) -> Study:
    """What of a study can be read; problems go to the parser. Values under `vary` are read as the settings they are."""
    study = parser.model(Study, data, ())
    for name, grid in study.grids.items():
        for setting, values in list(grid.vary.items()):
            place = ("grids", name, "vary", setting)
            if setting in Settings.model_fields:
                grid.vary[setting] = tuple(_varied(parser, setting, v, (*place, i)) for i, v in enumerate(values))
            elif may_vary(setting):
                grid.vary[setting] = tuple(parser.value(Scalar, v, (*place, i)) for i, v in enumerate(values))
    return study


def _varied(parser: Parser, setting: str, value: Any, place: tuple[str | int, ...]) -> Any:
    """One value of a setting; what is wrong with it stands at its place in the list."""
    inner = Parser({(setting,): mark} if (mark := parser.lines.get(place)) else {})
    read = inner.model(Settings, {setting: value}, ())
    for problem in inner.problems:
        parser.problem(place, problem.value, problem.rule, problem.remedy)
    return getattr(read, setting)


def load_models(path: Path | str) -> dict[str, ModelEntry]:
    """Model catalog: id -> entry. Raises StudyError with every problem of the file."""
    return _load(path, ModelEntry)


def load_datasets(path: Path | str) -> dict[str, DatasetEntry]:
    """Data set catalog: id -> entry. Raises StudyError with every problem of the file."""
    return _load(path, DatasetEntry)


def _load(path: Path | str, kind: type[E]) -> dict[str, E]:
    entries, parser = read_catalog(path, kind)
    if parser.problems:
        raise StudyError(parser.problems, str(path))
    return entries


def read_catalog(path: Path | str, kind: type[E]) -> tuple[dict[str, E], Parser]:
    """The entries of a catalog as far as they can be read, and what read them: its problems, its lines."""
    document: Document = read_document(path)
    parser = Parser(document.lines, document.problems, document.broken)
    if not document.data and not document.problems:
        rule, remedy = "a catalog has at least one entry", "add one: docs/study.md has the fields"
        parser.problem((), ABSENT, rule, remedy)
    entries = {key: parser.model(kind, fields, (key,), id=key) for key, fields in document.data.items()}
    for key in document.data:
        parser.value(Id, key, (key,))
    check_models({k: e for k, e in entries.items() if isinstance(e, ModelEntry)}, parser)
    check_datasets({k: e for k, e in entries.items() if isinstance(e, DatasetEntry)}, parser)
    if kind is DatasetEntry:
        locks = read_locks(lock_file(path))
        return {key: entry.locked(locks.get(key)) for key, entry in entries.items()}, parser  # type: ignore[attr-defined]
    return entries, parser


def lock_file(catalog: Path | str) -> Path:
    """The lock file of a data set catalog, beside it: config/datasets.yaml -> config/datasets.lock.json."""
    return Path(catalog).with_suffix(".lock.json")


def read_locks(path: Path) -> dict[str, Lock]:
    """Data set id -> what the lock file says of its data; empty without such a file. Raises StudyError for a damaged one."""
    if not path.is_file():
        return {}
    try:
        return TypeAdapter(dict[str, Lock]).validate_python(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, ValidationError) as error:
        rule = f"the lock file of a catalog has one entry per data set ({str(error).splitlines()[0]})"
        remedy = "take it from version control, or write it again: python -m workflow_scripts.lock_datasets"
        raise StudyError([Problem("", path.name, rule, remedy)], str(path)) from error
