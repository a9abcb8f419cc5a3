"""Every count of parameters that the paper prints: the model on torch's meta device, adapted, gives it to its printed digits.

The catalog's formula has to give the same number. A count that needs another reading than the paper's words is asserted under that
reading, and under the intended one to be something else (docs/parameter_counts.md).
"""

import csv
import re
from functools import cache
from pathlib import Path

import pytest
from torch import nn

from peft_lib.artefacts.counts import RATIO, SIZES
from peft_lib.backbones.loading import get_backbone
from peft_lib.layers.adapter import adapt
from peft_lib.methods.registry import built_in, get_method
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.published import REFERENCE
from peft_lib.results.readings import Explained, Reading, ReadingError, Readings, at_printed_digits
from peft_lib.results.reference_file import PublishedError
from peft_lib.study.expand import plan_file
from peft_lib.study.loading import load_datasets, load_models

ROOT = Path(__file__).resolve().parents[2]
MODELS = load_models(ROOT / "config" / "models.yaml")
DATASETS = load_datasets(ROOT / "config" / "datasets.yaml")
PAPER = (
    "roberta_base", "roberta_large", "deberta_v3_base", "deberta_v3_base_frozen_head", "deberta_v2_xxl",
    "deberta_v2_xxl_frozen_head", "gpt2_small", "gpt2_small_train_k", "vit_tiny", "vit_base", "tinyllama", "llama3_8b",
    "deepseek_coder",
)  # fmt: skip
"""The ten models, and the three entries that are what the paper's code made of two of them."""
S_VARIANTS = {"s_cla": "cla", "s_r_c3la": "r_c3la"}
PRINTED = {"table_6.csv": 72, "table_14.csv": 80, "table_15.csv": 80}
"""File -> counts and percentages that the paper prints: 24 tasks x 3, and 8 tasks x 10 methods twice (each with a ratio)."""


@cache
def rows(name: str) -> tuple[dict[str, str], ...]:
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def counted_rows(name: str) -> list[dict[str, str]]:
    return [r for r in rows(name) if r["quantity"].startswith("trainable")]


@cache
def skeleton(entry: str, outputs: int | None) -> nn.Module:
    return get_backbone(MODELS[entry].backbone).skeleton(MODELS[entry], outputs)


@cache
def adapted(entry: str, outputs: int | None, targets: str, rank: int, method: str) -> dict[str, int]:
    """What the adapter itself counts, and what requires a gradient, on the meta device."""
    model, facts = skeleton(entry, outputs), MODELS[entry]
    size = sum(p.numel() for p in (*model.parameters(), *fixed(model)))
    # PaCA's own execution copies weights to the processor, and there are none; gather is the same mathematics
    sparse = "inplace" in get_method(method).executions(get_method(method).parse_options({}))
    adapter = adapt(
        model, method, rank=rank, alpha=2 * rank, targets=facts.targets[targets],
        head=get_backbone(facts.backbone).heads(facts, outputs), execution="gather" if sparse else "default",
    )  # fmt: skip
    assert {p.device.type for p in model.parameters()} == {"meta"}
    found = adapter.counts()
    moving = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen_a = sum(
        rank * (place.d_in + place.d_out) for place in adapter.places.values() if adapter.method.kind == "factors"
    )
    adapter.unload()
    assert moving == found["trainable"]
    return {"trainable": moving, "in_full": found["head"], "model": size, "total": size + frozen_a}


def fixed(model: nn.Module) -> list:
    """Weights of the head that are buffers, because no method trains them."""
    return [b for name, b in model.named_buffers() if name.startswith("classifier.")]


def outputs_of(reading: Reading, dataset: str) -> int | None:
    given = DATASETS[dataset].outputs if reading.outputs is None else reading.outputs
    return None if given in (None, "text") else int(given)


def by_model(reading: Reading, outputs: int | None, method: str, quantity: str) -> float:
    """A count of the adapted skeleton under a reading: no formula of the catalogs is used."""
    found = adapted(reading.entry, outputs, reading.targets, reading.rank, S_VARIANTS.get(method, method))
    trained = found["trainable"] - (found["in_full"] if reading.trained == "adapters" else 0)
    of = found["model"] if reading.percent_of == "model" else found["total"]
    return trained if quantity == "trainable_parameters" else 100 * trained / of


