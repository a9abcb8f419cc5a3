"""Run ids: what renames a run and what must not."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peft_lib.study.spec import RunSpec
from tests.runs import spec_of, tiny_plan


def test_the_canonical_form_is_pinned() -> None:
    """Ids are on disk and in papers: a change of this text renames every finished run."""
    spec = spec_of("lora")
    assert spec.canonical == (
        '{"alpha":8,"batch_size":32,"clip_norm":1,"dataset":{"id":"digits","revision":"sha256:ed5d0ee6d5a6",'
        '"source":"sklearn:digits"},"epochs":4,"eval_limit":64,"input_size":16,"lr":0.01,"method":"lora",'
        '"model":{"architecture":{"class_token":false,"depth":2,"embed_dim":32,"global_pool":"avg","img_size":16,'
        '"in_chans":1,"mlp_ratio":2,"num_heads":2,"patch_size":4},"id":"vit_tiny_test","pretrain":{"batch_size":100,'
        '"dataset":"mnist5k","epochs":1,"lr":0.002},"source":"pretrain:vit_2x32"},"rank":4,"schedule":"linear","seed":0,'
        '"spec_version":1,"train_limit":128,"warmup_ratio":0.1}'
    )
    assert spec.run_id == "efd81ff24e42"


def test_a_field_at_its_default_is_left_out() -> None:
    """So a new option with a default renames no old run."""
    assert spec_of("lora", scaling="alpha/r", betas=(0.9, 0.999)).run_id == spec_of("lora").run_id

    class Later(RunSpec):
        new_option: str = "off"

    later = Later(**spec_of("lora").model_dump())
    assert later.run_id == spec_of("lora").run_id
    assert Later(**{**spec_of("lora").model_dump(), "new_option": "on"}).run_id != later.run_id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"alpha": 32}, {"alpha": 32.0}),
        ({"lr": 10**-3.5}, {"lr": 0.000316227766}),
        ({"lr": 0.01}, {"lr": 0.010000000001}),
    ],
)
def test_equal_numbers_have_one_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert spec_of("lora", **one).run_id == spec_of("lora", **other).run_id


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"lr": 0.011}, {"rank": 5}, {"epochs": 5}, {"split_seed": 0}, {"precision": "bf16"}]
)
def test_whatever_changes_numbers_changes_the_id(change: dict[str, Any]) -> None:
    assert spec_of("lora", **change).run_id != spec_of("lora").run_id


@settings(max_examples=50, derandomize=True)
@given(st.floats(1e-9, 1e3), st.integers(1, 512), st.integers(0, 2**31 - 1))
def test_the_canonical_form_reads_back(lr: float, rank: int, seed: int) -> None:
    spec = spec_of("lora", lr=lr, rank=rank, seed=seed)
    again = RunSpec.from_canonical(spec.canonical)
    assert again.canonical == spec.canonical and again.run_id == spec.run_id


def test_a_spec_of_another_version_is_refused() -> None:
    with pytest.raises(ValueError, match="spec_version 2"):
        RunSpec.from_canonical(spec_of("lora").canonical.replace('"spec_version":1', '"spec_version":2'))


def test_settings_without_effect_do_not_split_runs() -> None:
    """Full fine-tuning has no rank: a rank ablation trains it once."""
    grid = {"tasks": ["vit_tiny_test/digits"], "methods": ["fft", "lora"], "seeds": [0], "vary": {"rank": [2, 4, 8]}}
    plan = tiny_plan(grids={"main": grid}, artefacts=[])
    methods = [spec.method for spec in plan.runs.values()]
    assert methods.count("fft") == 1 and methods.count("lora") == 3


def test_grids_share_runs() -> None:
    grid = {"tasks": ["vit_tiny_test/digits"], "methods": ["lora"], "seeds": [0, 1]}
    plan = tiny_plan(grids={"main": grid, "again": grid}, artefacts=[])
    assert len(plan.runs) == 2
    assert [p.run_id for p in plan.points["main"]] == [p.run_id for p in plan.points["again"]]
