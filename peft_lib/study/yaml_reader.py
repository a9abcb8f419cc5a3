"""YAML from text to data, the line of every value, and what is wrong with the notation.

YAML is composed here from the parser's events, which is iterative: depth, size and what aliases expand to are counted
before anything is built, so that no file can hang or crash the planning. YAML 1.1's surprises (octal and base-60 numbers,
dates, yes and no) are refused where they change what was written, and named where they make a wrong type.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from peft_lib.study.problems import Lines, Location, Mark, Problem, Shown, dotted, shown

MAX_DEPTH = 30
MAX_VALUES = 50_000
MAX_DIGITS = 15
"""Limits of a file: levels, values with aliases expanded, digits of an integer."""

_CORE = "tag:yaml.org,2002:"
_PLAIN = re.compile(
    r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
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


class Stop(Exception):
    """The file cannot be read further; the problem is noted."""


class Reader:
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
                    raise Stop
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    rule = "an alias (*name) needs an anchor (&name) above it"
                    self.problem((), f"*{event.anchor}", rule, "define it, or write the value in quotes", event)
                    raise Stop
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
                    raise Stop
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
            raise Stop
        self.document.lines[location] = Mark(self.name, _line(node))
        if id(node) in above:
            self.problem(location, "*alias", "an alias may not stand inside what it names", "write the value out", node)
            return None
        if len(above) > MAX_DEPTH:
            self.problem(
                (), "...", f"values are nested at most {MAX_DEPTH} deep", "remove the aliases of aliases", node
            )
            raise Stop
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
            reader = Reader(self.name, below)
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


def syntax_problem(error: yaml.YAMLError, text: str, name: str) -> Problem:
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
