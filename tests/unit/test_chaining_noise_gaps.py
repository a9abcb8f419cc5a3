"""Kinds chaining, noise_floor and gaps: cells against the runs and answers that they are made of, page and LaTeX."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from peft_lib.results.cells import Cell
from peft_lib.results.noise import noise_floor, reach
from peft_lib.run_files import PREDICTIONS, write_rows
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from peft_lib.study.spec import RunSpec
from tests.unit.test_artefact_kinds import TASKS, cells_of, grid, make_plan, report, write

ITEMS = 200
CHAINS = {"cola": "lora", "c3la": "cla", "r_c3la": "r_cla", "c_paca": "paca"}
METHODS = ["fft", "lora", "cola", "cla", "c3la", "r_cla", "r_c3la", "paca", "c_paca"]
RIGHT = {
    "lora": 120,
    "cola": 150,
    "cla": 120,
    "c3la": 121,
    "r_cla": 140,
    "r_c3la": 110,
    "paca": 140,
    "c_paca": 110,
    "fft": 130,
}
"""Items that a method has right, give or take two by its seed."""


def right(spec: RunSpec) -> set[int]:
    """The items that a run has right. Twins have the same, but for one item in the seed 3."""
    twin = {"paca": "r_cla", "c_paca": "r_c3la"}.get(spec.method, spec.method)
    rng = np.random.default_rng([sorted(RIGHT).index(twin), spec.seed])
    easy = np.arange(ITEMS) - 40 * rng.random(ITEMS)  # the first items are easy for all
    found = set(np.argsort(easy)[: RIGHT[twin] + rng.integers(-2, 3)].tolist())
    return found ^ {199} if (spec.method, spec.seed) == ("paca", 3) else found


def answer(plan: Plan, folder: Path, skip: tuple[str, ...] = (), **more: Any) -> pd.DataFrame:
    """Results of all runs with their answers; `skip`: methods without stored answers."""

    def change(spec: RunSpec) -> dict[str, Any]:
        good = right(spec)
        if spec.method not in skip:
            rows = [{"id": f"i{i}", "label": "yes", "prediction": "yes" if i in good else "no", "score": 0.9, "loss": 0.5,
                     "weight": 1.0, "n_tokens": 1} for i in range(ITEMS)]  # fmt: skip
            write_rows(folder / "runs" / spec.folder / "predictions.parquet", rows, PREDICTIONS)
        return {"test_metric": len(good) / ITEMS, "links": 2 + (spec.seed == 3), **more}

    return write(plan, folder, change)


def of(cells: list[Cell], **wanted: Any) -> Cell:
    (found,) = [c for c in cells if all(getattr(c, k) == v for k, v in wanted.items())]
    return found


CHAINING = {"id": "chains", "kind": "chaining", "grid": "main", "title": "Does chaining help?"}


@pytest.fixture(scope="module")
def chained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, pd.DataFrame, Path, list[Cell]]:
    folder = tmp_path_factory.mktemp("chaining")
    plan = make_plan([CHAINING], main=grid(methods=METHODS, tasks=TASKS[:1]))
    runs = answer(plan, folder)
    return plan, runs, folder, cells_of(plan, "chains", runs, folder)


class TestChaining:
    def test_every_pair_has_its_difference(self, chained):
        _, runs, _, cells = chained
        assert {c.panel: c.source for c in cells if c.column == "difference"} == CHAINS
        for chain, base in CHAINS.items():
            mine = [
                runs[runs["method"] == m].sort_values("seed")["test_metric"].astype(float) * 100 for m in (chain, base)
            ]
            found = of(cells, panel=chain, column="difference")
            assert found.value == pytest.approx(mine[0].mean() - mine[1].mean())
            assert found.values == pytest.approx(tuple(mine[0].to_numpy() - mine[1].to_numpy()))
            assert found.low < found.value < found.high and 0 < found.p <= found.p_adjusted <= 1

    def test_words_follow_the_test(self, chained):
        cells = chained[3]
        words = {c.panel: c.text for c in cells if c.column == "difference"}
        assert words == {"cola": "helps", "c3la": "not told apart", "r_c3la": "hurts", "c_paca": "hurts"}

    def test_twins_with_the_same_answers_count_once_in_the_correction(self, tmp_path: Path):
        methods = [m for m in METHODS if m != "fft"]
        plan = make_plan([CHAINING], main=grid(methods=methods, tasks=TASKS[:1], seeds=[1, 2, 4]))
        cells = cells_of(plan, "chains", answer(plan, tmp_path), tmp_path)
        p = {c.panel: c.p for c in cells if c.column == "difference"}
        assert p["r_c3la"] == p["c_paca"]
        smallest = min(p.values())
        # Three questions, not four: the smallest p is tripled.
        assert min(c.p_adjusted for c in cells if c.column == "difference") == pytest.approx(3 * smallest)
        assert "1 repeat another up to rounding" in " ".join(plan.study.artefacts[0].remarks(cells, []))

    def test_links_resets_and_columns(self, chained):
        cells = chained[3]
        assert of(cells, panel="c3la", column="resets").value == 2  # 3 epochs, period 1
        assert of(cells, panel="c3la", column="links").text == "2.3 of 3"
        # ViT-Tiny has 192 columns; rank 8, two links twice and three once.
        assert of(cells, panel="c3la", column="touched").text == "18.7 of 192"
        assert of(cells, panel="c3la", column="touched").value == pytest.approx(100 * (16 + 16 + 24) / 3 / 192)
        assert of(cells, panel="c3la", column="touched by the base").text == "8 of 192"
        assert of(cells, panel="cola", column="touched").text == "all"
        expected = np.mean([192 * (1 - (1 - 8 / 192) ** n) for n in (2, 2, 3)])
        assert of(cells, panel="r_c3la", column="touched").value == pytest.approx(100 * expected / 192, abs=0.2)

    def test_page_and_latex(self, chained):
        plan, runs, folder, cells = chained
        page, latex = report(plan, runs, folder)
        for text in (page, latex["chains"]):
            assert "helps, p" in text and "not told apart, p" in text and "18.7 of 192" in text
            assert "Chaining helps in 1 and hurts in 2 of 4 pairs" in text
        assert f"+{of(cells, panel='cola', column='difference').value:.2f}" in page

    def test_other_settings_that_differ_are_named(self, tmp_path: Path):
        rules = [{"when": {"method": "cola"}, "set": {"lr": 1e-2}, "source": "ours"}]
        plan = make_plan([CHAINING], main=grid(methods=["lora", "cola"], tasks=TASKS[:1]))
        plan = plan_with(plan, rules)
        cells = cells_of(plan, "chains", answer(plan, tmp_path), tmp_path)
        assert of(cells, column="difference").reason == "learning rate 0.01 against 0.001"

    def test_without_answers_there_is_a_difference_and_no_test(self, tmp_path: Path):
        plan = make_plan([CHAINING], main=grid(methods=["lora", "cola", "cla", "c3la"], tasks=TASKS[:1]))
        runs = answer(plan, tmp_path, skip=("cola",))
        cells = cells_of(plan, "chains", runs, tmp_path)
        cola = of(cells, panel="cola", column="difference")
        assert cola.value is not None and cola.p is None and cola.text == "not tested"
        assert "predictions.parquet is missing" in cola.reason
        assert of(cells, panel="c3la", column="difference").p is not None
        page, _ = report(plan, runs, tmp_path)
        assert "not tested" in page

    def test_an_incomplete_method_is_not_compared(self, tmp_path: Path):
        plan = make_plan([CHAINING], main=grid(methods=["lora", "cola"], tasks=TASKS[:1]))
        answer(plan, tmp_path)
        runs = write(
            plan,
            tmp_path,
            lambda s: {"status": "diverged", "reason": "nan"} if s.seed == 2 and s.method == "cola" else {},
        )
        found = of(cells_of(plan, "chains", runs, tmp_path), column="difference")
        assert found.value is None and found.text == "not tested" and "CoLA: 2 of 3 runs" in found.reason

    def test_one_seed_speaks_of_these_runs(self, tmp_path: Path):
        plan = make_plan([CHAINING], main=grid(methods=METHODS, tasks=TASKS[:1], seeds=[1]))
        runs = answer(plan, tmp_path)
        page, _ = report(plan, runs, tmp_path)
        assert "over test items alone, so the statement is of these runs" in page

    def test_without_a_chain_it_says_so(self, tmp_path: Path):
        plan = make_plan([CHAINING], main=grid(methods=["lora", "cla"]))
        page, _ = report(plan, answer(plan, tmp_path), tmp_path)
        assert "No method of these grids chains" in page


def plan_with(plan: Plan, rules: list[dict[str, Any]]) -> Plan:
    from peft_lib.study.expand import plan_study
    from tests.runs import ROOT

    return plan_study({**plan.data, "rules": rules}, ROOT)


NOISE = {"id": "noise", "kind": "noise_floor", "grid": "main", "title": "Noise floor"}


class TestNoiseFloor:
    def test_cells_by_hand(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=METHODS, tasks=TASKS[:1]))
        runs = answer(plan, tmp_path)
        cells = cells_of(plan, "noise", runs, tmp_path)
        # PaCA answers one of 200 items otherwise than r-cLA, in one seed of three.
        paca = {c.column: c for c in cells if c.method == "paca"}
        assert paca["largest"].value == pytest.approx(0.5) and paca["items"].value == pytest.approx(0.5 / 3)
        assert paca["sd"].value == pytest.approx(0.5 / 3**0.5) and paca["largest"].text == "PaCA and r-cLA"
        assert {c.value for c in cells if c.method == "c_paca" and c.column in ("largest", "sd", "items")} == {0}
        # Six differences, five of them zero; means of three seeds.
        s = (0.25 / 6) ** 0.5
        floor = of(cells, column="floor")
        assert floor.value == pytest.approx(stats.t.ppf(0.975, 6) * s / 3**0.5)
        means = runs.groupby("method")["test_metric"].apply(lambda v: 100 * v.astype(float).mean())
        names = list(means.index)
        close = [
            (a, b) for i, a in enumerate(names) for b in names[i + 1 :]
            if abs(means[a] - means[b]) <= floor.value and {a, b} not in ({"paca", "r_cla"}, {"c_paca", "r_c3la"})
        ]  # fmt: skip
        within = of(cells, column="within")
        assert (within.value, within.n) == (len(close), 9 * 8 / 2 - 2)
        page, latex = report(plan, runs, tmp_path)
        words = f"a difference of two methods' means below {floor.value:.2f} points is no finding"
        assert words.replace("'", "&#39;") in page and words in latex["noise"]

    def test_the_helper_reads_the_floor_of_each_task(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=METHODS, tasks=TASKS))
        cells = cells_of(plan, "noise", answer(plan, tmp_path), tmp_path)
        floors = noise_floor([*cells, Cell("a", "methods", "", "m", "d", "", "largest", "x", value=9.0)])
        assert set(floors) == {("vit_tiny", "cifar10", ""), ("vit_tiny", "officehome", "")}
        assert [f.single for f in floors.values()] == pytest.approx([0.5, 0.5])
        assert all(f.means == of(cells, dataset=task[1], column="floor").value for task, f in floors.items())

    def test_one_seed_has_no_floor_of_means(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=METHODS, tasks=TASKS[:1], seeds=[3]))
        runs = answer(plan, tmp_path)
        cells = cells_of(plan, "noise", runs, tmp_path)
        assert of(cells, column="floor").value is None
        (floor,) = noise_floor(cells).values()
        assert floor.means is None and floor.single == pytest.approx(0.5)
        page, _ = report(plan, runs, tmp_path)
        assert "single runs drift up to 0.50 points apart" in page

    def test_twins_with_other_settings_are_none(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=["r_cla", "paca"], tasks=TASKS[:1]))
        plan = plan_with(plan, [{"when": {"method": "paca"}, "set": {"lr": 1e-2}, "source": "ours"}])
        runs = answer(plan, tmp_path)
        assert cells_of(plan, "noise", runs, tmp_path) == []
        page, _ = report(plan, runs, tmp_path)
        assert "No two methods of these grids are one up to rounding" in page

    def test_failed_and_absent_answers_are_said(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=["r_cla", "paca"], tasks=TASKS[:1]))
        runs = answer(plan, tmp_path, skip=("paca",))
        items = of(cells_of(plan, "noise", runs, tmp_path), column="items")
        assert items.value is None and "predictions.parquet is missing" in items.reason
        runs = write(plan, tmp_path, lambda s: {"status": "diverged", "reason": "nan"} if s.seed == 1 else {})
        largest = of(cells_of(plan, "noise", runs, tmp_path), column="largest")
        assert largest.status == "partial" and (largest.n, largest.planned) == (2, 3)

    def test_equal_twins_do_not_make_every_difference_a_finding(self, tmp_path: Path):
        plan = make_plan([NOISE], main=grid(methods=["r_cla", "paca"], tasks=TASKS[:1], seeds=[1, 2, 4]))
        page, _ = report(plan, answer(plan, tmp_path), tmp_path)
        assert "twins score the same in every seed" in page and "is no finding" not in page

    def test_many_rows_have_one_sentence(self, tmp_path: Path):
        more = ["vit_base/cifar10", "vit_base/officehome", "deberta_v3_base/trec50"]
        plan = make_plan([NOISE], main=grid(methods=["lora", "r_cla", "paca"], tasks=[*TASKS, *more]))
        runs = answer(plan, tmp_path)
        close = [c for c in cells_of(plan, "noise", runs, tmp_path) if c.column == "within"]
        page, _ = report(plan, runs, tmp_path)
        assert f"{sum(int(c.value) for c in close)} of 10 pairs of other methods lie that close" in page
        assert "points is no finding" not in page

    def test_reach_covers_the_means_of_identical_methods(self):
        rng = np.random.default_rng(1)
        held = []
        for _ in range(4000):
            d = rng.normal(0, 0.3, 9)
            held.append(abs(rng.normal(0, 0.3, 3).mean()) <= reach(d, 3))
        assert abs(np.mean(held) - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5
        assert reach([0.1, 0.2], 1) is None


GAPS = {"id": "gaps", "kind": "gaps", "grid": "main", "title": "Gaps", "normalise_to": "lora"}
LOSSES = {"lora": 0.2, "cola": 0.4, "cla": -0.3, "c3la": 0.1}


def losses(spec: RunSpec) -> dict[str, Any]:
    """The gap is LOSSES give or take a hundredth; running training losses are 0.25 above the clean ones."""
    gap = LOSSES[spec.method] + 0.01 * (spec.seed - 2)
    return {"test_loss": 1.0, "train_loss": 1.0 - gap, "train_loss_running": 1.25 - gap, "gap": gap}


class TestGaps:
    @pytest.fixture(scope="class")
    @staticmethod
    def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, pd.DataFrame, Path, list[Cell]]:
        folder = tmp_path_factory.mktemp("gaps")
        plan = make_plan([GAPS], main=grid(methods=list(LOSSES), tasks=TASKS[:1]))
        runs = write(plan, folder, losses)
        return plan, runs, folder, cells_of(plan, "gaps", runs, folder)

    def test_readings(self, made):
        cells = made[3]
        for method, gap in LOSSES.items():
            assert of(cells, panel="gap", method=method).value == pytest.approx(gap)
            assert of(cells, panel="gap_absolute", method=method).value == pytest.approx(abs(gap))
            assert of(cells, panel="gap_running", method=method).value == pytest.approx(gap - 0.25)
        best = {p: next(c.method for c in cells if c.panel == p and c.rank_in_row == 1)
                for p in ("gap", "gap_absolute", "gap_running")}  # fmt: skip
        assert best == {"gap": "c3la", "gap_absolute": "c3la", "gap_running": "lora"}

    def test_ratio_has_fieller_s_interval(self, made):
        cells = made[3]
        ratio = of(cells, panel="ratio", method="cola")
        assert ratio.value == pytest.approx(2) and ratio.low < 2 < ratio.high
        x, y = np.array([0.39, 0.4, 0.41]), np.array([0.19, 0.2, 0.21])
        for theta in (ratio.low, ratio.high):
            assert stats.ttest_1samp(x - theta * y, 0).pvalue == pytest.approx(0.05, abs=1e-6)
        own = of(cells, panel="ratio", method="lora")
        assert own.value == 1 and own.low is None

    def test_agreement_of_orders(self, made):
        cells = made[3]
        assert of(cells, panel="agreement", column="gap/gap_absolute").value == 1
        # Nearest to zero first: c3la, lora, cla, cola; running: lora, c3la and cola, cla.
        sizes = [[0.2, 0.4, 0.3, 0.1], [0.05, 0.15, 0.55, 0.15]]
        expected = stats.kendalltau(*sizes).statistic
        assert of(cells, panel="agreement", column="gap/gap_running").value == pytest.approx(expected)

    def test_page_and_latex(self, made):
        plan, runs, folder, _ = made
        page, latex = report(plan, runs, folder)
        for text in (page, latex["gaps"]):
            assert "depends on the reading in 1 of 1 rows" in text and "negative in 3 of 4 cells" in text
        assert "absolute gap, ratio to LoRA" in page and 'line-bounds">[' in page

    def test_a_gap_that_may_be_zero_leaves_the_ratio_unbounded(self, tmp_path: Path):
        plan = make_plan([GAPS], main=grid(methods=["lora", "cola"], tasks=TASKS[:1]))
        runs = write(
            plan, tmp_path, lambda s: losses(s) | ({"gap": 0.3 * (s.seed == 2) + 0.001} if s.method == "lora" else {})
        )
        ratio = of(cells_of(plan, "gaps", runs, tmp_path), panel="ratio", method="cola")
        assert ratio.value is not None and ratio.low is None and "may be zero" in ratio.reason
        page, _ = report(plan, runs, tmp_path)
        assert "Ratios without bounds: 1, as LoRA" in page

    def test_one_seed_has_no_bounds(self, tmp_path: Path):
        plan = make_plan([GAPS], main=grid(methods=list(LOSSES), tasks=TASKS[:1], seeds=[2]))
        runs = write(plan, tmp_path, losses)
        assert all(c.low is None for c in cells_of(plan, "gaps", runs, tmp_path))
        page, _ = report(plan, runs, tmp_path)
        assert "line-bounds" not in page

    def test_without_the_reference_there_is_no_ratio(self, tmp_path: Path):
        plan = make_plan([GAPS], main=grid(methods=list(LOSSES), tasks=TASKS[:1]))
        runs = write(plan, tmp_path, lambda s: None if (s.method, s.seed) == ("lora", 1) else losses(s))
        cells = cells_of(plan, "gaps", runs, tmp_path)
        assert all(c.value is None and c.reason for c in cells if c.panel == "ratio")
        report(plan, runs, tmp_path)
        with pytest.raises(StudyError, match="does not run that method"):
            make_plan([GAPS | {"normalise_to": "fft"}], main=grid(methods=list(LOSSES)))
