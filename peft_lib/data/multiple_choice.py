"""Questions with four options, as OpenBookQA and LogiQA are put to a model: the classes are A to D (PROTOCOL 3.2)."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from peft_lib.data.text_rows import item_ids, text_table

LETTERS = "ABCD"
OPTION_LINES = "A) {a}\nB) {b}\nC) {c}\nD) {d}"


def question_table(
    name: str,
    split: str,
    mark: str,
    answers: Sequence[int],
    options: Sequence[Sequence[str]],
    texts: dict[str, Sequence[Any]],
) -> pa.Table:
    """id, split, label, the options as columns a to d, and further columns of texts, stripped at both ends.

    Raises:
        ValueError: for a question that does not have four options.
    """
    for number, choices in enumerate(options):
        if len(choices) != len(LETTERS):
            raise ValueError(f"row {number} of split '{split}' has {len(choices)} options: need {len(LETTERS)}, A to D")
    columns: dict[str, Sequence[Any]] = {"label": answers}
    columns |= {column: [text.strip() for text in values] for column, values in texts.items()}
    columns |= {letter.lower(): [choices[i] for choices in options] for i, letter in enumerate(LETTERS)}
    return text_table(item_ids(name, split, range(len(answers))), mark, columns, pa.int32())