@cache
def cells() -> dict[str, list[Cell]]:
    plan = plan_file(ROOT / "config" / "paper_counts.yaml", ROOT)
    runs = collect(plan, ROOT / "nowhere")
    return {str(a.published): build(plan, a, runs, ROOT / "nowhere") for a in plan.study.artefacts}


def cell_of(name: str, row: dict[str, str], panel: str = "trainable") -> Cell:
    key = (row["model"], row["dataset"], row["method"])
    (found,) = [c for c in cells()[name] if (c.model, c.dataset, c.column) == key and c.panel == panel]
    return found


@pytest.mark.parametrize("name", PRINTED)
def test_the_whole_table_is_here_and_each_row_has_a_reading(name: str):
    found = counted_rows(name)
    readings = Readings(name, REFERENCE)
    assert len(found) == PRINTED[name] == len([c for c in cells()[name] if c.panel == SIZES])
    assert all(isinstance(readings.find(r["model"], r["dataset"], r["method"]), Explained) for r in found)
    used = {
        line for line, row in readings.rows for r in found
        if row["model"] == r["model"] and row["dataset"] in ("", r["dataset"]) and r["method"] in (row["methods"] or r["method"])
    }  # fmt: skip
    assert used == {line for line, _ in readings.rows}


@pytest.mark.parametrize("name", PRINTED)
def test_every_printed_count_is_that_of_the_adapted_model(name: str):
    readings = Readings(name, REFERENCE)
    for row in counted_rows(name):
        model, dataset, method = row["model"], row["dataset"], row["method"]
        read = readings.find(model, dataset, method).read
        outputs = outputs_of(read, dataset)
        value = by_model(read, outputs, method, row["quantity"])
        assert at_printed_digits(value, row["value"]) == at_printed_digits(float(row["value"]), row["value"]), row
        cell = cell_of(name, row)
        assert (cell.value, cell.difference, cell.status) == (pytest.approx(value, rel=1e-12), 0, "ok"), row
        if row.get("ratio"):
            ratio = value / by_model(read, outputs, row["ratio_to"], row["quantity"])
            assert f"{ratio:.3f}" == row["ratio"], row
            assert f"{value:.1e}" == f"{float(row['value']):.1e}", row  # '6e5' is 6.0e5 there
            assert cell_of(name, row, f"{RATIO}lora").value == pytest.approx(ratio, rel=1e-12)
            assert cell_of(name, row, f"{RATIO}lora").difference == 0


@pytest.mark.parametrize("name", PRINTED)
def test_an_accident_is_one_and_the_intended_value_stands_beside_it(name: str):
    """Where the reading is not ours, ours gives other digits for at least one of the counts that the reading explains."""
    readings = Readings(name, REFERENCE)
    explained: dict[str, list[bool]] = {}
    for row in counted_rows(name):
        model, dataset, method = row["model"], row["dataset"], row["method"]
        found, cell = readings.find(model, dataset, method), cell_of(name, row)
        meant = by_model(found.meant, outputs_of(found.meant, dataset), method, row["quantity"])
        if found.read == found.meant:
            assert cell.intended is None
            continue
        assert cell.intended == pytest.approx(meant, rel=1e-12) and cell.published_note == found.note != ""
        differs = at_printed_digits(meant, row["value"]) != at_printed_digits(float(row["value"]), row["value"])
        explained.setdefault(f"{model} {dataset} {method}", []).append(differs)
    assert all(all(differing) for differing in explained.values()), explained
    assert explained or name != "table_6.csv"


def test_a_corrected_catalog_remakes_the_tables():
    """No run names the entries, so the plan has to tell Snakemake of all of them."""
    plan = plan_file(ROOT / "config" / "paper_counts.yaml", ROOT)
    before = plan.shown_facts()
    plan.models["llama3_8b"] = plan.models["llama3_8b"].model_copy(update={"lm_head": 1})
    assert plan.shown_facts() != before


