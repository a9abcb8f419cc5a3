"""Kind `bounds`: Table 1's numbers from the catalogs, what stands beside them, and what is said where something is missing."""

import math
from pathlib import Path

import pandas as pd
import pytest
from scipy import stats

from peft_lib.artefacts.bounds import DERIVED, PRINTED
from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.spectrum import Spectrum
from peft_lib.methods.registry import available, get_method
from peft_lib.results.bound_terms import printed, terms, widths_of
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.diagnostic_files import Facts, file_of, stamp, write
from peft_lib.results.published import REFERENCE
from peft_lib.results.reference_file import PublishedError
from peft_lib.run_files import read_rows
from peft_lib.study.plan import Plan
from tests.conftest import need
from tests.unit import synthetic
from tests.unit.synthetic import PAPER
from tests.unit.test_artefact_kinds import report

BOUNDS = {"id": "table1", "number": "1", "kind": "bounds", "grid": "main", "title": "Bounds"}
TASK = ("roberta_base", "mrpc")


@pytest.fixture(autouse=True)
def _fixed_fingerprints(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)


def make_plan(folder: Path, seeds: tuple[int, ...] = (0, 1, 2), **options: object) -> Plan:
    data = synthetic.study(artefacts=[{**BOUNDS, **options}])
    data["grids"] = {
        "main": {
            "tasks": ["/".join(TASK), "vit_digits/digits"],
            "methods": list(synthetic.METHODS),
            "seeds": list(seeds),
        }
    }
    return synthetic.make_plan(folder, data)


def cells_of(plan: Plan, folder: Path) -> list[Cell]:
    return build(plan, plan.study.artefacts[0], collect(plan, folder / "results"), folder / "results")


def of(cells: list[Cell], method: str | None, column: str, task: tuple[str, str] = TASK) -> Cell:
    (found,) = [c for c in cells if (c.model, c.dataset, c.method, c.column) == (*task, method, column)]
    return found


def test_without_any_run_the_bounds_are_there(tmp_path: Path):
    """ERRATA 19: RoBERTa-Base, LoRA r = 16, MRPC: q = 32, 24 matrices of 768 x 768, 3,668 items."""
    cells = cells_of(make_plan(tmp_path), tmp_path)
    by_hand = math.sqrt(2 * 16 * 32 * 0.5**2 * math.log(2) * 24 * (768 + 768) / 3668)
    lora = of(cells, "lora", "bound")
    assert lora.value == pytest.approx(by_hand) and by_hand > 10 and lora.source == PRINTED
    assert of(cells, "lora", "says").text == (
        "vacuous: above the loss' range 1 and a uniform answer's loss ln 2 = 0.69"
    )
    shown = {c.column: c.value for c in cells if (c.model, c.dataset, c.method) == (*TASK, "cola")}
    links = 3  # 6 epochs, a link every 2
    expected = {
        "rank": 16,
        "links": links,
        "bits": 32,
        "items": 3668,
        "dimensions": 24 * 1536,
        "bound": by_hand * 3**0.5,
    }
    assert {k: shown[k] for k in expected} == pytest.approx(expected)
    assert shown["parameters"] == links * 16 * 24 * 1536
    assert of(cells, "asym_lora", "bound").value == pytest.approx(by_hand / math.sqrt(2))
    assert of(cells, "lora", "gap").status == of(cells, "lora", "ratio").status == "missing"
    (none,) = {c.status for c in cells if c.column == "bound" and c.method == "head_only"}
    assert none == "not_available"
    assert of(cells, None, "gap").reason == "0 methods with all their runs"


def test_the_head_is_counted_on_request_alone(tmp_path: Path):
    cells = cells_of(make_plan(tmp_path), tmp_path)
    bound, whole, p = (of(cells, "lora", name).number for name in ("bound", "bound_with_head", "parameters"))
    head = 590_592 + 2 * 768 + 2  # dense layer of the head and its outputs
    assert (whole / bound) ** 2 == pytest.approx((p + head) / p)


