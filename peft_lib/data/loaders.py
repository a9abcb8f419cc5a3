"""Finding the file of a data set (or backbone) by its catalog name, without a list of names to keep.

The name is imported when asked for. A static import or a table of modules here would put every data set into the
fingerprint of every run.
"""

import ast
import importlib
import pkgutil
import re
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from peft_lib.names import did_you_mean


class UnknownModuleError(ValueError):
    """A catalog names a loader or backbone for which there is no file."""


def available(package: str, marker: str) -> list[str]:
    """Names of the modules of `package` that assign `marker` at top level, found without importing them."""
    folder = Path(importlib.import_module(package).__path__[0])
    names = []
    for info in pkgutil.iter_modules([str(folder)]):
        source = folder / f"{info.name}.py"
        if source.is_file() and re.search(rf"^{marker}\b.*=", source.read_text(encoding="utf-8"), re.MULTILINE):
            names.append(info.name)
    return sorted(names)


def declared(package: str, name: object, constant: str) -> Any:
    """A constant that the file of a module assigns as a literal, read without importing it; None if it does not."""
    path = Path(importlib.import_module(package).__path__[0], f"{name}.py")
    if not isinstance(name, str) or not re.fullmatch(r"\w{1,64}", name) or not path.is_file():
        return None
    return _constants(path).get(constant)


@cache
def _constants(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    with suppress(ValueError):  # not a literal
                        found[target.id] = ast.literal_eval(statement.value)
    return found


def load_module(package: str, name: str, marker: str, kind: str) -> ModuleType:
    """Imports `package.name`; raises UnknownModuleError, with near names, unless that file defines `marker`."""
    names = available(package, marker)
    if name not in names:
        hint = did_you_mean(name, names)
        raise UnknownModuleError(
            f"Unknown {kind} '{name}'.{hint} Available: {', '.join(names) or 'none'}. "
            f"A new one is a file {package.replace('.', '/')}/{name}.py that defines {marker}."
        )
    return importlib.import_module(f"{package}.{name}")


def get_loader(name: str) -> ModuleType:
    """The data set module `peft_lib.data.<name>`.

    It defines MODALITY ("text" or "image"), OPTIONS (names of the options that a catalog entry may set; planning reads the
    literal), REVISION (which data these are; the catalog pins it), LABELS (class names in order of their integer),
    rows(options) -> pyarrow.Table and split(column, labels, split_seed) -> row indices.
    """
    return load_module("peft_lib.data", name, marker="LABELS", kind="data set loader")
