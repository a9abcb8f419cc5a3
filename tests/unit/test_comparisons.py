"""Artefacts of kind `comparisons`: from stored answers to cells and tables; statsmodels and plain counting are second opinions."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from peft_lib.display.comparison_tables import p_text
from peft_lib.display.entries import fixed
from peft_lib.display.view import Footnotes
from peft_lib.report.build import build_report
from peft_lib.results.cell_files import read_cells, write_cells
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.comparison_panels import CORRECTED, LAST_EPOCH, NOT_LEARNT, SINGLE, verdict
from peft_lib.results.context import build
from peft_lib.run_files import PREDICTIONS, write_rows
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from peft_lib.study.spec import RunSpec
from tests.unit import synthetic
from tests.unit.pages import places
from workflow_scripts import latex

SHARES = {"fft": 0.9, "lora": 0.88, "cola": 0.9, "cla": 0.6, "asym_lora": 0.86}
N = 200


def plan_of(tmp_path: Path, seeds: int = 3, methods: tuple[str, ...] = tuple(SHARES), **options: Any) -> Plan:
    grids = {"main": {"tasks": ["vit_digits/digits"], "methods": list(methods), "seeds": list(range(seeds))}}
    artefact = {"id": "compared", "kind": "comparisons", "grid": "main", "title": "Compared", **options}
    return synthetic.make_plan(tmp_path, synthetic.study(grids=grids, artefacts=[artefact]))


@pytest.fixture(autouse=True)
def fresh_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)


def answers(spec: RunSpec, share: float) -> list[dict[str, Any]]:
    """Ten classes; hard items are hard for all methods, and a seed has its own luck."""
    hard = np.random.default_rng(0).uniform(size=N)
    luck = np.random.default_rng([spec.seed, len(spec.method), 1]).uniform(-0.15, 0.15, N)
    right = hard + luck < share
    return [
        {
            "id": f"digits-{i:03}", "label": str(i % 10), "prediction": str(i % 10 if ok else (i + 1) % 10), "score": 0.5,
            "loss": 0.1 if ok else 2.0 + 0.01 * spec.seed, "weight": 1.0, "n_tokens": 1,
        }
        for i, ok in enumerate(right)
    ]  # fmt: skip


def write(results: Path, plan: Plan, change=lambda spec: {}, shares=SHARES) -> None:
    """All runs, their recorded numbers those of their answers. `change`: columns to replace; None: the run is missing."""
    for run_id, spec in plan.runs.items():
        changes = change(spec)
        if changes is None:
            continue
        rows = answers(spec, shares[spec.method])
        score = float(np.mean([r["label"] == r["prediction"] for r in rows]))
        loss = float(np.mean([r["loss"] for r in rows]))
        own = {"test_metric": score, "test_loss": loss, "train_loss": 0.2, "gap": loss - 0.2, "n_test": N}
        synthetic.write_run(results, plan, run_id, **(own | changes))
        write_rows(results / "runs" / spec.folder / "predictions.parquet", rows, PREDICTIONS)


def cells_of(plan: Plan, results: Path) -> list[Cell]:
    return build(plan, plan.study.artefacts[0], collect(plan, results), results)


def panel(cells: list[Cell], name: str) -> dict[str, Cell]:
    return {c.column: c for c in cells if c.panel == name}


def right_of(plan: Plan, method: str) -> np.ndarray:
    """(S, N) by counting."""
    specs = sorted((s for s in plan.runs.values() if s.method == method), key=lambda s: s.seed)
    return np.array([[r["label"] == r["prediction"] for r in answers(s, SHARES[method])] for s in specs])


def test_three_seeds_against_the_leader_and_a_named_method(tmp_path: Path):
    plan = plan_of(tmp_path, against="lora")
    write(tmp_path / "results", plan)
    cells = cells_of(plan, tmp_path / "results")
    right = {m: right_of(plan, m) for m in SHARES}
    means = {m: 100 * r.mean() for m, r in right.items()}
    leader = max(means, key=means.get)
    values, led, against = panel(cells, "value"), panel(cells, "leader"), panel(cells, "against")
    assert {m: values[m].value for m in SHARES} == pytest.approx(means)
    assert led[leader].text == "leader" and led[leader].p is None and against["lora"].text == "reference"
    for method in SHARES:
        for part, reference in ((led, leader), (against, "lora")):
            if method == reference:
                continue
            cell = part[method]
            assert cell.value == pytest.approx(means[method] - means[reference]) and cell.source == reference
            assert cell.values == pytest.approx(100 * (right[method].mean(1) - right[reference].mean(1)))
            assert cell.low <= cell.value <= cell.high and (cell.n, cell.planned) == (3, 3)
            assert cell.p <= cell.p_adjusted <= 1 and cell.text == verdict(cell)
            alone = next(c for c in cells if c.panel == f"{cell.panel} right alone" and c.column == method)
            pairs = list(zip(right[method], right[reference], strict=True))
            assert alone.text == "; ".join(f"{(a & ~b).sum()}:{(b & ~a).sum()}" for a, b in pairs)
            tables = [[[(a & b).sum(), (a & ~b).sum()], [(b & ~a).sum(), (~a & ~b).sum()]] for a, b in pairs]
            assert alone.values == pytest.approx([mcnemar(t, exact=True).pvalue for t in tables])
    others = [m for m in SHARES if m != "lora"]
    expected = multipletests([against[m].p for m in others], method="holm")[1]
    assert [against[m].p_adjusted for m in others] == pytest.approx(list(expected))
    assert led["cla"].text == against["cla"].text == "behind" and led["cla"].value < -20
    assert not set(values["cla"].text) & set(values[leader].text)
    # Over all pairs, ten of them, so at least as large as over the four with the leader alone.
    assert led["cla"].p_adjusted >= led["cla"].p * 4


def test_the_same_cells_every_time_whatever_the_artefact_is_called(tmp_path: Path):
    plan = plan_of(tmp_path, against="lora")
    results = tmp_path / "results"
    write(results, plan)
    once = cells_of(plan, results)
    other = plan.study.artefacts[0].model_copy(update={"id": "renamed", "against": None})
    again = build(plan, other, collect(plan, results), results)
    assert [replace(c, artefact="compared") for c in again] == [c for c in once if not c.panel.startswith("against")]
    write_cells(tmp_path / "cells.parquet", once)
    assert read_cells(tmp_path / "cells.parquet") == once


def test_one_seed_is_mcnemar_s_test_and_says_that_seeds_are_left_out(tmp_path: Path):
    plan = plan_of(tmp_path, seeds=1)
    write(tmp_path / "results", plan)
    cells = cells_of(plan, tmp_path / "results")
    led = panel(cells, "leader")
    tested = [c for c in led.values() if c.p is not None]
    alone = panel(cells, "leader right alone")
    assert len(tested) == 4 and all(c.p == alone[c.column].values[0] for c in tested)
    assert all(c.n == 1 and c.low <= c.value <= c.high for c in tested)
    shown = plan.study.artefacts[0]
    said = " ".join(shown.remarks(cells, shown.tables(cells, plan, Footnotes())))
    assert "With 1 seed intervals and p are over test items alone" in said and "Student" not in said
    assert not any("10 seeds" in c.column for c in cells)


def test_what_is_not_whole_is_shown_and_not_tested(tmp_path: Path):
    plan = plan_of(tmp_path, against="asym_lora")
    results = tmp_path / "results"
    changes = {
        ("fft", 0): {"status": "diverged", "reason": "loss is nan"}, ("lora", 0): {"fingerprint": "0" * 16},
        ("lora", 1): {"fingerprint": "0" * 16}, ("lora", 2): {"fingerprint": "0" * 16}, ("asym_lora", 2): None,
    }  # fmt: skip
    write(results, plan, lambda spec: changes.get((spec.method, spec.seed), {}))
    cells = cells_of(plan, results)
    led = panel(cells, "leader")
    assert {m: led[m].status for m in SHARES} == {
        "fft": "partial", "lora": "stale", "cola": "ok", "cla": "ok", "asym_lora": "partial"
    }  # fmt: skip
    assert led["cola"].text == "leader" and led["cla"].p is not None
    assert all(led[m].value is None and led[m].p is None and led[m].reason for m in ("fft", "lora", "asym_lora"))
    against = panel(cells, "against")
    assert all(c.p is None for c in against.values()) and "2 of 3 runs" in against["cla"].reason
    notes = Footnotes()
    main = plan.study.artefacts[0].tables(cells, plan, notes)[0]
    names = [str(row.labels[0].html) if not isinstance(row.labels[0], str) else row.labels[0] for row in main.rows]
    assert names[:2] == ["CoLA", "cLA"]  # the others stand below, without an order
    assert any("loss is nan" in text for text in notes.texts)


def test_a_row_without_results_says_so(tmp_path: Path):
    plan = plan_of(tmp_path)
    cells = cells_of(plan, tmp_path / "results")
    assert {c.status for c in panel(cells, "leader").values()} == {"missing"}
    shown = plan.study.artefacts[0]
    tables = shown.tables(cells, plan, Footnotes())
    assert len(tables) == 1 and shown.remarks(cells, tables)[0].startswith("Nothing was tested")


def test_answers_that_cannot_be_used_leave_one_method_out(tmp_path: Path):
    plan = plan_of(tmp_path)
    results = tmp_path / "results"
    write(results, plan)
    folder = {(s.method, s.seed): results / "runs" / s.folder / "predictions.parquet" for s in plan.runs.values()}
    folder["fft", 1].write_bytes(b"no parquet")
    folder["cla", 0].unlink()
    rows = answers(next(s for s in plan.runs.values() if (s.method, s.seed) == ("asym_lora", 0)), 0.86)
    write_rows(folder["asym_lora", 0], [r | {"id": "x" + r["id"]} for r in rows], PREDICTIONS)
    led = panel(cells_of(plan, results), "leader")
    assert "cannot be read" in led["fft"].reason and "--forcerun train" in led["cla"].reason
    assert "different items (200 and 200, 0 of them shared)" in led["asym_lora"].reason
    assert {led["cola"].text, led["lora"].text} & {"leader"} and sum(c.p is not None for c in led.values()) == 1


def test_a_recorded_number_that_the_answers_do_not_give_is_not_tested(tmp_path: Path):
    """The file and the result do not belong together."""
    plan = plan_of(tmp_path)
    write(tmp_path / "results", plan, lambda spec: {"test_metric": 0.5} if spec.method == "cla" else {})
    led = panel(cells_of(plan, tmp_path / "results"), "leader")
    assert "the run recorded 0.5" in led["cla"].reason and led["cla"].p is None and led["cla"].status == "not_available"


@pytest.mark.parametrize(("metric", "better"), [("test_loss", "ahead"), ("gap", "differs"), ("gap_absolute", "ahead")])
def test_losses_and_gaps_have_their_own_directions(tmp_path: Path, metric: str, better: str):
    plan = plan_of(tmp_path, metric=metric, against="cla")
    write(tmp_path / "results", plan)
    cells = cells_of(plan, tmp_path / "results")
    cell = panel(cells, "against")["fft"]
    assert cell.value < 0 and cell.text == better and cell.high < 0
    assert not [c for c in cells if "right alone" in c.panel] and "baseline" not in panel(cells, "value")


def test_runs_that_stopped_early_or_did_not_learn_are_counted(tmp_path: Path):
    plan = plan_of(tmp_path)

    def change(spec: RunSpec) -> dict[str, Any]:
        early = {"selected_epoch": spec.epochs} if spec.seed == 1 else {}
        return early | ({"baseline": 0.95} if (spec.method, spec.seed) == ("cla", 2) else {})

    write(tmp_path / "results", plan, change)
    limits = panel(cells_of(plan, tmp_path / "results"), "limits")
    assert (limits[LAST_EPOCH].value, limits[LAST_EPOCH].n) == (5, 15)
    assert (limits[NOT_LEARNT].value, limits[NOT_LEARNT].text) == (1, "cla 2")
    one, pairs, more = (
        limits[k].value for k in ("detectable", "detectable corrected", "detectable corrected 10 seeds")
    )
    assert 0 < one < pairs and more < pairs


def test_twins_are_one_method_in_the_family(tmp_path: Path):
    methods = ("fft", "lora", "cola", "cla", "asym_lora", "d_paca")
    plan = plan_of(tmp_path, methods=methods)
    shares = SHARES | {"d_paca": 0.86}
    results = tmp_path / "results"
    write(results, plan, shares=shares)
    as_twins(results, plan, "cla", "d_paca")
    led = panel(cells_of(plan, results), "leader")
    assert led["d_paca"].p_adjusted == led["cla"].p_adjusted and led["d_paca"].p == pytest.approx(led["cla"].p)
    without = plan_of(tmp_path / "without")
    write(tmp_path / "without" / "results", without)
    alone = panel(cells_of(without, tmp_path / "without" / "results"), "leader")
    assert led["cla"].p_adjusted == pytest.approx(alone["cla"].p_adjusted, rel=0.5)


def read_rows(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def as_twins(results: Path, plan: Plan, method: str, twin: str) -> None:
    """Gives the twin's runs the method's answers and numbers."""
    of = {(s.method, s.seed): results / "runs" / s.folder / "predictions.parquet" for s in plan.runs.values()}
    for run_id, spec in plan.runs.items():
        if spec.method == twin:
            data = of[method, spec.seed].read_bytes()
            score = float(np.mean([r["label"] == r["prediction"] for r in read_rows(of[method, spec.seed])]))
            synthetic.write_run(results, plan, run_id, test_metric=score)
            of[twin, spec.seed].write_bytes(data)


def test_a_twin_of_the_leader_does_not_make_the_row_less_noisy(tmp_path: Path):
    """Its differences to the leader are zero, and so is their noise."""
    shares = {"cla": 0.95, "lora": 0.85, "fft": 0.8, "cola": 0.75, "d_paca": 0.95}
    power = {}
    for name, methods in (("with", list(shares)), ("without", list(shares)[:4])):
        plan = plan_of(tmp_path / name, methods=tuple(methods))
        results = tmp_path / name / "results"
        write(results, plan, shares=shares)
        if name == "with":
            as_twins(results, plan, "cla", "d_paca")
        limits = panel(cells_of(plan, results), "limits")
        power[name] = [limits[k].value for k in (SINGLE, CORRECTED)]
    assert power["with"] == pytest.approx(power["without"], rel=1e-6)


def test_twins_alone_could_have_found_nothing(tmp_path: Path):
    plan = plan_of(tmp_path, methods=("cla", "d_paca"))
    results = tmp_path / "results"
    write(results, plan, shares={"cla": 0.9, "d_paca": 0.9})
    as_twins(results, plan, "cla", "d_paca")
    cells = cells_of(plan, results)
    assert panel(cells, "leader")["d_paca"].p_adjusted == 1
    assert not {SINGLE, CORRECTED} & panel(cells, "limits").keys()


def test_where_the_last_epoch_is_taken_anyway_nothing_is_said_of_it(tmp_path: Path):
    study = synthetic.study(
        grids={"main": {"tasks": ["vit_digits/digits"], "methods": ["lora", "cla"], "seeds": [0, 1, 2]}},
        artefacts=[{"id": "compared", "kind": "comparisons", "grid": "main", "title": "Compared"}],
    )  # fmt: skip
    study["defaults"] = study["defaults"] | {"selection": "last"}
    plan = synthetic.make_plan(tmp_path, study)
    write(tmp_path / "results", plan, lambda spec: {"selected_epoch": spec.epochs})
    limits = panel(cells_of(plan, tmp_path / "results"), "limits")
    assert LAST_EPOCH not in limits and NOT_LEARNT in limits


def test_answers_of_older_code_say_what_to_do(tmp_path: Path):
    plan = plan_of(tmp_path, methods=("lora", "cla"))
    write(tmp_path / "results", plan)
    for spec in plan.runs.values():
        path = tmp_path / "results" / "runs" / spec.folder / "predictions.parquet"
        pq.write_table(pq.read_table(path).drop_columns(["group"]), path)
    reason = panel(cells_of(plan, tmp_path / "results"), "leader")["cla"].reason
    assert reason == "predictions.parquet has no column group: `snakemake --forcerun train` makes it anew"


@pytest.fixture(scope="module", params=[1, 2, 3])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A report of so many seeds, with a method that lost one."""
    root = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
        plan = plan_of(root, seeds=request.param, against="lora")
        write(root / "results", plan, lambda spec: None if (spec.method, spec.seed) == ("fft", 0) else {})
        build_report(plan, root / "results", root / "out")
    return request.param, root / "out"


