"""What the files of loaders and backbones declare as literals at their top level, read without importing them (or torch)."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from peft_lib.data.loaders import available
from peft_lib.names import near_names
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location

PACKAGE = Path(__file__).resolve().parent.parent


def declared(folder: str, module: object, name: str) -> object:
    """A constant of peft_lib/<folder>/<module>.py; None if the file is not there or assigns no literal to it."""
    if not isinstance(module, str) or not re.fullmatch(r"\w{1,64}", module):
        return None
    return _literals(PACKAGE / folder / f"{module}.py").get(name)


@cache
def _literals(path: Path) -> dict[str, object]:
    if not path.is_file():
        return {}
    found: dict[str, object] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            targets = [statement.target]
        for target in targets:
            if isinstance(target, ast.Name):
                try:
                    found[target.id] = ast.literal_eval(statement.value)  # type: ignore[attr-defined]
                except ValueError:
                    continue  # computed, not declared
    return found


def check_module(parser: Parser, where: Location, name: object, folder: str, marker: str, kind: str) -> None:
    """Notes a problem, with near names, if no file of the folder has that name and the marker in it."""
    if not isinstance(name, str) or parser.is_broken(where):
        return
    names = marked(folder, marker)
    if name not in names:
        rule = f"no {kind} of that name: there is no file peft_lib/{folder}/{name}.py with {marker} in it"
        parser.problem(where, name, rule, near_or_known(name, names))


@cache
def marked(folder: str, marker: str) -> list[str]:
    """Names of the files of peft_lib/<folder> that assign `marker`."""
    return available(f"peft_lib.{folder}", marker)


def check_options(parser: Parser, key: str, options: object, folder: str, module: object, kind: str) -> None:
    """Notes options that the file's OPTIONS does not list; a file without such a literal takes any."""
    known = declared(folder, module, "OPTIONS")
    if isinstance(known, (tuple, list, set)) and isinstance(options, dict):
        for name in options:
            if name not in known:
                remedy = f"known: {', '.join(map(str, known))}" if known else "remove the options"
                rule = f"{kind} {module} has no option of that name"
                parser.problem((key, "options", name), name, rule, remedy)


def scheme_of(parser: Parser, key: str, source: object, hub: str, schemes: Mapping[str, str]) -> str | None:
    """The scheme of an entry's source, or None with the problem noted. `hub`: pattern of what follows hub:, `schemes`: those
    that are known, with the form of each."""
    if not isinstance(source, str) or parser.is_broken((key, "source")):
        return None
    match = re.fullmatch(r"([a-z][a-z0-9+]*):(\S.*)", source)
    if match is None:
        rule = "a source is <scheme>:<what>, so that it says where the bytes come from"
        parser.problem((key, "source"), source, rule, "for example package:my_package/model or sklearn:digits")
        return None
    if match[1] not in schemes:
        near = near_names(match[1], schemes)
        rule = f"a source is {' or '.join(schemes.values())}; no {match[1]}: source can be fetched"
        parser.problem((key, "source"), source, rule, f"use {near[0] if near else next(iter(schemes))}:...")
        return None
    if match[1] == "hub" and not re.fullmatch(hub, match[2]):
        rule = f"a hub source names a repository: {schemes['hub']}"
        parser.problem((key, "source"), source, rule, "for example hub:openai-community/gpt2, or hub:nyu-mll/glue")
        return None
    return match[1]


def check_no_method_options(parser: Parser, key: str, settings: object) -> None:
    """An entry recommends settings of runs; options belong to methods, of which it knows nothing."""
    given = getattr(settings, "options", None)
    if given is not None:
        rule = "an entry recommends settings for every method; options are those of methods"
        parser.problem((key, "settings", "options"), given, rule, "set them in a rule of the study")


def near_or_known(name: str, known: list[str]) -> str:
    near = near_names(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
