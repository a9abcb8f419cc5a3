"""OpenBookQA (Mihaylov et al., 2018), main: a science question with four options, without the book. 4,957 / 500 / 500.

A head on the last token chooses among A to D; nothing is generated. With `carve_validation: true` the published validation
split is not read: 496 rows of train select instead, cut by the split seed and stratified. It is for where validation is not
at hand.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.multiple_choice import OPTION_LINES, question_table
from peft_lib.data.sources import Source
from peft_lib.data.splits import CARVED_TENTH, cut
from peft_lib.data.text_rows import Options, classes, flag, known, render_with

MODALITY = "text"
TASK = "classification"
OPTIONS = ("carve_validation",)
REVISION = "1"
LABELS = ("A", "B", "C", "D")
COLUMNS = ("question_stem", "choices", "answerKey")  # not id: it is not in every copy
PROMPT = f"Question: {{question}}\nOptions:\n{OPTION_LINES}\nAnswer:"


def marks(options: Options) -> dict[str, str]:
    if flag(options, "carve_validation"):
        return {"train": CARVED_TENTH, "test": "test"}
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        choices = [dict(zip(c["label"], c["text"], strict=True)) for c in table["choices"].to_pylist()]
        answers = classes(table["answerKey"].to_pylist(), LABELS, name)
        ordered = [[by_letter[letter] for letter in sorted(by_letter)] for by_letter in choices]
        texts = {"question": table["question_stem"].to_pylist()}
        tables.append(question_table("openbookqa", name, mark, answers, ordered, texts))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{question}", OPTION_LINES))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; with `carve_validation` train is cut 9:1 by the split seed, stratified."""
    return cut(column, labels, split_seed, "openbookqa")
