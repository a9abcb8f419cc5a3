"""Diagnostics `landscape` and `sharpness` of real runs: the centre is the run's own model, the path its own epochs."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from peft_lib.analysis.landscape import Objective
from peft_lib.analysis.space import BLOCK, all_weights, weights_of
from peft_lib.diagnostics.around import Centre, InFull, centre_of, offsets_of
from peft_lib.diagnostics.diagnostic import NotAvailable, Row
from peft_lib.diagnostics.landscape import Landscape
from peft_lib.diagnostics.opened import OpenedRun
from peft_lib.diagnostics.options import Around
from peft_lib.diagnostics.registry import DiagnosticError
from peft_lib.diagnostics.sharpness import Sharpness
from peft_lib.layers.targets import resolve_targets, rows_of
from peft_lib.layers.trajectory import TAG, epoch_file
from tests.runs import inputs_for, opened_runs, run, spec_of

METHODS = ("fft", "lora", "c3la", "c_paca", "head_only", "dora")
SMALL: dict[str, Any] = {"points": 5, "batches": 2, "batch_size": 16}


@pytest.fixture(scope="module")
def runs(resources, tmp_path_factory):
    """Method -> its finished run, with a trajectory, selected at the last epoch; trained when first asked for."""
    yield from opened_runs(tmp_path_factory.mktemp("runs"), resources, "dense_trajectory", selection="last")


def by(rows: list[Row], quantity: str) -> list[Row]:
    return [r for r in rows if r.quantity == quantity]


def weights(opened: OpenedRun, epoch: int) -> dict[str, torch.Tensor]:
    """All weights after an epoch, from a model of its own: restored, merged, whole."""
    opened.restore(epoch)
    return {n: p.detach().clone() for n, p in opened.assembled.adapter.merge().named_parameters()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("subspace", ["all", "adapted"])
def test_offsets_in_blocks_are_those_of_whole_weights(runs, method, subspace, monkeypatch):
    monkeypatch.setattr("peft_lib.analysis.space.BLOCK", 500)  # several blocks a weight
    centre = centre_of(runs(method), Around(subspace=subspace))
    epochs = [0, 2, 3]
    found = {name: torch.zeros(3, *w.shape) for name, w in centre.space.items()}
    blocks = 0
    for name, rows, offsets in offsets_of(centre, epochs)():
        assert not found[name][:, rows].any()  # no row twice
        found[name][:, rows] = offsets
        blocks += 1
    last = weights(runs(method), 4)
    moved = 0
    for index, epoch in enumerate(epochs):
        before = weights(runs(method), epoch)
        for name, mine in found.items():
            if subspace == "all":
                known = before[name] - last[name]
            else:
                (target,) = [t for t in centre.run.targets() if t.key == name]
                start, stop = rows_of(target, centre.objective.model.get_submodule(target.path))
                known = (before[f"{target.path}.weight"] - last[f"{target.path}.weight"])[start:stop]
            # Merged weights are rounded to fp32 around W0, offsets around 0.
            assert torch.allclose(mine[index], known, atol=1e-6, rtol=1e-4), name
            moved += bool(known.any())
    if (method, subspace) == ("head_only", "adapted"):
        assert moved == blocks == 0
    else:
        assert moved > 0 and blocks > len(centre.in_full)


@pytest.mark.parametrize("method", METHODS)
def test_the_centre_s_loss_is_the_recorded_one(runs, method):
    """Over all validation items, of the merged model: up to rounding, and exactly that of the grid's middle."""
    opened = runs(method)
    recorded = opened.result["val_loss"]
    rows = list(Landscape(points=3, range=0.5, batches=10_000).rows(opened))
    (centre,) = by(rows, "centre")
    (middle,) = [r for r in by(rows, "loss") if r.x == r.y == 0]
    assert middle.value == centre.value
    assert centre.value == pytest.approx(recorded, rel=1e-5)
    assert len(by(rows, "loss")) == 9 and len({r.value for r in by(rows, "loss")}) == 9


def test_full_fine_tuning_s_centre_is_the_recorded_loss_exactly(runs):
    """Nothing is merged there, and the items pass in the batches of a run's own evaluation."""
    opened = runs("fft")
    ask = centre_of(opened, Around(batches=10_000)).objective
    assert ask() == pytest.approx(opened.result["val_loss"], rel=1e-15, abs=0)


