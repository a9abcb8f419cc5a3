"""From data to records, part by part: what is good is kept and every problem noted, in words of our own.

A record (a pydantic model) is read field by field with strict types; a field that is wrong is left out and its location
remembered, so that later checks can go on with the rest and stay silent about what hangs on it.
"""

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from peft_lib.names import near_names
from peft_lib.study.problems import ABSENT, Lines, Location, Problem, problem_at, strange_characters
from peft_lib.study.wording import (
    OneOrMany,
    Refused,
    describe,
    example,
    example_of,
    explain,
    is_optional,
    plainly,
    unwrap,
    words_of,
)

M = TypeVar("M", bound=BaseModel)

HOMES: dict[str, str] = {}
"""Key -> where it belongs, for keys that stand at a wrong level; filled by the schema."""


class Parser:
    """Reads records and collects problems. `broken`: locations whose value could not be used."""

    def __init__(self, lines: Lines, problems: Iterable[Problem] = (), broken: Iterable[Location] = ()):
        self.lines, self.problems, self.broken = lines, list(problems), set(broken)

    def problem(self, location: Location, value: object, rule: str, remedy: str) -> None:
        """Notes a problem, unless what stands there (or around it) has one already."""
        if not self.is_broken(location):
            self.problems.append(problem_at(location, value, rule, remedy, self.lines))
        self.broken.add(location)

    def is_broken(self, location: Location) -> bool:
        return any(location[:length] in self.broken for length in range(len(location) + 1))

    def is_broken_below(self, location: Location) -> bool:
        """Whether a value in it, or all of it, could not be used."""
        return any(place[: len(location)] == location for place in self.broken)

    def model(self, kind: type[M], data: Any, location: Location, /, **known: Any) -> M:
        """The record; fields that are absent or wrong have their default, or an empty value if they are required."""
        if not isinstance(data, dict):
            keys = ", ".join(k for k, f in kind.model_fields.items() if f.is_required()) or next(
                iter(kind.model_fields)
            )
            self.problem(location, data, f"{_name(location)} is a mapping", f"write {keys}: ... below it")
            data = {}
        values: dict[str, Any] = dict(known)
        not_null = getattr(kind, "not_null", ())
        for key, value in data.items():
            info = kind.model_fields.get(key)
            place = (*location, key)
            if info is None or key in known:
                self.unknown(place, key, [n for n in kind.model_fields if n not in known])
            elif value is None and key in not_null:
                leave = "" if info.is_required() else "leave the line out (a setting is then inherited), or "
                remedy = f"{leave}write a value, e.g. {key}: {example(info)}"
                self.problem(place, None, f"{key} cannot be null; it is {words_of(info)}", remedy)
            else:
                read = self.value(Annotated[info.annotation, *info.metadata, info], value, place)
                if place not in self.broken or read is not ABSENT:
                    values[key] = read
        for key, info in kind.model_fields.items():
            if key not in values and info.is_required():
                if key not in data:
                    where = f" of {_name(location)}" if location else ""
                    rule, remedy = f"{key}{where} is missing: it is {words_of(info)}", f"add {key}: {example(info)}"
                    self.problem((*location, key), ABSENT, rule, remedy)
                values[key] = _empty(info.annotation)
        return kind.model_construct(_fields_set={k for k in values if k in data or k in known}, **values)

    def unknown(self, location: Location, key: str, known: list[str]) -> None:
        near = near_names(key, known)
        odd = strange_characters(key)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"known keys: {', '.join(known) or 'none'}"
        if key in HOMES and not any(key.startswith(name) or name.startswith(key) for name in near):
            remedy = f"{key} belongs under {HOMES[key]}"
        self.problem(location, key, f"unknown key{f' ({odd})' if odd else ''}", remedy)

    def value(self, annotation: Any, value: Any, location: Location) -> Any:
        """A value of a type; ABSENT, with the problem noted, if it is of another."""
        kind, metadata = unwrap(annotation)
        if value is None and is_optional(annotation):
            return None
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return self.model(kind, value, location)
        if tag := next((m.discriminator for m in metadata if isinstance(m, FieldInfo) and m.discriminator), None):
            return self.one_of(get_args(kind) or (kind,), str(tag), value, location)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
            return self.items(kind, metadata, arguments[0], value, location)
        if origin is dict:
            return self.mapping(kind, metadata, arguments, value, location)
        if isinstance(value, list):
            value = tuple(value)
        try:
            return _adapter(annotation).validate_python(value, strict=True)
        except ValidationError as error:
            self.refuse(error, annotation, value, location)
        except (OverflowError, RecursionError) as error:
            self.problem(location, value, f"{_name(location)} is {describe(annotation)} ({error})", "use another value")
        return ABSENT

    def one_of(self, kinds: tuple[type[BaseModel], ...], tag: str, data: Any, location: Location) -> BaseModel:
        """The record of a union whose kinds are told apart by a field. Without a word that is known, what all have in
        common is read."""
        by_word = {word: kind for kind in kinds for word in get_args(kind.model_fields[tag].annotation)}
        common = _common(kinds)
        word = data.get(tag) if isinstance(data, dict) else None
        if not isinstance(data, dict):
            return self.model(common, data, location)
        if not isinstance(word, str) or word not in by_word:
            rule, remedy = explain(tag, Literal[tuple(by_word)], word)
            if tag not in data:
                rule, remedy = f"{tag} of {_name(location)} is missing: {rule}", f"add {tag}: {next(iter(by_word))}"
            self.problem((*location, tag), data.get(tag, ABSENT), rule, remedy)
            known = {key: value for key, value in data.items() if key in common.model_fields and key != tag}
            return self.model(common, known, location, **{tag: None})
        kind, given = by_word[word], dict(data)
        for key in [k for k in data if k not in kind.model_fields]:
            others = [other for other, fields in by_word.items() if key in fields.model_fields]
            if others and given.pop(key) is not None:
                rule = f"{tag} {word} does not use {key}; {', '.join(others)} does"
                self.problem((*location, key), data[key], rule, f"remove the line, or choose another {tag}")
        return self.model(kind, given, location)

    def items(self, kind: Any, metadata: tuple, item: Any, value: Any, location: Location) -> Any:
        if not isinstance(value, (list, tuple)):
            if any(isinstance(m, OneOrMany) for m in metadata):
                value = [value]
            else:
                wrong = isinstance(value, dict)
                remedy = "write a list: a line starting with '- ' for each" if wrong else f"write [{plainly(value)}]"
                if value is None:
                    remedy = "remove the line, or write a list after it; nothing at all is null"
                if isinstance(value, str) and unwrap(item)[0] is int:
                    remedy = "write every one, e.g. [0, 1, 2]"
                self.problem(location, value, f"{_name(location)} is a list", remedy)
                return ()
        if not value and any(isinstance(m, at.MinLen) and m.min_length for m in metadata):
            given = next((m.examples[0] for m in metadata if isinstance(m, FieldInfo) and m.examples), None)
            remedy = f"write at least one, e.g. {plainly(given) if given else f'[{example_of(item)}]'}"
            self.problem(location, [], f"{_name(location)} is a list of at least one", remedy)
            return ()
        single = len(value) == 1 and (*location, 0) not in self.lines and location in self.lines
        read = [self.value(item, v, location if single else (*location, i)) for i, v in enumerate(value)]
        return tuple(v for v in read if v is not ABSENT)

    def mapping(self, kind: Any, metadata: tuple, arguments: tuple, value: Any, location: Location) -> Any:
        if not isinstance(value, dict):
            self.problem(location, value, f"{_name(location)} is a mapping", "write name: value below it")
            return {}
        if not value and any(isinstance(m, at.MinLen) and m.min_length for m in metadata):
            self.problem(location, {}, f"{_name(location)} needs at least one entry", "add one: docs/study.md shows it")
            return {}
        read: dict[Any, Any] = {}
        for key, item in value.items():
            place = (*location, key)
            self.value(arguments[0], key, place)
            made = self.value(arguments[1], item, place)
            if made is not ABSENT and isinstance(key, str):
                read[key] = made
        return read

    def refuse(self, error: ValidationError, annotation: Any, value: Any, location: Location) -> None:
        """One problem for a value of a wrong kind, however many branches of a union it failed."""
        own = next((e["ctx"]["error"] for e in error.errors(include_url=False) if e["type"] == "value_error"), None)
        if isinstance(own, ValueError):
            remedy = own.remedy if isinstance(own, Refused) else f"use e.g. {example_of(annotation)}"
            self.problem(location, value, str(own), remedy)
            return
        rule, remedy = explain(_name(location), annotation, value)
        self.problem(location, value, rule, remedy)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


def _common(kinds: tuple[type[BaseModel], ...]) -> type[BaseModel]:
    """The nearest class that all are built on."""
    return next(base for base in kinds[0].__mro__ if all(issubclass(kind, base) for kind in kinds))


def _empty(annotation: Any) -> Any:
    kind, _ = unwrap(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_construct()
    return {tuple: (), dict: {}}.get(get_origin(kind))


def _name(location: Location) -> str:
    """The last name of a location: grids.main.seeds[2] -> seeds[2]."""
    index = next((i for i in range(len(location) - 1, -1, -1) if isinstance(location[i], str)), None)
    if index is None:
        return "the file" if not location else "the entry"
    return str(location[index]) + "".join(f"[{part}]" for part in location[index + 1 :])
