"""Diagnostics `intruders` and `spectrum` of real runs, against the weights that the runs left."""

from dataclasses import replace
from statistics import fmean

import pytest
import torch

from peft_lib.analysis.singular import singular_vectors
from peft_lib.diagnostics.diagnostic import Diagnostic, NotAvailable, Row
from peft_lib.diagnostics.intruders import MIDDLE, THRESHOLDS, Intruders
from peft_lib.diagnostics.spectrum import Spectrum
from tests.runs import opened_runs

METHODS = ("fft", "lora", "c3la", "c_paca", "head_only", "dora")
PLACES = 4


@pytest.fixture(scope="module")
def runs(resources, tmp_path_factory):
    """Method -> its finished run, trained when first asked for."""
    yield from opened_runs(tmp_path_factory.mktemp("runs"), resources, "selected")


def at(rows: list[Row], quantity: str, x: float | None = None, y: float | None = None) -> dict[str | None, float]:
    """Place -> value."""
    return {r.place: r.value for r in rows if (r.quantity, r.x, r.y) == (quantity, x, y)}


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("method", METHODS)
def test_intruders_of_a_run_are_those_of_its_weights(runs, method, side):
    found = list(Intruders(side=side).rows(runs(method)))
    weights = {place: (before, after) for place, before, after in runs(method).matrices("qv")}
    assert len(weights) == PLACES
    at_middle, at_first = [], []
    for place, (before, after) in weights.items():
        vectors = [singular_vectors(w, side).vectors.double() for w in (before, after)]
        cosines = (vectors[1].mT @ vectors[0]).abs().amax(dim=1)
        changed = not torch.equal(before, after)
        for threshold in THRESHOLDS[:-1]:
            assert at(found, "intruders", threshold)[place] == (changed and int((cosines < threshold).sum()))
        assert at(found, "intruders", 1.0)[place] == (32 if changed else 0)
        assert at(found, "vectors")[place] == 32
        for threshold in THRESHOLDS[:-1]:
            first = int((cosines[:10] < threshold).sum())
            assert at(found, "intruders", threshold, 10)[place] == (changed and first), "of the largest singular values"
        assert at(found, "vectors", y=10)[place] == 10
        at_first.append(at(found, "intruders", MIDDLE, 10)[place])
        at_middle.append(at(found, "intruders", MIDDLE)[place])
        assert changed == (method != "head_only")
    assert at(found, "intruders") == {None: fmean(at_middle)} and at(found, "intruders_first") == {
        None: fmean(at_first)
    }
    assert set(Intruders.scalars) == {r.quantity for r in found if r.place is None}


def test_options_of_intruders(runs):
    """The first few alone; thresholds of one's own; and the one number does not depend on which are asked for."""
    lora = runs("lora")
    every = list(Intruders().rows(lora))
    some = list(Intruders(thresholds=(0.3, 0.95)).rows(lora))
    assert {r.x for r in some if r.quantity == "intruders"} == {0.3, 0.95, None}
    for threshold in (0.3, 0.95):
        assert at(some, "intruders", threshold) == at(every, "intruders", threshold)
    assert at(some, "intruders") == at(every, "intruders")
    first = list(Intruders(first=3).rows(lora))
    assert set(at(first, "vectors", y=3).values()) == {3.0} == set(at(first, "intruders", 1.0, 3).values())
    assert at(first, "intruders", 0.9) == at(every, "intruders", 0.9)
    assert at(list(Intruders(first=100).rows(lora)), "intruders", 0.9, 100) == at(every, "intruders", 0.9)


def test_runs_of_a_model_share_its_spectra(runs, monkeypatch):
    """The second run reads W0's vectors; with the folder gone the numbers are the same."""
    first = list(Intruders().rows(runs("lora")))
    files = sorted((runs("lora").cache / "spectra").rglob("*.left.*.safetensors"))
    assert len(files) == PLACES
    again = replace(runs("lora"), cache=runs("lora").cache / "elsewhere")
    assert list(Intruders().rows(again)) == first
    changed = {f: f.stat().st_mtime_ns for f in files}
    list(Intruders().rows(runs("c3la")))
    assert changed == {f: f.stat().st_mtime_ns for f in files}


@pytest.mark.parametrize("method", METHODS)
def test_the_spectrum_of_a_run_is_that_of_its_weights(runs, method):
    """Norms and singular values against the difference of the weights, whose rounding is the tolerance."""
    found = list(Spectrum().rows(runs(method)))
    totals = []
    for place, before, after in runs(method).matrices("qv"):
        values = torch.linalg.svdvals(after.double() - before.double())
        rounding = 1e-6 * float(before.norm())
        assert at(found, "update_norm")[place] == pytest.approx(float(values.norm()), abs=rounding)
        assert at(found, "update_spectral_norm")[place] == pytest.approx(float(values[0]), abs=rounding)
        assert at(found, "base_norm")[place] == pytest.approx(float(before.norm()))
        assert at(found, "base_spectral_norm")[place] == pytest.approx(float(torch.linalg.matrix_norm(before, 2)))
        relative = float(values.norm() / before.norm())
        assert at(found, "relative_norm")[place] == pytest.approx(relative, abs=1e-6)
        mine = [r.value for r in found if r.quantity == "singular_value" and r.place == place]
        assert mine == pytest.approx(values[: len(mine)].tolist(), abs=rounding) and sorted(mine, reverse=True) == mine
        totals.append(float(values.norm()))
        if method == "head_only":
            assert place not in at(found, "effective_rank") and not any(mine)
        else:
            assert 1 <= at(found, "stable_rank")[place] <= len(mine)
            assert 1 <= at(found, "effective_rank")[place] <= len(mine)
    once = {r.quantity: r.value for r in found if r.place is None}
    assert once["update_norm"] == pytest.approx(sum(t**2 for t in totals) ** 0.5, rel=1e-5)
    assert set(once) == set(Spectrum.scalars) - ({"effective_rank", "stable_rank"} if method == "head_only" else set())


def test_columns_over_a_chain(runs):
    """c3LA at rank 4 of 32 inputs, a link an epoch: windows side by side, up to the selected epoch."""
    found = list(Spectrum().rows(runs("c3la")))
    links = runs("c3la").result["links"]
    assert links > 1
    for link in range(1, links + 1):
        assert set(at(found, "columns_touched", link).values()) == {link * 4 / 32}
    assert set(at(found, "columns_touched").values()) == {links * 4 / 32}
    assert not at(found, "columns_touched", links + 1)
    assert at(list(Spectrum().rows(runs("fft"))), "columns_touched")[None] == 1.0
    assert at(list(Spectrum().rows(runs("head_only"))), "columns_touched")[None] == 0.0


@pytest.mark.parametrize("kind", [Intruders, Spectrum])
def test_an_epoch_that_was_not_kept_is_not_available(runs, kind: type[Diagnostic]):
    lora = runs("lora")
    last = kind(at="final")
    lora.result = {**lora.result, "selected_epoch": lora.spec.epochs}
    assert list(last.rows(lora)) == list(kind().rows(lora))
    lora.result = {**lora.result, "selected_epoch": 1}
    with pytest.raises(NotAvailable, match=r"no weights of its final epoch \(keep: selected\): set keep: both"):
        list(last.rows(lora))
