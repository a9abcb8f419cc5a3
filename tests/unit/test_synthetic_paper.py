"""The whole of config/paper.yaml with made-up results: every printed number of the paper stands once, at its place in the page,
and in LaTeX. The default suite makes results for a few runs; `latex` makes all of them and compiles the appendix.

The place of a number is worked out here from the row of reports/reference alone (names, headings, settings as labels), and read
back from the page; neither cells nor builders are asked.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_lib.artefacts.kind import Artefact
from peft_lib.display.latex_text import NARROW, latex_text
from peft_lib.display.tables import NAMES
from peft_lib.methods.registry import available, get_method
from peft_lib.report.build import render
from peft_lib.report.compile import compile_appendix
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.published import REFERENCE
from peft_lib.study.expand import plan_file
from peft_lib.study.plan import Plan
from tests.conftest import need
from tests.runs import ROOT
from tests.unit.pages import Place, places
from tests.unit.synthetic import PAPER
from workflow_scripts import synthetic

TABLES = sorted(p.name for p in REFERENCE.glob("table_*.csv"))
FEW = 60
"""Runs with made-up results in the default suite."""
ALPHAS = {0.25: "r/4", 0.5: "r/2", 1.0: "r", 2.0: "2r", 4.0: "4r"}
QUANTITIES = {
    "samples_per_s": "throughput (samples/s)", "wall_s": "run time (s)", "peak_memory_bytes": "peak memory (MiB)",
    "trainable_parameters": "trainable parameters", "trainable_pct": "trained, % of model + A + B",
}  # fmt: skip
"""Quantity of a reference file -> heading of its part of a table."""
TRANSCRIBED = {
    "throughput_samples_per_s": "samples_per_s", "runtime_min": "wall_s", "peak_gpu_memory_gb": "peak_memory_bytes",
    "trainable_params": "trainable_parameters",
}  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def paper() -> Plan:
    return synthetic.marked(plan_file(ROOT / "config/paper.yaml", ROOT))


def make(folder: Path, run_ids: list[str] | None) -> tuple[Plan, Path]:
    """The plan and its report, with made-up results of these runs (None: all); without the details of thousands of runs."""
    plan = paper()
    synthetic.write_results(plan, folder / "results", run_ids)
    runs = collect(plan, folder / "results")
    cells = {a.id: build(plan, a, runs, folder / "results") for a in plan.study.artefacts}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("peft_lib.report.page.run_details", lambda plan, runs: {})
        render(plan, runs, cells, folder / "report")
    return plan, folder / "report"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, dict[str, list[Place]]]:
    """Few results: whole rows of a table, and single cells all over the study."""
    ids = list(plan_file(ROOT / "config/paper.yaml", ROOT).runs)
    chosen = [*ids[: FEW // 2], *ids[:: 2 * len(ids) // FEW]]
    plan, report = make(tmp_path_factory.mktemp("paper"), list(dict.fromkeys(chosen)))
    return plan, report, by_section(report)


def by_section(report: Path) -> dict[str, list[Place]]:
    found: dict[str, list[Place]] = {}
    for place in places(report / "index.html"):
        found.setdefault(place.section, []).append(place)
    return found


def showing(plan: Plan, name: str) -> list[Artefact]:
    """Artefacts whose runs stand beside a file; those of kind counts are formulas and have their own test."""
    return [a for a in plan.study.artefacts if getattr(a, "published", None) == name and a.grids()]


def heading(method: str) -> str:
    """A method's name without markup; the paper's s-variants are methods that gather."""
    base = method if method in available() else method.removeprefix("s_")
    return ("" if base == method else "s-") + re.sub("<[^>]+>", "", get_method(base).html)


def label(setting: str, row: dict[str, str]) -> str:
    if setting == "alpha":
        return ALPHAS[float(row["alpha"]) / float(row["rank"])]
    return f"{float(row[setting]):.3g}"


def place_of(plan: Plan, artefact: Any, row: dict[str, str]) -> tuple[str, ...]:
    """Where a row of a reference file belongs, as `key` gives it: from the paper's layout of that kind of table."""
    model, data = plan.models[row["model"]].name, plan.datasets[row["dataset"]].name
    match artefact.kind:
        case "heatmap":
            return f"{model}, {data}", heading(row["method"]), label(artefact.rows, row), label(artefact.columns, row)
        case "methods":
            return "", model, data, heading(row["method"])
        case "efficiency" | "parameters":
            return QUANTITIES[row["quantity"]], model, data, heading(row["method"])
    raise AssertionError(f"no layout is known of kind {artefact.kind}")


