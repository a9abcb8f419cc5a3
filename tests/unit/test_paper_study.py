"""config/paper.yaml: every setting is Table 7's, every published number has its one place, the released code's accidents
have the settings of what they stand beside. Nothing is trained."""

import csv
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.published import REFERENCE
from peft_lib.study.expand import plan_file
from peft_lib.study.needs import needs
from peft_lib.study.plan import Plan, Point
from peft_lib.study.spec import RunSpec
from tests.runs import ROOT

MAIN = ("seeds_12", "seeds_100")
TABLE_2 = ("fft", "lora", "cola", "asym_lora", "rac_lora", "lora_plus", "cla", "c3la", "r_cla", "r_c3la")
PACA = ("paca", "d_paca", "c_paca")
CHAINS = {"cola", "rac_lora", "c3la", "r_c3la", "c_paca"}
TRAINS_A_AND_B = {"lora", "cola", "lora_plus"}
"""Table 7's groups in the paper's words, not ours."""
ACCIDENTS = {
    "gpt2_small_train_k": "gpt2_small", "deberta_v3_base_frozen_head": "deberta_v3_base",
    "deberta_v2_xxl_frozen_head": "deberta_v2_xxl", "rte_val_as_test": "rte", "stsb_val_as_test": "stsb",
}  # fmt: skip
PUBLISHED = {"table2": ("table_2_18.csv", 240), "table3": ("table_3_16.csv", 220), "table17": ("table_17.csv", 220)}
"""Artefact -> its published file, and how many numbers the paper prints: 24 (22 without RTE and STS-B) rows of ten methods."""
H200_MB = 141_000


@cache
def paper() -> Plan:
    return plan_file(ROOT / "config/paper.yaml", ROOT)


def rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points(*grids: str) -> Iterator[tuple[Point, RunSpec]]:
    for name in grids:
        for point in paper().points[name]:
            yield point, paper().runs[point.run_id]


def number(text: str) -> float:
    """1e-3.5 is 10^-3.5; float() does not read it."""
    mantissa, _, exponent = text.partition("e")
    return float(mantissa) * 10 ** float(exponent or 0)


@cache
def cells(artefact: str, folder: Path) -> list[Cell]:
    plan = paper()
    wanted = next(a for a in plan.study.artefacts if a.id == artefact)
    return build(plan, wanted, collect(plan, folder), folder)


@pytest.fixture(scope="module")
def no_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


def test_all_rows_and_methods_with_three_seeds_each() -> None:
    wanted = {(r["model"], r["dataset"]) for r in rows("table_2_18.csv")}
    runs = Counter((p.model, p.dataset, p.method) for p, _ in points(*MAIN))
    assert len(wanted) == 24
    assert runs == {(*task, method): 3 for task in wanted for method in TABLE_2 + PACA}
    assert len(paper().runs) == 24 * 13 * 3 + 2 * 13 * 3 + 8 * 8 * 3 + 9 * 3
    assert not paper().warnings


@pytest.mark.parametrize("setting", sorted({row["setting"] for row in rows("table_7.csv")} - {"seeds"}))
def test_settings_are_those_of_table_7(setting: str) -> None:
    """As the paper describes its groups: methods that train A and B, those that train B alone; the chained ones."""
    wanted = {
        (r["model"], r["dataset"], r["group"]): r["value"] for r in rows("table_7.csv") if r["setting"] == setting
    }
    met = set()
    for point, spec in points(*MAIN):
        group = "fft" if point.method == "fft" else "lora" if point.method in TRAINS_A_AND_B else "asym"
        if ("chains" in {g for _, _, g in wanted}) and point.method not in CHAINS:
            continue
        for key in ((point.model, point.dataset, g) for g in (group, "all", "chains")):
            if key in wanted:
                met.add(key)
                value = getattr(spec, setting)
                expected = wanted[key]
                assert value == (expected if isinstance(value, str) else pytest.approx(number(expected), rel=1e-5)), key
    assert met == set(wanted)


def test_what_table_7_names_for_some_models_is_off_for_the_others() -> None:
    """Clipping and a warm-up: it gives them for RoBERTa, GPT-2 and ViT."""
    named = {(r["model"], r["dataset"]) for r in rows("table_7.csv") if r["setting"] == "clip_norm"}
    assert len(named) == 9
    for point, spec in points(*MAIN):
        if (point.model, point.dataset) not in named:
            assert (spec.clip_norm, spec.warmup_ratio, spec.schedule) == (None, 0.0, "constant")


def test_seeds_are_those_of_table_7() -> None:
    wanted = {
        (r["model"], r["dataset"]): set(r["value"].split()) for r in rows("table_7.csv") if r["setting"] == "seeds"
    }
    seeds: dict[tuple[str, str], set[str]] = {}
    for point, _ in points(*MAIN):
        seeds.setdefault((point.model, point.dataset), set()).add(str(point.seed))
    assert seeds == wanted


