"""All kinds of artefacts, found by file: a class with a `kind` of its own in each file of this folder."""

import importlib
import pkgutil
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from peft_lib.artefacts.kind import Artefact


@cache
def kinds() -> dict[str, type[Artefact]]:
    """Kind -> its class, in alphabetical order. Raises TypeError where two files declare the same kind."""
    found: dict[str, type[Artefact]] = {}
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        for kind in vars(importlib.import_module(f"{__package__}.{module.name}")).values():
            for name in _names(kind):
                if found.setdefault(name, kind) is not kind:
                    raise TypeError(
                        f"kind {name!r} stands in {kind.__module__} and in {found[name].__module__}: rename one"
                    )
    return dict(sorted(found.items()))


def _names(value: Any) -> tuple[str, ...]:
    """The words of a class's own `kind`."""
    if not (isinstance(value, type) and issubclass(value, Artefact)):
        return ()
    return get_args(value.model_fields["kind"].annotation)


AnyArtefact: Any = Annotated[reduce(or_, kinds().values()), Field(discriminator="kind")]
"""The type of an artefact in a study: a union, told apart by `kind`."""
