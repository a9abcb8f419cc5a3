"""config/paper.yaml: settings are Table 7's or what the paper says of its other tables, every published number has its one
place, runs that tables have in common are shared, the released code's accidents have the settings of what they stand beside.
Nothing is trained."""

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from peft_lib.display.view import Footnotes
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.published import REFERENCE
from peft_lib.study.choices import KINDS, choices
from peft_lib.study.expand import plan_file, plan_study
from peft_lib.study.needs import needs
from peft_lib.study.plan import Plan, Point
from peft_lib.study.spec import RunSpec
from tests.runs import ROOT
from tests.unit.synthetic import PAPER

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
PUBLISHED = {
    "table2": ("table_2_18.csv", 240), "table3": ("table_3_16.csv", 220), "table17": ("table_17.csv", 220),
    "table4": ("table_4.csv", 96), "table5": ("table_5.csv", 96), "table6": ("table_6.csv", 72), "table8": ("table_8.csv", 1134),
    "table9": ("table_9.csv", 756), "table10": ("table_10.csv", 180), "table11": ("table_11.csv", 143), "table12": ("table_12.csv", 216),
    "table13": ("table_13.csv", 108), "table14": ("table_14.csv", 320), "table15": ("table_15.csv", 320),
}  # fmt: skip
"""Artefact -> its published file, and how many numbers the paper prints: of Table 2, 24 (22 without RTE and STS-B) rows of ten
methods; of Tables 4, 5, 14 and 15 each with a ratio to LoRA beside it. Table 7 has texts, and a test of its own."""
GRID_KEYS = ("rank", "lr", "alpha", "chain_period")
GATHERED = {"s_cla": "cla", "s_r_c3la": "r_c3la"}
"""The paper's names of methods that gather columns, and the method whose runs do."""
H200_MB = 141_000
RULES = "config/paper_hyperparameters.csv"
SOURCES = ("paper", "inferred", "ours", "model catalog")


@cache
def paper() -> Plan:
    return plan_file(ROOT / "config/paper.yaml", ROOT)


def rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def points_of(*grids: str) -> set[str]:
    return {point.run_id for name in grids for point in paper().points[name]}


def points(*grids: str) -> Iterator[tuple[Point, RunSpec]]:
    for name in grids:
        for point in paper().points[name]:
            yield point, paper().runs[point.run_id]


def number(text: str) -> float:
    """1e-3.5 is 10^-3.5; float() does not read it."""
    mantissa, _, exponent = text.partition("e")
    return float(mantissa) * 10 ** float(exponent or 0)


def rounded(value: float) -> float:
    """As run ids have it: 10^-3.5 is printed with nine digits and kept with six."""
    return float(f"{value:.5g}")


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
    assert not paper().warnings


def test_every_run_is_counted_once() -> None:
    """What each grid adds to those before it; where it is less than all its runs, it shares."""
    main, accidents = 24 * 13 * 3, 2 * 13 * 3 + 8 * 8 * 3 + 9 * 3
    table_4, fft = 8 * 12 * 3, 8 * 3
    table_8, table_9 = 3 * 6 * 7 * 9, 2 * 6 * 7 * 9
    in_main, at_1e_3 = 2 * 6, 2 * 6 * 3  # ViT at rank 16 and 1e-3; both models at ranks 4, 8, 16, 1e-3 and 2r
    ablations = table_8 + table_9 - in_main + 2 * 6 * 3 * 5 - at_1e_3 + 2 * 6 * 3 * 4 - at_1e_3
    chains = 4 * 3 * 3 * 6 - 2 * 3 * 3 + 2 * 3 * 3 * 6 - 2 * 3 * 3  # at period 5 as in Tables 10 and 11
    released = 24 * 2 * 3 - 3 + 15 * 4 * 3  # DeepSeek's r-cLA is ours
    options = 2 * 2 * 3 * 3 - 2 * 3 + 2 * 4 * 2 * 3 + 2 * 4 * 2 * 3 + 4 * 3 * 3  # ViT's windows are as released
    assert len(points_of("table14") | points_of("table15") - points_of("table4", "table5")) == len(points_of("table14"))
    total = main + accidents + 2 * table_4 - fft + ablations + chains + 6 * 5 * 3 + released + options
    assert len(paper().runs) == total == 4776


def test_what_the_main_study_says_decides_its_runs_alone() -> None:
    """Adding tables changed none of its ids: their digest is what it was before there were any."""
    ids = sorted(points_of(*MAIN, "val_as_test", "frozen_head", "train_k"))
    assert len(ids) == 1233
    assert hashlib.sha256("".join(ids).encode()).hexdigest()[:16] == "5ed9bbed8f3250e7"


def test_tables_share_runs_as_the_paper_has_them() -> None:
    assert points_of("table14") < points_of("table4") and points_of("table15") < points_of("table5")
    shared = points_of("table4") & points_of("table5")
    assert {paper().runs[i].method for i in shared} == {"fft"} and len(shared) == 24
    for ablation, with_what in (("table9", MAIN), ("table11", ("table9",)), ("table13", ("table11",)), ("table10", ("table8",)),
                                ("table12", ("table10",))):  # fmt: skip
        common = [paper().runs[i] for i in points_of(ablation) & points_of(*with_what)]
        assert common and {(s.lr, s.alpha / s.rank, s.chain_period or 5) for s in common} == {(0.001, 2.0, 5)}


