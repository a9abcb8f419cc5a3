"""CoLA (Warstadt et al., 2019; GLUE): is a sentence acceptable English? 8,551 / 1,043 sentences; majority 69.1 % (validation).

GLUE hides the test labels. Validation is cut into 521 and 522 by the split seed, stratified by class, as in the paper's
RoBERTa runs; with `val_as_test: true` it is validation and test alike, as in its DeBERTa runs (Table 12; PROTOCOL 3.1, 13.19).
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
LABELS = ("unacceptable", "acceptable")
COLUMNS = ("idx", "sentence", "label")
PROMPT = "Sentence: {text}\nAcceptable:"


def marks(options: Options) -> dict[str, str]:
    return marks_without_test_labels(options)


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    return read("cola", marks(options), source, ("sentence",), pa.int32())


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}",))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """Train as published; validation halved by the split seed, stratified, or used twice (`val_as_test`)."""
    return cut(column, labels, split_seed, "cola")
