"""The spectrum of an update: known answers, factors against the dense difference, columns over a chain."""

import math

import pytest
import torch
from torch import Tensor

from peft_lib.analysis.spectrum import Update, of_links, of_matrices, touched
from peft_lib.layers.links import Link, effective_weight

D_OUT, D_IN = 14, 10


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lowrank(index: int, rank: int = 3, scale: float = 2.0) -> Link:
    return Link(index, normal(D_OUT, rank, seed=index), scale, A=normal(rank, D_IN, seed=100 + index))


def columns(index: int, *chosen: int, scale: float = 0.5) -> Link:
    return Link(index, normal(D_OUT, len(chosen), seed=index), scale, columns=torch.tensor(chosen))


CHAINS = {
    "one link": [lowrank(0)],
    "a chain": [lowrank(0), lowrank(1), lowrank(2)],
    "more rank than the layer has": [lowrank(j, rank=6) for j in range(4)],
    "columns": [columns(0, 3, 1)],
    "overlapping columns": [columns(0, 1, 2), columns(1, 2, 3), columns(2, 9, 0)],
    "both": [lowrank(0), columns(1, 4, 5)],
}


@pytest.mark.parametrize("links", CHAINS.values(), ids=CHAINS)
def test_factors_and_the_dense_difference_have_the_same_spectrum(links):
    """The sum of the links in fp64, and NumPy-style SVD of it; zeros beyond the factors' rank aside."""
    total = sum(link.scale * link.B.double() @ _dense_a(link) for link in links)
    expected = torch.linalg.svdvals(total)
    found = of_links(links, D_IN)
    n = len(found.values)
    assert n <= min(D_OUT, D_IN, sum(link.B.shape[1] for link in links))
    assert found.values.tolist() == pytest.approx(expected[:n].tolist(), abs=1e-12)
    assert float(expected[n:].sum()) < 1e-12
    assert found.touched.tolist() == (total != 0).any(dim=0).tolist()
    assert found.norm == pytest.approx(float(total.norm())) and found.spectral_norm == pytest.approx(float(expected[0]))


@pytest.mark.parametrize("links", CHAINS.values(), ids=CHAINS)
def test_from_the_weights_the_same_up_to_their_rounding(links):
    before = normal(D_OUT, D_IN, seed=50)
    after = effective_weight(before, links)
    dense, factors = of_matrices(before, after), of_links(links, D_IN)
    n = len(factors.values)
    assert dense.values[:n].tolist() == pytest.approx(factors.values.tolist(), abs=1e-5 * factors.spectral_norm)
    assert dense.touched.tolist() == factors.touched.tolist()


def _dense_a(link: Link) -> Tensor:
    """A, a selector written out row by row."""
    if link.A is not None:
        return link.A.double()
    assert link.columns is not None
    return torch.stack([torch.eye(D_IN, dtype=torch.float64)[c] for c in link.columns.tolist()])


def update(*values: float) -> Update:
    return Update(torch.tensor(values, dtype=torch.float64), torch.ones(4, dtype=torch.bool))


def test_ranks_of_known_spectra():
    for n in (1, 2, 7):
        flat = update(*[3.0] * n)
        assert flat.effective_rank == pytest.approx(n) and flat.stable_rank == pytest.approx(n)
    two = update(3.0, 1.0)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert two.effective_rank == pytest.approx(math.exp(entropy)) and two.stable_rank == pytest.approx(10 / 9)
    assert two.norm == pytest.approx(10**0.5) and two.spectral_norm == 3.0


@pytest.mark.parametrize("seed", range(5))
def test_ranks_lie_between_one_and_the_rank_and_know_no_scale(seed):
    values = normal(6, seed=seed).double().abs().sort(descending=True).values
    one, scaled = Update(values, torch.ones(1)), Update(1000 * values, torch.ones(1))
    assert one.effective_rank and one.stable_rank
    assert 1 <= one.stable_rank <= 6 and 1 <= one.effective_rank <= 6
    assert scaled.effective_rank == pytest.approx(one.effective_rank)
    assert scaled.stable_rank == pytest.approx(one.stable_rank)
    zeros = Update(torch.cat((values, torch.zeros(4, dtype=torch.float64))), torch.ones(1))
    assert zeros.effective_rank == pytest.approx(one.effective_rank), "0 ln 0 = 0"


def test_an_update_of_zero_has_norms_and_no_ranks():
    weight = normal(D_OUT, D_IN)
    untrained = Link(0, torch.zeros(D_OUT, 2), 1.0, A=normal(2, D_IN))
    for none in (of_matrices(weight, weight.clone()), of_links([untrained], D_IN)):
        assert none.norm == none.spectral_norm == none.share_touched == 0.0
        assert none.effective_rank is None and none.stable_rank is None


def test_columns_touched_over_a_chain():
    """Disjoint windows add up, a window of zeros counts for nothing, what was moved back still counts."""
    links = [columns(0, 0, 1), columns(1, 2, 3)]
    assert touched(links, D_IN).nonzero().flatten().tolist() == [0, 1, 2, 3]
    idle = Link(2, torch.zeros(D_OUT, 2), 1.0, columns=torch.tensor([7, 8]))
    back = Link(3, -links[0].B, links[0].scale, columns=links[0].columns)
    assert torch.equal(touched([*links, idle, back], D_IN), touched(links, D_IN))
    assert of_links([*links, back], D_IN).share_touched == 0.4
    assert of_links([links[0], back], D_IN).norm == pytest.approx(0, abs=1e-12)
    assert touched([lowrank(0)], D_IN).all()


def test_what_is_zero_up_to_rounding_is_zero():
    """Links on the same columns: their sum has the rank of one."""
    found = of_links([columns(0, 1, 2), columns(1, 2, 1), columns(2, 1, 2)], D_IN)
    assert len(found.values) == 6 and found.values[1] > 0.1 and found.values[2:].tolist() == [0.0] * 4
