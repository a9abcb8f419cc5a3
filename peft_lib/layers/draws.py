"""What a link may ask for when it starts (a `LinkContext`): sizes, the weight it finds, and random draws.

Every draw has its own stateless generator, seeded by (run seed, name, place, link index); shared ones by (run seed, 'shared',
name) alone. They do not depend on the method that asks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from peft_lib.methods.method import MethodError
from peft_lib.seeds import generator


class SharedDraws:
    """Draws that all places of an adapter share: each is made, and held on a device, once."""

    def __init__(self) -> None:
        self.drawn: dict[tuple, Tensor] = {}
        self.moved: dict[tuple[tuple, str], Tensor] = {}

    def get(self, key: tuple, draw: Callable[[], Tensor]) -> Tensor:
        if key not in self.drawn:
            self.drawn[key] = draw()
        return self._unchanged(key)

    def on(self, value: Tensor, device: torch.device) -> Tensor:
        """`value` on that device; a shared draw is the same tensor for every place."""
        for key, drawn in self.drawn.items():
            if value is drawn:
                where = (key, str(device))
                if where not in self.moved:
                    self.moved[where] = self._unchanged(key).detach().to(device)
                return self.moved[where]
        return value.detach().to(device)

    def _unchanged(self, key: tuple) -> Tensor:
        drawn = self.drawn[key]
        if drawn._version:
            raise MethodError(
                f"the shared draw {key[1]!r} was written into: it belongs to all places. Compute a new tensor from it "
                "(0.1 * a, not a *= 0.1)"
            )
        return drawn


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
    pool: SharedDraws = field(default_factory=SharedDraws)

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
        return self.pool.get((self.seed, name, *what), lambda: draw(generator(self.seed, "shared", name)).clone())

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        turn = self.index if cycle is None else f"cycle {cycle}"
        return torch.randperm(n, generator=generator(self.seed, "selector", self.place, turn)).tolist()

    def integer(self, n: int) -> int:
        return int(torch.randint(n, (), generator=generator(self.seed, "selector", self.place, self.index)))
