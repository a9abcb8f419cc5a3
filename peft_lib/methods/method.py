"""What a method is: a description that planning reads without torch and layers carry out with it.

A method adapts a frozen weight W (d_out x d_in) by a chain of links. Link j adds s * B_j A_j, where A_j is either a
matrix (`LowRank`) or the choice of r input columns (`Columns`, a selector: row i of A_j is the unit vector of column i).
B_j starts at zero. `start(context)` says what A_j is; `trains` says which factors move; everything else follows.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from torch import Tensor

METHOD_API = 1
"""Version of this contract. A method made for another version is refused, not guessed at."""

Factor = Literal["A", "B", "P", "backbone"]
Family = Literal["baseline", "past", "present", "future", "paca"]

FACTOR_SETTINGS = frozenset({"rank", "alpha", "scaling", "targets"})
CHAIN_SETTINGS = frozenset({"chain_period", "chain_count", "chain_spread", "optimizer_reset"})


class MethodError(ValueError):
    """A method that cannot be registered or found; the message names the value, the rule and the remedy."""


class Options(BaseModel):
    """Base of a method's options: frozen, unknown keys refused. A declared default never changes its meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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

    def normal(self, std: float) -> "Tensor":
        """(r, d_in) entries from N(0, std^2)."""
        ...

    def permutation(self, n: int, cycle: int | None = None) -> list[int]:
        """Random order of 0..n-1; with `cycle` the draw depends on it in place of the link index."""
        ...

    def integer(self, n: int) -> int:
        """Uniform on 0..n-1."""
        ...


Start = Callable[[LinkContext, Any], LowRank | Columns]


def _no_multipliers(options: BaseModel) -> Mapping[str, float]:
    return {}


@dataclass(frozen=True)
class Method:
    """One entry of the registry. Ids are lower case; names are for people, in HTML and LaTeX."""

    id: str
    name: str
    formula: str
    source: str
    family: Family
    trains: tuple[Factor, ...]
    """What moves beside the head: 'A', 'B', 'P' (PaCA's columns, W[:, cols] / s), 'backbone' (every weight)."""
    start: Start | None = None
    """What A of a link is. None for methods without factors."""
    chains: bool = False
    """Merges the link at a chain reset and starts the next one."""
    column_sparse: bool = False
    """`start` returns Columns (for every option that does not say otherwise): gather and inplace are valid."""
    options: type[BaseModel] = Options
    lr_group: str = "asym"
    """Which learning rate applies: Table 7's fft, lora (A and B train) or asym (B alone trains), or a group of one's own."""
    default_lr: float | None = None
    """The learning rate where a study sets none."""
    lr_multipliers: Callable[[Any], Mapping[str, float]] = _no_multipliers
    """Factor name -> multiple of the run's learning rate (LoRA+)."""
    default_execution: Literal["dense", "gather", "inplace"] | None = None
    """None: gather where the selector is sparse, dense elsewhere."""
    scaled: bool = True
    """Whether s = alpha / r has a meaning; if not, alpha and scaling are left out of specs."""
    ranked: bool = True
    """Whether the rank has a meaning; if not, it is left out of specs."""
    exports_to_peft: bool = True
    twin: str | None = None
    """Id of the method with the same steps up to rounding, on the same selection (PROTOCOL 13.40)."""
    dense_parent: str | None = None
    """Id of the method that this one is with a selector in place of a random A."""
    floor: bool = False
    """Adapts nothing: what every other method has to beat."""
    html: str = ""
    latex: str = ""
    api: int = METHOD_API

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.id):
            raise MethodError(f"method id {self.id!r}: use lower-case letters, digits and '_', starting with a letter")
        if self.api != METHOD_API:
            raise MethodError(
                f"method {self.id!r} was made for method API {self.api}, this is {METHOD_API}: see docs/adding_a_method.md"
            )
        if (self.start is None) == any(f in self.trains for f in ("A", "B", "P")):
            raise MethodError(f"method {self.id!r}: factors train if and only if `start` says how a link starts")
        if self.chains and self.start is None:
            raise MethodError(f"method {self.id!r}: a chain needs links, and links need `start`")
        object.__setattr__(self, "html", self.html or self.name)
        object.__setattr__(self, "latex", self.latex or self.name)

    @property
    def has_factors(self) -> bool:
        return self.start is not None

    @property
    def sparse(self) -> bool:
        """One of the paper's sparse adapters: B alone trains, on selected columns."""
        return self.column_sparse and "B" in self.trains

    def uses(self, setting: str) -> bool:
        """Whether a setting of a study can change this method's numbers; what cannot is left out of its specs."""
        if setting in FACTOR_SETTINGS:
            meant = {"rank": self.ranked, "alpha": self.scaled, "scaling": self.scaled}
            return self.has_factors and meant.get(setting, True)
        return self.chains if setting in CHAIN_SETTINGS else True

    def largest_rank(self, d_in: int, d_out: int) -> int:
        """Largest rank at a place: d_in for a selector, which takes r distinct columns; min(d_in, d_out) for B A."""
        return d_in if self.column_sparse else min(d_in, d_out)

    def parse_options(self, values: Mapping[str, object]) -> BaseModel:
        """Validated options. Raises pydantic.ValidationError for unknown keys and bad values."""
        return self.options.model_validate(dict(values))

    def is_column_sparse(self, options: BaseModel) -> bool:
        """Whether this choice of options selects columns; a Gaussian 'selector' does not."""
        return self.column_sparse and getattr(options, "selector", "columns") != "gaussian"

    def executions(self, options: BaseModel) -> tuple[str, ...]:
        """Valid executions, the default first."""
        if not self.is_column_sparse(options):
            return ("dense",)
        first = self.default_execution or "gather"
        return (first, *(e for e in ("dense", "gather", "inplace") if e != first))

    def count(self, d_in: int, d_out: int, rank: int) -> int:
        """Trainable parameters of one adapted place: r * d_in if A trains, plus r * d_out if B (or P) trains."""
        return ("A" in self.trains) * rank * d_in + any(f in self.trains for f in ("B", "P")) * rank * d_out


def total_count(method: Method, shapes: Sequence[tuple[int, int, int]], rank: int) -> int:
    """Adapter parameters over (d_in, d_out, count) shapes."""
    return sum(n * method.count(d_in, d_out, rank) for d_in, d_out, n in shapes)
