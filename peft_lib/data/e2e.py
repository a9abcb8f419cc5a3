"""E2E NLG (Novikova et al., 2017): describe a restaurant from a meaning representation (MR), which has several references.

One item per MR and reference, a reference that an MR repeats taken once: 40,868 / 4,521 / 4,577 items of 4,862 / 547 / 630 MRs.
The prompt has the MR's slots in lower case and sorted by name (PROTOCOL 3.2), the target a blank and the reference:

    MR: area = city centre ; eattype = coffee shop ; name = Blue Spice
    TEXT:

`group` is the MR as published, which its references have in common. Slots keep their whole name: the authors' release reads
`customer rating` as `rating`, by an accident of its pattern.
"""

import re
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from peft_lib.data.sources import Source
from peft_lib.data.splits import fixed_splits
from peft_lib.data.text_rows import Options, item_ids, known, render_with, text_table

MODALITY = "text"
TASK = "generation"
OPTIONS = ()
REVISION = "1"
LABELS = ()
COLUMNS = ("meaning_representation", "human_reference")
HUB_FILES = {
    "train": "default/train/*.parquet",
    "validation": "default/validation/*.parquet",
    "test": "default/test/*.parquet",
}
PROMPT = "MR: {slots}\nTEXT:"
SLOT = re.compile(r"([^\[\],]+)\[([^\]]*)\](?:,|$)")


def marks(options: Options) -> dict[str, str]:
    return {"train": "train", "validation": "validation", "test": "test"}


def rows(options: Options, source: Source) -> pa.Table:
    """Ids number the rows of the published split; of a reference that an MR repeats the first row stays."""
    known(options, OPTIONS)
    tables = []
    for name, mark in marks(options).items():
        table = source.split(name)
        pairs = zip(table["meaning_representation"].to_pylist(), table["human_reference"].to_pylist(), strict=True)
        first: dict[tuple[str, str], int] = {}
        for number, (mr, reference) in enumerate(pairs):
            first.setdefault((mr.strip(), one_line(reference)), number)
        columns = {
            "slots": [slots(mr) for mr, _ in first],
            "reference": [reference for _, reference in first],
            "group": [mr for mr, _ in first],
        }
        tables.append(text_table(item_ids("e2e", name, list(first.values())), mark, columns, pa.null()))
    return pa.concat_tables(tables)


def one_line(text: str) -> str:
    """A text's lines joined by blanks: decoding stops at the end of a line, and one published reference has two."""
    return " ".join(line.strip() for line in text.strip().splitlines())


def slots(mr: str) -> str:
    """`name[Blue Spice], eatType[pub]` as `eattype = pub ; name = Blue Spice`. Raises ValueError for a text of another form."""
    if SLOT.sub("", mr).strip():
        raise ValueError(f"meaning representation {mr!r}: must be slots `name[value]`, separated by commas")
    found = sorted((name.strip().lower(), value.strip()) for name, value in SLOT.findall(mr))
    return " ; ".join(f"{name} = {value}" for name, value in found)


def render(table: pa.Table, style: str) -> pa.Table:
    return render_with(table, style, PROMPT, (), target=" {reference}")


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """The published splits; the run's split seed has no effect."""
    return fixed_splits(column)
