"""Kinds `intruders` and `spectrum`: cells against the numbers of runs, what is absent, lines of figures, page and LaTeX."""

from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pandas as pd
import pytest

from peft_lib.artefacts.intruders import VECTORS
from peft_lib.diagnostics.diagnostic import Row
from peft_lib.diagnostics.intruders import THRESHOLDS
from peft_lib.display import style
from peft_lib.display.chain_lines import has_pair, looks
from peft_lib.methods.registry import available, get_method
from peft_lib.results.cells import Cell
from peft_lib.results.diagnostic_files import Facts, file_of, stamp, write
from peft_lib.results.places import ends, kind_of, layer_of
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from peft_lib.study.spec import RunSpec
from tests.unit.test_artefact_kinds import cells_of, grid, make_plan, report
from tests.unit.test_artefact_kinds import write as write_results

PLACES = [f"layers.{layer}.attention.{name}" for layer in (0, 1) for name in ("q_proj", "v_proj")]
INTRUDERS = {"id": "figure4", "number": "Figure 4", "kind": "intruders", "grid": "main", "title": "Intruders"}
SPECTRUM = {"id": "spectra", "kind": "spectrum", "grid": "main", "title": "Spectra"}
Numbers = Callable[[RunSpec], Iterable[Row] | None]


def counted(spec: RunSpec, place: str, threshold: float) -> int:
    """Made up: rises with the threshold, differs between methods, seeds and places."""
    return round(192 * threshold ** (2 + len(spec.method) % 3)) - (spec.seed + PLACES.index(place)) * (threshold < 1)


def intruders(spec: RunSpec) -> Iterable[Row]:
    yield from (Row("vectors", 192, place) for place in PLACES)
    yield from (Row("intruders", max(0, counted(spec, p, t)), p, t) for p in PLACES for t in THRESHOLDS)
    for place in PLACES:  # among the first ten
        yield Row("vectors", 10, place, None, 10)
        yield from (Row("intruders", round(10 * t), place, t, 10) for t in THRESHOLDS)
    yield Row("intruders", 7.0)


def spectrum(spec: RunSpec) -> Iterable[Row]:
    for number, place in enumerate(PLACES):
        base = 1 + number + spec.seed
        for name in ("effective_rank", "stable_rank", "update_norm", "update_spectral_norm"):
            yield Row(name, base, place)
        for name in ("relative_norm", "relative_spectral_norm"):
            yield Row(name, base / 100, place)
        yield Row("columns_touched", 0.25, place)
        yield Row("columns_touched", 0.125, place, 1)
        for index in range(1, 4 + (spec.method == "fft")):
            yield Row("singular_value", base / index, place, index)
    yield Row("effective_rank", 99.0)


def diagnose(plan: Plan, name: str, runs: pd.DataFrame, folder: Path, numbers: Numbers, **facts: Any) -> None:
    """Files of an artefact's diagnostic, for the runs that are ok. `numbers`: None leaves a run's file out."""
    artefact = next(a for a in plan.study.artefacts if a.id == name)
    for diagnostic, run_ids in artefact.diagnostics(plan).items():
        for run_id in run_ids:
            rows = numbers(plan.runs[run_id]) if runs.loc[run_id, "status"] == "ok" else None
            if rows is not None:
                what = {"fingerprint": plan.diagnosis_fingerprint(diagnostic, run_id), **facts}
                path = file_of(folder / "runs" / plan.runs[run_id].folder, diagnostic)
                write(path, rows, Facts(diagnostic.canonical, result=stamp(dict(runs.loc[run_id])), **what))


def made(folder: Path, artefact: dict[str, Any], numbers: Numbers, **changes: Any) -> tuple[Plan, pd.DataFrame]:
    plan = make_plan([artefact], main=grid(**changes))
    runs = write_results(plan, folder)
    diagnose(plan, artefact["id"], runs, folder, numbers)
    return plan, runs


def of(cells: list[Cell], **fields: str) -> list[Cell]:
    return [c for c in cells if all(getattr(c, k) == v for k, v in fields.items())]


