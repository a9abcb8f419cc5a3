"""What the loaders of published texts share: options, tables, templates."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

Options = Mapping[str, int | float | str | bool]
KEPT = ("id", "split", "label", "group")


def flag(options: Options, name: str) -> bool:
    """A yes-or-no option, False if left out. Raises ValueError for another value."""
    value = options.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"option {name}={value!r}: must be true or false")
    return value


def known(options: Options, names: Sequence[str]) -> None:
    """Raises ValueError for an option that is not one of `names`."""
    unknown = sorted(set(options) - set(names))
    if unknown:
        remedy = f"known: {', '.join(names)}" if names else "it takes none"
        raise ValueError(f"unknown options {unknown}; {remedy}; correct the data set's catalog entry")


def item_ids(name: str, split: str, numbers: Sequence[int]) -> list[str]:
    """Stable ids: data set, published split, number of the row in it, e.g. mrpc-train-00042."""
    return [f"{name}-{split}-{number:05d}" for number in numbers]


def classes(values: Sequence[str], names: Sequence[str], split: str) -> list[int]:
    """The integer of each class name. Raises ValueError, with the row, for a name that is not one of `names`."""
    for row, value in enumerate(values):
        if value not in names:
            raise ValueError(f"row {row} of split '{split}' has label {value!r}: must be one of {', '.join(names)}")
    return [names.index(value) for value in values]


def text_table(ids: Sequence[str], mark: str, columns: Mapping[str, Sequence[Any]], label: pa.DataType) -> pa.Table:
    """Rows of one mark: id, split, label (of that type; null type: no such column) and the columns, texts as string."""
    arrays = {"id": pa.array(ids, pa.string()), "split": pa.array([mark] * len(ids), pa.string())}
    for name, values in columns.items():
        arrays[name] = pa.array(values, label if name == "label" else pa.string())
    return pa.table(arrays)


def render_with(table: pa.Table, style: str, prompt: str, pair: tuple[str, ...], target: str | None = None) -> pa.Table:
    """The rows as texts: id, split, label, group as they are, and templates filled in, where {name} stands for a column.

    Args:
        table: rows with the columns that the templates name.
        style: "prompt" (decoders) or "pair" (encoders).
        prompt: template of the one text of a decoder.
        pair: templates of an encoder's text and, if it has one, its second segment.
        target: template of what a decoder learns to write, where text is generated.

    Raises:
        ValueError: for another style, and for pairs where text is generated: encoders write none.
    """
    if style == "prompt":
        templates = {"text": prompt} | ({"target": target} if target is not None else {})
    elif style == "pair" and target is None:
        templates = dict(zip(("text", "text_pair"), pair, strict=False))
    elif style == "pair":
        raise ValueError("text is generated here, which encoders cannot do: use a decoder (a model read in prompts)")
    else:
        raise ValueError(f"style {style!r}: texts are rendered as pair or prompt")
    rows = table.to_pylist()
    texts = {name: pa.array([t.format(**row) for row in rows], pa.string()) for name, t in templates.items()}
    return pa.table({name: table[name] for name in KEPT if name in table.column_names} | texts)
