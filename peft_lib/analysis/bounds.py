"""Bounds on the generalization error that need no weights: Table 1 (Theorem 7, Lemma 1) and Theorems 5 and 6.

Theorem 7 (Xu and Raginsky 2017): |E G| <= sqrt(2 sigma^2 I / n) for a sigma-sub-Gaussian loss, I the mutual information of
data and update in nats, n training items. Lemma 1: I <= q p ln 2 for an update of p trained numbers of q bits. So

    G(A) <= sigma sqrt(2 ln 2 q p / n),   p = r k sum_i (m_i + n_i)  where A and B train,
                                          p = r k sum_i n_i          where B alone does (PaCA's columns alike)

m_i, n_i: input and output width of adapted place i, k links. Source: paper, Table 1 and D.1.6 (a)-(f), with ERRATA 15 (PaCA has
the square root too), 17 and 18. The bound is on the update alone: Table 1 adds Phi_W0 of Theorem 1.

sigma: a loss in an interval of length b is b/2-sub-Gaussian (Hoeffding's lemma). Cross-entropy has no bound, so no sigma is known
for it, and Assumption 6 is an assumption. A bounded loss has a gap of at most b = 2 sigma, so the bound says something only below
that: whatever sigma is, where q p ln 2 < 2 n.
"""

import math

BITS = 32
"""q of the paper, whatever the precision of a run (ERRATA 19)."""


def table1(parameters: int, items: int, sigma: float, bits: int = BITS) -> float:
    """sigma sqrt(2 ln 2 q p / n). parameters: p, the trained numbers of all links together. items: n.

    Raises ValueError for p below 0, n or q below 1, sigma that is not above 0.
    """
    if parameters < 0 or items < 1 or bits < 1 or not sigma > 0:
        raise ValueError(
            f"p {parameters}, n {items}, q {bits}, sigma {sigma}: p is at least 0, n and q at least 1, sigma above 0"
        )
    return sigma * math.sqrt(2 * math.log(2) * bits * parameters / items)


def most_parameters(items: int, bits: int = BITS) -> int:
    """The most trained numbers with which Table 1's bound stays below the range 2 sigma of the loss: q p ln 2 < 2 n."""
    return math.ceil(2 * items / (bits * math.log(2))) - 1


def hoeffding_sigma(length: float) -> float:
    """sigma of a loss that lies in an interval of that length."""
    return length / 2


def theorem5(
    base: list[float], delta: list[float], width: int, items: int, *, input_bound: float, loss_bound: float,
    delta_probability: float, epsilon: float,
) -> float:  # fmt: skip
    """Theorem 5 (Li and Zhang 2021, Theorem 4.1, as the paper quotes it), with probability 1 - 2 delta_probability:

        G <= eps + C2 sqrt( ( 36/eps^2 C^2 V ln(4 L V C2) (sum_i prod_j (A_j + Q_j) / (A_i + Q_i))^2 sum_i Q_i^2
                              + 3 ln(n / delta) + 8 ) / n )

    base: A_i > 1, bounds of |W0^i|_2; delta: Q_i >= 0, of |Delta W^i|; width: V, the largest dimension of a layer; C >= 1 bounds
    inputs; C2 > 0 the loss, which is 1-Lipschitz. With all Q_i = 0, which is Theorem 6's G(W0), eps may be as small as one likes.
    Raises ValueError where an assumption does not hold. Products that leave a float's range give inf.
    """
    if not (input_bound >= 1 and loss_bound > 0 and epsilon > 0 and 0 < delta_probability < 0.5 and items >= 1):
        raise ValueError(
            f"C {input_bound}, C2 {loss_bound}, epsilon {epsilon}, delta {delta_probability}, n {items}: Theorem 5 is for C >= 1, "
            "C2 > 0, epsilon > 0, 0 < delta < 1/2 and n >= 1"
        )
    if len(base) != len(delta) or not base or min(base) <= 1 or min(delta) < 0:
        raise ValueError(f"A {base}, Q {delta}: Theorem 5 is for A_i > 1 and Q_i >= 0, one of each for every layer")
    if 4 * len(base) * width * loss_bound < 1:
        raise ValueError(f"V {width}, C2 {loss_bound}: 4 L V C2 is at least 1, or its logarithm is negative")
    squares = math.fsum(q * q for q in delta)
    moved = 0.0
    if squares:
        whole = [a + q for a, q in zip(base, delta, strict=True)]
        try:
            product = math.prod(whole) * math.fsum(1 / x for x in whole)
            scale = 36 / epsilon**2 * input_bound**2 * width * math.log(4 * len(base) * width * loss_bound)
            moved = scale * product**2 * squares
        except OverflowError:
            return math.inf
    return epsilon + loss_bound * math.sqrt((moved + 3 * math.log(items / delta_probability) + 8) / items)


def theorem6(
    items: int, correction: float, *, loss_bound: float, delta_probability: float, epsilon: float = 0.0
) -> float:
    """Theorem 6: G(W0 + Delta W) <= eps + C2 sqrt((3 ln(n / delta) + 8) / n) + Phi_DeltaW, with probability 1 - 2 delta.

    correction: Phi_DeltaW of Theorem 1, for a 1-Lipschitz loss bounded by C2. epsilon may be 0 here: nothing is divided by it.
    Raises ValueError for values outside of that.
    """
    if not (loss_bound > 0 and epsilon >= 0 and 0 < delta_probability < 0.5 and items >= 1 and correction >= 0):
        raise ValueError(
            f"C2 {loss_bound}, epsilon {epsilon}, delta {delta_probability}, n {items}, Phi {correction}: Theorem 6 is for C2 > 0, "
            "epsilon >= 0, 0 < delta < 1/2, n >= 1 and Phi >= 0"
        )
    return epsilon + loss_bound * math.sqrt((3 * math.log(items / delta_probability) + 8) / items) + correction
