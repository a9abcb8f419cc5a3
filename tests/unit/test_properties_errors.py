"""Refusals: what `adapt` and the adapter cannot do says which value broke which rule, and what to do."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from peft_lib.layers.adapter import adapt
from peft_lib.layers.delta_file import DeltaError
from peft_lib.layers.targets import TargetError
from peft_lib.methods.method import Columns, LowRank, Method, MethodError
from peft_lib.methods.registry import register, unregister
from tests.unit.zoo import KINDS, RANK, TARGETS, Trial, build

COMMON = {"name": "Odd", "formula": "-", "source": "test", "family": "present", "trains": ("B",)}


def untouched(model: nn.Module) -> bool:
    """No place was adapted."""
    return not any(type(m).__name__ == "AdaptedLinear" for m in model.modules())


def test_unknown_method_names_near_ones():
    with pytest.raises(MethodError, match=r"Unknown method 'clla'\. Did you mean: .*cla.*Available: .*lora"):
        adapt(build("linear"), "clla")


@pytest.mark.parametrize("kind", KINDS)
def test_rank_larger_than_a_layer(kind: str):
    model = build(kind)
    with pytest.raises(TargetError, match=r"rank 17 is larger than the layer|rank 13 is larger than the layer"):
        adapt(model, "lora", rank=13 if kind == "linear" else 17, targets=TARGETS[kind])
    assert untouched(model)


@pytest.mark.parametrize("rank, alpha", [(0, 1.0), (-1, 1.0), (2.0, 1.0), (2, 0.0), (2, -1.0)])
def test_rank_and_alpha_are_positive(rank: int, alpha: float):
    with pytest.raises(TargetError, match="rank is an integer of at least 1 and alpha is positive"):
        adapt(build("linear"), "lora", rank=rank, alpha=alpha)


@pytest.mark.parametrize("method", ["lora", "asym_lora"])
def test_a_refused_rank_leaves_the_model_as_it_was(method: str):
    """The second layer is the one that is too small; the first must not stay adapted, nor frozen."""
    model = nn.Sequential(nn.Linear(12, 24), nn.Linear(24, 3))
    trained = [p.requires_grad for p in model.parameters()]
    with pytest.raises(TargetError, match=r"^1: rank 5 is larger than the layer \(3 x 24\) allows .* at most 3"):
        adapt(model, method, rank=5)
    assert untouched(model)
    assert [p.requires_grad for p in model.parameters()] == trained
    adapt(model, method, rank=3)


@pytest.mark.parametrize("method", ["cla", "c3la", "paca"])
def test_a_selectors_rank_is_limited_by_the_inputs_alone(method: str):
    """r distinct columns: B is (d_out, r), whatever d_out is."""
    model = nn.Sequential(nn.Linear(12, 24), nn.Linear(24, 3))
    adapter = adapt(model, method, rank=12)
    assert adapter.places["1"].B.shape == (3, 12) if method != "paca" else adapter.places["1"].P.shape == (3, 12)
    adapter.unload()
    with pytest.raises(TargetError, match=r"^0: rank 13 is larger than the layer \(24 x 12\) allows .* at most 12"):
        adapt(model, method, rank=13)


def test_unknown_target_names_near_ones():
    with pytest.raises(TargetError, match=r"targets \['qvk'\]: no linear module's path ends so. Did you mean: qkv"):
        adapt(build("fused"), "lora", rank=2, targets=["qvk"])


def test_a_target_must_be_a_linear():
    with pytest.raises(TargetError, match="no linear module's path ends so"):
        adapt(build("fused"), "lora", rank=2, targets=["norm"])


@pytest.mark.parametrize("target", ["qkv[40:49]", "qkv[10:10]", "qkv[20:10]"])
@pytest.mark.parametrize("kind", ["fused", "conv1d"])
def test_slices_lie_inside_the_output(kind: str, target: str):
    with pytest.raises(TargetError, match=r"the slice must lie inside the output 0:48"):
        adapt(build(kind), "lora", rank=2, targets=[target])


@pytest.mark.parametrize("targets", [["0", "0"], ["2", "2[0:12]"], ["2[0:12]", "2[6:18]"]])
def test_places_do_not_overlap(targets: list[str]):
    """Two places on the same rows: the handle would lose one, and folding would overwrite the other's columns."""
    model = build("linear")
    with pytest.raises(TargetError, match="overlap"):
        adapt(model, "cla", rank=2, targets=targets)
    assert untouched(model)