def test_the_accidents_are_those_of_the_documentation():
    """As numbers: what is printed, and what was meant (PROTOCOL 1.7, 1.8 and section 12)."""

    def meant(name: str, model: str, dataset: str, method: str, panel: str = "trainable") -> tuple[str, float]:
        cell = cell_of(name, {"model": model, "dataset": dataset, "method": method}, panel)
        return str(cell.published_text), round(float(cell.intended or 0), 3)

    assert meant("table_6.csv", "gpt2_small", "e2e", "lora") == ("6.140", 0.472)
    assert meant("table_6.csv", "gpt2_small", "e2e", "asym_lora") == ("5.904", 0.236)
    assert meant("table_6.csv", "llama3_8b", "clutrr", "fft") == ("8.03e9", 7505010688)
    assert meant("table_6.csv", "deberta_v2_xxl", "mrpc", "fft") == ("1.56e9", 1566913538)
    assert meant("table_6.csv", "deberta_v3_base", "trec50", "fft") == ("184.4e6", 184460594)
    for name, model, printed, intended in (
        ("table_14.csv", "vit_tiny", "6.675", 8.190), ("table_14.csv", "vit_base", "25.288", 31.746),
        ("table_15.csv", "vit_tiny", "16.793", 34.606), ("table_15.csv", "vit_base", "63.708", 134.179),
    ):  # fmt: skip
        assert meant(name, model, "officehome", "fft", f"{RATIO}lora") == (printed, intended)
    noted = {(name, c.model, c.dataset) for name, part in cells().items() for c in part if c.intended is not None}
    assert noted == {
        *(("table_6.csv", "deberta_v2_xxl", d) for d in ("mrpc", "trec50", "paws")),
        *(("table_6.csv", "deberta_v3_base", d) for d in ("mrpc", "rte", "stsb", "trec50", "paws")),
        *(("table_6.csv", "llama3_8b", d) for d in ("openbookqa", "clutrr")), ("table_6.csv", "gpt2_small", "e2e"),
        *((f"table_{n}.csv", m, "officehome") for n in (14, 15) for m in ("vit_tiny", "vit_base")),
    }  # fmt: skip


@pytest.mark.parametrize("outputs", [18, 21])
def test_the_outputs_of_clutrr_cannot_be_told_from_the_printed_digits(outputs: int):
    for row in counted_rows("table_6.csv"):
        if row["dataset"] == "clutrr" and row["method"] != "fft":
            reading = Reading(row["model"], outputs, "qv", 16)
            assert f"{by_model(reading, outputs, row['method'], 'trainable_pct'):.3f}" == row["value"]


@pytest.mark.parametrize(
    "row", rows("protocol_12.csv"), ids=lambda r: f"{r['entry']}-{r['outputs']}-{r['targets']}-{r['method']}"
)
def test_the_counts_of_protocol_12(row: dict[str, str]):
    outputs = None if row["outputs"] == "text" else int(row["outputs"])
    reading = Reading(row["entry"], row["outputs"], row["targets"], 16, row["trained"], row["percent_of"])
    trainable = by_model(reading, outputs, row["method"], "trainable_parameters")
    counted = reading.counts(row["method"], MODELS, DATASETS["mrpc"])
    assert reading.trainable(counted) == trainable
    if row["trainable"]:
        assert trainable == int(row["trainable"])
    if row["percent"]:
        percent = by_model(reading, outputs, row["method"], "trainable_pct")
        assert f"{percent:.3f}" == f"{reading.percent(counted):.3f}" == row["percent"]
    if row["fft_ratio"]:
        assert f"{by_model(reading, outputs, 'fft', 'trainable_parameters') / trainable:.3f}" == row["fft_ratio"]


def test_no_number_of_protocol_12_is_left_out():
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    section = text.partition("## 12. ")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    table = {line.split("|")[1].split(",")[0].split(" (")[0].strip(): " ".join(line.split("|")[2:]) for line in lines}
    mine: dict[str, set[str]] = {}
    for row in rows("protocol_12.csv"):
        name = "All linears: ViT-T 10 / ViT-B 10 / RoBERTa-B / -L" if row["targets"] == "all" else row["model"]
        numbers = {f"{int(row['trainable']):,}" if row["trainable"] else "", row["percent"], row["fft_ratio"]} - {""}
        mine.setdefault(name, set()).update(numbers)
    assert mine == {name: set(re.findall(r"\d[\d,]*\.?\d*", text)) for name, text in table.items()}


