"""A finished run opened for diagnostics: matrices before and after, moments, and what is refused."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from peft_lib.diagnostics.opened import OpenedRun
from peft_lib.diagnostics.registry import DiagnosticError
from peft_lib.run_files import read_rows
from peft_lib.training.assemble import assemble
from tests.runs import inputs_for, run, spec_of

METHODS = ("lora", "c3la", "paca", "c_paca", "fft", "head_only")


def opened(method: str, folder: Path, resources: Path, keep: str = "selected", **changes: object) -> OpenedRun:
    spec = spec_of(method, **changes)
    run(spec, folder, resources, keep=keep)
    row = read_rows(folder / "result.parquet")[0]
    return OpenedRun(spec, inputs_for(spec, resources), row, folder, folder / "cache")


@pytest.mark.parametrize("method", METHODS)
def test_matrices_are_those_of_the_model(method, tmp_path, resources):
    """W0 is the file's weight; W is what the restored and merged model has, for every place of the target set."""
    found = opened(method, tmp_path, resources)
    stored = load_file(found.inputs.model_dir / "model.safetensors")
    parts = assemble(found.spec, found.inputs)
    parts.adapter.load(tmp_path / "delta.safetensors")
    merged = parts.adapter.merge().state_dict()
    places = {}
    for place, before, after in found.matrices("qv"):
        path, _, rows = place.partition("[")
        start, stop = map(int, rows.rstrip("]").split(":"))
        assert torch.equal(before, stored[f"{path}.weight"][start:stop])
        assert torch.equal(after, merged[f"{path}.weight"][start:stop])
        places[place] = not torch.equal(before, after)
    assert len(places) == 2 * found.inputs.model.architecture["depth"]
    assert all(places.values()) == (method != "head_only") and any(places.values()) == (method != "head_only")


def test_targets_are_the_runs_own_or_those_of_the_catalog(tmp_path, resources):
    lora = opened("lora", tmp_path / "lora", resources)
    assert [t.key for t in lora.targets()] == [t.key for t in lora.targets("qv")]
    with pytest.raises(
        DiagnosticError, match=r"target set 'mlp': model vit_tiny_test has none of that name, it has .*qv"
    ):
        lora.targets("mlp")
    fft = opened("fft", tmp_path / "fft", resources, epochs=1)
    assert [t.key for t in fft.targets()] == [t.key for t in lora.targets("qv")]


def test_moments(tmp_path, resources):
    """Initial, every epoch and the selected one; the model is put into each, and back, bit for bit."""
    found = opened("c3la", tmp_path, resources, keep="trajectory")
    assert found.epochs == (0, 1, 2, 3, 4)
    first = {n: p.clone() for n, p in found.assembled.model.named_parameters()}
    found.restore(3)
    assert any(not torch.equal(p, first[n]) for n, p in found.assembled.model.named_parameters())
    found.restore("initial")
    assert all(torch.equal(p, first[n]) for n, p in found.assembled.model.named_parameters())
    by_epoch = [{k: w for k, _, w in found.matrices(at=epoch)} for epoch in found.epochs]
    assert all(torch.equal(w, by_epoch[0][k]) for k, w, _ in found.matrices())
    selected = {k: w for k, _, w in found.matrices()}
    assert all(torch.equal(w, by_epoch[found.result["selected_epoch"]][k]) for k, w in selected.items())
    assert all(torch.equal(w, by_epoch[4][k]) for k, _, w in found.matrices(at="final"))


def test_a_moment_that_was_not_kept_is_named(tmp_path, resources):
    found = opened("lora", tmp_path, resources, selection="last")
    assert found.snapshot("final").epoch == 4  # the selected one is the last
    found.result["selected_epoch"] = 2
    with pytest.raises(DiagnosticError, match=r"no state 'final' was kept, only selected. Set keep: both"):
        found.snapshot("final")


def test_a_trajectory_of_another_attempt_is_refused(tmp_path, resources):
    found = opened("lora", tmp_path, resources, keep="trajectory")
    found.result["started"] = "2020-01-01T00:00:00+00:00"
    with pytest.raises(DiagnosticError, match=r"of an attempt that started .* the result of one that started 2020"):
        _ = found.epochs
