"""Finding the file of a data set (or backbone) by its catalog name, without a list of names to keep.

The name is imported when asked for. A static import or a table of modules here would put every data set into the
fingerprint of every run.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from peft_lib.names import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

STYLES = ("pair", "prompt")


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

    It defines, as literals that planning reads without importing it:
        MODALITY: "text" or "image".
        TASK: "classification", "regression" or "generation".
        OPTIONS: names of the options that a catalog entry may set.
        REVISION: which reading of which data this is; the catalog pins it.
        LABELS: class names in order of their integer; () unless TASK is classification.
        COLUMNS: columns that it reads from a hub: or mirror: source, in order.
        HUB_FILES (optional): split -> file of the hub's repository, where the hub does not know it by itself.
    and the functions
        marks(options) -> {published split that is read: mark of its rows} (hub: and mirror: sources only).
        rows(options, source) -> pyarrow.Table with id, split (a mark), label (unless text is generated), and text
            [, text_pair] [, target] [, group], or columns that `render` makes them of, or image.
        render(table, style) -> the rows with text [, text_pair] [, target] (optional, see `rendered`).
        labels(options) -> class names, where an option changes them (optional, see `labels_of`).
        split(column, labels, split_seed) -> row indices of each split.
    """
    return load_module("peft_lib.data", name, marker="LABELS", kind="data set loader")


def labels_of(loader: ModuleType, options: Mapping[str, Any]) -> tuple[str, ...]:
    """Class names under these options: what the loader's `labels` gives, or LABELS."""
    return tuple(loader.labels(options) if hasattr(loader, "labels") else loader.LABELS)


def rendered(loader: ModuleType, table: "pa.Table", style: str) -> "pa.Table":
    """The loader's rows as texts for one kind of model: id, split, label, group, text [, text_pair] [, target].

    `style` is "pair" (encoders: text and text_pair are tokenised as two segments) or "prompt" (decoders: one text). A loader
    without a `render` of its own gives its columns as they are, and as a prompt text and text_pair joined by a line break.
    """
    if hasattr(loader, "render"):
        return loader.render(table, style)
    if style not in STYLES:
        raise ValueError(f"style {style!r}: texts are rendered as one of {', '.join(STYLES)}")
    if style == "pair" or "text_pair" not in table.column_names:
        return table
    both = zip(table["text"].to_pylist(), table["text_pair"].to_pylist(), strict=True)
    place = table.column_names.index("text")
    return table.set_column(place, "text", [[f"{text}\n{pair}" for text, pair in both]]).drop_columns(["text_pair"])