class TestIntruders:
    def test_cells_are_means_over_places_and_then_over_seeds(self, tmp_path):
        plan, runs = made(tmp_path, INTRUDERS, intruders)
        cells = cells_of(plan, "figure4", runs, tmp_path)
        assert len(cells) == 2 * (5 * 20 + 1)
        for cell in (c for c in cells if c.column != VECTORS):
            by_seed = [mean(max(0, counted(plan.runs[i], p, float(cell.row))) for p in PLACES) for i in cell.run_ids]
            assert cell.values == pytest.approx(by_seed) and cell.value == pytest.approx(mean(by_seed))
            assert cell.sd == pytest.approx(stdev(by_seed)) and (cell.n, cell.status) == (3, "ok")
            assert cell.low is not None and cell.high is not None and 0 <= cell.low <= cell.high <= 192
        assert [c.value for c in cells if c.column == VECTORS] == [192, 192]

    def test_the_first_k(self, tmp_path):
        plan, runs = made(tmp_path, INTRUDERS | {"k": 10}, intruders, tasks=["vit_tiny/cifar10"])
        cells = cells_of(plan, "figure4", runs, tmp_path)
        assert {c.row: c.value for c in of(cells, column="lora")} == {f"{t:g}": round(10 * t) for t in THRESHOLDS}
        assert [c.value for c in cells if c.column == VECTORS] == [10]

    @pytest.mark.parametrize(("layers", "kept"), [("v_proj", (1, 3)), (["layers.0.attention.q_proj"], (0,))])
    def test_layers_choose_places(self, tmp_path, layers, kept):
        plan, runs = made(tmp_path, INTRUDERS | {"layers": layers}, intruders)
        (cell, *_) = of(cells_of(plan, "figure4", runs, tmp_path), column="lora", row="0.5")
        assert cell.values == pytest.approx(
            [mean(counted(plan.runs[i], PLACES[p], 0.5) for p in kept) for i in cell.run_ids]
        )

    def test_no_place_of_that_name_in_the_numbers_is_said(self, tmp_path):
        plan, runs = made(
            tmp_path, INTRUDERS | {"layers": "v_proj"}, lambda s: [r for r in intruders(s) if "v_" not in str(r.place)]
        )
        cells = cells_of(plan, "figure4", runs, tmp_path)
        assert {c.status for c in cells} == {"not_available"}
        assert cells[0].reason == "3 of 3 runs did not record intruders at places named v_proj"
        page, _ = report(plan, runs, tmp_path)
        assert "places named v_proj" in page and "figure4.svg" not in page

    def test_absent_numbers_are_said_and_never_hidden(self, tmp_path):
        """A run that failed, one that is not diagnosed yet, one of older code, one that kept nothing."""
        plan = make_plan([INTRUDERS], main=grid(tasks=["vit_tiny/cifar10"]))
        runs = write_results(plan, tmp_path, lambda s: {"status": "diverged"} if s.method == "cola" else {})
        diagnose(plan, "figure4", runs, tmp_path, lambda s: intruders(s) if (s.method, s.seed) != ("lora", 2) else None)
        diagnose(
            plan, "figure4", runs, tmp_path, lambda s: intruders(s) if s.method == "cla" else None, fingerprint="old"
        )
        nothing = {"status": "not_available", "reason": "the run kept no delta (keep: none)"}
        diagnose(plan, "figure4", runs, tmp_path, lambda s: [] if s.method == "asym_lora" else None, **nothing)
        cells = {c.column: c for c in of(cells_of(plan, "figure4", runs, tmp_path), row="0.5")}
        assert {m: (c.status, c.n) for m, c in cells.items()} == {
            "lora": ("partial", 2), "cola": ("diverged", 0), "asym_lora": ("not_available", 0), "lora_plus": ("ok", 3),
            "cla": ("stale", 0),
        }  # fmt: skip
        assert "intruders has not been computed for this run yet" in str(cells["lora"].reason)
        assert "the run kept no delta" in str(cells["asym_lora"].reason) and cells["cla"].value is None
        page, tex = report(plan, runs, tmp_path)
        for text in ("2 of 3", "div.", "stale", "n/a", "kept no delta"):
            assert text in page and text in tex["figure4"]
        drawing = (tmp_path / "report/figures/figure4.svg").read_text()
        assert "hollow: fewer runs than planned" in drawing and ">LoRA+<" in drawing and ">Asym<" not in drawing

    def test_page_and_latex(self, tmp_path):
        plan, runs = made(tmp_path, INTRUDERS | {"table": [0.25, 1.0], "k": 10}, intruders)
        page, tex = report(plan, runs, tmp_path)
        cells = cells_of(plan, "figure4", runs, tmp_path)
        for cell in cells:
            if cell.row in ("0.25", "1") and cell.method:
                assert f"{cell.number:.1f}" in page and f"{cell.number:.1f}" in tex["figure4"]
        said = "Number of the first 10 left singular vectors of the trained matrix"
        assert said in page and said in tex["figure4"] and "the first 10 vectors of a matrix" in page
        assert (
            "figures/figure4.svg" in page
            and "paper's Figure 4" in page
            and "dashed: chained" in page + ((tmp_path / "report/figures/figure4.svg").read_text())
        )

    def test_one_seed_has_no_spread(self, tmp_path):
        plan, runs = made(tmp_path, INTRUDERS | {"scale": "log"}, intruders, seeds=[1], methods=["lora", "c3la"])
        cells = cells_of(plan, "figure4", runs, tmp_path)
        assert all(c.sd is None and c.low is None for c in cells)
        page, _ = report(plan, runs, tmp_path)
        assert "ingle seed: no spread" in page
        assert "dashed: chained" not in (tmp_path / "report/figures/figure4.svg").read_text(), "its parent is not shown"

    def test_settings_that_vary_are_panels(self, tmp_path):
        plan, runs = made(tmp_path, INTRUDERS, intruders, vary={"rank": [2, 8]}, methods=["lora"])
        panels = {c.panel for c in cells_of(plan, "figure4", runs, tmp_path)}
        assert panels == {f"vit_tiny/{d}/rank {r}" for d in ("cifar10", "officehome") for r in (2, 8)}
        page, _ = report(plan, runs, tmp_path)
        assert "rank 2" in page

    def test_the_table_shows_thresholds_that_are_counted(self):
        with pytest.raises(StudyError, match=r"(?s)0\.33.*the table shows thresholds at which intruders are counted"):
            make_plan([INTRUDERS | {"table": [0.3, 0.33]}], main=grid())
        with pytest.raises(StudyError, match="a number above 0 and at most 1"):
            make_plan([INTRUDERS | {"thresholds": [1.5]}], main=grid())
        plan = make_plan([INTRUDERS | {"thresholds": [0.2]}], main=grid())  # the default table has none of it
        assert plan.study.artefacts[0].table == (0.3, 0.5, 0.7, 0.9)

    @pytest.mark.parametrize(
        ("option", "said"),
        [
            (
                {"layers": "v_prj"},
                r"layers: 'v_prj'\n +rule: +no place of the models of its runs \(vit_tiny\) is named so\n.*v_proj",
            ),
            ({"layers": "k_proj"}, "did you mean v_proj or q_proj"),  # not adapted
            ({"targets": "al"}, r"targets: 'al'\n.*vit_tiny has none of that name\n.*did you mean all"),
            ({"targets": "mlp", "layers": "x"}, "known: qv, all"),
        ],
    )
    def test_names_of_places_are_looked_up_while_planning(self, option, said):
        with pytest.raises(StudyError, match=said) as caught:
            make_plan([INTRUDERS | option], main=grid())
        assert len(caught.value.problems) == 1
        make_plan([INTRUDERS | {"layers": "k_proj", "targets": "all"}], main=grid())