def test_a_changed_rate_changes_exactly_its_runs(tmp_path: Path) -> None:
    """One row of the table of hyper-parameters, in a copy of the study; a recorded study does the same."""
    text = (ROOT / RULES).read_text(encoding="utf-8")
    row = 'tinyllama,folio,,lora,,lr,1e-3.75,"paper, Table 7",'
    assert text.count(row) == 1
    recorded = tmp_path / "study.json"
    recorded.write_text(
        json.dumps({**paper().data, "rule_texts": {RULES: text.replace(row, row.replace("1e-3.75", "2e-4"))}})
    )
    changed = plan_file(recorded, ROOT)
    gone = {(s.model.id, s.dataset.id, s.method) for i, s in paper().runs.items() if i not in changed.runs}
    assert gone == {("tinyllama", "folio", m) for m in ("lora", "cola", "lora_plus")}
    new = {s.lr for i, s in changed.runs.items() if i not in paper().runs}
    assert new == {2e-4} and len(changed.runs) == len(paper().runs)
    # three seeds each, and CoLA's with resets counted as the released code does
    assert len(paper().runs.keys() - changed.runs.keys()) == 3 * 3 + 3


def test_the_recorded_study_fits_a_command_line() -> None:
    """rules/tables.smk passes it as one argument, which may have 128 kB."""
    assert len(json.dumps(dict(paper().data))) < 64_000


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
        assert all(text.startswith(SOURCES) for text in said.values()), said
    for said in paper().provenance.values():
        assert all(text.startswith(SOURCES) or text == "varied" for text in said.values()), said


@pytest.mark.parametrize("artefact", PUBLISHED)
def test_every_published_number_stands_in_one_cell(artefact: str, no_results: Path) -> None:
    """In the cell whose runs have the printed rank, rate, scale and period; a printed ratio beside its value."""
    name, count = PUBLISHED[artefact]
    file = [r for r in rows(name) if r["value"]]
    keys = [k for k in GRID_KEYS if k in file[0]]
    printed = Counter(
        (
            r["model"],
            r["dataset"],
            r["method"],
            r.get("quantity", ""),
            *(rounded(number(r[k])) for k in keys),
            *texts(r),
        )
        for r in file
    )
    shown: Counter[tuple] = Counter()
    for cell in (c for c in cells(artefact, no_results) if c.published is not None):
        specs = [paper().runs[i] for i in cell.run_ids]
        assert {s.method for s in specs} == {cell.method} == {GATHERED.get(cell.column, cell.method)}
        assert {(s.model.id, s.dataset.id) for s in specs} == {(cell.model, cell.dataset)}
        settings = tuple(rounded(getattr(specs[0], k)) for k in keys)
        method = cell.column if cell.column in GATHERED else cell.method
        quantity = cell.panel if "quantity" in file[0] else ""
        shown[cell.model, cell.dataset, method, quantity, *settings, cell.published_text, cell.published_also] += 1
    assert shown == printed and sum(printed.values()) == len(printed) == count


def test_a_method_that_does_not_gather_is_no_s_variant(no_results: Path) -> None:
    """Under a dense A, r-c3LA stands beside the paper's r-c3LA alone; cLA, which gathers, beside its s-cLA."""
    dense = {"when": {"method": "r_c3la"}, "how": {"execution": "dense"}, "source": "ours"}
    plan = plan_study({**paper().data, "rules": [*paper().data["rules"], dense]}, ROOT)
    assert plan.runs.keys() == paper().runs.keys()
    wanted = next(a for a in plan.study.artefacts if a.id == "table14")
    made = build(plan, wanted, collect(plan, no_results), no_results)
    columns = Counter(c.column for c in made)
    assert columns["r_c3la"] == columns["s_cla"] == 4 * 8 and not columns["s_r_c3la"] and not columns["cla"]


def texts(row: dict[str, str]) -> tuple[str, str | None]:
    """What stands in a row's cell: the printed number, and what is printed beside it. Seconds and bytes are another machine's, so
    that of Tables 14 and 15 the ratio is compared."""
    if row.get("ratio") and row.get("unit") is not None:
        unit = row["unit"] if row["unit"] != "samples/s" else ""  # which is the unit of our own values
        return row["ratio"], f"{row['value']} {unit}".strip()
    if row.get("ratio"):
        return row["value"], f"\u00d7{row['ratio']}"
    change = row.get("change_vs_best")
    return row["value"], f"{chr(0x25BC if change[0] == '-' else 0x25B2)}{change.lstrip('+-')}%" if change else None


