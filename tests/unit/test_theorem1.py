"""Theorem 1 and Corollary 1: the product form against the paper's sum over 2^L terms, against the recursion of its proof, and
against real networks, whose outputs may never differ by more."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from peft_lib.analysis.theorem1 import Correction, Layer, Theorem1, corollary1, log_excess, log_growth, theorem1

DEPTHS = range(1, 7)


def drawn(depth: int, seed: int = 0, offsets: bool = True) -> list[Layer]:
    rng = np.random.default_rng([seed, depth])
    w, d, lip, off = rng.uniform(0.1, 2.0, (4, depth)).tolist()
    return [Layer(*row) for row in zip(w, d, lip, off if offsets else [0.0] * depth, strict=True)]


def enumerated(layers: Sequence[Layer], C: float, loss: float, *, around_base: bool, printed: bool = False) -> float:
    """The sum of the paper over all i, with its index functions: mended as ERRATA 1-5 says, or as the statement prints them.

    In the paper's words: psi(i) = floor(log2 i); P(i, j) is W0 where floor((i - 1) / 2^(L - j)) is odd; H(i, j) is W0 where
    floor(i / 2^(psi - j)) is odd, and printed the other way round.
    """
    L = len(layers)

    def P(i: int, j: int) -> float:
        layer = layers[L - j]
        return layer.base if (i - 1) // 2 ** (L - 1 if printed else L - j) % 2 else layer.delta

    def F(i: int) -> float:
        psi = i.bit_length() - 1
        product = layers[L - psi - 1].offset
        for j in range(1, psi + 1):
            layer = layers[L - j]
            odd = i // 2 ** (psi - j) % 2 == 1
            product *= layer.lipschitz * (layer.base if odd != printed else layer.delta)
        return product

    main = range(1, 2**L) if around_base else range(2, 2**L + 1)
    offsets = range(2, 2**L - 1) if around_base else range(3, 2**L)
    left_out = {2**a - (1 if around_base else 0) for a in range(1, L + 1)}
    lip = math.prod(layer.lipschitz for layer in layers)
    total = C * lip * sum(math.prod(P(i, j) for j in range(1, L + 1)) for i in main)
    return 2 * loss * (total + sum(F(i) for i in offsets if i not in left_out))


def by_recursion(layers: Sequence[Layer], C: float, loss: float, *, around_base: bool) -> float:
    """The layer recursion of the proof, from the input upwards.

    |f' - f| at layer l <= lip_l (o_l |h'_{l-1}| + a_l |f' - f| at l - 1), and |h'_l| <= lip_l (w_l + d_l) |h'_{l-1}| + |sigma_l(0)|,
    f' with both, f with a alone, o the other one.
    """
    apart, size = 0.0, C
    for layer in layers:
        a, o = (layer.base, layer.delta) if around_base else (layer.delta, layer.base)
        apart = layer.lipschitz * (o * size + a * apart)
        size = layer.lipschitz * (layer.base + layer.delta) * size + layer.offset
    return 2 * loss * apart


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("seed", range(5))
def test_product_form_is_the_mended_sum_and_the_proof_s_recursion(depth: int, seed: int):
    layers = drawn(depth, seed)
    found = theorem1(layers, 1.7, 0.6)
    for around_base, term in ((True, found.around_base), (False, found.around_delta)):
        assert term.value == pytest.approx(enumerated(layers, 1.7, 0.6, around_base=around_base), rel=1e-12)
        assert term.value == pytest.approx(by_recursion(layers, 1.7, 0.6, around_base=around_base), rel=1e-12)


def test_two_layers_are_the_expansion_of_the_proof():
    """D.1.2 with L_sigma2 L_sigma1 in the third term (ERRATA 6) and |Delta W^2| |sigma_1(0)| in the last."""
    (w1, d1, l1, off), (w2, d2, l2, _) = layers = drawn(2)
    C, loss = 1.3, 0.8
    expected = C * l2 * l1 * (w2 * d1 + d2 * w1 + d2 * d1) + l2 * d2 * off
    assert theorem1(layers, C, loss).around_base.value == pytest.approx(2 * loss * expected)


@pytest.mark.parametrize("depth", DEPTHS)
def test_without_an_update_nothing_is_corrected(depth: int):
    """D.1.4: G(W0 + 0) = G(W0), so Phi_DeltaW is 0, and Phi_W0 by the same argument without W0."""
    layers = drawn(depth)
    assert theorem1([x._replace(delta=0.0) for x in layers], 1.0).around_base == Correction(-math.inf)
    assert theorem1([x._replace(base=0.0) for x in layers], 1.0).around_delta.value == 0.0


def test_offsets_of_the_last_layer_do_not_count():
    """sigma_L(0) is in both networks' outputs alike; ERRATA 5: with a lower limit of 1 it would be in Phi_W0."""
    layers = drawn(4)
    changed = [*layers[:-1], layers[-1]._replace(offset=100.0)]
    assert theorem1(layers, 1.0) == theorem1(changed, 1.0)


