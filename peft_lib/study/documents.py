"""Reading YAML and JSON files: the data, the line of every value, and what is wrong with the notation.

YAML is composed here from the parser's events, which is iterative: depth, size and what aliases expand to are counted
before anything is built, so that no file can hang or crash the planning. YAML 1.1's surprises (octal and base-60 numbers,
dates, yes and no) are refused where they change what was written, and named where they make a wrong type.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from peft_lib.study.problems import (
    ABSENT,
    COMMAND_LINE,
    Lines,
    Location,
    Mark,
    Problem,
    Shown,
    StudyError,
    dotted,
    shown,
)

MAX_BYTES = 1_000_000
MAX_DEPTH = 30
MAX_VALUES = 50_000
MAX_DIGITS = 15
"""Limits of a file: bytes, levels, values with aliases expanded, digits of an integer."""

_CORE = "tag:yaml.org,2002:"
_PLAIN = re.compile(
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_construct = yaml.constructor.SafeConstructor()
_resolver = yaml.resolver.Resolver()


@dataclass
class Document:
    """A file as read: its mapping (empty if it has none), where each value stands, and the problems of its notation."""

    data: dict[str, Any] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    broken: set[Location] = field(default_factory=set)
    """Locations with a problem: what stands there was not read as it was meant."""


def read_yaml(path: Path | str) -> tuple[dict[str, Any], Lines]:
    """The mapping in a YAML or JSON file, and where every value in it stands.

    Raises StudyError if the file cannot be read, is no mapping, repeats a key (YAML keeps the last silently), or has
    notation that is refused (docs/study.md).
    """
    document = read_document(path)
    if document.problems:
        raise StudyError(document.problems, str(path))
    return document.data, document.lines


def read_document(path: Path | str) -> Document:
    """The file with its problems; see `read_yaml`. `~` at the start of a path is the home folder."""
    document = Document()
    try:
        text = _text(Path(path).expanduser(), str(path), document)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        document.problems.append(
            Problem("", str(path), f"the file must be readable ({reason})", "check the path and its permissions")
        )
        text = None
    if text is not None:
        _parse(text, str(path), document)
    return document


def _text(path: Path, name: str, document: Document) -> str | None:
    """The file's text, or None with the problem noted."""
    rule, remedy, line = _unreadable(path)
    raw = b"" if rule else path.read_bytes()
    text = None
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        rule, line = "the file must be in UTF-8, this is UTF-16 or UTF-32", 1
        remedy = "save it as UTF-8 in your editor"
    elif not rule:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
            rule = f"the file must be text in UTF-8; byte 0x{raw[error.start]:02x} is none"
            remedy = "save it as UTF-8 in your editor"
    if text is not None and (match := CONTROL.search(text)):
        line = text[: match.start()].count("\n") + 1
        rule = f"the file has the control character U+{ord(match[0]):04X}: text has none"
        remedy = "remove it; a binary file is no study and no catalog"
    if rule:
        document.problems.append(Problem("", name, rule, remedy, line, name if line else None))
        return None
    return text


def _unreadable(path: Path) -> tuple[str, str, int | None]:
    """Why a path is no file to read: rule, remedy and no line; empty texts if it is one."""
    if path.is_dir():
        return "this is a folder, a YAML file is needed", "give the path of the file", None
    if path.is_symlink() and not path.exists():
        return "this link leads to a file that does not exist", "mend the link or give the file itself", None
    if not path.exists():
        return "the file must exist", "check the path; it starts at the folder that the workflow runs in", None
    if not path.is_file():
        return "this is no regular file", "give the path of a YAML file", None
    if path.stat().st_size > MAX_BYTES:
        return f"a file has at most {MAX_BYTES:,} bytes, this has {path.stat().st_size:,}", "shorten it", None
    return "", "", None


