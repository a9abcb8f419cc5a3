"""Intruder dimensions: known answers, what must not matter, a plain double loop, and the spectra that runs share."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from peft_lib.analysis import base_spectra
from peft_lib.analysis.base_spectra import BaseSpectra
from peft_lib.analysis.intruders import BELOW_ONE, count, intruder_cosines, largest_cosines
from peft_lib.analysis.singular import RESOLUTION, SingularVectors, singular_vectors

GRID = [round(0.05 * step, 2) for step in range(1, 21)]
SHAPES = [(12, 12), (20, 9), (9, 20)]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def orthogonal(n: int, seed: int) -> Tensor:
    return torch.linalg.qr(normal(n, n, seed=seed).double()).Q.float()


def update(d_out: int, d_in: int, size: float = 1.0, rank: int = 2) -> Tensor:
    return size * normal(d_out, rank, seed=1) @ normal(rank, d_in, seed=2) / d_in**0.5


def cosines(before: Tensor, after: Tensor, **options) -> Tensor:
    side = options.get("side", "left")
    return intruder_cosines(before, after, singular_vectors(before, side), **options)


def by_loops(before: Tensor, after: Tensor, side: str) -> list[float]:
    """The definition, written out: every pair of vectors, with NumPy's SVD."""
    vectors = []
    for weight in (before, after):
        left, values, right = np.linalg.svd(weight.numpy().astype(float))
        number = len(values)
        vectors.append(left.T[:number] if side == "left" else right[:number])
    found = []
    for u in vectors[1]:
        best = 0.0
        for v in vectors[0]:
            best = max(best, abs(float(u @ v)) / float(np.linalg.norm(u) * np.linalg.norm(v)))
        found.append(best)
    return found


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("shape", SHAPES)
def test_counts_are_those_of_the_definition(shape, side):
    before, after = normal(*shape), normal(*shape) + update(*shape)
    expected = by_loops(before, after, side)
    found = cosines(before, after, side=side)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)
    # below 1: at 1 the loops count what rounding makes of it
    assert count(found, GRID[:-1]) == [sum(c < eps for c in expected) for eps in GRID[:-1]]
    assert count(found, [0.9])[0] > 0 and sorted(count(found, GRID)) == count(found, GRID)


@pytest.mark.parametrize(
    "before",
    [
        normal(12, 12),
        normal(20, 9),
        normal(9, 20),
        torch.eye(8),
        torch.zeros(6, 6),
        normal(10, 2) @ normal(2, 10, seed=1),
    ],
    ids=["square", "tall", "wide", "all values equal", "zero", "rank 2"],
)
def test_a_weight_that_did_not_change_has_none(before):
    """At any threshold, and whether or not its singular vectors are defined one by one."""
    assert count(cosines(before, before.clone()), GRID) == [0] * len(GRID)


def test_at_one_every_vector_of_a_changed_weight_counts():
    before = normal(12, 12)
    after = before.clone()
    after[3, 4] += 1e-6
    assert count(cosines(before, after), GRID) == [0] * 19 + [12]


def test_a_direction_that_the_weight_did_not_have_is_found():
    """sigma u v^T with u and v orthogonal to all that W0 reads and writes: one new vector, the others stay as they were."""
    left, right = orthogonal(20, 3), orthogonal(9, 4)
    before = left[:, :8] @ torch.diag(torch.linspace(3, 1, 8)) @ right[:, :8].mT
    after = before + 10 * torch.outer(left[:, 15], right[:, 8])
    found = cosines(before, after)
    assert count(found, GRID) == [1] * 19 + [9]
    assert found[0] < 1e-6 and found[1:].min() > 1 - 1e-6
    assert found.argmin() == 0, "the largest singular value is its own"