def test_the_printed_formula_is_no_upper_bound():
    """ERRATA 1: floor((i - 1) / 2^(L - 1)) has no j, so the main sum becomes 2^(L-1) prod d + (2^(L-1) - 1) prod w: 300.4 for these
    three linear layers of one unit, whose outputs differ by 1,022."""
    big = [Layer(1.0, 10.0), Layer(10.0, 0.1), Layer(10.0, 0.1)]
    differs = 11.0 * 10.1**2 - 1.0 * 10.0**2
    printed = enumerated(big, 1.0, 0.5, around_base=True, printed=True)
    assert printed == pytest.approx(300.4)
    assert printed < differs == pytest.approx(theorem1(big, 1.0, 0.5).around_base.value)
    # and without an update it is not 0 (ERRATA 1, 4)
    assert enumerated([Layer(2.0, 0.0)] * 3, 1.0, 0.5, around_base=True, printed=True) == pytest.approx(3 * 2.0**3)
    assert enumerated([Layer(2.0, 0.0, 1.0, 1.0)] * 3, 0.0, 0.5, around_base=True, printed=True) > 0


def test_printed_offset_sums_are_those_of_the_other_term():
    """ERRATA 2: with Delta W on odd bits the offset sums (C = 0 leaves nothing else) of the two terms are exchanged."""
    layers = drawn(5)
    swapped = enumerated(layers, 0.0, 0.5, around_base=True, printed=True)
    assert swapped == pytest.approx(
        sum(
            layer.offset
            * math.prod(x.lipschitz for x in layers[place:])
            * (math.prod(x.base + x.delta for x in layers[place:]) - math.prod(x.delta for x in layers[place:]))
            for place, layer in enumerate(layers[:-1], 1)
        )
    )
    assert theorem1(layers, 0.0, 0.5).around_base.value != pytest.approx(swapped, rel=0.01)


def sigmoid(widths: Sequence[int]) -> list[tuple[float, float]]:
    return [(0.25, 0.5 * math.sqrt(n)) for n in widths]  # slope at most 1/4; sigma(0) = 1/2 in each unit


def rectified(widths: Sequence[int]) -> list[tuple[float, float]]:
    return [(1.0, 0.0) for _ in widths]


def outputs(weights: Sequence[torch.Tensor], x: torch.Tensor, activation) -> torch.Tensor:
    for weight in weights:
        x = activation(x @ weight.T)
    return x


