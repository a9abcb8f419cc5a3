"""DJANGO (Oda et al., 2015): write the line of Python that an English sentence describes. 16,000 / 1,000 / 1,805 lines.

Both sides are single lines; code is tokenised with blanks, as published. The prompt is a docstring (PROTOCOL 3.2):

    \"\"\"Task: params is an empty list,\"\"\"
    # Solution

Many lines repeat: 61 and 80 pairs of validation and test are in train too.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import fixed_splits
from peft_lib.data.text_rows import Options, item_ids, known, render_with, text_table

MODALITY = "text"
TASK = "generation"
OPTIONS = ()
REVISION = "1"
LABELS = ()
COLUMNS = ("nl", "code")
PROMPT = '"""Task: {nl}"""\n# Solution\n'


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        columns = {column: [text.strip() for text in table[column].to_pylist()] for column in COLUMNS}
        tables.append(text_table(item_ids("django", name, range(len(table))), mark, columns, pa.null()))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, (), target="{code}")


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
