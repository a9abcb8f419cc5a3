"""Reading YAML and JSON files: the data, the line of every value, and what is wrong with the file."""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from peft_lib.study.problems import ABSENT, Lines, Mark, Problem, StudyError
from peft_lib.study.yaml_reader import MAX_DIGITS, Document, Reader, Stop, syntax_problem

__all__ = ["Document", "below", "read_document", "read_text", "read_yaml", "short"]

MAX_BYTES = 1_000_000
"""Largest file, in bytes."""
CONTROL = re.compile(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


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
        text = read_text(Path(path).expanduser(), str(path), document)
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        document.problems.append(
            Problem("", str(path), f"the file must be readable ({reason})", "check the path and its permissions")
        )
        text = None
    if text is not None:
        _parse(text, str(path), document)
    return document


def read_text(path: Path, name: str, document: Document) -> str | None:
    """The text of a file in UTF-8, or None with the problem noted. Raises OSError for one that cannot be read."""
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
        return "this is a folder, a file is needed", "give the path of the file", None
    if path.is_symlink() and not path.exists():
        return "this link leads to a file that does not exist", "mend the link or give the file itself", None
    if not path.exists():
        return "the file must exist", "check the path; it starts at the folder that the workflow runs in", None
    if not path.is_file():
        return "this is no regular file", "give the path of a file", None
    if path.stat().st_size > MAX_BYTES:
        return f"a file has at most {MAX_BYTES:,} bytes, this has {path.stat().st_size:,}", "shorten it", None
    return "", "", None


def below(root: Path, path: str) -> Path:
    """A path of a study: absolute, from the home folder, or below the root."""
    try:
        return root / Path(path).expanduser()
    except RuntimeError:
        return root / path


def _parse(text: str, name: str, document: Document) -> None:
    if text.lstrip().startswith("{"):
        try:  # as Snakemake does: JSON is no subset of YAML where a text has a surrogate pair
            _parse_json(text, name, document)
            return
        except (ValueError, RecursionError):
            pass  # a YAML mapping in braces, or broken: YAML says what is wrong
    reader = Reader(name, document)
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
    except Stop:
        pass
    except yaml.YAMLError as error:
        document.problems.append(syntax_problem(error, text, name))


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
        root = Reader(name, scratch).compose(text)
        if root is not None and text.count("\n") > 1:
            Reader(name, scratch).build(root)
            document.lines |= scratch.lines
    except (yaml.YAMLError, Stop):
        pass  # the data are read; only the lines are unknown
    document.lines.setdefault((), Mark(name))


def short(path: Path | str) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    path = Path(path)
    return str(path.relative_to(Path.cwd()) if path.is_absolute() and path.is_relative_to(Path.cwd()) else path)
