"""The matrix is complete: every method, execution and kind of place runs, or is left out for a declared reason."""

import itertools
from pathlib import Path

import pytest
import torch

from peft_lib.layers.adapter import adapt
from peft_lib.layers.targets import TargetError
from peft_lib.methods.registry import SHARED, available, get_method
from tests.unit.zoo import (
    CASES,
    EXCLUDED,
    EXECUTIONS,
    KINDS,
    PROMISES,
    RANK,
    SIZES,
    TARGETS,
    Case,
    Trial,
    build,
    factorless,
)

METHODS = Path(__file__).parents[2] / "peft_lib" / "methods"


def test_every_method_file_is_a_method():
    files = {p.stem for p in METHODS.glob("*.py")} - SHARED - {"__init__"}
    assert files <= set(available()) and set(PROMISES) <= files
    assert all(get_method(m).id == m for m in files)


def test_no_combination_is_missing_without_a_reason():
    ran = {(c.method, c.execution, c.kind) for c in CASES}
    for method, execution, kind in itertools.product(available(), EXECUTIONS, KINDS):
        assert ((method, execution, kind) in ran) != ((method, execution) in EXCLUDED), (method, execution, kind)
    assert {c.method for c in CASES} == set(available())
    assert all(len(reason) > 20 for reason in EXCLUDED.values())


@pytest.mark.parametrize("method, execution", sorted(EXCLUDED))
def test_excluded_combinations_are_refused_with_a_message(method: str, execution: str):
    with pytest.raises(TargetError, match=r"execution|cannot run as"):
        Trial(method, execution=execution)


@pytest.mark.parametrize("method", PROMISES)
def test_descriptions_say_what_the_protocol_says(method: str):
    promise, found = PROMISES[method], get_method(method)
    assert found.trains == ((promise.trains,) if promise.trains == "backbone" else tuple(promise.trains))
    assert found.chains == promise.chains
    assert found.column_sparse == promise.sparse
    # Table 7 has three rates: full fine-tuning, A and B, B alone; PaCA's is not stated, B alone is assumed (PROTOCOL 4)
    assert found.lr_group == {"backbone": "fft", "AB": "lora"}.get(promise.trains, "asym")


@pytest.mark.parametrize("method", PROMISES)
def test_default_executions(method: str):
    """PaCA is the in-place trick; the other sparse methods gather (the paper's s-variants); a dense A is multiplied."""
    trial = Trial(method)
    promise = PROMISES[method]
    sparse = "inplace" if promise.trains == "P" else "gather"
    expected = "none" if factorless(method) else sparse if promise.sparse else "dense"
    assert trial.adapter.execution == expected


@pytest.mark.parametrize("case", CASES, ids=str)
def test_trainable_count_equals_the_formula(case: Case):
    """r d_in for A, r d_out for B or P, plus the head; everything under full fine-tuning."""
    trial = case.trial()
    head = sum(p.numel() for p in trial.plain.get_submodule(trial.adapter.head[0]).parameters())
    everything = sum(p.numel() for p in trial.plain.parameters())
    sizes = [SIZES[key] for key in TARGETS[case.kind]]
    adapter = {
        "": 0,
        "backbone": everything - head,
        "AB": sum(RANK * (d_in + d_out) for d_in, d_out in sizes),
        "B": sum(RANK * d_out for _, d_out in sizes),
        "P": sum(RANK * d_out for _, d_out in sizes),
    }[case.promise.trains]
    if case.promise.tensors:
        adapter = get_method(case.method).trained_size([(i, o, 1) for i, o in sizes], RANK)
    assert sum(p.numel() for p in trial.model.parameters() if p.requires_grad) == adapter + head
    found = trial.adapter.counts()
    assert (found["trainable"], found["adapter"], found["head"]) == (adapter + head, adapter, head)
    if case.promise.trains != "backbone":  # planning counts with the same formula, from dimensions alone
        assert get_method(case.method).trained_size([(i, o, 1) for i, o in sizes], RANK) == adapter
    if case.promise.trains in ("AB", "B"):  # a percentage is of the model, A and B, as in the paper's tables
        assert found["total"] == everything + sum(RANK * (d_in + d_out) for d_in, d_out in sizes)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_all_trained_parameters_are_in_one_group(case: Case):
    trial = case.trial()
    grouped = [p for g in trial.adapter.parameter_groups(1e-3) for p in g["params"]]
    assert sorted(map(id, grouped)) == sorted(id(p) for p in trial.model.parameters() if p.requires_grad)


