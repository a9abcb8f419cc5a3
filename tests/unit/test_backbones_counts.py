"""Numbers of parameters: of every catalog entry, and all that the paper prints, counted on full-size models without weights."""

import csv
from collections import defaultdict
from pathlib import Path

import pytest

from peft_lib import adapt
from peft_lib.backbones.describe import FACTS, describe
from peft_lib.backbones.loading import get_backbone
from peft_lib.methods.registry import available, get_method
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.loading import load_models
from tests.unit.tiny import TINY
from workflow_scripts import describe_model

ROOT = Path(__file__).resolve().parents[2]
MODELS = load_models(ROOT / "config" / "models.yaml")
ALL = {**TINY, **MODELS}
CLASSES: dict[str, int | None] = {
    "mrpc": 2, "cola": 2, "rte": 2, "paws": 2, "stsb": 1, "trec50": 50, "officehome": 65, "cifar10": 10, "openbookqa": 4,
    "folio": 3, "logiqa": 4, "clutrr": 21, "e2e": None, "django": None,
}  # fmt: skip


@pytest.mark.parametrize("name", ALL)
def test_an_entry_says_what_its_skeleton_has(name):
    """Sizes, head and targets of the catalog are those that describe_model prints, and print as they stand there."""
    entry, counted = ALL[name], describe(ALL[name])
    stated = entry.model_dump(include=set(FACTS), exclude={"targets"})
    assert {fact: counted[fact] for fact in stated} == stated
    targets = {
        key: [{**shape.model_dump(exclude_none=True)} for shape in shapes] for key, shapes in entry.targets.items()
    }
    assert {
        k: [s | ({"rows": tuple(s["rows"])} if "rows" in s else {}) for s in v] for k, v in counted["targets"].items()
    } == targets
    catalog = ROOT / ("config/models.yaml" if name in MODELS else "tests/unit/tiny_models.yaml")
    text = catalog.read_text()
    block = text[text.index(f"\n{name}:\n") :]
    for line in describe_model.as_yaml(counted).splitlines():
        assert f"\n{line}\n" in f"{block}\n"


def test_the_command_prints_the_facts_of_an_entry_that_lacks_them(tmp_path, monkeypatch, capsys):
    catalog = tmp_path / "models.yaml"
    catalog.write_text(
        "new:\n  name: New\n  license: MIT\n  backbone: hf_vit\n  modality: image\n  source: hub:org/new\n  revision: main\n"
        "  architecture: {hidden_size: 192, num_attention_heads: 3, num_hidden_layers: 12, intermediate_size: 768}\n"
    )
    arguments = ["describe_model", "--model", "new", "--catalog", str(catalog)]
    monkeypatch.setattr("sys.argv", arguments)
    describe_model.main()
    catalog.write_text(catalog.read_text() + capsys.readouterr().out)
    assert load_models(catalog)["new"].targets == MODELS["vit_tiny"].targets


# ----------------------------------------------------------------------------------------------------------- the paper's


def adapted(entry: ModelEntry, model, outputs: int | None, method: str, targets: str = "qv") -> dict[str, int]:
    """Counts of an adapter of rank 16 on that skeleton, which is as before afterwards."""
    chosen = get_method(method)
    options = {"rank": 16, "targets": entry.targets[targets]} if chosen.has_factors else {}
    # folding columns into W takes a copy of it, and there is nothing to copy
    execution = (
        "gather" if chosen.has_factors and "gather" in chosen.executions(chosen.parse_options({})) else "default"
    )
    adapter = adapt(
        model, method, head=get_backbone(entry.backbone).heads(entry, outputs), execution=execution, **options
    )
    counts = adapter.counts()
    adapter.unload()
    return counts


SECTION_12 = {
    ("roberta_base", 2): 1_181_954, ("roberta_large", 2): 2_624_514, ("deberta_v3_base", 2): 1_181_954,
    ("deberta_v3_base", 1): 1_181_185, ("deberta_v3_base", 50): 1_218_866, ("gpt2_small", None): 589_824,
    ("gpt2_small_train_k", None): 7_676_928, ("vit_tiny", 65): 160_001, ("vit_tiny", 10): 149_386,
    ("vit_base", 65): 639_809, ("vit_base", 10): 597_514, ("tinyllama", 4): 2_260_992, ("tinyllama", 21): 2_295_808,
    ("llama3_8b", 4): 6_832_128, ("llama3_8b", 21): 6_901_760, ("deepseek_coder", None): 3_145_728,
}  # fmt: skip
"""(model, outputs) -> what LoRA of rank 16 on q and v trains (PROTOCOL section 12)."""


@pytest.mark.parametrize("name", sorted({name for name, _ in SECTION_12} | {"deberta_v2_xxl"}))
def test_every_method_trains_what_its_definition_says_on_the_full_model(name):
    """LoRA trains A and B: r (d_in + d_out) numbers at each place; half-frozen ones r d_out; the head in full."""
    entry = MODELS[name]
    model_by_outputs = {o: get_backbone(entry.backbone).skeleton(entry, o) for n, o in SECTION_12 if n == name} or {
        2: get_backbone(entry.backbone).skeleton(entry, 2)
    }
    for index, (outputs, model) in enumerate(model_by_outputs.items()):
        size = sum(p.numel() for p in model.parameters())
        lora = adapted(entry, model, outputs, "lora")
        head = lora["head"]
        assert lora["trainable"] == SECTION_12.get((name, outputs), 4_718_592 + head)
        both = sum(16 * (s.d_in + s.d_out) * s.count for s in entry.targets["qv"])
        outer = sum(16 * s.d_out * s.count for s in entry.targets["qv"])
        for method in available() if index == 0 else ("asym_lora", "fft"):
            trains = get_method(method).trains
            if set(trains) <= {"A", "B", "P", "backbone"}:
                counts = adapted(entry, model, outputs, method)
                adapter = both if "A" in trains else outer if trains and trains[0] in "BP" else 0
                assert counts["trainable"] == (size if trains == ("backbone",) else adapter + head), method
                assert counts["total"] == size + (both if get_method(method).has_factors else 0), method


