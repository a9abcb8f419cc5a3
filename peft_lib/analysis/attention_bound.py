"""Theorem 4 of the paper: how far an update moves the output of an attention head, from spectral norms alone.

One head, V(X) = S(Q K^T / sqrt(d_k) + M) V W_O with Q = X W_Q, K = X W_K, V = X W_V, S the row-wise softmax, M a fixed mask
that stands outside of the division (ERRATA 9; the same for masks of 0 and -inf), X (n, d) with Frobenius norm of the whole
sequence at most C (ERRATA 11):

    |V_{W0 + Delta W}(X) - V_{W0}(X)|_F <= C (L_sigma |Delta W_QKV| |W_O| + sqrt(n) |W_V + Delta W_V| |Delta W_O|)

sigma(Q, K, V) = S(Q K^T / sqrt(d_k) + M) V is bilinear, so it has no Lipschitz constant on the whole space, and 1/2, which the
paper mentions, is that of the softmax alone (ERRATA 10; a test has a counterexample). On the sequences and weights at hand,

    Z' - Z = S' (V' - V) + (S' - S) V,
    |S'|_2 <= sqrt(n),  |S' - S|_F <= 1/2 |Q' K'^T - Q K^T|_F / sqrt(d_k),  Q' K'^T - Q K^T = (Q' - Q) K'^T + Q (K' - K)^T

so, by Cauchy and Schwarz over the three blocks and |[Q' - Q, K' - K, V' - V]|_F <= C |Delta W_QKV|,

    L_sigma = sqrt( n + (C |W_V|)^2 C^2 (|W_K + Delta W_K|^2 + |W_Q|^2) / (4 d_k) ).

|softmax(u) - softmax(v)| <= 1/2 |u - v|: its Jacobian diag(p) - p p^T has norm at most 1/2.
"""

import math
from typing import NamedTuple


class Norms(NamedTuple):
    """Spectral norms of a projection before training, of its update, and after it; `after` None: base + delta, an upper bound."""

    base: float
    delta: float = 0.0
    after: float | None = None

    @property
    def trained(self) -> float:
        return self.base + self.delta if self.after is None else self.after


class Attention(NamedTuple):
    """One head. Projections are those of the head alone, W_Q, W_K (d, d_k), W_V (d, d_v), W_O (d_v, d_out)."""

    query: Norms
    key: Norms
    value: Norms
    output: Norms
    key_width: int
    """d_k."""
    tokens: int
    """n, rows of X."""


def lipschitz(head: Attention, input_bound: float) -> float:
    """L_sigma: |sigma(T') - sigma(T)|_F <= L_sigma |T' - T|_F for T = X W_QKV before and T' after training, |X|_F <= C."""
    value = input_bound * head.value.base
    scores = input_bound**2 * (head.key.trained**2 + head.query.base**2) / (4 * head.key_width)
    return math.sqrt(head.tokens + value**2 * scores)


def theorem4(head: Attention, input_bound: float, delta_qkv: float | None = None) -> float:
    """The bound on |V_{W0 + Delta W}(X) - V_{W0}(X)|_F.

    delta_qkv: spectral norm of [Delta W_Q, Delta W_K, Delta W_V]; None: sqrt of the sum of squares of the three, which is at
    least as large. Heads add up: the bound of several is the sum of theirs. Raises ValueError for a norm, C, d_k or n that is
    negative or not finite, and for d_k or n of 0.
    """
    norms = {
        f"{name} {part}": x
        for name in ("query", "key", "value", "output")
        for part, x in getattr(head, name)._asdict().items()
        if x is not None
    }
    for what, given in {**norms, "C": input_bound, "delta_qkv": delta_qkv or 0.0}.items():
        if not (math.isfinite(given) and given >= 0):
            raise ValueError(f"{what} is {given}: norms are finite and at least 0")
    if head.key_width < 1 or head.tokens < 1:
        raise ValueError(f"d_k is {head.key_width}, n is {head.tokens}: both are at least 1")
    if delta_qkv is None:
        delta_qkv = math.hypot(head.query.delta, head.key.delta, head.value.delta)
    moved = lipschitz(head, input_bound) * delta_qkv * head.output.base
    return input_bound * (moved + math.sqrt(head.tokens) * head.value.trained * head.output.delta)