def _parse(text: str, name: str, document: Document) -> None:
    if text.lstrip().startswith("{"):
        try:  # as Snakemake does: JSON is no subset of YAML where a text has a surrogate pair
            _parse_json(text, name, document)
            return
        except (ValueError, RecursionError):
            pass  # a YAML mapping in braces, or broken: YAML says what is wrong
    reader = _Reader(name, document)
    try:
        root = reader.compose(text)
        if root is not None:
            value = reader.build(root)
            if isinstance(value, dict):
                document.data = value
            elif not document.problems:
                reader.problem((), value, "the file must be a mapping: key: value", "start from the shipped file", root)
        elif not document.problems:
            document.problems.append(
                Problem("", ABSENT, "the file is empty", "start from the shipped config.yaml", 1, name)
            )
    except _Stop:
        pass
    except yaml.YAMLError as error:
        document.problems.append(_syntax(error, text, name))


def _syntax(error: yaml.YAMLError, text: str, name: str) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else None
    rows = text.splitlines()
    row = rows[line - 1] if line and line <= len(rows) else ""
    said = " ".join(str(w) for w in (getattr(error, "context", ""), getattr(error, "problem", "")) if w)
    rule, remedy = f"the file must be YAML ({said or 'it cannot be read'})", "mend the syntax on or above this line"
    if "\t" in row[: len(row) - len(row.lstrip())] or "'\\t'" in said:
        rule, remedy = "YAML is indented with blanks, this line has a tab", "replace the tab by blanks"
    elif "undefined alias" in said:
        rule, remedy = "an alias (*name) needs an anchor (&name) above it", "define it, or write the value in quotes"
    elif "mapping values are not allowed" in said:
        remedy = "a text with ': ' in it needs quotes; otherwise check the indentation"
    elif row.lstrip().startswith(("@", "`", "%")) or "cannot start any token" in said:
        remedy = "put a text that starts with @, `, % or * in quotes"
    return Problem("", row.strip() or name, rule, remedy, line, name)


def _parse_json(text: str, name: str, document: Document) -> None:
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [k for k, _ in items]
        repeated.extend(k for k in dict.fromkeys(keys) if keys.count(k) > 1)
        return dict(items)

    def whole(digits: str) -> float:
        return int(digits) if len(digits) <= MAX_DIGITS else math.inf

    document.data = json.loads(text, object_pairs_hook=pairs, parse_int=whole)
    document.problems += [Problem(k, k, "a key may appear once", "remove one of them", None, name) for k in repeated]
    scratch = Document()
    try:
        root = _Reader(name, scratch).compose(text)
        if root is not None and text.count("\n") > 1:
            _Reader(name, scratch).build(root)
            document.lines |= scratch.lines
    except (yaml.YAMLError, _Stop):
        pass  # the data are read; only the lines are unknown
    document.lines.setdefault((), Mark(name))


class _Stop(Exception):
    """The file cannot be read further; the problem is noted."""