def key(artefact: Artefact, place: Place) -> tuple[str, ...]:
    if artefact.kind == "heatmap":
        return place.heading, plain(place.caption), place.labels[0], place.column
    return place.group, *place.labels[:2], place.column


def plain(text: str) -> str:
    return text.replace("\u00b3", "3")


def printed(place: Place) -> list[str]:
    """Numbers of the paper in an entry, as printed: without signs of ratios and changes, and without units."""
    texts = [place.lines[k] for k in ("paper", "also") if k in place.lines]
    signs = {"\u25bc": "-", "\u25b2": "+", "\u00d7": ""}
    return [signs.get(text[0], text[0]) + text[1:].removesuffix("%").split(" ")[0] for text in texts]


def numbers(row: dict[str, str]) -> list[str]:
    """The printed numbers of a row of a reference file."""
    return [row[name] for name in ("value", "ratio", "change_vs_best") if row.get(name)]


@pytest.mark.parametrize("name", [n for n in TABLES if n != "table_7.csv"])
def test_every_printed_number_stands_once_and_in_its_place(made: tuple[Plan, Path, dict[str, list[Place]]], name: str):
    plan, _, sections = made
    check_numbers(plan, sections, name)


def check_numbers(plan: Plan, sections: dict[str, list[Place]], name: str) -> None:
    artefacts = showing(plan, name)
    assert artefacts, f"no artefact of config/paper.yaml shows {name}"
    wanted: Counter[tuple[tuple[str, ...], str]] = Counter()
    for row in rows(REFERENCE / name):
        wanted.update((place_of(plan, artefacts[0], row), number) for number in numbers(row))
    found: Counter[tuple[tuple[str, ...], str]] = Counter()
    for artefact in artefacts:
        for place in sections[f"artefact-{artefact.id}"]:
            found.update((key(artefact, place), number) for number in printed(place))
    assert found == wanted


def test_settings_of_table_7_stand_in_their_columns(made: tuple[Plan, Path, dict[str, list[Place]]]):
    """A line of ours may be for methods of two of its groups: each printed text stands in the column of its task at least once."""
    plan, _, sections = made
    (artefact,) = showing(plan, "table_7.csv")
    found = {
        (place.labels[0], place.column, place.lines["paper"])
        for place in sections[f"artefact-{artefact.id}"]
        if "paper" in place.lines
    }
    wanted = set()
    for row in rows(REFERENCE / "table_7.csv"):
        name = NAMES.get(row["setting"], row["setting"].replace("_", " "))
        task = f"{plan.models[row['model']].name}, {plan.datasets[row['dataset']].name}"
        wanted.add((name, task, row["value"]))
    assert found == wanted


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_number_is_in_latex(made: tuple[Plan, Path, dict[str, list[Place]]], name: str):
    plan, report, sections = made
    check_latex(plan, report, sections, name)


def check_latex(plan: Plan, report: Path, sections: dict[str, list[Place]], name: str) -> None:
    """As often as in the page: small lines in rows called 'paper', in the panels of heat maps among the other small lines, and in
    tables of settings in brackets."""
    for artefact in showing(plan, name):
        tex = (report / "tables" / f"{artefact.id}.tex").read_text(encoding="utf-8")
        texts = [p.lines[k] for p in sections[f"artefact-{artefact.id}"] for k in ("paper", "also") if k in p.lines]
        wanted = Counter(str(latex_text(text, NARROW)) for text in texts)
        assert wanted
        found = Counter(small_lines(tex, artefact))
        missing = wanted - found
        assert not missing
        if artefact.kind != "heatmap":
            assert found == wanted


def small_lines(tex: str, artefact: Artefact) -> Iterator[str]:
    if artefact.layout == "settings":
        yield from re.findall(r"\{\\tiny \(paper: (.*?)\)\}(?= &|\\\\|$)", tex, re.MULTILINE)
        return
    for line in tex.splitlines():
        entries = [entry.strip().removesuffix(r"\\*").removesuffix(r"\\") for entry in line.split(" & ")]
        if artefact.layout == "heat" or r"\tiny paper" in entries[:2]:
            yield from (e.removeprefix(r"\tiny ") for e in entries if e.startswith(r"\tiny ") and e != r"\tiny paper")