def test_the_page_shows_tests_and_no_more_than_there_are(report: tuple[int, Path]):
    seeds, folder = report
    text = (folder / "index.html").read_text()
    findings = text[text.index('id="findings"') : text.index('id="artefact-compared"')]
    assert ("ahead of" in findings or "not told apart from" in findings) and "settled" not in text
    assert "Head only" not in findings and "FFT" in findings  # its lost seed
    assert ("the tests are over test items alone" in findings) == (seeds < 3)
    assert ("intervals and p are over test items alone" in text) == (seeds < 3)
    assert (f"with {10} seeds, of" in findings) == (seeds == 3)
    assert text.count("figures/compared.svg") == 1 and ">right alone<" in text and "exact McNemar p" in text


def test_every_difference_stands_in_its_place(report: tuple[int, Path]):
    folder = report[1]
    cells = json.loads((folder / "tables/compared.json").read_text())["cells"]
    led = {c["column"]: c for c in cells if c["panel"] == "leader" and "p" in c}
    shown = [p for p in places(folder / "index.html") if p.section == "artefact-compared"]
    names = {"lora": "LoRA", "cola": "CoLA", "cla": "cLA", "asym_lora": "Asym"}
    assert len(led) == 3
    for method, cell in led.items():
        row = [p for p in shown if p.labels == (names[method],)]
        texts = {p.column: p.text for p in reversed(row)}  # the leader's columns come first
        assert texts["difference"] == fixed(cell["value"], 2, signed=True) and texts["verdict"] == cell["text"]
        assert texts["interval"] == f"[{fixed(cell['low'], 2, signed=True)}, {fixed(cell['high'], 2, signed=True)}]"
        assert texts["p (Holm)"] == p_text(cell["p_adjusted"])


@pytest.mark.latex
def test_the_appendix_compiles_and_fits(report: tuple[int, Path], capsys: pytest.CaptureFixture[str]):
    assert latex.main(["--report", str(report[1])]) == 0, capsys.readouterr().err
    assert "right" in (report[1] / "tables/compared.tex").read_text()


def test_a_study_is_told_what_cannot_be_compared(tmp_path: Path):
    with pytest.raises(StudyError, match="is no function of them"):
        plan_of(tmp_path, metric="cpu_s")
    with pytest.raises(StudyError, match="is no function of them"):
        plan_of(tmp_path, metric="test_nist")
    with pytest.raises(StudyError, match="does not run that method"):
        plan_of(tmp_path, against="paca")
