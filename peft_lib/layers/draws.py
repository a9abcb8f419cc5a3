"""The random draws of one link at one place, each from its own stateless generator (a `LinkContext`)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from peft_lib.seeds import generator


@dataclass(frozen=True)
class Draws:
    """Seeds: (run seed, 'A' or 'selector', place, link index); independent of the method that asks."""

    seed: int
    place: str
    d_in: int
    d_out: int
    rank: int
    index: int

    def normal(self, std: float) -> Tensor:
        return torch.randn(self.rank, self.d_in, generator=generator(self.seed, "A", self.place, self.index)) * std

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        turn = self.index if cycle is None else f"cycle {cycle}"
        return torch.randperm(n, generator=generator(self.seed, "selector", self.place, turn)).tolist()

    def integer(self, n: int) -> int:
        return int(torch.randint(n, (), generator=generator(self.seed, "selector", self.place, self.index)))
