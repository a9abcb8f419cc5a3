"""What a type allows, in words: for error messages, and for the table of docs/study.md."""

import re
import types
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types as at
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from peft_lib.names import near_names
from peft_lib.study.problems import strange_characters

EXPONENT = re.compile(r"[-+]?[0-9.]*[eE][-+]?[0-9.]+")
YAML_BOOLEANS = "YAML 1.1 reads on, off, yes and no as true and false"


class Refused(ValueError):
    """Raised by a validator: the rule in words, and the remedy."""

    def __init__(self, rule: str, remedy: str):
        super().__init__(rule)
        self.remedy = remedy


def known(name: str, names: Iterable[str], rule: str) -> str:
    """The name, if it is one of the names. Raises Refused with the rule, and those that may have been meant."""
    names = list(names)
    if name not in names:
        near = near_names(name, names)
        raise Refused(rule, f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(names)}")
    return name


class Words(str):
    """Metadata of a type: what it allows, in words ('a number above 0')."""


class OneOrMany:
    """Metadata of a list that may be written as its only value."""


def explain(name: str, annotation: Any, value: Any) -> tuple[str, str]:
    """Rule and remedy for a value that is not of a type."""
    words, sample = describe(annotation), example_of(annotation)
    rule, remedy = f"{name} is {words}", f"for example {name}: {sample}"
    base = unwrap(annotation)[0]
    choices = [str(c) for c in get_args(base)] if get_origin(base) is Literal else []
    wants_number, wants_text = base in (int, float), base is str
    if isinstance(value, str) and (wants_number or choices) and (odd := strange_characters(value)):
        rule += f"; {odd}"
    if isinstance(value, bool) and base is not bool:
        rule += f", not {'true' if value else 'false'}; {YAML_BOOLEANS}"
        remedy = remedy if wants_number else f"put the text in quotes; {remedy}"
    elif value is None:
        rule += ", not null (an empty value is null too)"
    elif choices:
        near = near_names(value, choices, count=1)
        remedy = f"did you mean {near[0]}?" if near else f"use {choices[0]}"
    elif wants_number and isinstance(value, str) and not (base is float and EXPONENT.fullmatch(value.strip())):
        rule += ", this is a text"
        if re.fullmatch(r"\s*[-+]?[0-9.]+\s*", value):
            remedy = f"write it without quotes: {name}: {value.strip()}"
        elif base is int and (match := re.fullmatch(r"([0-9]+)[eE]\+?([0-9]{1,2})", value)):
            remedy = f"write it out: {name}: {int(match[1]) * 10 ** int(match[2])}"
    elif base is int and isinstance(value, float):
        rule += ", without a decimal point"
        remedy = (
            f"write {name}: {int(value)}" if value == value and abs(value) < 1e9 and value == int(value) else remedy
        )
    elif base is bool:
        remedy = f"write {name}: true or {name}: false, without quotes"
    elif wants_text and isinstance(value, (int, float)):
        rule, remedy = f"{rule}, this is a number", f'put it in quotes: {name}: "{value}"'
    return rule, remedy


def describe(annotation: Any) -> str:
    """A type in words: 'a whole number of at least 1'."""
    kind, metadata = unwrap(annotation)
    said = next((m for m in reversed(metadata) if isinstance(m, Words)), None)
    if said is not None:
        return str(said)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _listed([str(a) for a in arguments])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(Annotated[a, *metadata] if metadata else a) for a in arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        one = " (or a single one)" if any(isinstance(m, OneOrMany) for m in metadata) else ""
        return f"a list{one}; each is {describe(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}, each {describe(arguments[0])}"
    if origin is dict:
        return f"a mapping; each value is {describe(arguments[1])}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a mapping"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(kind, "any value")
    return words + _bounds(metadata)


def words_of(info: FieldInfo) -> str:
    return describe(Annotated[info.annotation, *info.metadata, info])


def example(info: FieldInfo) -> str:
    return example_of(Annotated[info.annotation, *info.metadata, info])


def example_of(annotation: Any) -> str:
    """A value of the type, as one writes it."""
    kind, metadata = unwrap(annotation)
    given = next((m.examples for m in reversed(metadata) if isinstance(m, FieldInfo) and m.examples), None)
    if given:
        return plainly(given[0])
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return str(arguments[0])
    if origin in (Union, types.UnionType):
        return example_of(arguments[0])
    if origin is tuple:
        return f"[{example_of(arguments[0])}]"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "{...}"
    low = max([int(str(m.ge)) for m in metadata if isinstance(m, at.Ge) and isinstance(m.ge, int)] or [1])
    return {int: str(low), float: "0.1", bool: "true"}.get(kind, "some_text")


def plainly(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"[{', '.join(map(plainly, value))}]" if isinstance(value, list) else str(value)


def _bounds(metadata: Iterable[Any]) -> str:
    low = high = ""
    for m in metadata:
        if isinstance(m, at.Ge):
            low = f"of at least {m.ge:,}"
        elif isinstance(m, at.Gt):
            low = f"above {m.gt:,}"
        elif isinstance(m, at.Le):
            high = f"at most {m.le:,}"
        elif isinstance(m, at.Lt):
            high = f"below {m.lt:,}"
    return "".join(f" {part}" for part in (low, f"{'and ' if low else 'of '}{high}" if high else "") if part)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The type without Annotated and None, and all metadata on the way (that of Field too), innermost first."""
    metadata: tuple[Any, ...] = ()
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            flat = [x for m in more for x in ((*m.metadata, m) if isinstance(m, FieldInfo) else (m,))]
            metadata = (*flat, *metadata)
        elif get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
            rest = [a for a in get_args(annotation) if a is not type(None)]
            if len(rest) > 1:
                return Union[tuple(rest)], metadata  # noqa: UP007 - made at run time
            annotation = rest[0]
        else:
            return annotation, metadata


def is_optional(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return is_optional(get_args(annotation)[0])
    return get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation)
