"""TREC-50 (Li and Roth, 2002): what does a question ask for, in 50 fine classes? 5,452 / 500 questions.

There is no published validation split: each run cuts 546 rows off train with its split seed, stratified by class. All 50
classes occur in train, 42 in test; ten questions of test are in train too.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import CARVED_TENTH, cut
from peft_lib.data.text_rows import Options, item_ids, known, render_with, text_table

MODALITY = "text"
TASK = "classification"
OPTIONS = ()
REVISION = "1"
LABELS = (
    "ABBR:abb", "ABBR:exp", "ENTY:animal", "ENTY:body", "ENTY:color", "ENTY:cremat", "ENTY:currency", "ENTY:dismed",
    "ENTY:event", "ENTY:food", "ENTY:instru", "ENTY:lang", "ENTY:letter", "ENTY:other", "ENTY:plant", "ENTY:product",
    "ENTY:religion", "ENTY:sport", "ENTY:substance", "ENTY:symbol", "ENTY:techmeth", "ENTY:termeq", "ENTY:veh",
    "ENTY:word", "DESC:def", "DESC:desc", "DESC:manner", "DESC:reason", "HUM:gr", "HUM:ind", "HUM:title", "HUM:desc",
    "LOC:city", "LOC:country", "LOC:mount", "LOC:other", "LOC:state", "NUM:code", "NUM:count", "NUM:date", "NUM:dist",
    "NUM:money", "NUM:ord", "NUM:other", "NUM:period", "NUM:perc", "NUM:speed", "NUM:temp", "NUM:volsize", "NUM:weight",
)  # fmt: skip
COLUMNS = ("text", "fine_label")
HUB_FILES = {"train": "default/train/*.parquet", "test": "default/test/*.parquet"}
PROMPT = "Question: {text}\nType:"


def marks(options: Options) -> dict[str, str]:
    return {"train": CARVED_TENTH, "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        columns = {"label": table["fine_label"].to_pylist(), "text": table["text"].to_pylist()}
        tables.append(text_table(item_ids("trec50", name, range(len(table))), mark, columns, pa.int32()))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}",))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """Test as published; train cut 9:1 by the split seed, stratified."""
    return cut(column, labels, split_seed, "trec50")