def test_reference_files_are_the_transcription() -> None:
    """Values of Tables 4, 5, 12 and 13 as transcribed, one for one."""
    folder = PAPER / "tables"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the transcription of the paper's tables is not part of the repository")
    for mine, theirs, renamed in (
        ("table_4.csv", "table4_paca_all_layers.csv", {"ratio": "normalized_to_lora"}),
        ("table_5.csv", "table5_paca_qv.csv", {"ratio": "normalized_to_lora"}),
        ("table_12.csv", "table12_chain_deberta_v3.csv", {"chain_period": "chain_reset_epochs"}),
        ("table_13.csv", "table13_chain_vit_tiny.csv", {"chain_period": "chain_reset_epochs"}),
    ):
        with (folder / theirs).open(encoding="utf-8") as file:
            original = list(csv.DictReader(file))
        own = [{renamed.get(k, k): v for k, v in r.items()} for r in rows(mine)]
        common = sorted(own[0].keys() & original[0].keys() - {"note"})
        assert {"value", *renamed.values()} <= set(common)
        assert [[r[k] for k in common] for r in own] == [[r[k] for k in common] for r in original]


def test_settings_of_the_other_tables() -> None:
    """Sections B.1, E.2 and E.3.2: what they say, and what they do not say as in Table 7's row of the same model."""
    for point, spec in points("table4", "table5", "table14", "table15"):
        assert (spec.epochs, point.seed in (0, 1, 2)) == (30, True)
        assert spec.lr == pytest.approx(table_7("lr", point)) and spec.batch_size == table_7("batch_size", point)
        if point.method != "fft":
            assert (spec.rank, spec.alpha) == (16, 32)
    assert {s.targets for _, s in points("table4", "table14") if s.method != "fft"} == {"all"}
    assert {s.targets for _, s in points("table5", "table15") if s.method != "fft"} == {"qv"}
    for point, spec in points("table8", "table9", "table10", "table11", "table12", "table13"):
        vit = point.model == "vit_tiny"
        assert (spec.epochs, spec.batch_size, spec.schedule) == ((30, 64, "cosine") if vit else (30, 8, "constant"))
        assert spec.alpha == (2 * spec.rank if "alpha" not in point.varied else pytest.approx(scale(point) * spec.rank))
        assert spec.lr == pytest.approx(1e-3) or "lr" in point.varied
        if point.method in CHAINS:
            assert spec.chain_period == point.varied.get("chain_period", 5)
    for point, spec in points("figure6"):
        assert (spec.selection, spec.epochs, spec.lr) == ("val_metric", 5, pytest.approx(table_7("lr", point)))


def test_what_is_not_stated_for_a_table_is_not_said_to_be_the_paper_s() -> None:
    """Rates and batch sizes of Tables 4, 5 and 10 to 15, everything but the grid and the epochs of Tables 8 and 9."""
    for point, _ in points("table4", "table5", "table8", "table9", "table10", "table11", "table12", "table13"):
        if point.run_id in points_of(*MAIN):
            continue  # shared: the main study's source
        said = paper().provenance[point.run_id]
        assert not said["lr"].startswith("paper") and not said["batch_size"].startswith("paper")
        assert said["epochs"].startswith("paper, section")
        assert not said.get("alpha", "").startswith("paper") and not said.get("chain_period", "").startswith("paper")


def test_what_is_not_stated_is_listed_once(no_results: Path) -> None:
    """Each setting of a run whose source is ours or inferred stands in one line of the list, and the report has the lines."""
    listed = choices(paper())
    for kind in ("ours", "inferred"):
        wanted = Counter(s for said in paper().provenance.values() for s, text in said.items() if text.startswith(kind))
        counted: Counter[str] = Counter()
        for choice in (c for c in listed if c.kind == kind):
            counted[choice.setting] += choice.runs
        assert counted == {s: n for s, n in wanted.items() if s in RunSpec.model_fields} and counted
    rows = [[c.text for c in cells("choices", no_results) if c.row == str(i)] for i in range(1, len(listed) + 1)]
    assert [(row[0], row[3]) for row in rows] == [(", ".join(c.values), c.source) for c in listed]
    artefact = next(a for a in paper().study.artefacts if a.id == "choices")
    (table,) = artefact.tables(cells("choices", no_results), paper(), Footnotes())
    assert len(table.rows) == len(listed) and {row.group for row in table.rows} == set(KINDS.values())


def table_7(setting: str, point: Point) -> float:
    group = "fft" if point.method == "fft" else "lora" if point.method in TRAINS_A_AND_B else "asym"
    return next(
        number(r["value"]) for r in rows("table_7.csv")
        if (r["model"], r["dataset"], r["setting"]) == (point.model, point.dataset, setting) and r["group"] in (group, "all")
    )  # fmt: skip


def scale(point: Point) -> float:
    """Alpha as a multiple of the rank: r/4 is 0.25."""
    return {"r/4": 0.25, "r/2": 0.5, "r": 1.0, "2r": 2.0, "4r": 4.0}[point.varied["alpha"]]


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
    caveats = {
        (c.model, c.dataset): c.caveat or c.published_note for c in cells("table2", no_results) if c.method == "lora"
    }
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
