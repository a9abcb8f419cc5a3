"""Kinds `landscape` and `sharpness`: cells, figures, page and LaTeX from made-up diagnostics, whole, missing and broken ones."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from peft_lib.artefacts.landscape import Landscape
from peft_lib.artefacts.sharpness import Sharpness
from peft_lib.diagnostics.diagnostic import Diagnostic, Row
from peft_lib.display import landscape_figure
from peft_lib.report.build import build_report
from peft_lib.results.cell_files import read_cells, write_cells
from peft_lib.results.cells import Cell
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.diagnostic_files import Facts, file_of, stamp, write
from peft_lib.run_files import read_rows
from peft_lib.study.plan import Plan
from tests.unit import synthetic

METHODS = ["fft", "lora", "rac_lora", "cla"]
SURFACE = {"id": "surface", "kind": "landscape", "grid": "main", "title": "Landscapes", "points": 5, "range": 1}
PATH = {
    "id": "path", "kind": "landscape", "grid": "main", "title": "Path", "points": 5, "directions": "pca", "range": "auto",
    "views": ["contour", "surface"], "tasks": ["vit_digits/digits"], "methods": ["lora", "cla"],
}  # fmt: skip
SHARP = {"id": "sharp", "kind": "sharpness", "grid": "main", "title": "Sharpness", "eigenvalue": True}


@pytest.fixture(autouse=True)
def made_up_runs_are_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)


def make(root: Path, artefacts: list[dict[str, Any]], seeds: tuple[int, ...] = (0, 1)) -> Plan:
    data = synthetic.study()
    grid = {"tasks": ["minilm_l3/clutrr_gen", "vit_digits/digits"], "methods": METHODS, "seeds": list(seeds)}
    return synthetic.make_plan(
        root, data | {"grids": {"main": grid}, "artefacts": artefacts, "keep": "dense_trajectory"}
    )


def bowl(points: int, half: float, depth: float) -> list[Row]:
    """Losses of depth (a^2 + 2 b^2) + 0.5; the corner where a and b are largest diverged."""
    at = np.linspace(-half, half, points)
    rows = [Row("loss", depth * (a * a + 2 * b * b) + 0.5, x=a, y=b) for b in at for a in at]
    return rows[:-1]


def rows_of(diagnostic: Diagnostic, seed: int, depth: float) -> list[Row]:
    if diagnostic.kind == "sharpness":
        return [Row("curvature", depth + seed), Row("rise", depth / 2 + seed), Row("eigenvalue", 10 * depth)]
    numbers = [Row("half", 2.0 if seed else 1.0), Row("centre", 0.5), Row("curvature", 3 * depth), Row("volume", 0.25)]
    made = [*bowl(5, 1.0, depth), *numbers]
    if getattr(diagnostic, "directions", "") == "pca":
        path = [(0, 0.9, 0.3), (1, 0.4, -0.2), (2, 0.1, -0.1), (3, 0.0, 0.0)]
        made += [Row("path_a", a, x=e) for e, a, _ in path] + [Row("path_b", b, x=e) for e, _, b in path]
        made += [Row("variance", v, x=i) for i, v in enumerate((0.8, 0.15, 0.05), 1)] + [Row("explained", 0.9)]
    return made


def diagnose(plan: Plan, results: Path, **odd: str) -> None:
    """A file for each wanted run; odd: method -> missing, stale, not_available."""
    for artefact in plan.study.artefacts:
        for diagnostic, run_ids in artefact.diagnostics(plan).items():
            for run_id in run_ids:
                spec = plan.runs[run_id]
                what = odd.get(spec.method, "ok")
                if what == "missing":
                    continue
                folder = results / "runs" / spec.folder
                mark = "other" if what == "stale" else plan.diagnosis_fingerprint(diagnostic, run_id)
                facts = Facts(diagnostic.canonical, mark, stamp(read_rows(folder / "result.parquet")[0]))
                if what == "not_available":
                    facts = Facts(
                        facts.diagnostic, mark, facts.result, "not_available", "the trajectory spans 1 dimensions"
                    )
                depth = 1.0 + METHODS.index(spec.method)
                write(
                    file_of(folder, diagnostic),
                    [] if what == "not_available" else rows_of(diagnostic, spec.seed, depth),
                    facts,
                )


def cells_of(plan: Plan, results: Path) -> dict[str, list[Cell]]:
    runs = collect(plan, results)
    return {a.id: build(plan, a, runs, results) for a in plan.study.artefacts}


def at(cells: list[Cell], panel: str, method: str, dataset: str = "digits") -> Cell:
    (found,) = [c for c in cells if (c.panel, c.column, c.dataset) == (panel, method, dataset)]
    return found


@pytest.fixture
def whole(tmp_path: Path) -> tuple[Plan, Path]:
    plan, results = make(tmp_path, [SURFACE, PATH, SHARP]), tmp_path / "results"
    synthetic.write_results(results, plan)
    diagnose(plan, results)
    return plan, results


def test_one_run_of_each_is_shown_and_all_are_measured(whole):
    plan, _ = whole
    surface, path, sharp = plan.study.artefacts
    assert isinstance(surface, Landscape) and isinstance(path, Landscape) and isinstance(sharp, Sharpness)
    assert {plan.runs[i].seed for i in surface.run_ids(plan)} == {0} and len(surface.run_ids(plan)) == 8
    shown = [plan.runs[i] for i in path.run_ids(plan)]
    assert [(s.dataset.id, s.method) for s in shown] == [("digits", "lora"), ("digits", "cla")]
    assert len(sharp.run_ids(plan)) == 16
    assert path.diagnostic.needs == {"delta", "trajectory"}


def test_cells_have_the_whole_surface_in_order(whole):
    cells = cells_of(*whole)["surface"]
    surface = at(cells, "surface", "lora")
    assert surface.value == 0.5 and surface.n == 1 and len(surface.points) == 25 and surface.metric == "val_loss"
    assert surface.points[12] == 0.5 and surface.points[-1] is None  # the centre; the corner that diverged
    assert surface.points[10] == 2 * 1 + 0.5 and surface.points[2] == 2 * 2 + 0.5  # a = -1, b = 0; a = 0, b = -1
    assert at(cells, "volume", "lora").value == 25 and at(cells, "volume", "lora").unit == "%"
    assert at(cells, "curvature", "lora").value == 6
    metric = at(cells, "test_metric", "lora")
    assert metric.n == metric.planned == 1 and metric.run_ids == surface.run_ids


def test_cells_come_back_from_their_file(whole, tmp_path):
    for cells in cells_of(*whole).values():
        write_cells(tmp_path / "cells.parquet", cells)
        assert read_cells(tmp_path / "cells.parquet") == cells


def test_the_path_is_in_the_cells(whole):
    path = at(cells_of(*whole)["path"], "path", "cla")
    assert path.points == (0.9, 0.3, 0.4, -0.2, 0.1, -0.1, 0.0, 0.0) and path.value == 90
    assert at(cells_of(*whole)["path"], "variance", "cla").value == pytest.approx(95)


def test_sharpness_is_a_mean_over_seeds(whole):
    cells = cells_of(*whole)["sharp"]
    curvature = at(cells, "curvature", "lora")
    assert curvature.values == (2.0, 3.0) and curvature.value == 2.5 and curvature.n == 2
    assert at(cells, "eigenvalue", "rac_lora").value == 30


def test_figures_are_drawn_the_same_every_time(whole, tmp_path):
    plan, results = whole
    made = []
    for name in ("one", "two"):
        build_report(plan, results, tmp_path / name)
        figures = sorted((tmp_path / name / "figures").iterdir())
        made.append({f.name: f.read_bytes() for f in figures})
    assert made[0] == made[1]
    expected = {"surface_surface_1", "surface_surface_2", "path_contour", "path_surface"}
    assert {name.partition(".")[0] for name in made[0]} == expected
    assert {name for name in made[0] if name.endswith(".js")} == {f"{n}.js" for n in expected - {"path_contour"}}
    for name in expected:
        assert made[0][f"{name}.pdf"].startswith(b"%PDF") and b"<svg" in made[0][f"{name}.svg"]


def test_panels_share_their_scale_and_a_steep_one_is_cut():
    def panel(depth: float, bad: bool = False) -> landscape_figure.Panel:
        x = np.linspace(-1, 1, 5)
        losses = 1 + depth * (x[None] ** 2 + x[:, None] ** 2)
        if bad:
            losses[0, 0] = math.nan
        return landscape_figure.Panel("lora", losses, 1.0, np.empty((0, 2)), (), {})

    assert landscape_figure.scale_of([panel(1), panel(2)]) == (1, 5)
    low, high = landscape_figure.scale_of([panel(1, bad=True), panel(2), panel(1000)])
    assert (low, high) == (1, 3 * 5)
    assert np.isfinite(landscape_figure._cut(panel(1, bad=True).losses, high)).all()


def test_the_page_has_pictures_first_and_surfaces_on_request(whole, tmp_path):
    plan, results = whole
    build_report(plan, results, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert page.count('data-scene="') == 3 and page.count("<script") == 1 and 'src="assets/scenes.js"' in page
    assert "plotly" not in page  # five megabytes that only a click asks for
    for name in re.findall(r'data-scene="([^"]+)"', page):
        assert f'src="figures/{name}.svg"' in page
        call = (tmp_path / "report/figures" / f"{name}.js").read_text()
        match = re.fullmatch(r'addScene\("([^"]+)",(\{.*\})\);\n', call)
        assert match and match[1] == name
        scene = json.loads(match[2])
        assert all(len(s["losses"]) == len(s["at"]) == 5 for s in scene["surfaces"])
        assert max(v for s in scene["surfaces"] for r in s["losses"] for v in r) <= scene["high"]
    assert (tmp_path / "report/assets/plotly.min.js").stat().st_size > 10**6
    assert (tmp_path / "report/assets/scenes.js").is_file()


def test_a_study_without_surfaces_has_no_script(tmp_path):
    plan = make(tmp_path, [SHARP])
    synthetic.write_results(tmp_path / "results", plan)
    diagnose(plan, tmp_path / "results")
    build_report(plan, tmp_path / "results", tmp_path / "report")
    assert "<script" not in (tmp_path / "report/index.html").read_text()
    assert [p.name for p in (tmp_path / "report/assets").iterdir()] == ["style.css"]


def test_what_is_not_there_is_said_and_not_drawn(tmp_path):
    plan, results = make(tmp_path, [SURFACE, PATH | {"methods": METHODS}, SHARP]), tmp_path / "results"
    synthetic.write_results(
        results, plan, lambda s: {"status": "diverged", "reason": "loss not finite"} if s.method == "fft" else {}
    )
    diagnose(plan, results, fft="missing", lora="stale", rac_lora="not_available")
    cells = cells_of(plan, results)
    for name in ("surface", "path"):
        status = {m: at(cells[name], "surface", m).status for m in METHODS}
        assert status == {"fft": "diverged", "lora": "stale", "rac_lora": "not_available", "cla": "ok"}
        assert all(at(cells[name], "surface", m).points == () for m in METHODS[:-1])
    assert at(cells["path"], "surface", "rac_lora").reason and "spans 1" in str(
        at(cells["path"], "surface", "rac_lora").reason
    )
    build_report(plan, results, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert "the trajectory spans 1 dimensions" in page
    alts = re.findall(r'alt="(Surfaces of [^"]+)"', page)
    assert alts and all("weights of cLA," in alt for alt in alts)


def test_nothing_computed_yet_is_a_table_of_what_is_missing(tmp_path):
    plan = make(tmp_path, [SURFACE, PATH, SHARP])
    build_report(plan, tmp_path / "results", tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    assert not list((tmp_path / "report/figures").iterdir()) and "missing" in page and "<script" not in page


def test_one_seed_has_no_spread(tmp_path):
    plan = make(tmp_path, [SURFACE, SHARP], seeds=(0,))
    synthetic.write_results(tmp_path / "results", plan)
    diagnose(plan, tmp_path / "results")
    for cells in cells_of(plan, tmp_path / "results").values():
        assert all(c.sd is None and c.low is None and c.n <= 1 for c in cells)
    build_report(plan, tmp_path / "results", tmp_path / "report")


@pytest.mark.browser
def test_a_click_brings_the_surfaces_of_a_page_that_is_opened_as_a_file(whole, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "no chromium: install it, or deselect with -m 'not browser'"
    plan, results = whole
    build_report(plan, results, tmp_path / "report")
    page = (tmp_path / "report/index.html").read_text()
    click = '<script>document.querySelector("figure button").click()</script></body>'
    (tmp_path / "report/clicked.html").write_text(page.replace("</body>", click))
    command = [
        browser, "--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync",
        "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000", "--dump-dom",
        (tmp_path / "report/clicked.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert "js-plotly-plot" in done.stdout and "gl-container" in done.stdout
    assert "cannot be shown" not in done.stdout
    # The button is gone, and the picture stays.
    assert done.stdout.count("data-scene=") == page.count("data-scene=") - 1
    assert done.stdout.count("<img") == page.count("<img")
