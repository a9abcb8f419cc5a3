"""Configuration errors: collected, then reported together, each with path, file and line, value, rule and remedy."""

import unicodedata
from dataclasses import dataclass
from typing import Any, NamedTuple

Location = tuple[str | int, ...]


class Mark(NamedTuple):
    """Where a value stands: a line of a file, or 'command line' without one."""

    file: str
    line: int | None = None


COMMAND_LINE = Mark("command line")
Lines = dict[Location, Mark]
"""Location of every value -> where it stands."""


class _Absent:
    def __repr__(self) -> str:
        return "(absent)"


ABSENT: Any = _Absent()
"""The value of a problem about something that is not there."""


@dataclass(frozen=True)
class Problem:
    """One violated rule. `path` is the YAML path, e.g. grids.main.methods[2]; `file` may be 'command line'."""

    path: str
    value: object
    rule: str
    remedy: str
    line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        where = escaped(self.path) or "(whole file)"
        if self.file:
            where += f" ({self.file}{f':{self.line}' if self.line else ''})"
        elif self.line:
            where += f" (line {self.line})"
        return f"{where}: {shown(self.value)}\n    rule:   {self.rule}\n    remedy: {self.remedy}"


class StudyError(ValueError):
    """A study that cannot be planned. `problems` has every violated rule that was found; str() is the whole message."""

    def __init__(self, problems: list[Problem], source: str = "study"):
        self.problems = tuple(dict.fromkeys(problems))
        count = f"{len(self.problems)} problem{'s' * (len(self.problems) != 1)}"
        super().__init__(f"{source}: {count}, nothing was run\n" + "\n".join(f"- {p}" for p in self.problems))


def dotted(location: Location) -> str:
    """YAML path of a location: ('grids', 'main', 'methods', 2) -> grids.main.methods[2]."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def mark_of(location: Location, lines: Lines) -> Mark | None:
    """Where a location stands, or the nearest thing around it that stands somewhere."""
    places = (location[:length] for length in range(len(location), -1, -1))
    return next((lines[place] for place in places if place in lines), None)


def problem_at(location: Location, value: object, rule: str, remedy: str, lines: Lines) -> Problem:
    mark = mark_of(location, lines)
    return Problem(
        dotted(location), hashable(value), rule, remedy, mark.line if mark else None, mark.file if mark else None
    )


def hashable(value: object) -> object:
    """Problems are compared, to tell each once; a mapping or list is kept as its text."""
    return Shown(value) if isinstance(value, (dict, list, tuple, set)) else value


class Shown(str):
    """A value that is only shown."""

    def __new__(cls, value: object) -> "Shown":
        return super().__new__(cls, shown(value))


def shown(value: object) -> str:
    """A value as one would write it in YAML, in one line of at most 80 characters; look-alike letters are escaped."""
    if isinstance(value, Shown):
        text = str(value)
    elif value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    elif isinstance(value, str):
        text = escaped(repr(value[:200]))
    elif isinstance(value, (list, tuple)):
        text = f"[{', '.join(shown(v) for v in value[:20])}]"
    elif isinstance(value, dict):
        text = f"{{{', '.join(f'{k}: {shown(v)}' for k, v in list(value.items())[:20])}}}"
    elif isinstance(value, int):
        text = str(value) if value.bit_length() < 250 else f"an integer of about {value.bit_length() * 3 // 10} digits"
    else:
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def escaped(text: str) -> str:
    """The text with what cannot be seen or told apart escaped: control characters always, and foreign letters among
    ASCII ones (a Cyrillic a in 'cla')."""
    mixed = not text.isascii() and any(c.isascii() and c.isalpha() for c in text)
    return "".join(c if (c.isascii() or not mixed) and c.isprintable() else ascii(c)[1:-1] for c in text)


def strange_characters(text: str) -> str:
    """Names the characters of an id that look like others or like nothing: 'character 3 is U+0430 CYRILLIC ...'."""
    odd = [(i, c) for i, c in enumerate(text, 1) if not (c.isascii() and c.isprintable())]
    return "; ".join(
        f"character {i} is U+{ord(c):04X} {unicodedata.name(c, 'a control character')}" for i, c in odd[:3]
    )
