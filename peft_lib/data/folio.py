"""FOLIO (Han et al., 2022): does a statement follow from premises in English? False, True or Uncertain.

Release v2 (1,001 / 203) and v0.0 (1,004 / 204) have the same columns and are two entries of the catalog. Neither has test labels
that one could read: validation is halved by the split seed, stratified by class (PROTOCOL 13.20).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import HALVES, cut
from peft_lib.data.text_rows import Options, classes, item_ids, known, render_with, text_table

MODALITY = "text"
TASK = "classification"
OPTIONS = ()
REVISION = "1"
LABELS = ("False", "True", "Uncertain")
COLUMNS = ("premises", "conclusion", "label")
HUB_FILES = {"train": "folio_v2_train.jsonl", "validation": "folio_v2_validation.jsonl"}
PROMPT = "Premises:\n{premises}\n\nStatement:\n{conclusion}\n\nLabel (True/False/Uncertain):"
SPELLINGS = {"Unknown": "Uncertain"}  # v0.0's word


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": HALVES}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        labels = [SPELLINGS.get(label, label) for label in table["label"].to_pylist()]
        columns: dict[str, list] = {
            "label": classes(labels, LABELS, name),
            "premises": [_text(premises) for premises in table["premises"].to_pylist()],
            "conclusion": [conclusion.strip() for conclusion in table["conclusion"].to_pylist()],
        }
        tables.append(text_table(item_ids("folio", name, range(len(table))), mark, columns, pa.int32()))
    return pa.concat_tables(tables)


def _text(premises: str | list[str]) -> str:
    """Premises one a line: some releases have a list, some the lines."""
    return premises.strip() if isinstance(premises, str) else "\n".join(premise.strip() for premise in premises)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{premises}", "{conclusion}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """Train as published; validation halved by the split seed, stratified."""
    return cut(column, labels, split_seed, "folio")
