"""Turns a data set into model input, once: token ids or resized pixels in one Parquet file, and a manifest beside it.

Training reads only this folder: no tokenizer, no image library, no hub.
"""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from peft_lib.data.images import ImageError, image_columns
from peft_lib.data.loaders import UnknownModuleError, get_loader
from peft_lib.files import atomic_path, sha256_file, write_text
from peft_lib.study.catalogs import DatasetEntry, ModelEntry


class PrepareError(ValueError):
    """A data set and a model that do not fit together, or an asset that is not there."""


def prepare(
    entry: DatasetEntry,
    model: ModelEntry,
    max_length: int | None,
    image_size: int | None,
    out_dir: Path,
    assets_dir: Path | None,
) -> None:
    """Writes out_dir/data.parquet and then out_dir/manifest.json (its presence means a whole folder).

    data.parquet: id, split, label and either input_ids (list<int32>, special tokens included, not padded) with
    token_type_ids (list<int8>), or image or encoded (pixels or files at source size: data/images.py).

    Args:
        entry: the data set's catalog entry.
        model: whose tokenizer or input size this is for.
        max_length: longest sequence in tokens, special tokens included (text); longer pairs lose tokens from the longer
            part first.
        image_size: edge in pixels (images).
        out_dir: folder to write.
        assets_dir: the model's folder: tokenizer.json and config.json (text), manifest.json with image_mean and image_std (images;
            not read where a study pre-trains the model).

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
        rows = loader.rows(entry.options)
    except (ValueError, OSError, ImportError) as error:
        raise PrepareError(f"data set '{entry.id}', loader '{entry.loader}': {error}") from error
    except Exception as error:  # a fault of the loader keeps its traceback
        error.add_note(f"while the loader '{entry.loader}' made the rows of data set '{entry.id}'")
        raise
    _check_table(entry, rows)
    _check_rows(entry, loader, rows)

    manifest = {
        "dataset": entry.id,
        "modality": entry.modality,
        "source": entry.source,
        "revision": entry.revision,
        "options": dict(entry.options),
        "license": entry.license,
        "labels": list(loader.LABELS),
        "rows": dict(sorted(Counter(rows["split"].to_pylist()).items())),
    }
    if entry.modality == "text":
        table, facts = _tokenise(rows, cast(int, max_length), cast(Path, assets_dir))
    else:
        try:
            table, facts = image_columns(rows, cast(int, image_size), model, assets_dir)
        except ImageError as error:
            raise PrepareError(f"data set '{entry.id}' for model '{model.id}': {error}") from error
    out_dir = Path(out_dir)
    with atomic_path(out_dir / "data.parquet") as temporary:
        pq.write_table(table, temporary, compression="zstd")
    manifest |= facts | {"sha256": sha256_file(out_dir / "data.parquet")}
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
        if max_length < 8 or (model.max_length is not None and max_length > model.max_length):
            raise PrepareError(
                f"max_length={max_length} for model '{model.id}': must be 8 to {model.max_length or 'any'} tokens"
            )
    elif image_size is None or image_size < 1 or max_length is not None:
        raise PrepareError(
            f"image data set '{entry.id}': needs image_size in pixels, and no max_length (got image_size={image_size}, "
            f"max_length={max_length})"
        )


def _check_table(entry: DatasetEntry, rows: pa.Table) -> None:
    """Every row has every value, of the right kind: a null label would become some integer on the way to the model."""
    where = f"data set '{entry.id}', loader '{entry.loader}'"
    images = "encoded" if "encoded" in rows.column_names else "image"
    kind = "text" if entry.modality == "text" else images
    missing = [name for name in ("id", "split", "label", kind) if name not in rows.column_names]
    if missing:
        raise PrepareError(f"{where}: its table has no column {', '.join(missing)}; it has {rows.column_names}")
    if rows.num_rows == 0:
        raise PrepareError(f"{where}: its table has no rows; a run needs train, validation and test rows")
    for name in ("id", "split", "label", kind, "text_pair"):
        if name in rows.column_names and rows[name].null_count:
            row = rows[name].is_null().index(True).as_py()
            raise PrepareError(f"{where}: {_row(rows, row)} has no {name} (null); leave the row out or fill it in")
    for name, rule, fits in (
        ("id", "text", _is_text), ("split", "text", _is_text), ("label", "integers", pa.types.is_integer),
        ("text", "text", _is_text), ("text_pair", "text", _is_text),
        ("image", "images of one size (data/images.py: image_table)", pa.types.is_fixed_size_binary),
        ("encoded", "files of images (data/images.py: encoded_table)", pa.types.is_large_binary),
    ):  # fmt: skip
        if name in rows.column_names and not fits(rows[name].type):
            raise PrepareError(f"{where}: column {name} is {rows[name].type}, {_row(rows, 0)} included; need {rule}")


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _row(rows: pa.Table, index: int) -> str:
    return f"row {index} (id {rows['id'][index].as_py()!r})"


def _check_rows(entry: DatasetEntry, loader: ModuleType, rows: pa.Table) -> None:
    ids, labels = rows["id"].to_pylist(), rows["label"].to_numpy()
    if len(set(ids)) != len(ids):
        repeated = Counter(ids).most_common(1)[0]
        raise PrepareError(f"data set '{entry.id}': id {repeated[0]!r} occurs {repeated[1]} times; ids must be unique")
    if entry.num_labels != len(loader.LABELS):
        raise PrepareError(
            f"data set '{entry.id}': the catalog says num_labels={entry.num_labels}, its loader has "
            f"{len(loader.LABELS)} classes; correct the catalog"
        )
    outside = np.flatnonzero((labels < 0) | (labels >= len(loader.LABELS)))
    if len(outside):
        raise PrepareError(
            f"data set '{entry.id}': {_row(rows, int(outside[0]))} has label {labels[outside[0]]}; the loader's "
            f"{len(loader.LABELS)} classes are 0 to {len(loader.LABELS) - 1}"
        )
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


def _tokenise(rows: pa.Table, max_length: int, assets_dir: Path) -> tuple[pa.Table, dict]:
    from tokenizers import Tokenizer  # here: images need no tokenizer

    source, config_file = Path(assets_dir, "tokenizer.json"), Path(assets_dir, "config.json")
    for path in (source, config_file):
        if not path.is_file():
            raise PrepareError(f"no {path}: fetch the model first (python -m workflow_scripts.fetch_asset)")
    pad = json.loads(config_file.read_text(encoding="utf-8")).get("pad_token_id")
    if not isinstance(pad, int):
        raise PrepareError(f"{config_file} has pad_token_id={pad!r}: need an integer to pad batches with")
    tokenizer = Tokenizer.from_file(str(source))
    # The file carries its own truncation and padding (MiniLM: 128, fixed); neither is ours.
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=max_length, strategy="longest_first")
    texts = rows["text"].to_pylist()
    inputs = list(zip(texts, rows["text_pair"].to_pylist(), strict=True)) if "text_pair" in rows.column_names else texts
    encodings = tokenizer.encode_batch(inputs)
    lengths = np.array([len(encoding.ids) for encoding in encodings])
    table = pa.table(
        {
            "id": rows["id"],
            "split": rows["split"],
            "label": rows["label"],
            "input_ids": pa.array([encoding.ids for encoding in encodings], pa.list_(pa.int32())),
            "token_type_ids": pa.array([encoding.type_ids for encoding in encodings], pa.list_(pa.int8())),
        }
    )
    facts = {
        "tokenizer": {"file": source.name, "sha256": sha256_file(source), "vocabulary": tokenizer.get_vocab_size()},
        "pad_token_id": pad,
        "max_length": max_length,
        "tokens": {"mean": round(float(lengths.mean()), 2), "max": int(lengths.max())},
        "fraction_truncated": sum(bool(encoding.overflowing) for encoding in encodings) / len(encodings),
    }
    return table, facts
