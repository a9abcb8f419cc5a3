"""Reading YAML files into validated records; every problem is found before any is reported."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from peft_lib.names import near_names
from peft_lib.study.catalogs import DatasetEntry, Entry, ModelEntry
from peft_lib.study.problems import Problem, StudyError
from peft_lib.study.schema import Study

E = TypeVar("E", bound=Entry)
Lines = dict[str, int]


def dotted(location: tuple[str | int, ...]) -> str:
    """YAML path of a location: ('grids', 'main', 'methods', 2) -> grids.main.methods[2]."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def read_yaml(path: Path | str) -> tuple[dict[str, Any], Lines]:
    """The mapping in a YAML file and the line of every path in it.

    Raises StudyError if the file is absent, is not YAML, is not a mapping, or repeats a key (YAML keeps the last silently).
    """
    path = Path(path)
    if not path.is_file():
        raise StudyError([Problem("", str(path), "the file must exist", "check the path")], str(path))
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        problems = list(_repeated_keys(node)) if node else []
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else None
        problem = Problem("", str(error).splitlines()[0], "the file must be YAML in UTF-8", "mend the syntax", line)
        raise StudyError([problem], str(path)) from error
    if problems:
        raise StudyError(problems, str(path))
    if not isinstance(data, dict):
        problem = Problem("", data, "the file must be a mapping", "start from the shipped config.yaml")
        raise StudyError([problem], str(path))
    return data, dict(_lines(node)) if node else {}


def _repeated_keys(node: yaml.Node, location: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                rule = f"a key may appear once; it is on line {seen[key.value]} too"
                yield Problem(dotted((*location, key.value)), key.value, rule, "remove one of them", line)
            seen[key.value] = line
            yield from _repeated_keys(value, (*location, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(item, (*location, index))


def _lines(node: yaml.Node, location: tuple[str | int, ...] = ()) -> Iterator[tuple[str, int]]:
    yield dotted(location), node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _lines(value, (*location, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _lines(item, (*location, index))


def problems_of(
    error: ValidationError, model: type[BaseModel], prefix: tuple[str | int, ...], lines: Lines
) -> list[Problem]:
    """One Problem per pydantic error; unknown keys get the nearest known names."""
    found = []
    for item in error.errors():
        location = prefix + tuple(part for part in item["loc"] if not _is_tag(part))
        path = dotted(location)
        rule, remedy = item["msg"].removeprefix("Value error, "), "see docs/study.md for this field"
        if item["type"] == "extra_forbidden":
            known = _known_keys(model, item["loc"][:-1])
            near = near_names(item["loc"][-1], known)
            rule = "unknown key"
            remedy = f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(known)}"
        elif item["type"] == "missing":
            rule, remedy = "required field is absent", "add it"
        found.append(Problem(path, item["input"], rule, remedy, line_of(location, lines)))
    return found


def _is_tag(part: str | int) -> bool:
    """Union branches and validators add parts to a location that are no YAML keys."""
    return isinstance(part, str) and (part in ("float", "int", "str", "bool", "[key]") or "[" in part or "(" in part)


def line_of(location: tuple[str | int, ...], lines: Lines) -> int | None:
    """Line of a location in the file, or of the nearest thing around it that the file has."""
    paths = (dotted(location[:length]) for length in range(len(location), -1, -1))
    return next((lines[path] for path in paths if path in lines), None)


def _known_keys(model: Any, location: tuple[str | int, ...]) -> list[str]:
    """Field names of the model that a location inside `model` points at."""
    for part in location:
        models = _models_in(model.model_fields[part].annotation) if _has(model, part) else [model]
        model = models[0] if models else model
    return list(model.model_fields)


def _has(model: type[BaseModel], part: str | int) -> bool:
    return isinstance(part, str) and part in model.model_fields


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in get_args(annotation) for m in _models_in(argument)]


def parse_study(data: Mapping[str, Any], lines: Lines | None = None, source: str = "study") -> Study:
    """A validated study. Raises StudyError with every problem at once."""
    try:
        return Study.model_validate(dict(data))
    except ValidationError as error:
        raise StudyError(problems_of(error, Study, (), lines or {}), source) from error


def load_models(path: Path | str) -> dict[str, ModelEntry]:
    """Model catalog: id -> entry."""
    return _load_catalog(path, ModelEntry)


def load_datasets(path: Path | str) -> dict[str, DatasetEntry]:
    """Data set catalog: id -> entry."""
    return _load_catalog(path, DatasetEntry)


def _load_catalog(path: Path | str, kind: type[E]) -> dict[str, E]:
    data, lines = read_yaml(path)
    entries: dict[str, E] = {}
    problems: list[Problem] = []
    for entry_id, fields in data.items():
        if not isinstance(fields, dict):
            problems.append(Problem(str(entry_id), fields, "a catalog entry is a mapping", "see docs/study.md"))
            continue
        try:
            entries[entry_id] = kind.model_validate({"id": entry_id, **fields})
        except ValidationError as error:
            problems += problems_of(error, kind, (str(entry_id),), lines)
    if problems:
        raise StudyError(problems, str(path))
    return entries
