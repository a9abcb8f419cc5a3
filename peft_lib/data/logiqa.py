"""LogiQA 2.0 (Liu et al., 2023), MRC: which option follows from the text? Four options. 12,567 / 1,569 / 1,572 questions.

The paper's LogiQA (PROTOCOL 3.1). The first release, of 2020, is another data set: logiqa_v1.py.
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
COLUMNS = ("text", "question", "options", "answer")
HUB_FILES = {"train": "MRC/train.txt", "validation": "MRC/dev.txt", "test": "MRC/test.txt"}
PROMPT = f"Context: {{context}}\nQuestion: {{question}}\nOptions:\n{OPTION_LINES}\nAnswer:"
PAIR = ("{context}", f"{{question}}\n{OPTION_LINES}")


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        answers = [int(answer) for answer in table["answer"].to_pylist()]
        texts = {"context": table["text"].to_pylist(), "question": table["question"].to_pylist()}
        tables.append(question_table("logiqa", name, mark, answers, table["options"].to_pylist(), texts))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, PAIR)


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
