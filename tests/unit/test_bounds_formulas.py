"""Theorem 4 against real attention heads; Theorems 5, 6 and 7 with Table 1 against numbers computed by hand and by simulation."""

import math

import numpy as np
import pytest
import torch

from peft_lib.analysis.attention_bound import Attention, Norms, lipschitz, theorem4
from peft_lib.analysis.bounds import hoeffding_sigma, most_parameters, table1, theorem5, theorem6

DTYPE = torch.float64


class Head:
    """An attention head with an update. Rows of X are tokens."""

    def __init__(self, seed: int, scale: float, tokens: int = 6, width: int = 8, key_width: int = 4) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.tokens, self.width, self.key_width = tokens, width, key_width
        shapes = dict.fromkeys(("query", "key", "value"), (width, key_width)) | {"output": (key_width, width)}
        self.base = {n: self.draw(*s) for n, s in shapes.items()}
        self.delta = {n: scale * self.draw(*s) for n, s in shapes.items()}

    def draw(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator, dtype=DTYPE)

    def inner(self, x: torch.Tensor, tuned: bool, mask: torch.Tensor) -> torch.Tensor:
        q, k, v = (x @ self.weight(n, tuned) for n in ("query", "key", "value"))
        return torch.softmax(q @ k.T / math.sqrt(self.key_width) + mask, dim=1) @ v

    def weight(self, name: str, tuned: bool) -> torch.Tensor:
        return self.base[name] + self.delta[name] if tuned else self.base[name]

    def output(self, x: torch.Tensor, tuned: bool, mask: torch.Tensor) -> torch.Tensor:
        return self.inner(x, tuned, mask) @ self.weight("output", tuned)

    def norms(self) -> Attention:
        def of(name: str) -> Norms:
            parts = (self.base[name], self.delta[name], self.base[name] + self.delta[name])
            return Norms(*(spectral(p) for p in parts))

        return Attention(of("query"), of("key"), of("value"), of("output"), self.key_width, self.tokens)

    @property
    def delta_qkv(self) -> float:
        return spectral(torch.cat([self.delta[n] for n in ("query", "key", "value")], dim=1))


def spectral(matrix: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(matrix, 2))


def masks(tokens: int) -> dict[str, torch.Tensor]:
    causal = torch.full((tokens, tokens), -math.inf, dtype=DTYPE).triu(1)
    return {"none": torch.zeros(tokens, tokens, dtype=DTYPE), "causal": causal}


