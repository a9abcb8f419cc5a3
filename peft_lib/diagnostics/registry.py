"""All kinds of diagnostics, found by file: a class with a `kind` of its own in each file of this folder."""

import importlib
import pkgutil
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.names import nearest


class DiagnosticError(ValueError):
    """A diagnostic that cannot be computed; the message names the run or the kind, the rule and the remedy."""


@cache
def diagnostics() -> dict[str, type[Diagnostic]]:
    """Kind -> its class, in alphabetical order. Raises TypeError where two files declare the same kind."""
    found: dict[str, type[Diagnostic]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if module.name in ("opened", "files"):  # load torch and pyarrow
            continue
        for value in vars(importlib.import_module(f"{__package__}.{module.name}")).values():
            for name in _names(value):
                if found.setdefault(name, value) is not value:
                    raise TypeError(f"diagnostic {name!r} stands in {value.__module__} and {found[name].__module__}")
    return dict(sorted(found.items()))


def read_diagnostic(options: dict[str, Any]) -> Diagnostic:
    """The diagnostic of options as `Diagnostic.canonical` has them. Raises DiagnosticError for an unknown kind, and
    pydantic.ValidationError for options that it does not have."""
    kind = str(options.get("kind"))
    if kind not in diagnostics():
        raise DiagnosticError(
            f"diagnostic kind {kind!r}: there is none of that name; {nearest(kind, list(diagnostics()))}"
        )
    return diagnostics()[kind].model_validate(options)


def _names(value: Any) -> tuple[str, ...]:
    if not (isinstance(value, type) and issubclass(value, Diagnostic)):
        return ()
    return get_args(value.model_fields["kind"].annotation)


def any_diagnostic() -> Any:
    """The type of a diagnostic in a study: a union, told apart by `kind`. (A function: kinds import this module.)"""
    return Annotated[reduce(or_, diagnostics().values()), Field(discriminator="kind")]
