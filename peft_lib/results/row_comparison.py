"""The methods of one row of a table, compared in pairs on their test items: from runs' answers to differences and p-values."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from peft_lib.results.context import Context, Group
from peft_lib.results.predictions import checked_measure, read_items
from peft_lib.statistics.draws import generator
from peft_lib.statistics.families import ALPHA, holm, letters
from peft_lib.statistics.items import Items, NotComparable, in_order_of, places
from peft_lib.statistics.measures import RIGHT_OR_WRONG, Measure, resample
from peft_lib.statistics.paired import DRAWS, Compared, Difference, mcnemar
from peft_lib.study.declared import declared
from peft_lib.study.quantities import MEASURES, QUANTITIES, Quantity, quantity

if TYPE_CHECKING:
    import numpy as np

LEAST_PER_PAIR = 80
"""Resamples per pair of a row: with them the least p, times the pairs, stays below half of ALPHA."""


@dataclass(frozen=True)
class RowComparison:
    """Methods of a row that can be compared, M of them, in the order of the study.

    what: the quantity; seeds, items: how many of each (items: different ones, over all seeds). right: (M, S, items) +1 for a right
    answer, 0 for a wrong one or none; None where items are not right or wrong. refused: method -> why it is not compared.
    """

    methods: tuple[str, ...]
    what: Quantity
    seeds: tuple[int, ...]
    items: int
    compared: Compared
    right: "np.ndarray | None"
    refused: dict[str, str] = field(default_factory=dict)

    def between(self, a: str, b: str) -> Difference:
        """Method a minus method b, in the unit that is shown."""
        first, second = self.methods.index(a), self.methods.index(b)
        if first == second:
            raise ValueError(f"method {a} is not compared with itself")
        if (first, second) in self._pairs:
            return self._pairs[first, second]
        d = self._pairs[second, first]
        return replace(d, value=-d.value, singles=tuple(-x for x in d.singles), low=-d.high, high=-d.low)

    @cached_property
    def _pairs(self) -> dict[tuple[int, int], Difference]:
        """All pairs (a, b), a < b."""
        return {(a, b): self._pair(a, b) for a, b in combinations(range(len(self.methods)), 2)}

    def _pair(self, a: int, b: int) -> Difference:
        """A difference of right answers has no p smaller than the exact tests allow: with one seed it is McNemar's; with more it is
        at least 2^(1 - m), which m items that differ over the seeds could show at most if a sign each were drawn for them."""
        found = self.compared.pair(a, b)
        if self.right is None:
            return found
        if len(self.seeds) == 1:
            return replace(found, p=self._mcnemar(a, b)[0][2])
        differing = int((self.right[a].sum(0) != self.right[b].sum(0)).sum())
        return replace(found, p=min(1.0, max(found.p, 2.0 ** (1 - differing))))

    def mcnemar(self, a: str, b: str) -> list[tuple[int, int, float]] | None:
        """By seed: items that a alone has right, b alone, exact p. None where items are not right or wrong."""
        if self.right is None:
            return None
        return self._mcnemar(self.methods.index(a), self.methods.index(b))

    def _mcnemar(self, a: int, b: int) -> list[tuple[int, int, float]]:
        assert self.right is not None
        return [mcnemar(self.right[a, s] > 0, self.right[b, s] > 0) for s in range(len(self.seeds))]

    @cached_property
    def _adjusted(self) -> dict[frozenset[int], float]:
        """Pair of distinct methods -> p after Holm's correction over all of them: twins would be tested twice."""
        pairs = list(combinations(self.compared.distinct, 2))
        corrected = holm([self._pairs[pair].p for pair in pairs])
        return {frozenset(pair): p for pair, p in zip(pairs, corrected, strict=True)}

    def others(self, reference: str) -> tuple[str, ...]:
        """The methods that differ from that one, each once: of twins the first."""
        own = self.compared.same_as[self.methods.index(reference)]
        return tuple(self.methods[m] for m in self.compared.distinct if m != own)

    @property
    def family(self) -> int:
        """Comparisons that p is corrected for, where the row's best is the reference."""
        return max(1, len(self._adjusted))

    def _corrected(self, a: int, b: int) -> float:
        """p of two methods after correction; 1 for twins."""
        first, second = self.compared.same_as[a], self.compared.same_as[b]
        return 1.0 if first == second else self._adjusted[frozenset((first, second))]

    def adjusted(self, a: str, b: str) -> float:
        """p of a pair after Holm's correction over all pairs of the row: the family for the leader, whom the data chose."""
        return self._corrected(self.methods.index(a), self.methods.index(b))

    def adjusted_against(self, reference: str) -> dict[str, float]:
        """Method -> p after Holm's correction over the comparisons with a method that was named beforehand."""
        same = dict(zip(self.methods, self.compared.same_as, strict=True))
        own = same[reference]
        tested = [self.methods[k] for k in self.compared.distinct if k != own]
        corrected = dict(zip(tested, holm([self.between(m, reference).p for m in tested]), strict=True))
        others = (m for m in self.methods if m != reference)
        return {m: 1.0 if same[m] == own else corrected[self.methods[same[m]]] for m in others}

    def letters(self, order: list[str]) -> dict[str, str]:
        """Method -> its letters, given in that order: methods that share one are not told apart."""
        place = {self.methods.index(m): i for i, m in enumerate(order)}
        apart = {
            (min(x, y), max(x, y))
            for a, b in self._pairs
            if self._corrected(a, b) < ALPHA
            for x, y in [(place[a], place[b])]
        }
        return dict(zip(order, letters(len(order), apart), strict=True))