def test_what_the_caption_of_table_7_and_the_protocol_say() -> None:
    for point, spec in points(*MAIN):
        if point.method != "fft":
            assert (spec.rank, spec.alpha, spec.scaling, spec.targets) == (16, 32, "alpha/r", "qv")
            assert spec.weight_decay == 0
        assert (spec.optimizer, spec.betas, spec.eps) == ("adamw", (0.9, 0.999), 1e-8)
        assert spec.selection == ("val_metric" if point.dataset == "cola" else "val_loss")  # 13.18
        assert spec.flip == (point.dataset in ("officehome", "cifar10"))  # 13.25
        assert spec.precision == ("fp32" if "deberta" in point.model else "bf16")  # 2
        assert spec.min_lr == 1e-6  # 13.32
        assert (spec.head_lr_mult, spec.optimizer_reset, spec.split_seed) == (1, "adapter", None)  # 13.4, 13.16, 13.21
        assert (spec.train_limit, spec.eval_limit, spec.options) == (None, None, {})


def test_accidents_have_the_settings_of_what_they_stand_beside() -> None:
    intended = {(p.model, p.dataset, p.method, p.seed): spec for p, spec in points(*MAIN)}
    kept = set(RunSpec.model_fields) - {"model", "dataset"}
    seen = set()
    for point, spec in points("val_as_test", "frozen_head", "train_k"):
        model, dataset = ACCIDENTS.get(point.model, point.model), ACCIDENTS.get(point.dataset, point.dataset)
        twin = intended[model, dataset, point.method, point.seed]
        assert twin.run_id != spec.run_id
        assert {k: getattr(spec, k) for k in kept} == {k: getattr(twin, k) for k in kept}
        seen |= {point.model, point.dataset}
    assert set(ACCIDENTS) <= seen
    assert {p.method for p, _ in points("frozen_head")}.isdisjoint({"c3la", "r_c3la"})


def test_what_the_paper_does_not_state_is_not_said_to_be_its() -> None:
    sources = {(p.model, p.dataset, p.method): paper().provenance[p.run_id] for p, _ in points(*MAIN)}
    for (_, _, method), said in sources.items():
        assert said["lr"].split(":")[0].split(",")[0] == ("ours" if method in PACA else "paper")
        unstated = {"head_lr_mult", "optimizer_reset", "precision", "split_seed", "flip", "chain_period"} & set(said)
        assert {said[name].split(":")[0] for name in unstated} <= {"ours", "inferred"}
        assert "defaults" not in said.values() and "grid" not in said.values()
        assert all(text.startswith(("paper", "inferred", "ours", "model catalog")) for text in said.values()), said


@pytest.mark.parametrize("artefact", PUBLISHED)
def test_every_published_number_stands_in_one_cell(artefact: str, no_results: Path) -> None:
    name, count = PUBLISHED[artefact]
    printed = {(r["model"], r["dataset"], r["method"]): number(r["value"]) for r in rows(name) if r["value"]}
    assert len(printed) == count
    shown = [
        (c.model, c.dataset, c.method, c.published) for c in cells(artefact, no_results) if c.published is not None
    ]
    assert sorted(shown) == sorted((*key, pytest.approx(value)) for key, value in printed.items())


def test_table_7_stands_beside_our_settings(no_results: Path) -> None:
    """Every value of Table 7 in the cell of its setting, though a cell may be for methods of two of its groups."""
    shown = [c for c in cells("table7", no_results) if c.published_text]
    assert {(c.model, c.dataset, c.column) for c in shown} == {
        (r["model"], r["dataset"], r["setting"]) for r in rows("table_7.csv")
    }
    for cell in (c for c in shown if c.column not in ("seeds", "schedule")):
        assert number(cell.text or "") == pytest.approx(number(cell.published_text or ""), rel=1e-2)


def test_the_accidents_have_no_published_number_of_their_own(no_results: Path) -> None:
    """It stands in the intended row, with a caveat that names the accident."""
    assert not [c for c in cells("as_released", no_results) if c.published is not None]
    caveats = {(c.model, c.dataset): c.caveat for c in cells("table2", no_results) if c.method == "lora"}
    assert "key projection" in str(caveats["gpt2_small", "e2e"])
    assert not [c for c in cells("table2", no_results) if c.method == "fft" and "key projection" in str(c.caveat)]
    assert "validation" in str(caveats["deberta_v3_base", "rte"]) and "validation" in str(
        caveats["deberta_v3_base", "stsb"]
    )


def test_every_run_fits_one_gpu_that_exists() -> None:
    """Full fine-tuning of Llama 3 in fp32 states needs the largest; everything else fits 80 GB."""
    plan = paper()
    first = {(p.model, p.dataset, p.method): spec for p, spec in points(*plan.points)}
    large = set()
    for (model, dataset, method), spec in first.items():
        asked = needs(spec, plan.models[model], plan.datasets[dataset], plan.how(spec.run_id), cuda=True)
        assert asked.gpus == 1 and asked.gpu_mem_mb < H200_MB
        if asked.gpu_mem_mb > 80_000:
            large.add((model, method))
    assert large == {("llama3_8b", "fft")}


def test_how_follows_the_catalog() -> None:
    """Frozen weights in bf16 and checkpointing where the released code had them; nothing that splits the paper's batches."""
    for point, spec in points(*paper().points):
        how = paper().how(spec.run_id)
        llama = point.model in ("tinyllama", "llama3_8b")
        assert (how.storage, how.gradient_checkpointing) == (("bf16", True) if llama else ("fp32", False))
        assert how.micro_batch == (2 if "deberta_v2_xxl" in point.model else None)
        assert get_method(point.method).has_factors or point.method == "fft"
