"""RTE (Dagan et al., 2006, and later rounds; GLUE): does the second sentence follow from the first? 2,490 / 277 pairs.

GLUE hides the test labels. Validation is halved by the split seed, stratified by class, or with `val_as_test: true` is
validation and test alike, as in the paper (PROTOCOL 13.19).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.glue_files import marks_without_test_labels, read
from peft_lib.data.sources import Source
from peft_lib.data.splits import cut
from peft_lib.data.text_rows import Options, known, render_with

MODALITY = "text"
TASK = "classification"
OPTIONS = ("val_as_test",)
REVISION = "1"
LABELS = ("entailment", "not_entailment")
COLUMNS = ("idx", "sentence1", "sentence2", "label")
PROMPT = "Premise: {text}\nHypothesis: {text_pair}\nEntailment:"


def marks(options: Options) -> dict[str, str]:
    return marks_without_test_labels(options)


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    return read("rte", marks(options), source, ("sentence1", "sentence2"), pa.int32())


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}", "{text_pair}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """Train as published; validation halved by the split seed, stratified, or used twice (`val_as_test`)."""
    return cut(column, labels, split_seed, "rte")