@pytest.mark.parametrize("size", [10.0, 0.001])
def test_a_large_rank_one_update_between_all_vectors_makes_an_intruder_a_small_one_none(size):
    """u has the cosine 1/sqrt(d) with every vector of W0: the first vector of W turns to u if sigma is large."""
    d = 16
    left, right = orthogonal(d, 5), orthogonal(d, 6)
    values = torch.linspace(2, 1, d)
    before = left @ torch.diag(values) @ right.mT
    u, v = left.sum(dim=1) / d**0.5, right.sum(dim=1) / d**0.5
    found = cosines(before, before + size * torch.outer(u, v))[:1]
    # W W^T = U (S + size/d 11^T)(...)^T U^T: what the first vector is, by its own 16 x 16 matrix in that basis
    core = torch.diag(values.double()) + size / d * torch.ones(d, d, dtype=torch.float64)
    assert float(found) == pytest.approx(float(torch.linalg.svd(core).U[:, 0].abs().max()), abs=1e-6)
    assert count(found, [0.5]) == [int(size == 10.0)]


@pytest.mark.parametrize("shape", SHAPES)
def test_signs_and_order_do_not_matter(shape):
    before, after = normal(*shape), normal(*shape) + update(*shape)
    base, tuned = singular_vectors(before), singular_vectors(after)
    order = torch.randperm(len(base.values), generator=torch.Generator().manual_seed(7))
    signs = torch.where(normal(len(order), seed=8) > 0, 1.0, -1.0)
    turned = SingularVectors(base.values, (base.vectors * signs)[:, order])
    assert torch.equal(largest_cosines(tuned, turned), largest_cosines(tuned, base))
    flipped = SingularVectors(tuned.values, (tuned.vectors * signs)[:, order])
    assert torch.equal(largest_cosines(flipped, base), largest_cosines(tuned, base)[order])


@pytest.mark.parametrize("shape", SHAPES)
def test_orthogonal_changes_of_basis_do_not_matter(shape):
    """P W0 Q and P W Q turn both sets of vectors alike."""
    before, after = normal(*shape), normal(*shape) + update(*shape)
    p, q = orthogonal(shape[0], 9), orthogonal(shape[1], 10)
    assert cosines(p @ before @ q, p @ after @ q).tolist() == pytest.approx(cosines(before, after).tolist(), abs=1e-5)


def test_the_right_side_is_the_left_one_of_the_transposed():
    before, after = normal(9, 20), normal(9, 20) + update(9, 20)
    right = cosines(before, after, side="right")
    assert right.tolist() == pytest.approx(cosines(before.mT, after.mT).tolist(), abs=1e-7)


def test_vectors_that_may_be_turned_among_themselves_are_a_span():
    """W0 = 2 (a rotation in 5 of 8 dimensions): whichever basis of its span an SVD gives, the counts are the same."""
    before = torch.zeros(8, 6)
    before[:5, :5] = 2 * orthogonal(5, 11)
    base = singular_vectors(before)
    assert base.values.tolist() == pytest.approx([2] * 5) and base.groups.tolist() == [0] * 5
    inside = before.clone()
    inside[:5] += 0.3 * normal(5, 6, seed=12)
    assert count(cosines(before, inside)[:5], GRID[:-1]) == [0] * 19
    turned = SingularVectors(base.values, base.vectors @ orthogonal(5, 13))
    after = before + 0.3 * normal(8, 6, seed=14)
    tuned = singular_vectors(after)
    assert largest_cosines(tuned, turned).tolist() == pytest.approx(largest_cosines(tuned, base).tolist(), abs=1e-6)


def test_groups_are_of_values_that_fp32_cannot_tell_apart():
    values = torch.tensor([1.0, 1 - RESOLUTION / 2, 1 - 4 * RESOLUTION, 0.5, 0.5], dtype=torch.float64)
    assert SingularVectors(values, torch.eye(5)).groups.tolist() == [0, 0, 1, 2, 2]
    assert SingularVectors(values[:0], torch.zeros(5, 0)).groups.tolist() == []