class TestSpectrum:
    def test_cells_are_means_of_places_layers_and_indices(self, tmp_path):
        plan, runs = made(tmp_path, SPECTRUM, spectrum, tasks=["vit_tiny/cifar10"], methods=["fft", "lora"])
        cells = cells_of(plan, "spectra", runs, tmp_path)
        lora = of(cells, column="lora")
        [rank] = of(lora, row="effective_rank")
        assert rank.values == pytest.approx([mean(1 + n + s for n in range(4)) for s in (1, 2, 3)])
        [touched] = of(lora, row="columns_touched")
        assert touched.value == 25.0 and touched.unit == "%"
        [norm] = of(lora, row="1", panel="vit_tiny/cifar10/layers/attention.v_proj")
        assert norm.values == pytest.approx([5, 6, 7])
        assert {c.panel for c in lora if "layers" in c.panel} == {
            f"vit_tiny/cifar10/layers/attention.{name}" for name in ("q_proj", "v_proj")
        }
        values = of(lora, panel="vit_tiny/cifar10/values")
        assert [c.row for c in values] == ["1", "2", "3"]
        assert values[1].values == pytest.approx([mean((1 + n + s) / 2 for n in range(4)) for s in (1, 2, 3)])

    def test_a_seed_of_lower_rank_has_zeros_behind_its_last_value(self, tmp_path):
        def numbers(spec: RunSpec) -> list[Row]:
            longer = spec.seed == 1
            return [r for r in spectrum(spec) if r.quantity != "singular_value" or r.x != 3 or longer]

        plan, runs = made(tmp_path, SPECTRUM, numbers, methods=["lora"], tasks=["vit_tiny/cifar10"])
        [last] = of(cells_of(plan, "spectra", runs, tmp_path), panel="vit_tiny/cifar10/values", row="3")
        assert last.values == pytest.approx([mean((2 + n) / 3 for n in range(4)), 0, 0]) and last.status == "ok"

    def test_an_update_of_zero_has_no_rank_and_that_is_said(self, tmp_path):
        def numbers(spec: RunSpec) -> list[Row]:
            rows = list(spectrum(spec))
            return rows if spec.method != "lora" else [r for r in rows if not r.quantity.endswith("_rank")]

        plan, runs = made(tmp_path, SPECTRUM, numbers, methods=["lora", "cla"])
        page, tex = report(plan, runs, tmp_path)
        for text in (page, tex["spectra"]):
            assert "did not record an effective rank: an update of zero has none" in text

    def test_page_latex_and_figures(self, tmp_path):
        plan, runs = made(tmp_path, SPECTRUM, spectrum)
        page, tex = report(plan, runs, tmp_path)
        for name in ("spectra_layers", "spectra_values"):
            assert f"figures/{name}.svg" in page and (tmp_path / f"report/figures/{name}.pdf").is_file()
        for label in ("effective rank", "stable rank", "columns touched"):
            assert label in page and label in tex["spectra"]
        only = make_plan([SPECTRUM | {"draws": ["values"]}], main=grid())
        assert not [c for c in cells_of(only, "spectra", runs, tmp_path) if "layers" in c.panel]

    def test_one_layer_is_no_line(self, tmp_path):
        first = "layers.0."
        plan, runs = made(
            tmp_path, SPECTRUM, lambda s: [r for r in spectrum(s) if r.place is None or r.place.startswith(first)]
        )
        page, _ = report(plan, runs, tmp_path)
        assert "spectra_layers" not in page and "spectra_values" in page