@dataclass(frozen=True)
class Run:
    """A run's test items and its measure of them."""

    items: Items
    measure: Measure


def compare_row(context: Context, groups: list[Group], metric: str) -> RowComparison:
    """Compares the groups of a row, all of whose runs are good. Raises NotComparable if fewer than two can be.

    A group is left out, with the reason, if its answers cannot be read, cannot be resampled, or are to other items than those
    of the row's first group with the same seed.
    """
    import numpy as np

    model, dataset, row = groups[0].model, groups[0].dataset, groups[0].row
    what = quantity(metric, context.plan.datasets[dataset].metric)
    name = measure_name(metric, context.plan.datasets[dataset].metric)
    kept: dict[str, dict[int, Run]] = {}
    refused: dict[str, str] = {}
    for group in groups:
        try:
            kept[group.method] = _runs(context, group, name, what, next(iter(kept.values()), None))
        except NotComparable as error:
            refused[group.method] = str(error)
    if len(kept) < 2:
        raise NotComparable("; ".join(dict.fromkeys(refused.values())) or "no other method has all its runs")
    seeds = tuple(sorted(next(iter(kept.values()))))
    shape = (len(kept), len(seeds))
    runs = [of_seed[seed] for of_seed in kept.values() for seed in seeds]
    units, where = places([run.items for run in runs])
    draws = max(DRAWS, LEAST_PER_PAIR * len(kept) * (len(kept) - 1) // 2 - 1)
    # Named by the task, not by artefact or method: the same resamples wherever the row is compared.
    resampled = resample([run.measure for run in runs], where, units, draws, generator("items", model, dataset, row))
    observed = np.array([run.measure.at(np.ones((1, len(run.items))))[0] for run in runs])
    right = None
    if name in RIGHT_OR_WRONG:
        lines = np.zeros((len(runs), units), dtype=np.int8)
        for line, run, place in zip(lines, runs, where, strict=True):
            np.maximum.at(line, place, run.items.right)  # a group's one answer: right if it is any of its references
        right = lines.reshape(*shape, units)
    spread = what.high - what.low if what.low is not None and what.high is not None else None
    compared = Compared(what.scale * observed.reshape(shape), what.scale * resampled.reshape(-1, *shape), spread)
    return RowComparison(tuple(kept), what, seeds, units, compared, right, refused)


def measure_name(metric: str, headline: str) -> str:
    """The name in statistics/measures.py of a quantity on data with that headline metric."""
    if metric == "test_metric":
        return headline
    return QUANTITIES[metric].column.removeprefix(f"{MEASURES}.")


def _runs(context: Context, group: Group, name: str, what: Quantity, first: dict[int, Run] | None) -> dict[int, Run]:
    """Seed -> run of a group, its items in the order of the first group's. Raises NotComparable."""
    entry = context.plan.datasets[group.dataset]
    labels = declared("data", entry.loader, "LABELS")
    positive = str(labels[1]) if isinstance(labels, tuple) and len(labels) == 2 else None
    recorded, train = (context.of_runs(group, column) for column in (what.column, "train_loss"))
    if first is not None and sorted(first) != sorted(run.seed for run in recorded):
        raise NotComparable("it has other seeds than the methods before it, so its runs cannot be paired")
    found = {}
    for run_id, run, trained in zip(group.run_ids, recorded, train, strict=True):
        items = read_items(context.results / "runs" / context.plan.runs[run_id].folder)
        if first is not None:
            items = in_order_of(first[run.seed].items, items)
        measure = checked_measure(name, items, float(run.value), positive, trained.value)
        found[run.seed] = Run(items, measure)
    return found