def test_directions_that_the_weight_does_not_reach_are_no_vectors_of_it():
    before = normal(10, 2) @ normal(2, 10, seed=1)
    assert [singular_vectors(before, side).vectors.shape for side in ("left", "right")] == [(10, 2), (10, 2)]
    after = before + 5 * torch.outer(orthogonal(10, 3)[:, 0], normal(10, seed=4))
    assert len(cosines(before, after)) == 3
    assert len(singular_vectors(torch.zeros(4, 6)).values) == 0
    assert count(cosines(torch.zeros(4, 6), normal(4, 6)), [0.05]) == [4], "nothing of W0 that they could be like"


def test_cosines_stay_in_their_range():
    before = normal(64, 64)
    found = cosines(before, before + 1e-7 * normal(64, 64, seed=1))
    assert found.min() >= 0 and found.max() <= BELOW_ONE < 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"shape \(2, 2\) has entries that are not finite"):
        singular_vectors(torch.tensor([[1.0, value], [0.0, 1.0]]))


class TestBaseSpectra:
    SHA = "ab" * 32

    @pytest.mark.parametrize("side", ["left", "right"])
    @pytest.mark.parametrize("shape", SHAPES)
    def test_kept_vectors_are_the_computed_ones_bit_for_bit(self, tmp_path, shape, side, monkeypatch):
        weight = normal(*shape)
        plain = singular_vectors(weight, side)
        first = BaseSpectra(tmp_path, self.SHA).of("blocks.0.attn.qkv[0:64]", weight, side)
        monkeypatch.setattr(base_spectra, "singular_vectors", _refuse)
        again = BaseSpectra(tmp_path, self.SHA).of("blocks.0.attn.qkv[0:64]", weight, side)
        for found in (first, again):
            assert torch.equal(found.values, plain.values) and torch.equal(found.vectors, plain.vectors)
            assert found.vectors.dtype == torch.float32 and found.values.dtype == torch.float64

    def test_vectors_of_another_weight_side_or_place_are_not_taken(self, tmp_path):
        spectra = BaseSpectra(tmp_path, self.SHA)
        weights = [normal(6, 6, seed=s) for s in range(3)]
        weights.append(weights[0].reshape(4, 9))
        for weight in weights:
            for side in ("left", "right"):
                plain = singular_vectors(weight, side)
                for _ in range(2):
                    assert torch.equal(spectra.of("query", weight, side).vectors, plain.vectors)
        assert len(list(tmp_path.rglob("query.*.safetensors"))) == 8

    @pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "text"])
    def test_a_damaged_file_counts_as_absent(self, tmp_path, damage, capsys):
        weight = normal(8, 8)
        spectra = BaseSpectra(tmp_path, self.SHA)
        plain = spectra.of("query", weight)
        [path] = tmp_path.rglob("*.safetensors")
        whole = path.read_bytes()
        broken = {
            "cut": whole[:-100], "empty": b"", "flipped": whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:], "text": b"not one",
        }[damage]  # fmt: skip
        path.write_bytes(broken)
        assert torch.equal(spectra.of("query", weight).vectors, plain.vectors)
        assert path.read_bytes() == whole and "is damaged and made again" in capsys.readouterr().out

    def test_jobs_at_the_same_time_compute_once_and_agree(self, tmp_path, monkeypatch):
        weight, made = normal(200, 200), []

        def counted(*arguments):
            made.append(1)
            return singular_vectors(*arguments)

        monkeypatch.setattr(base_spectra, "singular_vectors", counted)
        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(BaseSpectra(tmp_path, self.SHA).of, "query", weight) for _ in range(8)]
            found = [job.result() for job in jobs]
        assert len(made) == 1 and all(torch.equal(f.vectors, found[0].vectors) for f in found)
        assert not list(Path(tmp_path).rglob("*.tmp"))


def _refuse(*arguments):
    raise AssertionError("computed again")
