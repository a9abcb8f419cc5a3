"""What a link may ask for when it starts (a `LinkContext`): sizes, the weight it finds, and random draws.

Every draw has its own stateless generator, seeded by (run seed, name, place, link index); shared ones by (run seed, 'shared',
name) alone. They do not depend on the method that asks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from peft_lib.seeds import generator


@dataclass(frozen=True)
class Draws:
    """The context of one link at one place."""

    seed: int
    place: str
    d_in: int
    d_out: int
    rank: int
    index: int
    read_weight: Callable[[], Tensor] | None = None
    pool: dict[tuple, Tensor] = field(default_factory=dict)
    """Shared draws made so far: an adapter's places hold each of them once."""

    @property
    def weight(self) -> Tensor:
        assert self.read_weight is not None
        return self.read_weight().detach().to("cpu", torch.float32, copy=True)

    def normal(self, std: float, shape: tuple[int, ...] | None = None, name: str = "A", shared: bool = False) -> Tensor:
        size = shape or (self.rank, self.d_in)
        return self._drawn(lambda g: torch.randn(size, generator=g) * std, ("normal", size, std), name, shared)

    def uniform(
        self, bound: float, shape: tuple[int, ...] | None = None, name: str = "A", shared: bool = False
    ) -> Tensor:
        size = shape or (self.rank, self.d_in)
        return self._drawn(
            lambda g: (2 * torch.rand(size, generator=g) - 1) * bound, ("uniform", size, bound), name, shared
        )

    def _drawn(self, draw: Callable[[torch.Generator], Tensor], what: tuple, name: str, shared: bool) -> Tensor:
        if not shared:
            return draw(generator(self.seed, name, self.place, self.index))
        key = (self.seed, name, *what)
        if key not in self.pool:
            self.pool[key] = draw(generator(self.seed, "shared", name))
        return self.pool[key]

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        turn = self.index if cycle is None else f"cycle {cycle}"
        return torch.randperm(n, generator=generator(self.seed, "selector", self.place, turn)).tolist()

    def integer(self, n: int) -> int:
        return int(torch.randint(n, (), generator=generator(self.seed, "selector", self.place, self.index)))