def test_artefacts_that_ask_the_same_share_their_numbers():
    plan = make_plan(
        [INTRUDERS, INTRUDERS | {"id": "again", "layers": "v_proj", "scale": "log", "k": 10}, SPECTRUM], main=grid()
    )
    asked = {d for a in plan.study.artefacts for d in a.diagnostics(plan)}
    assert sorted(d.kind for d in asked) == ["intruders", "spectrum"]
    others = make_plan([INTRUDERS | {"k": 5}, INTRUDERS | {"id": "b", "side": "right", "targets": "all"}], main=grid())
    assert len({d.id for a in others.study.artefacts for d in a.diagnostics(others)} | {d.id for d in asked}) == 4


def test_a_chained_method_has_the_colour_of_the_method_without_its_chain():
    methods = [m for m in available() if get_method(m).chains]
    assert methods and all(get_method(m).unchained for m in methods)
    for method in methods:
        parent = get_method(method).unchained
        assert parent is not None and not get_method(parent).chains
        assert get_method(parent).trains == get_method(method).trains
        found = looks([parent, "fft", method])
        assert found[method]["color"] == found[parent]["color"] != found["fft"]["color"]
        assert found[parent]["linestyle"] == "-" and found[method]["linestyle"] != "-"
        assert (
            has_pair([parent, method]) and not has_pair([method, "fft"]) and looks([method])[method]["linestyle"] == "-"
        )


def test_lines_that_lie_on_each_other_can_be_told_apart():
    """Twins differ in width; and every line of all methods in colour, line or width."""
    found = looks(available())
    assert (
        found["paca"]["linewidth"] < found["r_cla"]["linewidth"] and found["paca"]["zorder"] > found["r_cla"]["zorder"]
    )
    shown = [(f["color"], str(f["linestyle"]), f["linewidth"]) for f in found.values()]
    assert len(set(shown)) == len(shown)
    assert found["head_only"]["color"] == style.MUTED


@pytest.mark.parametrize(
    ("place", "layer", "kind"),
    [
        ("encoder.layer.11.attention.self.query", 11, "attention.self.query"),
        ("blocks.3.attn.qkv[0:64]", 3, "attn.qkv[0:64]"),
        ("h.7.attn.c_attn[0:768]", 7, "attn.c_attn[0:768]"),
        ("classifier", 0, "classifier"),
        ("2.fc1", 2, "fc1"),
    ],
)
def test_layer_and_kind_of_a_place(place, layer, kind):
    assert (layer_of(place), kind_of(place)) == (layer, kind)


def test_names_that_end_a_place():
    place = "encoder.layer.1.attention.self.value"
    assert ends(place, None) and ends(place, ["value"]) and ends(place, ["x", "self.value"]) and ends(place, [place])
    assert not ends(place, ["alue"]) and not ends(place, ["query"]) and not ends(place, [])
