"""Measures as functions of items: what the tasks compute on a resample written out, which needs torch, is the second opinion."""

import numpy as np
import pytest

from peft_lib.statistics.draws import generator, item_weights
from peft_lib.statistics.items import Items, NotComparable, in_order_of, places
from peft_lib.statistics.measures import measure, resample
from peft_lib.tasks import classification, generation, regression
from peft_lib.tasks.answers import Answers

WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "dogs", "run", "far", "away", "home"]


def classified(seed: int, n: int = 60, classes: tuple[str, ...] = ("no", "yes")) -> Items:
    rng = np.random.default_rng(seed)
    label = rng.choice(classes, n)
    answer = np.where(rng.uniform(size=n) < 0.7, label, rng.choice(classes, n))
    ids = np.array([f"i{k:03}" for k in range(n)], dtype=object)
    return Items(
        ids, label.astype(object), answer.astype(object), rng.uniform(size=n), rng.exponential(size=n), np.ones(n)
    )


def numbers(seed: int) -> Items:
    items, rng = classified(seed), np.random.default_rng(seed + 100)
    label = rng.integers(0, 6, len(items)).astype(float)  # many ties
    score = np.round(label + rng.normal(0, 1.5, len(items)), 1)
    text = np.array([f"{v:.6g}" for v in label], dtype=object)
    return Items(
        items.ids, text, np.array(list(map(str, score)), dtype=object), score, (label - score) ** 2, items.weight
    )


def written(seed: int, n: int = 40) -> Items:
    rng = np.random.default_rng(seed)
    label = [" ".join(rng.choice(WORDS, rng.integers(3, 12))) for _ in range(n)]
    answer = [text if rng.uniform() < 0.4 else " ".join([*text.split()[:3], *rng.choice(WORDS, 4)]) for text in label]
    answer[0] = ""  # an empty answer
    weight = rng.integers(1, 9, n).astype(float)
    ids = np.array([str(k) for k in range(n)], dtype=object)
    texts = (np.array(side, dtype=object) for side in (label, answer))
    return Items(ids, *texts, rng.uniform(size=n), weight * rng.exponential(size=n), weight)


def repeated(items: Items, weights: np.ndarray, kind: str) -> Answers:
    """The resample, item i written out w_i times, as a task takes it."""
    rows = np.repeat(np.arange(len(items)), weights.astype(int))
    if kind == "numbers":
        label, answer = items.label[rows].astype(float), items.score[rows]
    elif kind == "classes":
        order = sorted({*items.label, *items.prediction})
        label, answer = (np.array([order.index(v) for v in side[rows]]) for side in (items.label, items.prediction))
    else:
        label, answer = items.label[rows], items.prediction[rows]
    return Answers(label, answer, items.loss[rows], items.weight[rows])


CASES = [
    ("accuracy", "classes", classified, classification.accuracy), ("f1", "classes", classified, classification.f1),
    ("mcc", "classes", classified, classification.mcc),
    ("mcc", "classes", lambda seed: classified(seed, classes=("a", "b", "c", "d")), classification.mcc),
    ("pearson", "numbers", numbers, regression.pearson), ("spearman", "numbers", numbers, regression.spearman),
    ("rmse", "numbers", numbers, regression.rmse), ("perplexity", "texts", written, generation.perplexity),
    ("exact_match", "texts", written, generation.exact_match), ("bleu", "texts", written, generation.bleu),
    ("test_loss", "texts", written, lambda answers: answers.mean_loss),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kind", "make", "task"), CASES, ids=[f"{c[0]}-{i}" for i, c in enumerate(CASES)])
@pytest.mark.parametrize("seed", [0, 1])
def test_on_every_resample_it_is_what_the_task_computes(name, kind, make, task, seed):
    items = make(seed)
    found = measure(name, items, positive="yes")
    weights = np.vstack([np.ones(len(items)), next(item_weights(len(items), 5, np.random.default_rng(seed)))])
    expected = [task(repeated(items, row, kind)) for row in weights]
    assert found.at(weights) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["exact_match", "bleu", "perplexity", "test_loss"])
def test_items_that_ask_the_same_are_one(name):
    """The second opinion is the task's own, on the resample with every drawn group written out under a name of its own."""
    made, rng = written(3, n=60), np.random.default_rng(5)
    group = np.array([f"g{k}" for k in rng.permutation(np.r_[np.arange(25), rng.integers(0, 25, 35)])], dtype=object)
    first = {name: i for i, name in reversed(list(enumerate(group)))}
    answer = np.array([made.prediction[first[g]] for g in group], dtype=object)
    items = Items(made.ids, made.label, answer, made.score, made.loss, made.weight, group)
    units, (place,) = places([items])
    assert units == 25
    got = resample([measure(name, items)], [place], units, 6, generator("g"))[:, 0]
    task = {"test_loss": lambda answers: answers.mean_loss}.get(name) or getattr(generation, name)
    for value, drawn in zip(got, next(item_weights(units, 6, generator("g"))).astype(int), strict=True):
        rows = [(i, f"{group[i]} {copy}") for i in range(60) for copy in range(drawn[place[i]])]
        at, names = [i for i, _ in rows], [name for _, name in rows]
        expected = task(Answers(items.label[at], items.prediction[at], items.loss[at], items.weight[at], names))
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    few = Items(
        *(getattr(items, f)[group < "g2"] for f in ("ids", "label", "prediction", "score", "loss", "weight", "group"))
    )
    with pytest.raises(NotComparable, match="test items are too few"):
        measure(name, few)


