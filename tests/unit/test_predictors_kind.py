"""Kind `predictors`: made-up diagnostics with a known relation to made-up results are found as what they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from peft_lib.artefacts.predictors import CONTRADICTED, OPEN, SUPPORTED, verdict
from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.registry import read_diagnostic
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.diagnostic_files import Facts, file_of, stamp, write
from peft_lib.run_files import read_rows
from peft_lib.statistics.families import holm
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from peft_lib.study.spec import RunSpec
from tests.unit import synthetic
from tests.unit.test_artefact_kinds import report

TASKS = ("minilm_l3/clutrr_gen", "vit_digits/digits")
CANDIDATES: list[dict[str, Any]] = [{"kind": "intruders"}, {"kind": "sharpness"}]
ADAPTING = [m for m in synthetic.METHODS if not get_method(m).floor]


@pytest.fixture(autouse=True)
def _fixed_fingerprints(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)


def make_plan(folder: Path, tasks=TASKS, seeds=(0, 1, 2), candidates=CANDIDATES, **grid: Any) -> Plan:
    artefact = {
        "id": "what",
        "kind": "predictors",
        "grid": "main",
        "title": "What predicts what",
        "candidates": candidates,
    }
    data = synthetic.study(artefacts=[artefact])
    data["grids"] = {"main": {"tasks": list(tasks), "methods": list(synthetic.METHODS), "seeds": list(seeds), **grid}}
    return synthetic.make_plan(folder, data)


def quality(spec: RunSpec) -> float:
    """From 0 to 1 by method alone; twins alike."""
    return ADAPTING.index(get_method(spec.method).twin or spec.method) / len(ADAPTING)


def results(spec: RunSpec) -> dict[str, Any]:
    """The better the method, the smaller the gap; a little noise between seeds. What adapts nothing is worst."""
    good = quality(spec) if spec.method in ADAPTING else -1.0
    noise = 0.001 * (spec.seed - 1)
    return {"test_metric": 0.6 + 0.2 * good + noise, "gap": 0.5 - 0.2 * good - noise}


def diagnose(plan: Plan, values: Callable[[str, RunSpec], dict[str, float] | None], folder: Path) -> None:
    """Files of diagnostics: `values` gives a kind's numbers of a run, None for a run without a file."""
    for options in CANDIDATES:
        diagnostic = read_diagnostic(options)
        for run_id, spec in plan.runs.items():
            numbers = values(diagnostic.kind, spec)
            if numbers is None:
                continue
            run = folder / "runs" / spec.folder
            row = read_rows(run / "result.parquet")[0]
            made = Facts(diagnostic.canonical, plan.diagnosis_fingerprint(diagnostic, run_id), stamp(row))
            write(file_of(run, diagnostic), [Row(name, value) for name, value in numbers.items()], made)


def known(kind: str, spec: RunSpec) -> dict[str, float]:
    """Intruders point the wrong way everywhere; curvature is right; the rise has nothing to do with it."""
    good = quality(spec) if spec.method in ADAPTING else 0.5
    if kind == "intruders":
        return {"intruders": 100 * good + spec.seed}
    return {"curvature": 5 - 4 * good + 0.01 * spec.seed, "rise": synthetic_noise(spec)}


def synthetic_noise(spec: RunSpec) -> float:
    return float(
        np.random.default_rng([synthetic.METHODS.index(get_method(spec.method).twin or spec.method), 5]).normal()
    )


def made(folder: Path, values=known, change=results, **options: Any) -> tuple[Plan, list[Cell]]:
    plan = make_plan(folder, **options)
    synthetic.write_results(folder, plan, change)
    have = {spec.run_id for spec in plan.runs.values() if (folder / "runs" / spec.folder / "result.parquet").is_file()}
    diagnose(plan, lambda kind, spec: values(kind, spec) if spec.run_id in have else None, folder)
    return plan, build(plan, plan.study.artefacts[0], collect(plan, folder), folder)


def one(cells: list[Cell], panel: str, row: str, column: str = "all tasks") -> Cell:
    (found,) = [c for c in cells if (c.panel, c.row, c.column) == (panel, row, column)]
    return found


def test_known_relations_are_found(tmp_path: Path):
    _, cells = made(tmp_path)
    metric, wrong = "correlation/test_metric", "wrong/test_metric"
    assert one(cells, metric, "gap").value == pytest.approx(-1.0, abs=0.02)
    assert (
        one(cells, metric, "intruders.intruders").number > 0.95
        and one(cells, metric, "sharpness.curvature").number < -0.95
    )
    assert [one(cells, wrong, row).value for row in ("gap", "intruders.intruders", "sharpness.curvature")] == [
        0,
        100,
        0,
    ]
    rise = one(cells, wrong, "sharpness.rise")
    assert rise.low is not None and 0 < rise.low <= rise.number <= rise.high < 100  # type: ignore[operator]
    assert rise.n == rise.planned  # it prefers one of every pair
    assert not any(c.row == "sharpness.eigenvalue" for c in cells)  # not asked for, so no run has it
    assert not any(c.panel.endswith("/gap") and c.row.startswith("gap") for c in cells)


