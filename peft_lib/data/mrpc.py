"""MRPC (Dolan and Brockett, 2005; GLUE): do two sentences from the news say the same? 3,668 / 408 / 1,725 pairs.

The test labels are public; the paper's accuracies are multiples of 1/1725.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.glue_files import read
from peft_lib.data.sources import Source
from peft_lib.data.splits import fixed_splits
from peft_lib.data.text_rows import Options, known, render_with

MODALITY = "text"
TASK = "classification"
OPTIONS = ()
REVISION = "1"
LABELS = ("not_equivalent", "equivalent")
COLUMNS = ("idx", "sentence1", "sentence2", "label")
PROMPT = "Sentence 1: {text}\nSentence 2: {text_pair}\nEquivalent:"


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    known(options, OPTIONS)
    return read("mrpc", marks(options), source, ("sentence1", "sentence2"), pa.int32())


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}", "{text_pair}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
