"""STS-B (Cer et al., 2017; GLUE): how similar are two sentences, from 0 to 5? 5,749 / 1,500 pairs; regression on the raw score.

GLUE hides the test scores. Validation is halved by the split seed, or with `val_as_test: true` is validation and test alike,
as in the paper (PROTOCOL 13.19).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.glue_files import marks_without_test_labels, read
from peft_lib.data.sources import Source
from peft_lib.data.splits import cut
from peft_lib.data.text_rows import Options, known, render_with

MODALITY = "text"
TASK = "regression"
OPTIONS = ("val_as_test",)
REVISION = "1"
LABELS = ()
COLUMNS = ("idx", "sentence1", "sentence2", "label")
PROMPT = "Sentence 1: {text}\nSentence 2: {text_pair}\nSimilarity from 0 to 5:"


def marks(options: Options) -> dict[str, str]:
    return marks_without_test_labels(options)


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    return read("stsb", marks(options), source, ("sentence1", "sentence2"), pa.float64())


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}", "{text_pair}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """Train as published; validation halved by the split seed (scores are not stratified), or used twice (`val_as_test`)."""
    return cut(column, labels, split_seed, "stsb", stratify=False)