@pytest.mark.parametrize(("activation", "facts"), [(torch.sigmoid, sigmoid), (torch.relu, rectified)])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("scale", [0.01, 1.0])
def test_no_network_s_outputs_or_gaps_differ_by_more(activation, facts, depth: int, scale: float):
    """|f_{W0 + Delta W}(x) - f_{W0}(x)| and the same around Delta W, for many x with |x| <= C; and |G(W0 + Delta W) - G(W0)| for a
    population of all inputs and a training set of a few of them, under the 1-Lipschitz loss |f(x) - y|."""
    generator = torch.Generator().manual_seed(depth)
    widths, C = [5] + [4] * depth, 2.0
    shapes = list(zip(widths[1:], widths[:-1], strict=True))
    base = [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    delta = [scale * torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]
    spectral = [[float(torch.linalg.matrix_norm(m, 2)) for m in part] for part in (base, delta)]
    layers = [Layer(w, d, *fact) for w, d, fact in zip(*spectral, facts(widths[1:]), strict=True)]
    bound = theorem1(layers, C, 1.0)
    x = torch.randn((4000, 5), generator=generator, dtype=torch.float64)
    x *= C / x.norm(dim=1, keepdim=True)
    tuned, old, update = (
        outputs(w, x, activation) for w in ([b + d for b, d in zip(base, delta, strict=True)], base, delta)
    )
    y = torch.randn(tuned.shape, generator=generator, dtype=torch.float64)

    def gap(out: torch.Tensor) -> float:
        losses = (out - y).norm(dim=1)
        return float(losses.mean() - losses[:10].mean())

    for other, term in ((old, bound.around_base), (update, bound.around_delta)):
        assert float((tuned - other).norm(dim=1).max()) <= term.value / 2
        assert gap(tuned) - gap(other) <= term.value


def test_the_bound_is_met_where_it_can_be():
    """Linear layers with all singular vectors aligned: the output moves by exactly Phi / 2."""
    u = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -1.0], dtype=torch.float64), dim=0)
    base, delta = [1.5, 0.7, 2.0], [0.2, 0.3, 0.1]
    x = 1.3 * u
    tuned = outputs([(w + d) * torch.outer(u, u) for w, d in zip(base, delta, strict=True)], x, torch.nn.Identity())
    old = outputs([w * torch.outer(u, u) for w in base], x, torch.nn.Identity())
    assert corollary1(base, delta, 1.3, 1.0).around_base.value / 2 == pytest.approx(float((tuned - old).norm()))


def test_corollary_is_theorem_1_of_linear_layers():
    base, delta = [1.5, 0.7, 2.0], [0.2, 0.3, 0.1]
    whole, kept, other = math.prod(w + d for w, d in zip(base, delta, strict=True)), math.prod(base), math.prod(delta)
    found = corollary1(base, delta, 1.3, 0.5)
    assert isinstance(found, Theorem1)
    assert found.around_base.value == pytest.approx(1.3 * (whole - kept))
    assert found.around_delta.value == pytest.approx(1.3 * (whole - other))


def test_a_tiny_update_keeps_its_digits_and_many_layers_their_logarithm():
    tiny = corollary1([1.0, 3.0], [1e-20, 2e-20], 1.0, 0.5)
    assert tiny.around_base.value == pytest.approx(
        3 * 1e-20 + 1 * 2e-20, rel=1e-12
    )  # the product form in floats gives 0
    deep = corollary1([1e10] * 100, [1e10] * 100, 1.0, 0.5)
    assert deep.around_base.value == math.inf
    assert deep.around_base.log == pytest.approx(1000 * math.log(10) + 100 * math.log(2), rel=1e-12)


def test_growth_and_excess_at_the_ends():
    assert log_excess([], []) == -math.inf and log_growth([], []) == 0.0
    assert log_growth([0.0, 1.0], [0.0, 1.0]) == pytest.approx(math.log(2))
    assert log_excess([0.0, 1.0], [0.0, 1.0]) == -math.inf  # 0 - 0
    assert log_excess([0.0, 1.0], [1.0, 1.0]) == pytest.approx(math.log(2))  # 2 - 0


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_what_is_no_norm_is_refused(bad: float):
    with pytest.raises(ValueError, match="layer 1's delta"):
        theorem1([Layer(1.0, bad)], 1.0)
    with pytest.raises(ValueError, match="input_bound"):
        theorem1([Layer(1.0, 1.0)], bad)
    with pytest.raises(ValueError, match="at least one layer"):
        theorem1([], 1.0)