@pytest.mark.parametrize("targets", ["all-linear", ["decoder"], ["encoder"]])
def test_tied_weights_are_refused(targets: str | list[str]):
    """Merging would change the other module too; 'all-linear' as well as by name."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = nn.Linear(6, 6), nn.Linear(6, 6)
            self.decoder.weight = self.encoder.weight

    with pytest.raises(TargetError, match=r"shared by \[.*encoder.weight.*decoder.weight.*Untie it or leave it out"):
        adapt(Tied(), "lora", rank=2, targets=targets)


def test_adapting_twice_is_refused_until_unloaded():
    model = build("linear")
    adapter = adapt(model, "lora", rank=2)
    with pytest.raises(TargetError, match=r"adapted already: call unload\(\) or merge\(\)"):
        adapt(model, "cla", rank=2)
    adapter.unload()
    adapt(model, "cla", rank=2).merge()
    adapt(model, "lora", rank=2)


@pytest.mark.parametrize("method", ["lora", "cla", "head_only", "fft"])
def test_unknown_executions_are_refused(method: str):
    with pytest.raises(TargetError, match="'fast'"):
        Trial(method, execution="fast")


def test_gaussian_selectors_run_dense_only():
    with pytest.raises(TargetError, match=r"r_cla cannot run as 'gather'. Valid: dense"):
        Trial("r_cla", execution="gather", selector="gaussian")


def test_unknown_options_and_heads():
    with pytest.raises(ValidationError, match="ratio"):
        Trial("lora", ratio=16)
    for head in (("nonsense",), "nonsense", ("",), ("4", "")):
        with pytest.raises(TargetError, match=r"head '(nonsense)?': there is no module of that path"):
            Trial("lora", head=head)
    assert Trial("lora", head="4").adapter.head == ("4",)


@pytest.mark.parametrize(
    "start, message",
    [
        (lambda link, options: Columns((0, 0, 1, 2, 3)), "distinct columns"),
        (lambda link, options: Columns((0, 1, 2, 3)), "5 distinct columns"),
        (lambda link, options: Columns((8, 9, 10, 11, 12)), r"in 0\.\.11"),
        (lambda link, options: Columns((-1, 0, 1, 2, 3)), r"in 0\.\.11"),
        (lambda link, options: LowRank(torch.zeros(link.d_in, link.rank)), r"made A of shape \(12, 5\), not \(5, 12\)"),
    ],
    ids=["repeated", "too_few", "too_far", "negative", "transposed"],
)
def test_a_methods_bad_factor_is_refused(start, message: str):
    register(Method(id="odd", start=start, column_sparse=False, **COMMON))
    try:
        with pytest.raises(TargetError, match=message):
            Trial("odd", execution="dense", targets=("0",), rank=RANK)
    finally:
        unregister("odd")


def saved(tmp_path: Path, method: str, **changes: object) -> Path:
    trial = Trial(method, **changes)
    trial.train(steps=2, resets=())
    trial.adapter.save(tmp_path / "delta.safetensors")
    return tmp_path / "delta.safetensors"


@pytest.mark.parametrize(
    "method, written, read, message",
    [
        ("lora", {}, {"rank": 4}, "Use the same rank and alpha"),
        ("lora", {}, {"alpha": 8.0}, "Use the same rank and alpha"),
        ("lora", {}, {"targets": ("0",)}, "places differ"),
        ("lora", {}, {"head": ()}, "parameters trained in full differ"),
        ("r_cla", {"selector": "gaussian"}, {}, "kind|selector|lowrank"),
        ("r_cla", {}, {"selector": "gaussian"}, "kind|selector|columns"),
    ],
)
def test_a_delta_of_another_adapter_is_refused(method: str, written: dict, read: dict, message: str, tmp_path: Path):
    path = saved(tmp_path, method, **written)
    trial = Trial(method, **read)
    before = trial.output()
    with pytest.raises(DeltaError, match=message):
        trial.adapter.load(path)
    assert torch.equal(trial.output(), before)


def test_a_delta_of_another_method_is_refused(tmp_path: Path):
    with pytest.raises(DeltaError, match="written by method 'lora', this adapter is 'asym_lora'"):
        Trial("asym_lora").adapter.load(saved(tmp_path, "lora"))


def test_damaged_and_foreign_files_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    path = saved(tmp_path, "cla")
    trial = Trial("cla")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-16])
    save_file({"x": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    for name, message in (("cut", "not a readable"), ("absent", "not a readable"), ("foreign", "not a delta file")):
        with pytest.raises(DeltaError, match=message):
            trial.adapter.load(tmp_path / f"{name}.safetensors")
    with pytest.raises(DeltaError, match=r"no snapshot 'selected' in the delta; it has final"):
        trial.adapter.load(path, tag="selected")


@pytest.mark.parametrize("execution", ["dense", "inplace"])
def test_a_head_is_trained_in_full_and_never_adapted(execution: str):
    """'all-linear' leaves it out, and so does a name that fits both (RoBERTa's head has a 'dense' of its own)."""
    for targets in ("all-linear", ["dense"]):
        body, head = nn.ModuleDict({"dense": nn.Linear(6, 6)}), nn.ModuleDict({"dense": nn.Linear(6, 3)})
        model = nn.ModuleDict({"body": body, "head": head})
        adapter = adapt(model, "cla", rank=2, targets=targets, head=["head"], execution=execution)
        assert list(adapter.places) == ["body.dense"]
        head["dense"](body["dense"](torch.ones(1, 6))).sum().backward()
        assert head["dense"].weight.grad is not None
    with pytest.raises(TargetError, match="outside the head"):
        adapt(build("linear"), "cla", rank=2, targets=["0", "4"], head=["4"])