@pytest.mark.parametrize("entry", PAPER)
def test_every_method_counts_on_every_full_size_model_as_the_formula_says(entry: str):
    facts = MODELS[entry]
    text = entry in ("gpt2_small", "gpt2_small_train_k", "deepseek_coder")
    for method in built_in():
        # a frozen head changes nothing about the places, and the 288 of XXL take their time
        for targets in ("qv",) if entry.endswith("frozen_head") else ("qv", "all"):
            outputs = None if text else 3
            reading = Reading(entry, "text" if text else 3, targets, 16)
            found = adapted(entry, outputs, targets, 16, method)
            counted = reading.counts(method, MODELS, DATASETS["mrpc"])
            assert counted.trainable == found["trainable"], (method, targets)
            assert counted.model == found["model"] == facts.body_size(outputs) + facts.head_size(outputs)
            assert counted.total == found["total"], (method, targets)
            if "backbone" not in get_method(method).trains:
                assert counted.in_full == found["in_full"]


# ------------------------------------------------------------------------------------------------------- bad readings

HEAD = "file,model,dataset,methods,entry,outputs,targets,rank,trained,percent_of,note\n"
GOOD = "table_6.csv,vit_tiny,cifar10,fft lora,,,qv,16,adapters + head,model + A + B,\n"


def read(folder: Path, text: str) -> Readings:
    (folder / "table_6.csv").write_text("model,dataset,method,value\nvit_tiny,cifar10,lora,1\n")
    (folder / "counts.csv").write_text(HEAD + text)
    return Readings("table_6.csv", folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("table_6.csv", "table_7.csv", "Did you mean: table_6.csv"), ("fft lora", "fft lra", "Did you mean: lora"),
        (",16,", ",sixteen,", "rank is 'sixteen'"), (",16,", ",0,", "rank is '0'"), (",,qv", ",ten,qv", "outputs is 'ten'"),
        (",,qv", ",0,qv", "outputs is '0'"), (",,qv", ",1000,qv", "no note"), ("lora,,", "lora,vit_base,", "no note"),
        ("adapters + head", "adapters", "no note"), ("adapters + head", "head", "trained is 'head'"),
        ("model + A + B", "everything", "percent_of is 'everything'"), (",vit_tiny,", ",,", "no model"),
        (",qv,", ",,", "no targets"), (GOOD, GOOD + GOOD, "repeats line 2"),
    ],
)  # fmt: skip
def test_bad_readings_are_refused_by_line(tmp_path: Path, old: str, new: str, said: str):
    assert old in GOOD and read(tmp_path, GOOD).find("vit_tiny", "cifar10", "lora").read.entry == "vit_tiny"
    with pytest.raises(PublishedError, match=r"counts\.csv, line") as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert said in str(caught.value) and "remedy:" in str(caught.value)


def test_a_count_without_a_reading_or_with_two_is_refused(tmp_path: Path):
    with pytest.raises(ReadingError, match=r"no line is for table_6\.csv vit_tiny cifar10 asym_lora; .* add a line"):
        read(tmp_path, GOOD).find("vit_tiny", "cifar10", "asym_lora")
    with pytest.raises(ReadingError, match=r"lines 2, 3 are for .*: narrow one of them"):
        read(tmp_path, GOOD + GOOD.replace("cifar10,fft lora", ",")).find("vit_tiny", "cifar10", "lora")
    (tmp_path / "counts.csv").unlink()
    with pytest.raises(FileNotFoundError, match="it says how each published count was counted"):
        Readings("table_6.csv", tmp_path)


def test_what_the_catalog_lacks_is_said():
    with pytest.raises(ReadingError, match=r"the model catalog has no vit_huge: add it, or use config/models\.yaml"):
        Reading("vit_huge", None, "qv", 16).counts("lora", MODELS, DATASETS["cifar10"])
    with pytest.raises(ReadingError, match="model vit_tiny has no target set kv: add it"):
        Reading("vit_tiny", None, "kv", 16).counts("lora", MODELS, DATASETS["cifar10"])


@pytest.mark.parametrize(
    ("value", "printed", "same"),
    [
        (0.64049, "0.640", True), (0.6406, "0.640", False), (597514, "6e5", True), (549999, "6e5", False),
        (8030261248, "8.03e9", True), (8035000001, "8.03e9", False), (184460594, "184.4e6", False),
    ],
)  # fmt: skip
def test_digits_are_those_that_are_printed(value: float, printed: str, same: bool):
    assert (at_printed_digits(value, printed) == at_printed_digits(float(printed), printed)) is same