def test_sigma_scales_every_bound(tmp_path: Path):
    half, two = (cells_of(make_plan(tmp_path / str(s), sigma=s), tmp_path) for s in (0.5, 2.0))
    for a, b in zip(half, two, strict=True):
        if a.column == "bound" and a.value is not None:
            assert b.value == pytest.approx(4 * a.value)


def test_methods_that_table_1_leaves_out_are_marked(tmp_path: Path):
    plan = make_plan(tmp_path)
    sources = {c.method: c.source for c in cells_of(plan, tmp_path) if c.column == "bound" and c.source}
    assert {m for m, s in sources.items() if s == PRINTED} == set(printed(REFERENCE))
    assert {m for m, s in sources.items() if s == DERIVED} == {"r_cla", "r_c3la", "c_paca", "d_paca"}
    assert "Lemma 1" in str(sources["fft"])


def test_our_methods_have_the_printed_expressions():
    """Widths and chain from what a method trains are those of the printed table; the transcription says the same."""
    for method, row in printed(REFERENCE).items():
        assert widths_of(get_method(method)) == row["widths"]
        assert get_method(method).chains == (row["chain"] == "yes")


def test_the_transcribed_table_is_this_one():
    need(PAPER.is_dir(), "no transcription of the paper")
    table = pd.read_csv(PAPER / "tables" / "table1_bounds.csv")
    found = {
        row.variant: ("m+n" if "(m_i+n_i)" in row.bound_formula else "n", "yes" if row.chaining else "no")
        for row in table.itertuples()
    }
    assert found == {m: (r["widths"], r["chain"]) for m, r in printed(REFERENCE).items()}
    assert [("*k*" in row.bound_formula) == row.chaining for row in table.itertuples()] == [True] * 8


def test_a_damaged_file_of_the_printed_table_is_refused(tmp_path: Path):
    (tmp_path / "bounds.csv").write_text("method,chain,widths,note\nlora,maybe,m+n,\n")
    with pytest.raises(PublishedError, match="line 2: chain 'maybe'"):
        printed(tmp_path)


def test_every_adapting_method_of_the_registry_has_terms(tmp_path: Path):
    plan = make_plan(tmp_path)
    without = {plan.runs[p.run_id].method for p in plan.points["main"] if terms(plan.runs[p.run_id], plan) is None}
    assert without == {m for m in available() if get_method(m).floor}


def test_gap_ratio_and_agreement(tmp_path: Path):
    plan = make_plan(tmp_path)
    synthetic.write_results(tmp_path / "results", plan)
    cells = cells_of(plan, tmp_path)
    assert of(cells, "lora", "items").value == 1200  # as the runs counted them
    bound, gap = of(cells, "lora", "bound").number, of(cells, "lora", "gap")
    assert of(cells, "lora", "ratio").value == pytest.approx(bound / abs(gap.number)) and gap.n == 3
    methods = [m for m in synthetic.METHODS if m not in ("fft", "head_only")]
    pairs = [(of(cells, m, "bound").number, of(cells, m, "gap").number) for m in methods]
    agreement = of(cells, None, "gap")
    expected = stats.kendalltau(*zip(*pairs, strict=True))
    assert (agreement.value, agreement.p) == pytest.approx((expected.statistic, expected.pvalue))
    assert agreement.n == len(methods) and agreement.status == "ok"


