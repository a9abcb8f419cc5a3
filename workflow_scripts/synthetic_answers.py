"""Made-up answers to a few test items, and the measures that they have: for workflow_scripts/synthetic.py.

Answers come first, and a run's test metric and losses are computed from them, by statistics/measures.py, so that the two belong
together. What is no function of single items (chrF, NIST) has no answers behind it and stays a number of its own.
"""

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from peft_lib.statistics.items import Items, NotComparable
from peft_lib.statistics.measures import measure
from peft_lib.study.declared import declared
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    import numpy as np

    from peft_lib.study.catalogs import DatasetEntry

ITEMS = 200
"""Test items of a run: enough to resample, few enough for thousands of runs."""
FEWEST = 20
"""Of a data set with a smaller test split."""
HARD, OWN = 0.15, 0.05
"""How much a method, and a single run, differ from the common order of items by difficulty, which is uniform from 0 to 1."""


def generator(*key: object) -> "np.random.Generator":
    """A stream of random numbers that only the key decides."""
    import numpy as np

    digest = hashlib.sha256(json.dumps([str(k) for k in key]).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


@dataclass(frozen=True)
class Answers:
    """A run's test items and what they amount to: measures by name, as fractions, and the mean loss."""

    items: Items
    measures: dict[str, float]
    loss: float

    def rows(self) -> list[dict[str, Any]]:
        """Rows of predictions.parquet."""
        names = ("label", "prediction", "score", "loss", "weight")
        lines = zip(self.items.ids, *(getattr(self.items, name).tolist() for name in names), strict=True)
        return [{"id": i, **dict(zip(names, line, strict=True)), "n_tokens": int(line[-1])} for i, *line in lines]


def answers(spec: RunSpec, data: "DatasetEntry", method: str, quality: float, loss: float) -> Answers:
    """Answers of a run of that quality (0 to 1) whose mean loss is to be `loss` (of a regression: whatever it is).

    method: whose answers they resemble. Items and labels are those of the data set, so runs can be paired.
    """
    import numpy as np

    task = generator("items", spec.dataset.id)
    count = max(FEWEST, min(ITEMS, data.sizes.get("test") or ITEMS))
    difficulty = (
        task.random(count) + HARD * generator("hard", spec.model.id, spec.dataset.id, method).standard_normal(count)
        + OWN * generator("own", spec.run_id).standard_normal(count)
    )  # fmt: skip
    order = np.argsort(difficulty, kind="stable")
    made = {"classification": _classes, "regression": _numbers, "generation": _texts}[data.task]
    label, prediction, score, right, weight = made(spec, data, quality, order, task)
    if data.task == "regression":
        losses = (score - label.astype(float)) ** 2
    else:
        losses = np.where(right, 0.3, 1.7) * (0.5 + generator("loss", spec.run_id).random(count))
        losses *= loss / (losses.sum() / weight.sum())
    ids = np.array([f"made up {i}" for i in range(count)], dtype=object)
    items = Items(ids=ids, label=label, prediction=prediction, score=score, loss=losses, weight=weight)
    return Answers(items, _measured(items, data), float(losses.sum() / weight.sum()))


def _measured(items: Items, data: "DatasetEntry") -> dict[str, float]:
    """Every measure of the data set that its items define."""
    import numpy as np

    labels = declared("data", data.loader, "LABELS")
    positive = str(labels[1]) if isinstance(labels, tuple) and len(labels) == 2 else None
    found = {}
    for name in dict.fromkeys((data.metric, *data.measures)):
        try:
            found[name] = float(measure(name, items, positive).at(np.ones((1, len(items))))[0])
        except NotComparable:
            continue  # chrF and NIST: of whole texts
    return found


Made = tuple["np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]
"""Label, prediction, score, whether right, weight."""


def _classes(spec: RunSpec, data: "DatasetEntry", quality: float, order: "np.ndarray", task: "np.random.Generator") -> Made:  # fmt: skip
    """The easiest items are right: a share of `quality` of accuracy, halfway to it from a coin for Matthews correlation."""
    import numpy as np

    count, classes = len(order), max(2, data.num_labels or 2)
    declared_ = declared("data", data.loader, "LABELS")
    names = [str(n) for n in declared_] if isinstance(declared_, tuple) and len(declared_) == classes else None
    names = names or [f"class {k}" for k in range(classes)]
    share = quality if data.metric == "accuracy" else 1 / classes + (1 - 1 / classes) * quality
    right = _easiest(order, share)
    true = task.integers(classes, size=count)
    given = np.where(right, true, (true + generator("wrong", spec.run_id).integers(1, classes, size=count)) % classes)
    text = np.array(names, dtype=object)
    score = 1 / classes + (1 - 1 / classes) * generator("score", spec.run_id).random(count)
    return text[true], text[given], score, right, np.ones(count)


def _numbers(spec: RunSpec, data: "DatasetEntry", quality: float, order: "np.ndarray", task: "np.random.Generator") -> Made:  # fmt: skip
    """Labels from 0 to 5; answers with an error that leaves a correlation near `quality`, larger for difficult items."""
    import numpy as np

    count = len(order)
    label = np.round(5 * task.random(count), 2)
    rank = np.empty(count)
    rank[order] = np.arange(count) / count
    wanted = min(max(quality, 0.05), 0.99)
    error = label.std() * (1 / wanted**2 - 1) ** 0.5 * 1.7 * rank
    score = label + error * generator("error", spec.run_id).standard_normal(count)
    texts = (np.array([f"{v:.6g}" for v in values], dtype=object) for values in (label, score))
    return next(texts), next(texts), score, np.zeros(count, dtype=bool), np.ones(count)


def _texts(spec: RunSpec, data: "DatasetEntry", quality: float, order: "np.ndarray", task: "np.random.Generator") -> Made:  # fmt: skip
    """Nonsense of a few words; a wrong answer has another end."""
    import numpy as np

    count = len(order)
    right = _easiest(order, quality)
    words = task.integers(100, size=(count, 8))
    other = generator("wrong", spec.run_id).integers(100, 200, size=(count, 3))
    label = [" ".join(["made", "up", *(f"word{w}" for w in line)]) for line in words]
    wrong = [" ".join(["made", "up", *(f"word{w}" for w in (*line[:5], *end))]) for line, end in zip(words, other, strict=True)]  # fmt: skip
    prediction = [text if good else bad for text, good, bad in zip(label, right, wrong, strict=True)]
    score = generator("score", spec.run_id).random(count)
    weight = np.full(count, 10.0)
    return np.array(label, dtype=object), np.array(prediction, dtype=object), score, right, weight


def _easiest(order: "np.ndarray", share: float) -> "np.ndarray":
    """(N,) whether an item is among the easiest."""
    import numpy as np

    right = np.zeros(len(order), dtype=bool)
    right[order[: round(share * len(order))]] = True
    return right