@pytest.mark.parametrize("scale", [1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("bound", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("mask", ["none", "causal"])
def test_no_head_moves_by_more(scale: float, bound: float, mask: str):
    for seed in range(20):
        head = Head(seed, scale)
        x = head.draw(head.tokens, head.width)
        x *= bound / x.norm()
        hidden = masks(head.tokens)[mask]
        moved = float((head.output(x, True, hidden) - head.output(x, False, hidden)).norm())
        assert moved <= theorem4(head.norms(), bound, head.delta_qkv) <= theorem4(head.norms(), bound)
        # the constant alone, of the map [Q, K, V] -> softmax(...) V
        inner = float((head.inner(x, True, hidden) - head.inner(x, False, hidden)).norm())
        projected = torch.cat([x @ head.delta[n] for n in ("query", "key", "value")], dim=1)
        assert inner <= lipschitz(head.norms(), bound) * float(projected.norm())


def test_half_is_no_lipschitz_constant_of_attention():
    """ERRATA 10: 1/2 is the softmax's own constant. One token attends to itself alone, so Z = V moves as much as V does."""
    head = Head(0, 1.0, tokens=1)
    head.delta["query"] *= 0
    head.delta["key"] *= 0
    x = head.draw(1, head.width)
    moved = float((head.inner(x, True, torch.zeros(1, 1)) - head.inner(x, False, torch.zeros(1, 1))).norm())
    assert moved == pytest.approx(float((x @ head.delta["value"]).norm()))
    assert moved > 0.5 * float((x @ head.delta["value"]).norm())


def test_nothing_moves_without_an_update_and_frozen_outputs_lose_their_term():
    still = Norms(2.0)
    head = Attention(still, still, still, still, 4, 6)
    assert theorem4(head, 3.0) == 0.0
    moved = head._replace(query=Norms(2.0, 0.5))
    assert theorem4(moved, 3.0) == pytest.approx(3.0 * lipschitz(moved, 3.0) * 0.5 * 2.0)


def test_what_is_no_head_is_refused():
    still = Norms(2.0)
    with pytest.raises(ValueError, match="value delta is -1"):
        theorem4(Attention(still, still, Norms(1.0, -1.0), still, 4, 6), 1.0)
    with pytest.raises(ValueError, match="d_k is 0"):
        theorem4(Attention(still, still, still, still, 0, 6), 1.0)


def test_table_1_by_hand():
    """ERRATA 19: RoBERTa-Base, LoRA r = 16 on the 24 q and v matrices of 768 x 768, MRPC's 3,668 items, a loss in [0, 1]."""
    parameters = 16 * 24 * (768 + 768)
    assert parameters == 589_824
    by_hand = math.sqrt(2 * 16 * 32 * 0.25 * math.log(2) * 24 * 1536 / 3668)
    assert table1(parameters, 3668, hoeffding_sigma(1.0)) == pytest.approx(by_hand) and by_hand > 10
    assert table1(parameters // 2, 3668, 0.5) == pytest.approx(by_hand / math.sqrt(2))  # B alone
    assert table1(5 * parameters, 3668, 0.5) == pytest.approx(by_hand * math.sqrt(5))  # five links


@pytest.mark.parametrize(("items", "bits"), [(3668, 32), (100, 16), (1, 32)])
def test_the_largest_update_of_which_the_bound_says_something(items: int, bits: int):
    most = most_parameters(items, bits)
    for sigma in (0.5, 3.0):
        assert most < 0 or table1(most, items, sigma, bits) < 2 * sigma
        assert table1(most + 1, items, sigma, bits) >= 2 * sigma


def test_theorem_7_holds_for_an_algorithm_that_learns_a_few_bits_by_heart():
    """The best of 2^b random answers (b bits) on n fair coins, 0-1 loss: the mean gap stays below sigma sqrt(2 ln 2 b / n)."""
    rng = np.random.default_rng(0)
    items, bits, repeats = 50, 6, 400
    gaps = []
    for _ in range(repeats):
        wrong = rng.integers(0, 2, (2**bits, items))  # each answer is wrong at random: its true risk is 1/2
        gaps.append(0.5 - wrong.mean(axis=1).min())
    mean = float(np.mean(gaps))
    bound = table1(1, items, 0.5, bits)
    assert 0.5 * bound < mean <= bound


def test_pac_bayes_by_hand_and_without_an_update():
    common = {"loss_bound": 1.5, "delta_probability": 0.05, "epsilon": 0.1}
    plain = 0.1 + 1.5 * math.sqrt((3 * math.log(1000 / 0.05) + 8) / 1000)
    assert theorem5([2.0, 3.0], [0.0, 0.0], 8, 1000, input_bound=1.0, **common) == pytest.approx(plain)
    assert theorem6(1000, 0.25, **common) == pytest.approx(plain + 0.25)
    # sum_i prod_j (A_j + Q_j) / (A_i + Q_i) of two layers is the sum of the two
    moved = 36 / 0.01 * 4.0 * 8 * math.log(4 * 2 * 8 * 1.5) * (2.5 + 3.25) ** 2 * (0.25 + 0.0625)
    whole = 0.1 + 1.5 * math.sqrt((moved + 3 * math.log(1000 / 0.05) + 8) / 1000)
    assert theorem5([2.0, 3.0], [0.5, 0.25], 8, 1000, input_bound=2.0, **common) == pytest.approx(whole)
    assert theorem5([1e200] * 3, [1.0] * 3, 8, 1000, input_bound=2.0, **common) == math.inf


def test_assumptions_are_asked_for():
    with pytest.raises(ValueError, match="A_i > 1"):
        theorem5([1.0], [0.1], 8, 10, input_bound=1.0, loss_bound=1.0, delta_probability=0.1, epsilon=0.1)
    with pytest.raises(ValueError, match="C >= 1"):
        theorem5([2.0], [0.1], 8, 10, input_bound=0.5, loss_bound=1.0, delta_probability=0.1, epsilon=0.1)
    with pytest.raises(ValueError, match="logarithm"):
        theorem5([2.0], [0.1], 8, 10, input_bound=1.0, loss_bound=1e-3, delta_probability=0.1, epsilon=0.1)
    with pytest.raises(ValueError, match="delta < 1/2"):
        theorem6(10, 0.0, loss_bound=1.0, delta_probability=0.5)
    with pytest.raises(ValueError, match="sigma above 0"):
        table1(10, 10, 0.0)