def test_each_file_of_printed_values_is_shown(made: tuple[Plan, Path, dict[str, list[Place]]]):
    plan, _, _ = made
    assert {name for name in TABLES if showing(plan, name)} == set(TABLES)


def test_the_report_says_that_it_is_made_up(made: tuple[Plan, Path, dict[str, list[Place]]]):
    plan, report, _ = made
    for name in ("index.html", "appendix.tex", "cells.json"):
        text = (report / name).read_text(encoding="utf-8")
        assert "SYNTHETIC, not measured" in text and "made up" in text
    assert plan.study.id == "synthetic_paper"
    frame = collect(plan, report.parent / "results")
    assert set(frame.loc[frame["status"] == "ok", "device_name"]) == {"synthetic"}
    assert all("nothing to repeat" in text for text in frame.loc[frame["status"] == "ok", "command"])


def test_every_table_and_figure_is_there(made: tuple[Plan, Path, dict[str, list[Place]]]):
    """In the page and in LaTeX; a figure without results has its table."""
    plan, report, sections = made
    appendix = (report / "appendix.tex").read_text(encoding="utf-8")
    numbers_ = set()
    for artefact in plan.study.artefacts:
        assert sections[f"artefact-{artefact.id}"], artefact.id
        assert rf"\input{{tables/{latex_text(artefact.id)}.tex}}" in appendix
        assert (report / "tables" / f"{artefact.id}.tex").stat().st_size > 500
        numbers_ |= (
            set(re.findall("[0-9]+", artefact.number or "")) if "Figure" not in (artefact.number or "") else set()
        )
    assert numbers_ == {str(n) for n in range(1, 20)}


def test_results_are_not_written_where_others_may_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        synthetic.main(["--config", str(ROOT / "config/paper.yaml"), "--out", str(tmp_path)])
    assert "made-up results never go where others may be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_makes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of a study with curves too, which read another file of a run."""
    study = {
        "id": "small", "title": "Small", "question": "Does it render?",
        "defaults": {"rank": 8, "alpha": "2r", "lr": 0.001, "epochs": 3, "batch_size": 64, "input_size": 224},
        "grids": {"main": {"tasks": ["vit_tiny/cifar10"], "methods": ["lora", "cla"], "seeds": [1]}},
        "artefacts": [{"id": kind, "kind": kind, "grid": "main", "title": kind} for kind in ("methods", "curves", "cost")],
    }  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps(study))
    out = tmp_path / "new"
    given = ["--config", str(tmp_path / "study.json"), "--root", str(ROOT), "--out", str(out)]
    assert synthetic.main(given) == 0
    page = (out / "reports/synthetic_small/index.html").read_text(encoding="utf-8")
    assert "SYNTHETIC, not measured" in page and "missing" not in page and page.count("<img") == 2
    assert str(out) in capsys.readouterr().out


def transcribed(name: str) -> Iterator[tuple[str, ...]]:
    """(model, data set, method or setting, quantity, further settings, printed text) of a table as it was transcribed."""
    for row in rows(PAPER / "tables" / name):
        task = (row["model"], row["dataset"])
        if name.startswith("table6"):
            if row["trainable_params_fft_text"]:
                yield (*task, "fft", "", "", row["trainable_params_fft_text"].replace("M", "e6").replace("B", "e9"))
            for method, column in (("lora", "lora_trainable_pct"), ("asym_lora", "asym_trainable_pct")):
                yield (*task, method, "", "", row[column])
            continue
        quantity = TRANSCRIBED.get(row.get("quantity", ""), row.get("quantity", ""))
        varied = " ".join(f"{float(row[k]):.4g}" for k in ("rank", "alpha", "lr", "chain_reset_epochs") if row.get(k))
        for column in ("value", "normalized_to_lora", "change_vs_best_pct_printed"):
            if row.get(column):
                yield (*task, row["method"], quantity, varied, row[column])


