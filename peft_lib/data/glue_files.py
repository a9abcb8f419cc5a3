"""What the loaders of GLUE and PAWS share: the hub's tables of sentences (or sentence pairs) with a label and a number."""

from collections.abc import Mapping

import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import BOTH, HALVES
from peft_lib.data.text_rows import Options, flag, item_ids, text_table

HIDDEN = -1  # what the hub has where GLUE keeps the labels to itself


def read(
    name: str, marks: Mapping[str, str], source: Source, texts: tuple[str, ...], label: pa.DataType, number: str = "idx"
) -> pa.Table:
    """id, split, label, text [, text_pair] of the splits in `marks`; rows with a hidden label are left out.

    Args:
        name: data set, for ids.
        marks: published split -> mark of its rows.
        source: the hub's tables.
        texts: the columns that become text and text_pair.
        label: type of the label: int32 classes, or float64 scores as they are.
        number: column with the row's number, unique in its split.
    """
    tables = []
    for split, mark in marks.items():
        table = source.split(split)
        kept = [row for row in table.to_pylist() if row["label"] != HIDDEN]
        columns: dict[str, list] = {"label": [row["label"] for row in kept]}
        for target, column in zip(("text", "text_pair"), texts, strict=False):
            columns[target] = [row[column] for row in kept]
        tables.append(text_table(item_ids(name, split, [row[number] for row in kept]), mark, columns, label))
    return pa.concat_tables(tables)


def marks_without_test_labels(options: Options) -> dict[str, str]:
    """For tasks whose test labels are hidden: validation is halved by the split seed, or is validation and test alike.

    Option `val_as_test: true` is what the paper did for RTE and STS-B (PROTOCOL 13.19): the epoch is chosen on the rows that
    are reported. Without it half of validation selects and the other half reports.
    """
    return {"train": "train", "validation": BOTH if flag(options, "val_as_test") else HALVES}