def test_the_run_s_weights_are_untouched_afterwards(runs):
    opened = runs("c3la")
    before = weights(runs("c3la"), 4)
    list(Landscape(**SMALL).rows(opened))
    after = dict(opened.assembled.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("method", METHODS)
def test_the_plane_of_a_trajectory_holds_its_path(runs, method):
    rows = list(Landscape(directions="pca", range="auto", normalisation="none", **SMALL).rows(runs(method)))
    path = np.array([[r.value for r in by(rows, f"path_{axis}")] for axis in "ab"]).T
    assert [r.x for r in by(rows, "path_a")] == [0, 1, 2, 3, 4]
    assert (path[-1] == 0).all() and (path[0] > 0).all()  # ends in the centre; signs point to the start
    (half,) = by(rows, "half")
    assert half.value == pytest.approx(1.05 * np.abs(path).max())
    shares = [r.value for r in by(rows, "variance")]
    assert len(shares) == 4 and sum(shares) == pytest.approx(1)
    (explained,) = by(rows, "explained")
    assert explained.value == pytest.approx(shares[0] + shares[1], abs=1e-4)


def test_scaling_rows_takes_the_path_out_of_the_plane_and_says_so(runs):
    explained = {
        how: by(
            list(Landscape(directions="pca", range="auto", normalisation=how, **SMALL).rows(runs("lora"))), "explained"
        )
        for how in ("none", "tensor", "row")
    }
    assert explained["none"][0].value > explained["row"][0].value


def test_methods_are_seen_along_the_same_directions_at_the_same_items(runs):
    made = [centre_of(runs(m), Around(batches=2, batch_size=16)) for m in ("lora", "c3la")]
    items = [[b[0]["pixel_values"] for b in c.objective.batches] for c in made]
    assert all(torch.equal(a, b) for a, b in zip(*items, strict=True))
    assert sum(map(len, items[0])) == 32 == made[0].objective.weight
    other = centre_of(runs("lora"), Around(batches=2, batch_size=16, seed=1))
    assert not torch.equal(items[0][0], other.objective.batches[0][0]["pixel_values"])


def test_a_run_gives_the_same_rows_again(runs):
    assert list(Landscape(**SMALL).rows(runs("lora"))) == list(Landscape(**SMALL).rows(runs("lora")))


def test_sharpness_of_a_run(runs):
    rows = list(Sharpness(directions=3, batches=2, batch_size=16, eigenvalue=True).rows(runs("lora")))
    numbers = {r.quantity: r.value for r in rows if r.x is None}
    each = [r.value for r in by(rows, "direction_curvature")]
    assert numbers["curvature"] == pytest.approx(np.mean(each)) and len(each) == 3
    assert numbers["curvature_sd"] == pytest.approx(np.std(each, ddof=1))
    assert numbers["rise_max"] == max(r.value for r in by(rows, "direction_rise")) >= numbers["rise"]
    assert numbers["eigenvalue"] > 0
    assert set(Sharpness.scalars) <= set(numbers)
    plain = list(Sharpness(directions=3, batches=2, batch_size=16).rows(runs("lora")))
    assert {r.quantity for r in plain} == {r.quantity for r in rows} - {"eigenvalue"}


def test_what_a_trajectory_does_not_define_is_not_available(runs, resources, tmp_path):
    with pytest.raises(NotAvailable, match="no weight of this space moves"):
        list(Landscape(directions="pca", subspace="adapted", **SMALL).rows(runs("head_only")))
    spec = spec_of("lora", epochs=1, selection="last")
    row = run(spec, tmp_path / "short", resources, keep="trajectory")
    opened = OpenedRun(spec, inputs_for(spec, resources), row, tmp_path / "short", tmp_path / "cache")
    with pytest.raises(NotAvailable, match="spans 1 dimensions"):
        list(Landscape(directions="pca", **SMALL).rows(opened))
    row = run(spec, tmp_path / "plain", resources)
    opened = OpenedRun(spec, inputs_for(spec, resources), row, tmp_path / "plain", tmp_path / "cache")
    with pytest.raises(NotAvailable, match="kept no trajectory"):
        list(Landscape(directions="pca", **SMALL).rows(opened))


def test_a_square_that_holds_no_path_needs_a_side(runs):
    with pytest.raises(DiagnosticError, match="give a number"):
        list(Landscape(range="auto").rows(runs("lora")))


def test_options_that_are_the_default_do_not_change_the_file(runs, tmp_path: Path):
    assert Landscape().id == Landscape(points=51, range=2).id != Landscape(points=21).id
    assert Landscape(directions="pca").needs == {"delta", "trajectory"} and Landscape().needs == {"delta"}
    assert BLOCK > 1000


def test_a_run_in_bf16_is_looked_at_in_fp32_unless_asked(resources, tmp_path):
    """Central differences of a loss that is rounded to bf16 on its way would mostly measure the rounding."""
    spec = spec_of("lora", precision="bf16", epochs=2, selection="last")
    row = run(spec, tmp_path, resources)
    curvatures: dict[tuple[str, float], float] = {}
    centres = {}
    for precision in ("fp32", "run"):
        for step in (0.05, 0.04):
            opened = OpenedRun(spec, inputs_for(spec, resources), row, tmp_path, tmp_path / "cache")
            asked = Sharpness(directions=2, batches=10_000, precision=precision, step=step)
            rows = {r.quantity: r.value for r in asked.rows(opened)}
            curvatures[precision, step], centres[precision] = rows["curvature"], rows["centre"]
    assert centres["run"] != centres["fp32"] == pytest.approx(row["val_loss"], rel=1e-2)
    apart = {p: abs(curvatures[p, 0.05] - curvatures[p, 0.04]) for p in centres}
    assert apart["fp32"] < 0.1 * apart["run"]


def test_weights_in_bf16_move_and_come_back(resources, tmp_path):
    spec = spec_of("lora", precision="bf16", epochs=2, selection="last")
    row = run(spec, tmp_path, resources, storage="bf16", keep="trajectory")
    opened = OpenedRun(spec, inputs_for(spec, resources), row, tmp_path, tmp_path / "cache")
    rows = list(Landscape(directions="pca", range="auto", **SMALL).rows(opened))
    (centre,) = by(rows, "centre")
    (middle,) = [r for r in by(rows, "loss") if r.x == r.y == 0]
    assert middle.value == centre.value


@pytest.mark.parametrize("by_place", [False, True])
def test_a_weight_that_its_module_keeps_turned_is_read_so(by_place, tmp_path):
    """GPT-2's Conv1D holds (inputs, outputs); square ones too, whose shape does not show it."""
    model = nn.ModuleDict({"wide": Conv1D(6, 4), "square": Conv1D(5, 5), "plain": nn.Linear(4, 6)})
    states = [{n: torch.randn(p.shape) for n, p in model.named_parameters()} for _ in range(3)]
    for epoch, state in enumerate(states):
        save_file({f"trained/{TAG}/{n}": v for n, v in state.items()}, epoch_file(tmp_path, epoch))
    targets = resolve_targets(model, ["wide[2:5]", "square", "plain"])
    space = weights_of(model, targets) if by_place else all_weights(model)
    starts = (
        {t.key: (f"{t.path}.weight", (t.rows or (0,))[0]) for t in targets} if by_place else {n: (n, 0) for n in space}
    )
    parameters = dict(model.named_parameters())
    in_full = {
        name: InFull(parameter, start, space[name].stride() != parameters[parameter].stride())
        for name, (parameter, start) in starts.items()
    }
    opened: Any = SimpleNamespace(trajectory=SimpleNamespace(folder=tmp_path))
    centre = Centre(opened, "final", 3, space, Objective(model, (), lambda m, b: b, 1.0), {}, in_full)
    seen = set()
    for name, rows, offsets in offsets_of(centre, [0, 1, 2])():
        parameter, start = starts[name]
        for state, mine in zip(states, offsets, strict=True):
            whole = state[parameter] - parameters[parameter].detach()
            known = whole if parameter.startswith("plain") else whole.t()
            assert torch.equal(mine, known[start + rows.start : start + rows.stop])
        seen.add(name)
    assert seen == set(space)


@pytest.mark.parametrize("kind", [Landscape, Sharpness])
def test_the_last_epoch_s_weights_are_asked_for_and_missed_in_words(kind, resources, tmp_path):
    """A study is told before it trains (keep: both); a run of another time has no such file."""
    assert "final" in kind(at="final").needs and "final" not in kind().needs
    spec = spec_of("lora")
    row = run(spec, tmp_path, resources)
    opened = OpenedRun(spec, inputs_for(spec, resources), {**row, "selected_epoch": 2}, tmp_path, tmp_path / "cache")
    with pytest.raises(NotAvailable, match=r"no weights of its final epoch \(keep: selected\): set keep: both"):
        list(kind(at="final", batches=1).rows(opened))


def test_directions_that_become_parallel_are_not_available(runs, monkeypatch):
    """Scaling rows can make them so: rows of an update of rank 1 are multiples of one another."""

    def parallel(offsets: Any, space: Any) -> Any:
        made = {name: torch.ones_like(weight, dtype=torch.float32) for name, weight in space.items()}
        return [made, {name: d.clone() for name, d in made.items()}], np.array([0.6, 0.4])

    monkeypatch.setattr("peft_lib.analysis.trajectory_pca.principal", parallel)
    with pytest.raises(NotAvailable, match="parallel"):
        list(Landscape(directions="pca", **SMALL).rows(runs("lora")))


def test_a_centre_whose_loss_is_not_finite_has_no_landscape(runs, monkeypatch):
    monkeypatch.setattr("peft_lib.analysis.landscape.Objective.__call__", lambda self: float("nan"))
    with pytest.raises(NotAvailable, match="the loss at the run's weights is nan"):
        list(Landscape(**SMALL).rows(runs("lora")))