class _Reader:
    """Nodes from events, then data and lines from nodes; everything is counted on the way."""

    def __init__(self, name: str, document: Document):
        self.name, self.document, self.count = name, document, 0

    def problem(self, location: Location, value: Any, rule: str, remedy: str, node: yaml.Node | yaml.Event) -> None:
        line = _line(node)
        problem = Problem(dotted(location), value if _plain(value) else Shown(value), rule, remedy, line, self.name)
        self.document.problems.append(problem)
        self.document.broken.add(location)

    def compose(self, text: str) -> yaml.Node | None:
        """The node graph of the one document."""
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        anchors: dict[str, yaml.Node] = {}
        open_nodes: list[yaml.CollectionNode] = []
        keys: list[yaml.Node | None] = []
        root: yaml.Node | None = None
        documents = 0
        for event in yaml.parse(text, Loader=loader):
            node: yaml.Node | None = None
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    rule = "a file holds one document; a line of '---' starts another"
                    self.problem((), "---", rule, "remove the line, or split the file", event)
                    raise _Stop
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    rule = "an alias (*name) needs an anchor (&name) above it"
                    self.problem((), f"*{event.anchor}", rule, "define it, or write the value in quotes", event)
                    raise _Stop
                node = anchors[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                tag = event.tag or _resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
                node = yaml.ScalarNode(tag, event.value, event.start_mark)  # type: ignore[arg-type]
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = yaml.MappingNode if isinstance(event, yaml.MappingStartEvent) else yaml.SequenceNode
                default = "map" if kind is yaml.MappingNode else "seq"
                node = kind(event.tag or _CORE + default, [], event.start_mark)  # type: ignore[arg-type]
                if len(open_nodes) >= MAX_DEPTH:
                    rule = f"values are nested at most {MAX_DEPTH} deep"
                    self.problem((), "...", rule, "mend the brackets or the indentation", event)
                    raise _Stop
            elif isinstance(event, yaml.CollectionEndEvent):
                open_nodes.pop()
                keys.pop()
            if node is None:
                continue
            if isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) and event.anchor:
                anchors[event.anchor] = node
            if not open_nodes:
                root = node
            elif isinstance(open_nodes[-1], yaml.SequenceNode):
                open_nodes[-1].value.append(node)
            elif keys[-1] is None:
                keys[-1] = node
            else:
                open_nodes[-1].value.append((keys[-1], node))
                keys[-1] = None
            if isinstance(event, yaml.CollectionStartEvent) and isinstance(node, yaml.CollectionNode):
                open_nodes.append(node)
                keys.append(None)
        return None if root is None or _is_nothing(root) else root

    def build(self, node: yaml.Node, location: Location = (), above: tuple[int, ...] = ()) -> Any:
        """Data of a node; notes the line of everything in it."""
        self.count += 1
        if self.count > MAX_VALUES:
            rule = f"a file holds at most {MAX_VALUES:,} values, aliases (*name) written out"
            self.problem((), "...", rule, "remove the aliases of aliases", node)
            raise _Stop
        self.document.lines[location] = Mark(self.name, _line(node))
        if id(node) in above:
            self.problem(location, "*alias", "an alias may not stand inside what it names", "write the value out", node)
            return None
        if len(above) > MAX_DEPTH:
            self.problem(
                (), "...", f"values are nested at most {MAX_DEPTH} deep", "remove the aliases of aliases", node
            )
            raise _Stop
        above = (*above, id(node))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, location)
        if not node.tag.startswith(_CORE) or node.tag[len(_CORE) :] not in ("map", "seq"):
            self.tag(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*location, index), above) for index, item in enumerate(node.value)]
        return self.mapping(node, location, above) if isinstance(node, yaml.MappingNode) else None

    def mapping(self, node: yaml.MappingNode, location: Location, above: tuple[int, ...]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        seen: dict[str, int] = {}
        merged: list[yaml.Node] = []
        for key, value in node.value:
            if key.tag == _CORE + "merge":
                merged += value.value if isinstance(value, yaml.SequenceNode) else [value]
                continue
            if (name := self.key(key, location)) is None:
                continue
            if name in seen:
                rule = f"a key may appear once; it is on line {seen[name]} too"
                self.problem((*location, name), name, rule, "remove one of them", key)
            seen[name] = _line(key)
            if id(value) in above:
                rule = "an alias may not stand inside what it names"
                self.problem((*location, name), "*alias", rule, "write the value out", key)
                continue
            data[name] = self.build(value, (*location, name), above)
            if isinstance(value, yaml.ScalarNode) or id(value) not in above:
                self.document.lines[(*location, name)] = Mark(self.name, _line(key))
        for other in merged:
            if not isinstance(other, yaml.MappingNode) or id(other) in above:
                rule = "<< takes the keys of other mappings: an alias of a mapping, or a list of them"
                self.problem(location, "<<", rule, "write <<: *name, where &name stands at a mapping", other)
                continue
            below = Document()
            reader = _Reader(self.name, below)
            reader.count = self.count
            extra = reader.mapping(other, location, (*above, id(other)))
            self.count = reader.count
            new = {k: v for k, v in extra.items() if k not in data}
            data |= new
            kept = {p: m for p, m in below.lines.items() if len(p) > len(location) and p[len(location)] in new}
            self.document.lines |= kept
        return data

    def key(self, node: yaml.Node, location: Location) -> str | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == _CORE + "str":
            return node.value
        if not isinstance(node, yaml.ScalarNode):
            self.problem(location, "?", "a key is a text, this is a list or mapping", "write the key as a word", node)
            return None
        kind = node.tag.removeprefix(_CORE)
        word = {"bool": "true or false", "null": "null", "int": "a number", "float": "a number", "timestamp": "a date"}
        rule = f"a key is a text; YAML 1.1 reads {node.value or 'nothing'} as {word.get(kind, kind)}"
        self.problem((*location, node.value), node.value, rule, "put the key in quotes, or use another word", node)
        return None

    def tag(self, node: yaml.Node, location: Location) -> None:
        name = "!!" + node.tag[len(_CORE) :] if node.tag.startswith(_CORE) else node.tag
        rule = "tags that make objects are refused: files hold plain texts, numbers, lists and mappings"
        self.problem(location, name, rule, "remove the tag; put a text that starts with '!' in quotes", node)

    def scalar(self, node: yaml.ScalarNode, location: Location) -> Any:
        kind, text = node.tag.removeprefix(_CORE), node.value
        if kind in ("int", "float"):
            if not _PLAIN.fullmatch(text) or (kind == "int" and not re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", text)):
                return self.number(node, kind, location)
            if kind == "int" and len(text) > MAX_DIGITS:
                self.problem(
                    location, text, f"a whole number has at most {MAX_DIGITS} digits", "use a smaller one", node
                )
                return 0
            return int(text) if kind == "int" else float(_construct.construct_yaml_float(node))
        if kind == "bool" and text.lower() in _construct.bool_values:
            return _construct.construct_yaml_bool(node)
        if kind == "null":
            return None
        if kind in ("str", "value", "merge"):
            return text
        if kind == "timestamp":
            rule = f"YAML 1.1 reads {text} as a date, and nothing in this file is a date"
            self.problem(location, text, rule, f"for the text write it in quotes: '{text}'", node)
            return text
        self.tag(node, location)
        return text

    def number(self, node: yaml.ScalarNode, kind: str, location: Location) -> Any:
        """Notations that YAML 1.1 reads as another number than most people do."""
        text = node.value
        try:
            value = _construct.construct_yaml_int(node) if kind == "int" else _construct.construct_yaml_float(node)
        except (ValueError, IndexError):
            value = None
        octal = re.match(r"[-+]?0[0-7_]+$", text)
        base = "in base 60" if ":" in text else "in base 8" if octal else "in another notation"
        rule = f"numbers are plain decimals; YAML 1.1 reads {text[:40]} as {shown(value)}"
        if "_" not in text or base != "in another notation":
            rule += f", a number {base}"
        remedy = f"write the number as a decimal, e.g. {shown(value)}, or the text in quotes: '{text[:40]}'"
        self.problem(location, text, rule, remedy, node)
        return value


def _line(node: yaml.Node | yaml.Event) -> int:
    return node.start_mark.line + 1 if node.start_mark else 1


def _is_nothing(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _CORE + "null" and not node.value


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool, type(None)))


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


def short(path: Path | str) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)


def _as_data(value: Any, above: tuple[int, ...] = ()) -> Any:
    """Plain dicts and lists, copied; what refers to itself is cut (the file's own reading reports it)."""
    if id(value) in above or len(above) > MAX_DEPTH:
        return None
    if isinstance(value, Mapping):
        return {k: _as_data(v, (*above, id(value))) for k, v in value.items() if isinstance(k, str)}
    if isinstance(value, (list, tuple)):
        return [_as_data(v, (*above, id(value))) for v in value]
    return value
