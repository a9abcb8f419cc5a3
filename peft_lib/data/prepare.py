"""Turns a data set into model input, once: token ids or pixels in one Arrow file, and a manifest beside it.

Training reads only this folder, and for text that it writes the model's tokenizer: no hub, no data set library.
"""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import pyarrow as pa

from peft_lib.data.image_input import image_columns
from peft_lib.data.images import ImageError
from peft_lib.data.loaders import UnknownModuleError, get_loader, labels_of, rendered
from peft_lib.data.sources import source_of
from peft_lib.data.tables import write_mapped
from peft_lib.data.text import TextError, text_columns
from peft_lib.files import sha256_file, write_text
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.declared import declared
from peft_lib.study.settings import SHORTEST_TEXT


class PrepareError(ValueError):
    """A data set and a model that do not fit together, or an asset that is not there."""


def prepare(
    entry: DatasetEntry,
    model: ModelEntry,
    max_length: int | None,
    image_size: int | None,
    out_dir: Path,
    assets_dir: Path | None,
    mirror: Path | None = None,
) -> None:
    """Writes out_dir/data.arrow and then out_dir/manifest.json (its presence means a whole folder).

    data.arrow: id, split, label (no label where text is generated) and either what data/text.py makes of texts in the
    style that the model's backbone reads, or image or encoded (pixels or files at source size: data/images.py).

    Args:
        entry: the data set's catalog entry.
        model: whose tokenizer or input size this is for.
        max_length: longest sequence in tokens, special tokens included (text); longer pairs lose tokens from the longer
            part first.
        image_size: edge in pixels (images).
        out_dir: folder to write.
        assets_dir: the model's folder: tokenizer.json and config.json (text), manifest.json with image_mean and image_std (images;
            not read where a study pre-trains the model).
        mirror: folder of a data mirror, read instead of the hub (data/sources.py).

    Raises:
        PrepareError: if data set and model differ in modality, an argument of the modality is missing or too large, the
            loader fails, its data are not the pinned revision, a row lacks a value or has one of the wrong kind, or rows,
            classes or sizes differ from the catalog.
    """
    try:
        loader = get_loader(entry.loader)
    except UnknownModuleError as error:
        raise PrepareError(f"data set '{entry.id}' of the catalog: {error}") from error
    _check_arguments(entry, model, max_length, image_size, assets_dir, loader.MODALITY)
    if entry.revision != loader.REVISION:
        raise PrepareError(
            f"data set '{entry.id}' pins revision {entry.revision!r}, but its loader '{entry.loader}' gives "
            f"{loader.REVISION!r}: set `revision` in the catalog to that (results of the old revision stay separate)"
        )
    try:
        rows = loader.rows(entry.options, source_of(entry, loader, mirror))
    except (ValueError, OSError, ImportError) as error:
        raise PrepareError(f"data set '{entry.id}', loader '{entry.loader}': {error}") from error
    except Exception as error:  # a fault of the loader keeps its traceback
        error.add_note(f"while the loader '{entry.loader}' made the rows of data set '{entry.id}'")
        raise
    style = str(declared("backbones", model.backbone, "STYLE"))
    if entry.modality == "text":
        try:
            rows = rendered(loader, rows, style)
        except ValueError as error:
            raise PrepareError(f"data set '{entry.id}' for model '{model.id}': {error}") from error
    _check_table(entry, rows)
    _check_rows(entry, loader, rows)

    manifest = {
        "dataset": entry.id,
        "modality": entry.modality,
        "task": entry.task,
        "source": entry.source,
        "revision": entry.revision,
        "options": dict(entry.options),
        "license": entry.license,
        "labels": list(labels_of(loader, entry.options)),
        "rows": dict(sorted(Counter(rows["split"].to_pylist()).items())),
    }
    try:
        if entry.modality == "text":
            table, facts = text_columns(rows, style, entry.task, cast(int, max_length), cast(Path, assets_dir))
        else:
            table, facts = image_columns(rows, cast(int, image_size), model, assets_dir)
    except (TextError, ImageError) as error:
        raise PrepareError(f"data set '{entry.id}' for model '{model.id}': {error}") from error
    out_dir = Path(out_dir)
    write_mapped(table, out_dir / "data.arrow")
    manifest |= facts | {"sha256": sha256_file(out_dir / "data.arrow")}
    write_text(out_dir / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")


def _check_arguments(
    entry: DatasetEntry,
    model: ModelEntry,
    max_length: int | None,
    image_size: int | None,
    assets_dir: Path | None,
    modality: str,
) -> None:
    if not entry.modality == model.modality == modality:
        raise PrepareError(
            f"data set '{entry.id}' is {entry.modality} (its loader: {modality}), model '{model.id}' reads "
            f"{model.modality}: pair a data set with a model of its modality"
        )
    if modality == "text":
        if max_length is None or image_size is not None or assets_dir is None:
            raise PrepareError(
                f"text data set '{entry.id}': needs max_length and the model's folder, and no image_size (got "
                f"max_length={max_length}, image_size={image_size}, model folder={assets_dir})"
            )
        if max_length < SHORTEST_TEXT or (model.max_length is not None and max_length > model.max_length):
            raise PrepareError(
                f"max_length={max_length} for model '{model.id}': must be {SHORTEST_TEXT} to {model.max_length or 'any'} tokens"
            )
    elif image_size is None or image_size < 1 or max_length is not None:
        raise PrepareError(
            f"image data set '{entry.id}': needs image_size in pixels, and no max_length (got image_size={image_size}, "
            f"max_length={max_length})"
        )


ANSWERS = {
    "classification": ("label", "integers", pa.types.is_integer),
    "regression": ("label", "floating numbers", pa.types.is_floating),
    "generation": ("target", "text", lambda kind: _is_text(kind)),
}
"""Task -> the column of what is learnt, its kind in words, and whether a type is of that kind."""


def _check_table(entry: DatasetEntry, rows: pa.Table) -> None:
    """Every row has every value, of the right kind: a null label would become some integer on the way to the model."""
    where = f"data set '{entry.id}', loader '{entry.loader}'"
    images = [name for name in ("image", "encoded") if name in rows.column_names] or ["image"]
    kind = "text" if entry.modality == "text" else images[0]
    answer, words, is_answer = ANSWERS[entry.task]
    needed = ("id", "split", answer, kind)
    missing = [name for name in needed if name not in rows.column_names]
    if missing:
        raise PrepareError(f"{where}: its table has no column {', '.join(missing)}; it has {rows.column_names}")
    if rows.num_rows == 0:
        raise PrepareError(f"{where}: its table has no rows; a run needs train, validation and test rows")
    for name in (*needed, "text_pair", "group"):
        if name in rows.column_names and rows[name].null_count:
            row = rows[name].is_null().index(True).as_py()
            raise PrepareError(f"{where}: {_row(rows, row)} has no {name} (null); leave the row out or fill it in")
    for name, rule, fits in (
        ("id", "text", _is_text), ("split", "text", _is_text), (answer, words, is_answer),
        ("text", "text", _is_text), ("text_pair", "text", _is_text), ("group", "text", _is_text),
        ("image", "images of one size (data/images.py: image_table)", pa.types.is_fixed_size_binary),
        ("encoded", "files of images (data/images.py: encoded_table)", pa.types.is_large_binary),
    ):  # fmt: skip
        if name in rows.column_names and not fits(rows[name].type):
            raise PrepareError(f"{where}: column {name} is {rows[name].type}, {_row(rows, 0)} included; need {rule}")
    _check_answers(rows, answer, where)


def _check_answers(rows: pa.Table, answer: str, where: str) -> None:
    """Numbers are finite; texts are lines: a decoder stops at the end of a line."""
    if pa.types.is_floating(rows[answer].type):
        bad = np.flatnonzero(~np.isfinite(rows[answer].to_numpy()))
        rule = "finite numbers"
    elif answer == "target":
        bad = np.flatnonzero([not text.strip() or "\n" in text for text in rows[answer].to_pylist()])
        rule = "texts of one line, which are not blank"
    else:
        return
    if len(bad):
        row = int(bad[0])
        value = rows[answer][row].as_py()
        raise PrepareError(f"{where}: {_row(rows, row)} has {answer} {value!r}; need {rule}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _row(rows: pa.Table, index: int) -> str:
    return f"row {index} (id {rows['id'][index].as_py()!r})"


def _check_rows(entry: DatasetEntry, loader: ModuleType, rows: pa.Table) -> None:
    ids = rows["id"].to_pylist()
    labels = rows["label"].to_numpy() if entry.task == "classification" else np.zeros(len(ids), dtype=np.int64)
    if len(set(ids)) != len(ids):
        repeated = Counter(ids).most_common(1)[0]
        raise PrepareError(f"data set '{entry.id}': id {repeated[0]!r} occurs {repeated[1]} times; ids must be unique")
    if entry.task == "classification":
        _check_classes(entry, loader, rows, labels)
    try:
        parts = loader.split(rows["split"].to_pylist(), labels, 0)
    except ValueError as error:
        raise PrepareError(f"data set '{entry.id}', loader '{entry.loader}': {error}") from error
    sizes = {name: len(indices) for name, indices in parts.items()}
    if sizes != entry.sizes:
        raise PrepareError(
            f"data set '{entry.id}': the catalog says sizes {dict(entry.sizes)}, its loader gives {sizes}; correct "
            "the catalog's sizes or options"
        )


def _check_classes(entry: DatasetEntry, loader: ModuleType, rows: pa.Table, values: np.ndarray) -> None:
    labels = labels_of(loader, entry.options)
    if entry.num_labels != len(labels):
        raise PrepareError(
            f"data set '{entry.id}': the catalog says num_labels={entry.num_labels}, its loader has "
            f"{len(labels)} classes; correct the catalog"
        )
    outside = np.flatnonzero((values < 0) | (values >= len(labels)))
    if len(outside):
        raise PrepareError(
            f"data set '{entry.id}': {_row(rows, int(outside[0]))} has label {values[outside[0]]}; the loader's "
            f"{len(labels)} classes are 0 to {len(labels) - 1}"
        )