def printed(table: str) -> list[dict[str, str]]:
    with (ROOT / "reports" / "reference" / table).open() as file:
        return list(csv.DictReader(file))


def significant(value: str) -> float:
    """Half of the last digit that is printed: trailing zeros of a whole number are none."""
    digits = value.rstrip("0")
    return 0.5 * 10 ** (len(value) - len(digits))


WITH_OUTPUT_LAYER = {"llama3_8b"}
"""Table 6 prints the size of the model with its output layer, which a classifier does not have (its percentages are of 7.5 B)."""


REPEATED = {("deberta_v3_base", "trec50"): 2}
"""Its number for full fine-tuning there is that of two classes, as in the rows beside it: fifty make it 184.5 M, not 184.4 M."""


def test_all_numbers_of_table_6():
    """Percent of (model + A + B). DeBERTa's are of full fine-tuning, XXL's leave out the head, and GPT-2's K projections train
    in full (PROTOCOL section 12): the accidents are these, and no others."""
    rows = printed("table_6.csv")
    skeletons: dict = {}
    for row in rows:
        name, outputs = row["model"], CLASSES[row["dataset"]]
        if row["method"] == "fft":
            outputs = REPEATED.get((name, row["dataset"]), outputs)
        accident = "gpt2_small_train_k" if name == "gpt2_small" and row["method"] != "fft" else name
        entry = MODELS[accident]
        if (accident, outputs) not in skeletons:
            skeletons[accident, outputs] = get_backbone(entry.backbone).skeleton(entry, outputs)
        model = skeletons[accident, outputs]
        counts = adapted(entry, model, outputs, row["method"])
        full = sum(p.numel() for p in model.parameters())
        trained = counts["adapter"] if name == "deberta_v2_xxl" else counts["trainable"]
        if row["quantity"] == "trainable_parameters":
            shown = trained + (entry.lm_head if name in WITH_OUTPUT_LAYER else 0)
            assert abs(shown - float(row["value"])) <= significant(row["value"]), row
            continue
        percent = 100 * trained / (full if name.startswith("deberta") else counts["total"])
        assert f"{percent:.3f}" == row["value"], row
    assert len(rows) == 72 and {row["model"] for row in rows} <= set(MODELS)


def test_what_the_accidents_stand_beside():
    """The intended values: GPT-2 without K; XXL with its head; both are in no table of the paper."""
    gpt2, xxl = MODELS["gpt2_small"], MODELS["deberta_v2_xxl"]
    model = get_backbone("gpt2").skeleton(gpt2, None)
    shares = {m: adapted(gpt2, model, None, m) for m in ("lora", "asym_lora")}
    assert [f"{100 * c['trainable'] / c['total']:.3f}" for c in shares.values()] == ["0.472", "0.236"]
    model = get_backbone("deberta").skeleton(xxl, 50)
    counts = adapted(xxl, model, 50, "lora")
    assert f"{100 * counts['trainable'] / sum(p.numel() for p in model.parameters()):.3f}" == "0.457"
    frozen = MODELS["deberta_v2_xxl_frozen_head"]
    counts = adapted(frozen, get_backbone("deberta").skeleton(frozen, 2), 2, "lora")
    assert counts["trainable"] == 4_718_592 + 2 * 1537


@pytest.mark.parametrize(
    ("targets", "table", "ratios"),
    [
        ("qv", "table_15.csv", {}),
        # Table 14, full fine-tuning over LoRA (PROTOCOL section 12)
        ("all", "", {"vit_tiny": 8.304, "vit_base": 32.235, "roberta_base": 38.396, "roberta_large": 43.712}),
    ],
)
def test_ratios_of_tables_14_and_15(targets, table, ratios):
    """Trained parameters as multiples of LoRA's. OfficeHome's rows fit a head of 1000 classes, not of 65 (the data set's)."""
    twins = {"s_cla": "cla", "s_r_c3la": "r_c3la"}
    wanted: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for row in printed(table) if table else ():
        if row["quantity"] == "trainable_parameters":
            outputs = {"officehome": 1000, "cifar10": 10}.get(row["dataset"], 2)
            wanted[row["model"], outputs][row["method"]] = row["ratio"]
    for name, ratio in ratios.items():
        wanted[name, 10 if name.startswith("vit") else 2]["fft"] = f"{ratio:.3f}"
    assert len(wanted) in (4, 6)
    for (name, outputs), methods in wanted.items():
        entry = MODELS[name]
        model = get_backbone(entry.backbone).skeleton(entry, outputs)
        lora = adapted(entry, model, outputs, "lora", targets)["trainable"]
        for method, ratio in methods.items():
            trained = adapted(entry, model, outputs, twins.get(method, method), targets)["trainable"]
            assert f"{trained / lora:.3f}" == ratio, (name, outputs, method)


def test_lora_on_all_layers_trains_what_section_12_says():
    for name, outputs, trained in (
        ("vit_tiny", 10, 665_482), ("vit_base", 10, 2_661_898), ("roberta_base", 2, 3_246_338), ("roberta_large", 2, 8_129_538),
    ):  # fmt: skip
        model = get_backbone(MODELS[name].backbone).skeleton(MODELS[name], outputs)
        assert adapted(MODELS[name], model, outputs, "lora", "all")["trainable"] == trained
