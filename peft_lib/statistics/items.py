"""A run's answers to its test items, and which items of several runs are the same."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class NotComparable(ValueError):
    """Runs, or a measure, that a comparison over items is not possible for. The message says why, for people."""


@dataclass(frozen=True)
class Items:
    """A run's test items, N of them, in any order. `ids` are unique; see run_files.PREDICTIONS for the columns.

    group: (N,) names; items of one name (references of one input) have one answer and are drawn together. None: each is its own.
    """

    ids: "np.ndarray"
    label: "np.ndarray"
    prediction: "np.ndarray"
    score: "np.ndarray"
    loss: "np.ndarray"
    weight: "np.ndarray"
    group: "np.ndarray | None" = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def right(self) -> "np.ndarray":
        """(N,) whether the answer is the label, white space at both ends aside, as exact match counts."""
        import numpy as np

        equal = np.asarray(self.label == self.prediction, dtype=bool)
        for i in np.flatnonzero(~equal):
            equal[i] = str(self.label[i]).strip() == str(self.prediction[i]).strip()
        return equal

    @property
    def units(self) -> "np.ndarray":
        """(N,) names of what is drawn: items, or groups of them."""
        return (self.ids if self.group is None else self.group).astype(str)

    @property
    def groups(self) -> list["np.ndarray"]:
        """Places of the items of each group, groups in the order of their first items."""
        import numpy as np

        _, first, inverse, counts = np.unique(self.units, return_index=True, return_inverse=True, return_counts=True)
        parts = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        return [parts[i] for i in np.argsort(first, kind="stable")]


def places(runs: Sequence[Items]) -> tuple[int, list["np.ndarray"]]:
    """Number of different units (items, or groups of them) of all runs, and where each run's items stand among them: (N,) each."""
    import numpy as np

    names, inverse = np.unique(np.concatenate([r.units for r in runs]), return_inverse=True)
    ends = np.cumsum([len(r) for r in runs])
    return len(names), np.split(inverse, ends[:-1])


def in_order_of(first: Items, other: Items) -> Items:
    """The other run's items in the order of the first's. Raises NotComparable if they are not the same items."""
    import numpy as np

    a, b = np.argsort(first.ids.astype(str), kind="stable"), np.argsort(other.ids.astype(str), kind="stable")
    if len(first) != len(other) or not np.array_equal(first.ids[a], other.ids[b]):
        shared = len(np.intersect1d(first.ids.astype(str), other.ids.astype(str)))
        raise NotComparable(
            f"runs of one seed were tested on different items ({len(first)} and {len(other)}, {shared} of them shared): "
            "they cannot be paired"
        )
    back = b[np.argsort(a, kind="stable")]
    if not np.array_equal(first.label, other.label[back]):
        raise NotComparable("runs of one seed have different labels for the same items: they cannot be paired")
    columns: dict[str, Any] = {f.name: getattr(other, f.name) for f in fields(Items)}
    ordered: dict[str, Any] = {name: None if column is None else column[back] for name, column in columns.items()}
    return Items(**ordered)