@pytest.mark.parametrize(("name", "kind", "task"), [
    ("mcc", "classes", classification.mcc), ("f1", "classes", classification.f1),
    ("pearson", "numbers", regression.pearson), ("spearman", "numbers", regression.spearman),
])  # fmt: skip
def test_where_a_measure_does_not_exist_it_is_0_as_in_the_task(name, kind, task):
    made = numbers(0) if kind == "numbers" else classified(0)
    same = {"prediction": np.full(len(made), "no", dtype=object), "score": np.full(len(made), 3.7)}
    items = Items(made.ids, made.label, **same, loss=made.loss, weight=made.weight)
    ones = np.ones((1, len(items)))
    assert measure(name, items, positive="yes").at(ones)[0] == task(repeated(items, ones[0], kind)) == 0


def test_a_gap_is_the_test_loss_less_the_training_loss():
    items, ones = written(0), np.ones((1, 40))
    loss = measure("test_loss", items).at(ones)
    assert measure("gap", items, train_loss=5.0).at(ones) == pytest.approx(loss - 5) and loss[0] < 5
    assert measure("gap_absolute", items, train_loss=5.0).at(ones) == pytest.approx(5 - loss)


def test_what_cannot_be_resampled_says_why():
    with pytest.raises(NotComparable, match="scored anew on thousands of resampled texts"):
        measure("nist", written(0))
    with pytest.raises(NotComparable, match="19 test items are too few"):
        measure("accuracy", classified(0, n=19))
    with pytest.raises(NotComparable, match="positive class"):
        measure("f1", classified(0))
    with pytest.raises(NotComparable, match="clean training loss"):
        measure("gap", classified(0))


def test_weights_are_those_of_a_bootstrap_and_come_in_blocks(monkeypatch):
    whole = np.vstack(list(item_weights(50, 400, generator("x"))))
    assert whole.shape == (400, 50) and (whole.sum(1) == 50).all()
    # Poisson-like: mean 1, variance 1 - 1/n.
    assert whole.mean() == 1 and whole.var() == pytest.approx(1 - 1 / 50, abs=0.05)
    monkeypatch.setattr("peft_lib.statistics.draws.CELLS_AT_ONCE", 50 * 7)
    blocks = list(item_weights(50, 400, generator("x")))
    assert len(blocks) == 58 and np.array_equal(np.vstack(blocks), whole)
    assert not np.array_equal(next(item_weights(50, 7, generator("y"))), whole[:7])


def test_runs_on_different_items_share_the_weights_of_those_that_they_share():
    first, spearman = classified(0), numbers(1)
    part = np.r_[10:60]
    other = Items(*(getattr(spearman, f)[part] for f in ("ids", "label", "prediction", "score", "loss", "weight")))
    units, where = places([first, other])
    assert units == 60 and np.array_equal(where[1], part)
    got = resample([measure("accuracy", first), measure("spearman", other), measure("rmse", other)],
                   [where[0], where[1], where[1]], units, 30, generator("z"))  # fmt: skip
    weights = next(item_weights(60, 30, generator("z")))
    assert got[:, 0] == pytest.approx(measure("accuracy", first).at(weights))
    assert got[:, 1] == pytest.approx(measure("spearman", other).at(weights[:, part]))
    assert got[:, 2] == pytest.approx(measure("rmse", other).at(weights[:, part]))


def test_items_are_matched_by_id_and_others_refused():
    first = classified(0)
    back = np.random.default_rng(3).permutation(len(first))
    fields = ("ids", "label", "prediction", "score", "loss", "weight")
    shuffled = Items(*(getattr(first, f)[back] for f in fields))
    again = in_order_of(first, shuffled)
    assert all(np.array_equal(getattr(first, f), getattr(again, f)) for f in fields)
    fewer = Items(*(getattr(first, f)[1:] for f in fields))
    with pytest.raises(NotComparable, match=r"different items \(60 and 59, 59 of them shared\)"):
        in_order_of(first, fewer)
    relabelled = Items(first.ids, first.label[::-1], *(getattr(first, f) for f in fields[2:]))
    with pytest.raises(NotComparable, match="different labels"):
        in_order_of(first, relabelled)
