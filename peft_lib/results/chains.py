"""What a chained method is compared with, how often it reset, and which columns of W its links touched. By formula, no torch.

Which method a chain is of is in no list: it is the one whose runs are the same up to the first reset. So a plug-in that chains
finds its base, too.
"""

import json
import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import ValidationError

from peft_lib.methods.method import Columns, Method
from peft_lib.study.known_methods import method_of
from peft_lib.study.spec import RunSpec
from peft_lib.training.schedule import chain_resets

PLACES = 100
"""Places that random selections are drawn for, to count the columns that they touch on average."""
PROBE = (96, 64, 8)
"""d_in, d_out and rank of the place at which the first links of two methods are compared."""


class Dense(Exception):
    """Raised where a link asks for a matrix: it touches every column."""


@dataclass
class Draws:
    """What `start` may ask for (methods/starts.py: LinkContext), at an imagined place: draws have the distribution of a run's, not
    its numbers, for which torch would be needed. Raises Dense where the link asks for more than columns."""

    d_in: int
    d_out: int
    rank: int
    index: int
    place: object
    _orders: dict[Any, list[int]] = field(default_factory=dict, repr=False)

    @property
    def weight(self) -> Any:
        raise Dense

    def normal(self, *args: Any, **more: Any) -> Any:
        raise Dense

    def uniform(self, *args: Any, **more: Any) -> Any:
        raise Dense

    def _random(self, what: object) -> random.Random:
        return random.Random(f"{self.place} {what}")

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        order = list(range(n))
        self._random(self.index if cycle is None else f"cycle {cycle}").shuffle(order)
        return order

    def integer(self, n: int) -> int:
        return self._random(self.index).randrange(n)


def base_of(method: Method, candidates: Iterable[str]) -> str | None:
    """The method of `candidates` that a chained one is without its resets; None if none is, and of methods that do not chain.

    It does not chain, trains the same factors at the same rates, and starts its first link as the chain does: by the same
    function, or with the same columns for the same draws.
    """
    if not method.chains:
        return None
    return next((name for name in candidates if _same_up_to_a_reset(method, method_of(name))), None)


def _same_up_to_a_reset(chain: Method, other: Method) -> bool:
    same = ("trains", "kind", "weight", "column_sparse", "scaled", "ranked", "lr_multipliers", "lr_group")
    if other.chains or any(getattr(chain, name) != getattr(other, name) for name in same):
        return False
    if chain.start is other.start:
        return True
    return chain.column_sparse and _first_columns(chain) == _first_columns(other) is not None


def _first_columns(method: Method) -> tuple[Columns, ...] | None:
    """First links under the default options, at a few places; None where they are no columns or an option has to be given."""
    assert method.start is not None
    try:
        options = method.parse_options({})
        links = [method.start(Draws(*PROBE, 0, place), options) for place in range(8)]
    except (Dense, ValidationError):
        return None
    columns = tuple(link for link in links if isinstance(link, Columns))
    return columns if len(columns) == len(links) else None


def planned_links(spec: RunSpec) -> int:
    """Links of a run that goes to its last epoch: 1 and 1 for each reset; 0 for a method that adapts no layer."""
    method = method_of(spec.method)
    if not method.has_factors:
        return 0
    return 1 + len(chain_resets(spec)) if method.chains else 1


def columns_touched(spec: RunSpec, d_in: int, d_out: int, links: int) -> float | None:
    """Columns of a (d_out, d_in) weight that so many links touch; None: all of them (a dense A, or full fine-tuning).

    Of selections that are fixed (cLA, c3LA) the number itself, of random ones the mean over imagined places: each place of a run
    draws its own.
    """
    method = method_of(spec.method)
    if not method.is_column_sparse(method.parse_options(spec.options)):
        return None
    return _touched(spec.method, json.dumps(spec.options, sort_keys=True), d_in, d_out, spec.rank, links)


@cache
def _touched(method_id: str, options: str, d_in: int, d_out: int, rank: int, links: int) -> float | None:
    method = method_of(method_id)
    parsed = method.parse_options(json.loads(options))

    def at(place: object) -> frozenset[int]:
        assert method.start is not None
        drawn = [method.start(Draws(d_in, d_out, rank, index, place), parsed) for index in range(links)]
        return frozenset(i for link in drawn if isinstance(link, Columns) for i in link.indices)

    try:
        first = [at(place) for place in range(3)]
    except Dense:
        return None
    if len(set(first)) == 1:  # nothing is drawn
        return float(len(first[0]))
    return sum(len(at(place)) for place in range(PLACES)) / PLACES
