"""Several config files and the command line, as Snakemake merges them, with the place that set each value."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from peft_lib.study.documents import Document, read_document, short
from peft_lib.study.problems import ABSENT, COMMAND_LINE, Lines, Location, Mark
from peft_lib.study.yaml_reader import MAX_DEPTH, MAX_DIGITS


def merge_documents(config: Mapping[str, Any], files: Sequence[Path | str]) -> Document:
    """Snakemake's merged configuration with the place that set each value: the last file that has it, else the command
    line. Problems of the files' notation are noted."""
    merged = Document()
    for file in files:
        document = read_document(short(file))
        merged.problems += document.problems
        merged.broken |= document.broken
        _update(merged, document, ())
    if any(not p.path for p in merged.problems):  # a file that cannot be read: aliases may make its data huge
        return merged
    result = Document(_as_data(config), {}, merged.problems, merged.broken)
    _compare(result, result.data, merged.data, merged.lines, ())
    if () in merged.lines:
        result.lines[()] = merged.lines[()]
    return result


def _update(merged: Document, document: Document, location: Location) -> None:
    """As snakemake.utils.update_config: mappings are merged, everything else is replaced."""
    here, new = _at(merged.data, location), _at(document.data, location)
    for key, value in new.items():
        place = (*location, key)
        if isinstance(value, dict) and isinstance(here.get(key), dict):
            merged.lines[place] = document.lines.get(place, Mark("?"))
            _update(merged, document, place)
        else:
            here[key] = value
            merged.lines = {p: m for p, m in merged.lines.items() if p[: len(place)] != place}
            merged.lines |= {p: m for p, m in document.lines.items() if p[: len(place)] == place}
    if not location and () in document.lines:
        merged.lines[()] = document.lines[()]


def _at(data: Any, location: Iterable[str | int]) -> Any:
    for part in location:
        data = data[part]
    return data


def _compare(result: Document, value: Any, filed: Any, lines: Lines, location: Location) -> None:
    if isinstance(value, dict) and isinstance(filed, dict):
        result.lines[location] = lines.get(location, COMMAND_LINE)
        for key in value:
            _compare(result, value[key], filed.get(key, ABSENT), lines, (*location, key))
    elif isinstance(value, list) and isinstance(filed, list) and len(value) == len(filed):
        result.lines[location] = lines.get(location, COMMAND_LINE)
        for index, (one, other) in enumerate(zip(value, filed, strict=True)):
            _compare(result, one, other, lines, (*location, index))
    elif _same(value, filed) or location in result.broken:
        result.lines[location] = lines.get(location, COMMAND_LINE)
    else:
        result.lines[location] = COMMAND_LINE
        _replace(result.data, location, _from_command_line(value, top=len(location) == 1))


def _same(value: Any, filed: Any) -> bool:
    both_nan = isinstance(value, float) and isinstance(filed, float) and value != value and filed != filed
    return both_nan or (type(value) is type(filed) and value == filed)


def _replace(data: Any, location: Location, value: Any) -> None:
    if location:
        _at(data, location[:-1])[location[-1]] = value


def _from_command_line(value: Any, top: bool = False) -> Any:
    """Snakemake reads nested values of --config as texts: '{rank: 16}' gives '16'. They are read as YAML reads them.

    At the top level it makes numbers itself, so that a text there is meant as one (title='"2026"').
    """
    if isinstance(value, dict):
        return {k: _from_command_line(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_from_command_line(v) for v in value]
    words = r"true|True|false|False|null|~"
    numbers = r"-?[0-9]+|-?[0-9]*\.[0-9]+(e[-+][0-9]+)?"
    if isinstance(value, str) and re.fullmatch(words if top else f"{words}|{numbers}", value):
        return yaml.safe_load(value) if len(value) <= MAX_DIGITS else value
    return value


def _as_data(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Plain dicts and lists, copied; what refers to itself is cut (the file's own reading reports it)."""
    if id(value) in above or len(above) > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {k: _as_data(v, (*above, id(value))) for k, v in value.items() if isinstance(k, str)}
    if isinstance(value, (list, tuple)):
        return [_as_data(v, (*above, id(value))) for v in value]
    return value