def referenced(name: str) -> Iterator[tuple[str, ...]]:
    """The same of a reference file."""
    for row in rows(REFERENCE / name):
        quantity = row.get("quantity", "") if name != "table_6.csv" else ""
        varied = " ".join(f"{float(row[k]):.4g}" for k in ("rank", "alpha", "lr", "chain_period") if row.get(k))
        for number in numbers(row):
            yield row["model"], row["dataset"], row["method"], quantity, varied, number


TRANSCRIPTION = {
    "table_2_18.csv": "table2_18_performance.csv", "table_3_16.csv": "table3_16_generalization.csv",
    "table_17.csv": "table17_generalization_normalized.csv", "table_4.csv": "table4_paca_all_layers.csv",
    "table_5.csv": "table5_paca_qv.csv", "table_6.csv": "table6_benchmarks.csv", "table_8.csv": "table8_lr_deberta_v3.csv",
    "table_9.csv": "table9_lr_vit_tiny.csv", "table_10.csv": "table10_alpha_deberta_v3.csv",
    "table_11.csv": "table11_alpha_vit_tiny.csv", "table_12.csv": "table12_chain_deberta_v3.csv",
    "table_13.csv": "table13_chain_vit_tiny.csv", "table_14.csv": "table14_efficiency_all_layers.csv",
    "table_15.csv": "table15_efficiency_qv.csv",
}  # fmt: skip
WITHOUT_NUMBERS = {"table1_bounds.csv", "table19_notation.csv", "figures.csv"}
"""Formulas, symbols, and descriptions of figures."""


def test_every_transcribed_table_has_a_reference_file():
    need((PAPER / "tables").is_dir(), "the transcribed tables are absent")
    known = {p.name for p in (PAPER / "tables").glob("*.csv")}
    assert known == set(TRANSCRIPTION.values()) | WITHOUT_NUMBERS | {"table7_hyperparameters.csv"}
    assert set(TRANSCRIPTION) | {"table_7.csv"} == set(TABLES)


@pytest.mark.parametrize("name", TRANSCRIPTION)
def test_reference_files_have_every_transcribed_number(name: str):
    need((PAPER / "tables").is_dir(), "the transcribed tables are absent")
    ours, theirs = Counter(referenced(name)), Counter(transcribed(TRANSCRIPTION[name]))
    assert ours == theirs and sum(ours.values()) >= 72


def test_reference_file_of_table_7_has_every_transcribed_setting():
    need((PAPER / "tables").is_dir(), "the transcribed tables are absent")
    columns = {
        "scheduler": ("schedule", "all"), "warmup_lr_text": ("warmup_lr", "all"), "warmup_ratio": ("warmup_ratio", "all"),
        "lr_fft_text": ("lr", "fft"), "lr_lora_text": ("lr", "lora"), "lr_asym_text": ("lr", "asym"),
        "chain_reset_epochs": ("chain_period", "chains"), "weight_decay_fft": ("weight_decay", "fft"),
        "batch_size": ("batch_size", "all"), "epochs": ("epochs", "all"), "max_length_or_image_size": ("input_size", "all"),
        "seeds": ("seeds", "all"), "grad_clip_norm": ("clip_norm", "all"),
    }  # fmt: skip
    theirs = set()
    for row in rows(PAPER / "tables" / "table7_hyperparameters.csv"):
        task = (row["model"], row["dataset"])
        theirs |= {(*task, *columns[c], row[c].replace(";", " ")) for c in columns if row[c]}
        theirs |= {(*task, "weight_decay", group, row["weight_decay_lora"]) for group in ("lora", "asym")}
    assert {
        tuple(r[k] for k in ("model", "dataset", "setting", "group", "value")) for r in rows(REFERENCE / "table_7.csv")
    } == theirs


@pytest.mark.latex
def test_all_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every run has a result: no cell of runs is without a value, every number of the paper stands once, the appendix compiles."""
    monkeypatch.setattr("peft_lib.files.flush", lambda path: None)  # 5,000 files that no power cut threatens
    plan, report = make(tmp_path, None)
    sections = by_section(report)
    for name in TABLES:
        if name != "table_7.csv":
            check_numbers(plan, sections, name)
        check_latex(plan, report, sections, name)
    for artefact in plan.study.artefacts:
        if artefact.grids():
            texts = [p.text for p in sections[f"artefact-{artefact.id}"]]
            assert not {"missing", "stale", "unread."} & set(texts)
    pdf = compile_appendix(report)
    assert pdf.stat().st_size > 200_000
