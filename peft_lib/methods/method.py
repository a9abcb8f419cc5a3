"""What a method is: a description that planning reads without torch and layers carry out with it.

A method adapts a frozen weight W (d_out x d_in) by a chain of links. There are three kinds of links:

LowRank, Columns   W + s B A, where A is a matrix, or the choice of r input columns (a selector: row i of A is the unit
                   vector of column i). B starts at zero. `start` says what A is.
Tensors            any other function of W: `weight(W, tensors, s)` is its one definition. `start` gives the tensors.

`trains` says which factors or tensors move; everything else (executions, chains, files, counts, groups) follows.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from peft_lib.methods.starts import Columns, LinkContext, LowRank, Shapes, Start, Tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["METHOD_API", "Columns", "LinkContext", "LowRank", "Method", "MethodError", "Options", "Shapes", "Tensors"]

METHOD_API = 1
"""Version of this contract. A method made for another version is refused, not guessed at."""

FACTORS = ("A", "B", "P")
"""Factors of links W + s B A: A (r, d_in), B (d_out, r); P (d_out, r) stands for B where the columns of W themselves train."""
Family = Literal["baseline", "past", "present", "future", "paca"]

FACTOR_SETTINGS = frozenset({"rank", "alpha", "scaling", "targets"})
CHAIN_SETTINGS = frozenset({"chain_period", "chain_count", "chain_spread", "optimizer_reset"})


class MethodError(ValueError):
    """A method that cannot be registered or found; the message names the value, the rule and the remedy."""


class Options(BaseModel):
    """Base of a method's options: frozen, unknown keys refused. A declared default never changes its meaning."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    trains: tuple[str, ...]
    """What moves beside the head: 'A', 'B', 'P' (PaCA's columns, W[:, cols] / s), names of `Tensors`, or 'backbone' (every
    weight)."""
    start: Start | None = None
    """What A of a link, or its tensors, are. None for methods that adapt no layer."""
    weight: "Callable[[Tensor, Mapping[str, Tensor], float], Tensor] | None" = None
    """Tensors: the effective weight (d_out, d_in) from W (fp32), the tensors by name and s; differentiable in the tensors."""
    side: "Callable[[Tensor, Mapping[str, Tensor], float], Tensor] | None" = None
    """Tensors, optional: (weight(W, tensors, s) - W) x computed without W, from x (..., d_in) to (..., d_out)."""
    size: "Callable[[Shapes, int], int] | None" = None
    """Tensors: number of trained parameters at places of these shapes, for planning."""
    lowrank: "Callable[[Mapping[str, Tensor], float], tuple[Tensor, Tensor]] | None" = None
    """Tensors, optional: (A, B) with weight(W, tensors, s) = W + B A, for formats that know nothing else."""
    max_rank: Callable[[int, int], int] | None = None
    """Largest rank at a place of (d_in, d_out); None: d_in for a selector, min(d_in, d_out) otherwise."""
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
        trained = set(self.trains) - {"backbone"}
        if (self.start is None) == bool(trained):
            raise MethodError(f"method {self.id!r}: factors train if and only if `start` says how a link starts")
        if self.weight is None and (odd := sorted(trained - set(FACTORS))):
            raise MethodError(
                f"method {self.id!r} trains {', '.join(odd)}: factors of W + s B A are {', '.join(FACTORS)}; tensors of "
                "other names need `weight`, the effective weight that they make"
            )
        if self.weight is not None:
            self._check_tensors()
        if self.chains and self.start is None:
            raise MethodError(f"method {self.id!r}: a chain needs links, and links need `start`")
        object.__setattr__(self, "html", self.html or self.name)
        object.__setattr__(self, "latex", self.latex or self.name)

    def _check_tensors(self) -> None:
        """Rules of methods whose links are `Tensors`."""
        if self.start is None or self.size is None or self.column_sparse:
            raise MethodError(
                f"method {self.id!r} has `weight`: it needs `start` and `size` too, and is not column_sparse"
            )
        for name in self.trains:
            taken = name.removesuffix("_no_decay") in ("backbone", "head")
            if taken or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
                raise MethodError(
                    f"method {self.id!r}: tensor {name!r}: use letters, digits and '_', and not 'head' or 'backbone'"
                )

    @property
    def has_factors(self) -> bool:
        """Whether it adapts layers at all."""
        return self.start is not None

    @property
    def kind(self) -> Literal["none", "factors", "tensors"]:
        """What its links are made of: nothing, A and B (LowRank or Columns), or `Tensors`."""
        return "none" if self.start is None else "factors" if self.weight is None else "tensors"

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
        if self.max_rank is not None:
            return self.max_rank(d_in, d_out)
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

    def trained_size(self, shapes: Shapes, rank: int) -> int:
        """Trainable parameters at places of these shapes: r d_in where A trains, r d_out where B or P does, or `size`."""
        if self.size is not None:
            return self.size(shapes, rank)
        a, b = "A" in self.trains, "B" in self.trains or "P" in self.trains
        return sum(count * rank * (a * d_in + b * d_out) for d_in, d_out, count in shapes)

    def counted_size(self, shapes: Shapes, rank: int) -> int:
        """What a percentage of trained parameters is of, beside the model: A and B whether they train or not (a selector
        counts as the matrix it stands for, as in the paper's tables); of other methods the trained tensors.
        """
        if self.kind != "factors":
            return self.trained_size(shapes, rank)
        return sum(count * rank * (d_in + d_out) for d_in, d_out, count in shapes)
