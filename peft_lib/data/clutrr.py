"""CLUTRR (Sinha et al., 2019), gen_train234_test2to10: what is one person of a story to another? 12,064 / 3,019 / 1,048 stories.

Train and validation have chains of 2 to 4 relations, test of 2 to 10. The data name 21 relations and only the first 18 occur.
The paper's head has 21 outputs, which its parameter counts fit, so that is the default; `outputs: 18` leaves the three out
(PROTOCOL 13.31).
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import fixed_splits
from peft_lib.data.text_rows import Options, known, render_with, text_table

MODALITY = "text"
TASK = "classification"
OPTIONS = ("outputs",)
REVISION = "1"
LABELS = (
    "aunt", "son-in-law", "grandfather", "brother", "sister", "father", "mother", "grandmother", "uncle",
    "daughter-in-law", "grandson", "granddaughter", "father-in-law", "mother-in-law", "nephew", "son", "daughter",
    "niece", "husband", "wife", "sister-in-law",
)  # fmt: skip
OUTPUTS = (21, 18)
COLUMNS = ("id", "story", "query", "target")
HUB_FILES = {
    "train": "gen_train234_test2to10/train/*.parquet",
    "validation": "gen_train234_test2to10/validation/*.parquet",
    "test": "gen_train234_test2to10/test/*.parquet",
}
PROMPT = "Story: {text}\nQuery: {text_pair}\nAnswer:"


def labels(options: Options) -> tuple[str, ...]:
    """All 21 relations, or the 18 that occur (`outputs: 18`). Raises ValueError for another number."""
    outputs = options.get("outputs", OUTPUTS[0])
    if isinstance(outputs, bool) or outputs not in OUTPUTS:
        raise ValueError(f"option outputs={outputs!r}: must be 21 (the relations named) or 18 (those that occur)")
    return LABELS[: int(outputs)]


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    """Ids are the published ones, which are unique over all splits."""
    known(options, OPTIONS)
    labels(options)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        columns = {
            "label": table["target"].to_pylist(),
            "text": [story.strip() for story in table["story"].to_pylist()],
            "text_pair": [query.strip() for query in table["query"].to_pylist()],
        }
        tables.append(text_table(table["id"].to_pylist(), mark, columns, pa.int32()))
    return pa.concat_tables(tables)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, ("{text}", "{text_pair}"))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