def test_a_method_that_lost_a_run_is_shown_and_not_ranked(tmp_path: Path):
    plan = make_plan(tmp_path)
    lost = lambda s: None if (s.method, s.seed) == ("lora", 1) else {}  # noqa: E731
    synthetic.write_results(tmp_path / "results", plan, lost)
    cells = cells_of(plan, tmp_path)
    assert of(cells, "lora", "ratio").status == "partial" and of(cells, "lora", "ratio").value
    assert (of(cells, None, "gap").n, of(cells, None, "gap").planned, of(cells, None, "gap").status) == (
        11,
        12,
        "partial",
    )


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_page_and_latex(seeds: tuple[int, ...], tmp_path: Path):
    plan = make_plan(tmp_path, seeds)
    synthetic.write_results(tmp_path / "results", plan)
    runs = collect(plan, tmp_path / "results")
    page, tex = report(plan, runs, tmp_path)
    tex["table1"] = (tmp_path / "report/tables/table1.tex").read_text(encoding="utf-8")
    assert "paper's Table 1" in page and ">vacuous<" in page and r"$\sqrt{2rq\sigma^2k\ln 2" in tex["table1"]
    assert "Bounds (Expressions)" in tex["table1"] and tex["table1"].count("It is vacuous in") == 1
    assert "It is vacuous in 26 of 26 cells" in page
    assert (">\u00b1" in page) == (len(seeds) == 3)  # a spread from three seeds on, none of one


def diagnose(plan: Plan, results: Path, base: list[float], update: list[float]) -> None:
    for run_id, spec in plan.runs.items():
        folder = results / "runs" / spec.folder
        rows = [Row(name, v, f"layer{i}") for i, pair in enumerate(zip(base, update, strict=True))
                for name, v in zip(("base_spectral_norm", "update_spectral_norm"), pair, strict=True)]  # fmt: skip
        row = read_rows(folder / "result.parquet")[0]
        made = Facts(Spectrum().canonical, plan.diagnosis_fingerprint(Spectrum(), run_id), stamp(row))
        write(file_of(folder, Spectrum()), rows, made)


def test_products_of_norms_are_theorem_1_s(tmp_path: Path):
    plan = make_plan(tmp_path, norms=True)
    artefact = plan.study.artefacts[0]
    assert artefact.diagnostics(plan) == {Spectrum(): artefact.run_ids(plan)}
    synthetic.write_results(tmp_path / "results", plan)
    waiting = cells_of(plan, tmp_path)
    assert {c.status for c in waiting if c.column == "growth"} == {"missing"}
    diagnose(plan, tmp_path / "results", [2.0, 5.0], [1.0, 0.5])
    cells = cells_of(plan, tmp_path)
    expected = {"growth": 3 * 5.5 / 10, "around_base": 3 * 5.5 - 10, "around_delta": 3 * 5.5 - 0.5}
    for name, value in expected.items():
        assert of(cells, "lora", name).value == pytest.approx(math.log10(value))
    assert of(cells, "lora", "largest").value == 1.0
    page, _ = report(plan, collect(plan, tmp_path / "results"), tmp_path / "results")
    assert "layer1" in page and "no \u03a6 is given" in page
    assert not [c for c in cells if c.method == "head_only" and c.panel == "products"]


def test_nothing_is_diagnosed_unless_it_is_asked_for(tmp_path: Path):
    plan = make_plan(tmp_path)
    assert plan.study.artefacts[0].diagnostics(plan) == {}


def test_a_study_without_runs_and_one_that_varies_a_setting_have_their_page(tmp_path: Path):
    plan = make_plan(tmp_path, norms=True)
    page, _ = report(plan, collect(plan, tmp_path), tmp_path)
    assert ">vacuous<" in page and "0 methods with all their runs" in page and page.count("missing") > 20
    data = synthetic.study(artefacts=[BOUNDS])
    data["grids"] = {
        "main": {"tasks": ["/".join(TASK)], "methods": ["lora", "cola", "cla"], "seeds": [0], "vary": {"rank": [2, 8]}}
    }
    varied = synthetic.make_plan(tmp_path / "varied", data)
    cells = build(varied, varied.study.artefacts[0], collect(varied, tmp_path), tmp_path)
    of_rank = {c.row: c.number for c in cells if (c.method, c.column) == ("lora", "bound")}
    assert of_rank["rank 8"] == pytest.approx(2 * of_rank["rank 2"])
    page, _ = report(varied, collect(varied, tmp_path), tmp_path / "varied")
    assert "(rank 2)" in page and "(rank 8)" in page
