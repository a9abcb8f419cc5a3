"""LogiQA, the first release (Liu et al., 2020): which option follows from the text? Four options. 7,376 / 651 / 651 questions.

Machine-translated, in rough English. Not what the paper used: that is LogiQA 2.0 (logiqa.py).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.multiple_choice import OPTION_LINES, question_table
from peft_lib.data.sources import Source
from peft_lib.data.splits import fixed_splits
from peft_lib.data.text_rows import Options, known, render_with

MODALITY = "text"
TASK = "classification"
OPTIONS = ()
REVISION = "1"
LABELS = ("A", "B", "C", "D")
COLUMNS = ("context", "query", "options", "correct_option")
HUB_FILES = {
    "train": "default/train/*.parquet",
    "validation": "default/validation/*.parquet",
    "test": "default/test/*.parquet",
}
PROMPT = f"Context: {{context}}\nQuestion: {{question}}\nOptions:\n{OPTION_LINES}\nAnswer:"
PAIR = ("{context}", f"{{question}}\n{OPTION_LINES}")


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        answers = [int(answer) for answer in table["correct_option"].to_pylist()]
        texts = {"context": table["context"].to_pylist(), "question": table["query"].to_pylist()}
        tables.append(question_table("logiqa_v1", name, mark, answers, table["options"].to_pylist(), texts))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, PAIR)


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