def test_adapted_factors_are_float32_and_everything_keeps_its_dtype():
    for case in CASES:
        trial = case.trial(dtype=torch.bfloat16)
        assert all(p.dtype == torch.float32 for p in trial.adapter.factors().values()), case
        factors = {id(p) for p in trial.adapter.factors().values()}
        assert all(p.dtype == torch.bfloat16 for p in trial.model.parameters() if id(p) not in factors), case


QV12, QV24 = [(768, 768, 24)], [(1024, 1024, 48)]
LINEARS = {  # q, k, v, attention output, both MLP linears
    "vit_tiny": [(192, 192, 48), (192, 768, 12), (768, 192, 12)],
    "vit_base": [(768, 768, 48), (768, 3072, 12), (3072, 768, 12)],
    "roberta_large": [(1024, 1024, 96), (1024, 4096, 24), (4096, 1024, 24)],
}


def head(width: int, classes: int, hidden: bool = False, bias: bool = True) -> int:
    return (width + 1) * width * hidden + classes * (width + bias)


@pytest.mark.parametrize(
    "shapes, heads, published",
    [
        pytest.param(QV12, head(768, 2, hidden=True), 1_181_954, id="roberta_base"),
        pytest.param(QV24, head(1024, 2, hidden=True), 2_624_514, id="roberta_large"),
        pytest.param(QV12, head(768, 1, hidden=True), 1_181_185, id="deberta_v3-1"),
        pytest.param(QV12, head(768, 50, hidden=True), 1_218_866, id="deberta_v3-50"),
        pytest.param([(1536, 1536, 96)], 0, 4_718_592, id="deberta_v2_xxl"),
        pytest.param(QV12, 0, 589_824, id="gpt2"),
        pytest.param([(192, 192, 24)], head(192, 65), 160_001, id="vit_tiny-65"),
        pytest.param([(192, 192, 24)], head(192, 10), 149_386, id="vit_tiny-10"),
        pytest.param(QV12, head(768, 65), 639_809, id="vit_base-65"),
        pytest.param([(2048, 2048, 22), (2048, 256, 22)], head(2048, 4, bias=False), 2_260_992, id="tinyllama-4"),
        pytest.param([(4096, 4096, 32), (4096, 1024, 32)], head(4096, 21, bias=False), 6_901_760, id="llama3-21"),
        pytest.param([(2048, 2048, 48)], 0, 3_145_728, id="deepseek"),
        pytest.param(LINEARS["vit_tiny"], head(192, 10), 665_482, id="vit_tiny-all"),
        pytest.param(LINEARS["vit_base"], head(768, 10), 2_661_898, id="vit_base-all"),
        pytest.param(LINEARS["vit_base"], head(768, 2, hidden=True), 3_246_338, id="roberta_base-all"),
        pytest.param(LINEARS["roberta_large"], head(1024, 2, hidden=True), 8_129_538, id="roberta_large-all"),
    ],
)
def test_lora_counts_of_the_published_models(shapes: list, heads: int, published: int):
    """PROTOCOL 12, rank 16."""
    assert get_method("lora").trained_size(shapes, 16) + heads == published


@pytest.mark.parametrize(
    "sizes, model_parameters, lora, asym",
    [  # sizes of the models with their heads; percent of model + A + B, three decimals (PROTOCOL 12)
        pytest.param(QV12, 124_647_170, 0.944, 0.708, id="roberta_base"),
        pytest.param(QV12, 124_439_808, 0.472, 0.236, id="gpt2"),
    ],
)
def test_percentages_of_the_published_models(sizes: list, model_parameters: int, lora: float, asym: float):
    heads = head(768, 2, hidden=True) if model_parameters == 124_647_170 else 0
    both = get_method("lora").trained_size(sizes, 16)
    for method, percent in (("lora", lora), ("asym_lora", asym), ("cla", asym), ("paca", asym)):
        trained = get_method(method).trained_size(sizes, 16) + heads
        assert round(100 * trained / (model_parameters + both), 3) == percent


def test_method_files_are_short():
    assert {p.name: n for p in METHODS.glob("*.py") if (n := len(p.read_text().splitlines())) > 200} == {}


def test_an_adapted_model_has_no_places_left_over():
    """Only the targets are wrapped: the fused module stays one linear and keeps its other rows."""
    model = build("fused")
    adapter = adapt(model, "lora", rank=2, targets=TARGETS["fused"])
    assert list(adapter.places) == list(TARGETS["fused"])
    assert model.get_submodule("qkv").base.weight.shape == (48, 16)
