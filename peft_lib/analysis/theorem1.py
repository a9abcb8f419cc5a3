"""Theorem 1 of the paper: how far the generalization error of W0 + Delta W can lie from that of W0, and of Delta W.

For f(x) = sigma_L(W_L ... sigma_1(W_1 x)), inputs with |x| <= C, a loss that is L_loss-Lipschitz in the network's output and
activations sigma_l that are lip_l-Lipschitz,

    G(W0 + Delta W) <= min(G(W0) + Phi_DeltaW, G(Delta W) + Phi_W0)

    Phi = 2 L_loss [ C prod_l lip_l (prod_l (w_l + d_l) - prod_l a_l)
                     + sum_{l<L} |sigma_l(0)| prod_{m>l} lip_m (prod_{m>l} (w_m + d_m) - prod_{m>l} a_m) ]

with w_l, d_l the spectral norms of W0^l and Delta W^l, a = w for Phi_DeltaW and a = d for Phi_W0. This is the product form of
the paper's sum over 2^L terms, read as ERRATA 1-8 says; the printed formula itself is no upper bound (a test has a
counterexample). Source: paper, section 3.1, D.1.2-D.1.4.

Products of many layers leave the range of floating-point numbers, so sums are taken of logarithms: `log` is always right, and
`value` is infinite where exp(log) is above 1.8e308. Differences of products are never formed as such: with o = w + d - a,
log(prod (w + d) - prod a) = sum log(w + d) + log(1 - exp(-sum log(1 + o / a))) keeps all digits for a tiny Delta W.

Not covered: attention (`attention_bound`), residual connections, normalisation, and biases other than through sigma_l(0) (a
frozen bias b_l may be taken into sigma_l: u -> sigma(u + b_l), so |sigma_l(0)| becomes |sigma(b_l)|).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Layer(NamedTuple):
    """One layer, the first being next to the input. Spectral norms, the activation's Lipschitz constant, and |sigma_l(0)|."""

    base: float
    delta: float
    lipschitz: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True)
class Correction:
    """A term that is at least 0, by its natural logarithm (-inf for 0)."""

    log: float

    @property
    def value(self) -> float:
        """The term; infinite where it is above what a float holds."""
        return exp(self.log)


class Theorem1(NamedTuple):
    """Both correction terms: G(W0 + Delta W) <= G(W0) + around_base, and <= G(Delta W) + around_delta."""

    around_base: Correction
    """Phi_DeltaW: 0 without an update."""
    around_delta: Correction
    """Phi_W0."""


def theorem1(layers: Sequence[Layer], input_bound: float, loss_lipschitz: float = 1.0) -> Theorem1:
    """Phi_DeltaW and Phi_W0. Raises ValueError for a norm or constant that is negative or not finite, or for no layer."""
    _check(layers, input_bound, loss_lipschitz)
    base, delta = [layer.base for layer in layers], [layer.delta for layer in layers]
    return Theorem1(
        _phi(layers, base, delta, input_bound, loss_lipschitz), _phi(layers, delta, base, input_bound, loss_lipschitz)
    )


def corollary1(
    base: Sequence[float], delta: Sequence[float], input_bound: float, loss_lipschitz: float = 1.0
) -> Theorem1:
    """Corollary 1: linear layers (sigma_l the identity), so 2 C L_loss (prod (w + d) - prod a). Raises as `theorem1` does."""
    return theorem1([Layer(w, d) for w, d in zip(base, delta, strict=True)], input_bound, loss_lipschitz)


def log_excess(kept: Sequence[float], other: Sequence[float]) -> float:
    """log(prod (kept + other) - prod kept), for numbers of at least 0; -inf for 0.

    Empty products are 1, so their difference is 0.
    """
    whole = sum(log(a + o) for a, o in zip(kept, other, strict=True))
    growth = log_growth(kept, other)
    return whole + log(-math.expm1(-growth)) if whole > -math.inf else -math.inf


def log_growth(kept: Sequence[float], other: Sequence[float]) -> float:
    """log(prod (kept + other) / prod kept) = sum log(1 + other / kept): 0 where nothing is added, inf where kept has a 0."""
    return sum(math.log1p(o / a) if a else (math.inf if o else 0.0) for a, o in zip(kept, other, strict=True))


def log(value: float) -> float:
    """log, and -inf for 0."""
    return math.log(value) if value else -math.inf


def exp(value: float) -> float:
    """exp, and inf above a float's range."""
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def log_sum(logs: Sequence[float]) -> float:
    """log of the sum of exp(logs)."""
    top = max(logs, default=-math.inf)
    return top if math.isinf(top) else top + math.log(math.fsum(math.exp(x - top) for x in logs))


def _phi(
    layers: Sequence[Layer], kept: Sequence[float], other: Sequence[float], input_bound: float, loss_lipschitz: float
) -> Correction:
    """Phi whose subtracted product is of `kept`."""
    terms = [log(input_bound) + _log_lipschitz(layers) + log_excess(kept, other)]
    for place, layer in enumerate(layers[:-1], 1):
        terms.append(log(layer.offset) + _log_lipschitz(layers[place:]) + log_excess(kept[place:], other[place:]))
    return Correction(log(2 * loss_lipschitz) + log_sum(terms))


def _log_lipschitz(layers: Sequence[Layer]) -> float:
    return sum(log(layer.lipschitz) for layer in layers)


def _check(layers: Sequence[Layer], input_bound: float, loss_lipschitz: float) -> None:
    if not layers:
        raise ValueError("Theorem 1 is of a network: give at least one layer")
    given = {"input_bound": input_bound, "loss_lipschitz": loss_lipschitz}
    given |= {f"layer {i}'s {name}": x for i, layer in enumerate(layers, 1) for name, x in layer._asdict().items()}
    for name, value in given.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name} is {value}: norms and constants are finite and at least 0")
