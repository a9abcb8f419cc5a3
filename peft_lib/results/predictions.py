"""A run's answers to its test items (predictions.parquet), and its measure as a function of them."""

import math
from pathlib import Path

from peft_lib.names import first_line
from peft_lib.statistics.items import Items, NotComparable
from peft_lib.statistics.measures import Measure, measure

COLUMNS = ("id", "group", "label", "prediction", "score", "loss", "weight")
TOLERANCE = 1e-5
"""How far a measure of the stored answers may lie from what the run recorded, of the larger of it and 1: numbers are stored with
six digits, and losses were summed in another order."""


def read_items(folder: Path) -> Items:
    """The test items of a run. Raises NotComparable if there are none or the file cannot be read."""
    import numpy as np
    import pyarrow as pa  # here: planning loads the kinds of artefacts, which name this module
    import pyarrow.parquet as pq

    path = folder / "predictions.parquet"
    try:
        absent = sorted(set(COLUMNS) - set(pq.read_schema(path).names))
        if absent:
            raise NotComparable(
                f"predictions.parquet has no column {', '.join(absent)}: `snakemake --forcerun train` makes it anew"
            )
        table = pq.read_table(path, columns=list(COLUMNS))
    except FileNotFoundError:
        raise NotComparable("predictions.parquet is missing: `snakemake --forcerun train` makes it anew") from None
    except (OSError, pa.ArrowException) as error:
        raise NotComparable(f"predictions.parquet cannot be read: {first_line(error)}") from error
    texts = {name: table[name].to_numpy(zero_copy_only=False).astype(object) for name in COLUMNS[:4]}
    numbers = {name: table[name].to_numpy(zero_copy_only=False).astype(float) for name in COLUMNS[4:]}
    if len(set(texts["id"])) < len(table):
        raise NotComparable("predictions.parquet has an item twice")
    alone = np.array([name is None for name in texts["group"]], dtype=bool)
    texts["group"][alone] = texts["id"][alone]
    return Items(ids=texts.pop("id"), **texts, **numbers)


def checked_measure(
    name: str, items: Items, recorded: float, positive: str | None = None, train_loss: float | None = None
) -> Measure:
    """The measure of a run's items. Raises NotComparable if it cannot be resampled, or is not what the run recorded.

    The second says that the file and the result do not belong together, or that their measures have come apart.
    """
    import numpy as np

    found = measure(name, items, positive, train_loss)
    value = float(found.at(np.ones((1, len(items))))[0])
    if not math.isclose(value, recorded, rel_tol=0, abs_tol=TOLERANCE * max(1.0, abs(recorded))):
        raise NotComparable(
            f"{name} of the stored answers is {value:.6g}, the run recorded {recorded:.6g}: they do not belong together. "
            "`snakemake --forcerun train` makes both anew"
        )
    return found
