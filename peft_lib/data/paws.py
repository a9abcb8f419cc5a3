"""PAWS (Zhang et al., 2019), labeled_final: paraphrase or not, of pairs with nearly the same words. 49,401 / 8,000 / 8,000.

With `carve_train: true` the published train split is not read: 7,000 rows of validation are trained on and the other 1,000
select, cut by the split seed and stratified. It is for where train is not at hand; results are not those of the paper.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.glue_files import read
from peft_lib.data.sources import Source
from peft_lib.data.splits import CARVED_EIGHTH, cut
from peft_lib.data.text_rows import Options, flag, known, render_with

MODALITY = "text"
TASK = "classification"
OPTIONS = ("carve_train",)
REVISION = "1"
LABELS = ("not_paraphrase", "paraphrase")
COLUMNS = ("id", "sentence1", "sentence2", "label")
PROMPT = "Sentence 1: {text}\nSentence 2: {text_pair}\nParaphrase:"


def marks(options: Options) -> dict[str, str]:
    if flag(options, "carve_train"):
        return {"validation": CARVED_EIGHTH, "test": "test"}
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    return read("paws", marks(options), source, ("sentence1", "sentence2"), pa.int32(), number="id")


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}", "{text_pair}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; with `carve_train` validation is cut 7:1 by the split seed, stratified."""
    return cut(column, labels, split_seed, "paws")
