"""What a link starts with: the three kinds of links, and what a method's `start` may ask for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """A link whose A is a matrix of shape (r, d_in)."""

    A: "Tensor"


@dataclass(frozen=True)
class Columns:
    """A link whose A selects r distinct input columns: A[i, indices[i]] = 1, zero elsewhere."""

    indices: tuple[int, ...]


class LinkContext(Protocol):
    """What `start` may ask for. Every draw is seeded by (run seed, name, module path, link index), on the CPU."""

    @property
    def d_in(self) -> int: ...
    @property
    def d_out(self) -> int: ...
    @property
    def rank(self) -> int: ...
    @property
    def index(self) -> int:
        """Number of the link in the chain, from 0."""
        ...

    @property
    def weight(self) -> "Tensor":
        """A copy of W (d_out, d_in) as the link finds it, closed links included; fp32, on the CPU."""
        ...

    def normal(
        self, std: float, shape: tuple[int, ...] | None = None, name: str = "A", shared: bool = False
    ) -> "Tensor":
        """Entries from N(0, std^2) in the given shape, (r, d_in) if none is given.

        A method that draws more than one tensor gives each its own `name`. With `shared` the draw depends on neither
        place nor link: all places of one shape get the same tensor, and hold it once.
        """
        ...

    def uniform(
        self, bound: float, shape: tuple[int, ...] | None = None, name: str = "A", shared: bool = False
    ) -> "Tensor":
        """Entries from U(-bound, bound); otherwise as `normal`."""
        ...

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        """Random order of 0..n-1; with `cycle` the draw depends on it in place of the link index."""
        ...

    def integer(self, n: int) -> int:
        """Uniform on 0..n-1."""
        ...


@dataclass(frozen=True)
class Tensors:
    """A link that is neither: `Method.weight` makes the effective weight from W and these tensors, by name.

    trained: their values at the start. frozen: never saved, so they have to follow from the context alone (its draws, its
    weight); all must be such that weight(W, tensors, s) = W at the start.
    """

    trained: "Mapping[str, Tensor]"
    frozen: "Mapping[str, Tensor]" = field(default_factory=dict)


Start = Callable[[LinkContext, Any], LowRank | Columns | Tensors]
Shapes = Sequence[tuple[int, int, int]]
"""Adapted places as (d_in, d_out, how many of them)."""