def test_correlations_are_scipy_s_of_the_runs(tmp_path: Path):
    plan, cells = made(tmp_path, tasks=TASKS[:1])
    specs = [s for s in plan.runs.values() if s.method in ADAPTING]
    expected = stats.spearmanr([known("sharpness", s)["rise"] for s in specs], [results(s)["gap"] for s in specs])
    cell = one(cells, "correlation/gap", "sharpness.rise", "task")
    assert cell.value == pytest.approx(expected.statistic)
    assert cell.n == cell.planned == len(specs) == 3 * len(ADAPTING)


def test_what_adapts_nothing_is_left_out_and_twins_count_once(tmp_path: Path):
    plan, cells = made(tmp_path)
    floor = [s.run_id for s in plan.runs.values() if get_method(s.method).floor]
    assert floor and not any(set(c.run_ids) & set(floor) for c in cells)
    clusters = {get_method(m).twin or m for m in ADAPTING}
    most = 2 * (len(ADAPTING) * (len(ADAPTING) - 1) // 2 - (len(ADAPTING) - len(clusters)))
    assert one(cells, "wrong/test_metric", "gap").planned <= most


def test_p_values_are_corrected_within_the_family(tmp_path: Path):
    _, cells = made(tmp_path)
    mine = [c for c in cells if c.panel.startswith("correlation") and c.p is not None]
    assert len(mine) > 10
    assert [c.p_adjusted for c in mine] == pytest.approx(holm([c.p for c in mine if c.p is not None]))


def test_missing_numbers_are_counted_and_said(tmp_path: Path):
    """Of two methods no intruders are there; one run failed."""

    def partly(kind: str, spec: RunSpec) -> dict[str, float] | None:
        return None if kind == "intruders" and spec.method in ("lora", "cla") else known(kind, spec)

    def change(spec: RunSpec) -> dict[str, Any] | None:
        return None if (spec.method, spec.seed, spec.dataset.id) == ("cola", 1, "digits") else results(spec)

    _, cells = made(tmp_path, partly, change)
    cell = one(cells, "correlation/test_metric", "intruders.intruders")
    assert (cell.n, cell.planned, cell.status) == (78 - 12 - 1, 78, "partial")
    assert cell.reason == "13 runs: missing"
    assert one(cells, "correlation/test_metric", "gap").n == 77


def test_without_diagnostics_gap_bound_and_size_remain(tmp_path: Path):
    plan, cells = made(tmp_path, candidates=[])
    assert {c.row for c in cells} == {"gap", "gap_absolute", "bound", "trainable_parameters"}
    assert "not examined here" in verdict(cells)
    assert plan.study.artefacts[0].diagnostics(plan) == {}


def test_before_any_diagnostic_has_run(tmp_path: Path):
    _, cells = made(tmp_path, lambda kind, spec: None)
    cell = one(cells, "correlation/test_metric", "intruders.intruders")
    assert (cell.status, cell.reason) == ("not_available", "78 runs: missing")
    assert f"is {OPEN}" in verdict(cells)


def test_without_any_run_nothing_is_made_up(tmp_path: Path):
    plan, cells = made(tmp_path, change=lambda spec: None)
    assert all(c.value is None and c.status == "not_available" for c in cells)
    page, _ = report(plan, collect(plan, tmp_path), tmp_path)
    assert f"is {OPEN}: no two methods differ by more than their noise" in page


def test_one_seed_is_enough_and_says_what_its_noise_is(tmp_path: Path):
    plan, cells = made(tmp_path, seeds=(0,))
    assert one(cells, "wrong/test_metric", "gap").n > 0
    page, tex = report(plan, collect(plan, tmp_path), tmp_path)
    assert "below three seeds any difference counts" in page and "below three seeds" in tex["what"]


def test_a_varied_setting_makes_more_runs_of_a_method_not_more_methods(tmp_path: Path):
    _, cells = made(tmp_path, vary={"rank": [2, 8]}, tasks=TASKS[:1])
    cell = one(cells, "correlation/test_metric", "gap", "task")
    assert cell.planned > 3 * len(ADAPTING)


@pytest.mark.parametrize(
    ("intruders", "curvature", "word"), [(1, 1, SUPPORTED), (1, -1, OPEN), (1, 0, SUPPORTED), (-1, -1, OPEN)]
)
def test_verdict_of_known_diagnostics(intruders: int, curvature: int, word: str, tmp_path: Path):
    """1: points to the worse method; -1: to the better one, as the gap does; 0: noise."""

    def values(kind: str, spec: RunSpec) -> dict[str, float]:
        good = quality(spec) if spec.method in ADAPTING else 0.5
        if kind == "intruders":
            return {"intruders": 10 + intruders * good}
        return {"curvature": 10 + curvature * good if curvature else synthetic_noise(spec)}

    _, cells = made(tmp_path, values)
    assert f"is {word}." in verdict(cells)


def test_the_claim_is_contradicted_where_a_rival_is_better(tmp_path: Path):
    """The gap grows with quality, and curvature falls with it."""
    turned = lambda spec: results(spec) | {"gap": 0.3 + 0.2 * quality(spec) if spec.method in ADAPTING else 0.0}  # noqa: E731
    _, cells = made(tmp_path, change=turned)
    said = verdict(cells)
    assert f"is {CONTRADICTED}." in said and "100 % of" in said


def test_the_verdict_follows_from_the_cells(tmp_path: Path):
    """Taking p-values away leaves nothing decided."""
    _, cells = made(tmp_path, lambda kind, spec: {"intruders": quality(spec)} if kind == "intruders" and spec.method in ADAPTING else None)  # fmt: skip
    cells = [c for c in cells if c.panel != "verdict" or c.row.startswith("intruders")]
    assert f"is {SUPPORTED}." in verdict(cells)
    assert f"is {OPEN}." in verdict([replace(c, p_adjusted=None) for c in cells])


def test_page_latex_and_picture(tmp_path: Path):
    plan, cells = made(tmp_path)
    page, tex = report(plan, collect(plan, tmp_path), tmp_path)
    for text in ("Rank correlation with the outcome", "the wrong way round", "p after Holm", "this favours it"):
        assert text in page and (text in tex["what"] or text == "p after Holm")
    picture = (tmp_path / "report/figures/what.svg").read_text(encoding="utf-8")
    assert "wrong pairs, test metric" in picture and "a single task" in picture
    shown = one(cells, "correlation/test_metric", "sharpness.rise")
    assert f"{abs(shown.number):.2f}" in page and f"{abs(shown.number):.2f}" in tex["what"]


def test_more_than_a_few_tasks_have_no_columns_of_their_own(tmp_path: Path):
    plan, cells = made(tmp_path)
    many = [
        replace(c, dataset=d, column=c.column) if c.model else c
        for d in ("digits", "mrpc", "clutrr_gen")
        for c in cells
    ]
    many += [replace(c, model="roberta_base", dataset=d) for d in ("digits", "mrpc") for c in cells if c.model]
    from peft_lib.display.view import Footnotes

    (first, *_) = plan.study.artefacts[0].tables(many, plan, Footnotes())
    assert len(first.columns) == 2


@pytest.mark.parametrize(
    ("candidates", "told"),
    [
        ([{"kind": "intruder"}], ("intruder", "did you mean intruders")),
        ([{"kind": "sharpness", "radius": -1}], ("radius", "above 0")),
        ([{"kind": "sharpness"}, {"kind": "sharpness"}], ("same options", "remove one")),
        ([{"kind": "sharpness", "points": 3}], ("points",)),
    ],
)
def test_candidates_are_checked_like_everything_else(candidates, told: tuple[str, ...], tmp_path: Path):
    with pytest.raises(StudyError) as error:
        make_plan(tmp_path, candidates=candidates)
    for text in (*told, "artefacts[0].candidates"):
        assert text in str(error.value)


def test_two_of_a_kind_are_told_apart(tmp_path: Path):
    plan = make_plan(tmp_path, candidates=[{"kind": "sharpness"}, {"kind": "sharpness", "radius": 1}])
    synthetic.write_results(tmp_path, plan, results)
    cells = build(plan, plan.study.artefacts[0], collect(plan, tmp_path), tmp_path)
    names = {c.row for c in cells if "curvature" in c.row}
    assert len(names) == 2 and all(name.startswith("sharpness-") for name in names)


def test_the_verdict_says_what_was_examined_and_what_could_not_be_tested(tmp_path: Path):
    """Intruders alone say nothing of landscapes, and a rival without a p-value is not one that the gap equals."""
    _, cells = made(tmp_path)
    whole = verdict(cells)
    assert (
        "than sharpness and intruder dimensions do, is" in whole
        or "than intruder dimensions and sharpness do, is" in whole
    )
    only = [c for c in cells if c.panel != "verdict" or c.row.startswith("intruders")]
    assert "than intruder dimensions do, is" in verdict(only) and "sharpness" not in verdict(only)
    assert "could not be tested" not in whole
    count = sum(c.panel == "verdict" for c in cells)
    untested = [replace(c, p=None, p_adjusted=None) if c.panel == "verdict" else c for c in cells]
    said = verdict(untested)
    assert (
        f"is {OPEN}." in said
        and f"{count} of {count} could not be tested, as their pairs hang on too few methods" in said
    )
    assert "better than 0" not in said
