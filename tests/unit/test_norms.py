"""Diagnostic `norms`: norms of matrices against numpy's, and of real runs against what their factors say."""

import math

import numpy as np
import pytest
import torch

from peft_lib.analysis.norms import measured
from peft_lib.diagnostics.norms import Norms
from peft_lib.diagnostics.opened import OpenedRun
from tests.runs import inputs_for, run, spec_of


def test_norms_are_numpy_s():
    rng = np.random.default_rng(0)
    before, delta = rng.normal(size=(7, 5)), 1e-3 * rng.normal(size=(7, 5))
    found = measured(torch.tensor(before), torch.tensor(before + delta))
    singular = [np.linalg.svd(m, compute_uv=False) for m in (before, delta)]
    assert [found.base_spectral, found.delta_spectral] == pytest.approx([s[0] for s in singular])
    assert [found.base_frobenius, found.delta_frobenius] == pytest.approx([math.hypot(*s) for s in singular])


def test_an_update_below_the_rounding_of_fp32_products_is_measured_exactly():
    before = torch.ones(3, 3)
    after = before.clone()
    after[0, 0] += 2.0**-23  # the next number
    found = measured(before, after)
    assert found.delta_spectral == found.delta_frobenius == 2.0**-23


def test_what_is_not_finite_has_no_norm():
    with pytest.raises(ValueError, match="not finite"):
        measured(torch.ones(2, 2), torch.full((2, 2), math.inf))


@pytest.mark.parametrize("method", ["lora", "c3la", "fft", "head_only"])
def test_norms_of_a_run(method, tmp_path, resources):
    spec = spec_of(method, epochs=2, chain_period=1 if method == "c3la" else None)
    row = run(spec, tmp_path, resources)
    opened = OpenedRun(spec, inputs_for(spec, resources), row, tmp_path, tmp_path / "cache")
    rows = list(Norms().rows(opened))
    of = {(r.quantity, r.place): r.value for r in rows}
    assert len(of) == len(rows) and set(Norms.scalars) == {r.quantity for r in rows if r.place is None}
    places = {place: (before, after) for place, before, after in opened.matrices("qv")}
    assert {p for _, p in of} == {*places, None}
    deltas = [after.double() - before.double() for before, after in places.values()]
    whole = torch.block_diag(*deltas)  # its norms are those of all places together
    assert of["update_norm", None] == pytest.approx(float(whole.norm()))
    assert of["update_spectral", None] == pytest.approx(float(torch.linalg.matrix_norm(whole, 2)))
    product = math.prod(1 + of["delta_spectral", p] / of["base_spectral", p] for p in places)
    assert of["growth", None] == pytest.approx(math.log(product))
    if method == "head_only":
        assert of["update_norm", None] == of["growth", None] == 0.0
    if method == "lora":
        for key, link in opened.delta.snapshot("selected").open.items():
            update = link.scale * link.B.double() @ link.A.double()
            assert of["delta_spectral", key] == pytest.approx(float(torch.linalg.matrix_norm(update, 2)), rel=1e-4)
