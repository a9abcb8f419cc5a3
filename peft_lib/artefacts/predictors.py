"""Kind `predictors`: which number of a run predicts how well it does on test, and how far it is from its training loss.

Rank correlations, and the 'false positives' that section 4.3.1 of the paper speaks of, counted; then the paper's central claim as a
test: does the measured gap point to the better method more often than landscapes and intruder dimensions do (docs/theory.md)?
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from peft_lib.artefacts.kind import OfGrids
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.registry import any_diagnostic
from peft_lib.display.predictor_tables import (
    ALL,
    CORRELATION,
    VERDICT,
    WRONG,
    correlation_table,
    verdict_table,
    wrong_table,
)
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context
from peft_lib.results.predicting import (
    GAPS,
    OUTCOMES,
    RIVALS,
    UNDEFINED,
    Predictor,
    TaskRuns,
    Values,
    predictors,
    task_runs,
    values_of,
)
from peft_lib.statistics.families import ALPHA, holm
from peft_lib.statistics.prediction import (
    FEWEST,
    Estimate,
    Pairs,
    clusters_of,
    difference,
    spearman,
    wrong_share,
)
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

OneDiagnostic: Any = any_diagnostic()
SUPPORTED, CONTRADICTED, OPEN = "supported", "contradicted", "not decidable with these runs"
Known = dict[str, dict[str, tuple[Values, dict[str, int]]]]
"""Predictor -> task -> its numbers, and why runs have none."""


class Predictors(OfGrids):
    """Spearman correlations and shares of wrong pairs, task by task and over all tasks."""

    kind: Literal["predictors"]
    candidates: tuple[OneDiagnostic, ...] = Field(
        (),
        description="diagnostics whose numbers are tried, each with its options",
        examples=["[{kind: sharpness}, {kind: intruders}]"],
    )

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        return {diagnostic: self.run_ids(plan) for diagnostic in self.candidates}

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        seen: dict[Diagnostic, int] = {}
        for index, diagnostic in enumerate(self.candidates):
            if parser.is_broken_below((*where, "candidates", index)):
                continue  # told already
            if seen.setdefault(diagnostic, index) != index:
                rule = "a diagnostic with the same options stands there already"
                parser.problem((*where, "candidates", index), diagnostic.kind, rule, "remove one of the two")
            elif not diagnostic.scalars:
                rule = f"{diagnostic.kind} has no number of a whole run that could predict anything"
                parser.problem((*where, "candidates", index), diagnostic.kind, rule, "remove it")

    def build(self, context: Context) -> list[Cell]:
        """Cells of correlations, of wrong pairs, and of the verdict, with Holm's correction in each of the three families."""
        tasks = task_runs(context)
        asked = predictors(self.candidates)
        known: Known = {p.key: {f"{t.model}/{t.dataset}": values_of(context, p, t) for t in tasks} for p in asked}
        asked = [p for p in asked if not _not_asked(known[p.key])]
        cells = [
            cell
            for outcome in OUTCOMES for predictor in asked if not (outcome == "gap" and predictor.key in GAPS)
            for part in [*([tasks] if len(tasks) > 1 else []), *([task] for task in tasks)]
            for cell in self._of(predictor, outcome, part, known)
        ]  # fmt: skip
        return [*_corrected(cells, CORRELATION), *[c for c in cells if c.panel.startswith(WRONG)],
                *_corrected(self._verdict(asked, tasks, known), VERDICT)]  # fmt: skip

    def _cell(self, panel: str, tasks: list[TaskRuns], predictor: Predictor) -> Cell:
        """A cell without a value: of one task, or of all of them (no model and no data set)."""
        one = tasks[0] if len(tasks) == 1 else None
        return Cell(
            artefact=self.id, kind=self.kind, panel=panel, model=one.model if one else "", dataset=one.dataset if one else "",
            row=predictor.key, column="task" if one else ALL, metric=panel.partition("/")[0], text=predictor.label,
            planned=sum(len(t.run_ids) for t in tasks), run_ids=tuple(i for t in tasks for i in t.run_ids) if one else (),
        )  # fmt: skip

    def _of(self, predictor: Predictor, outcome: str, tasks: list[TaskRuns], known: Known) -> list[Cell]:
        """The correlation, and the wrong pairs where it is said which way is better."""
        values = [known[predictor.key][f"{t.model}/{t.dataset}"] for t in tasks]
        runs = [t.runs(x, outcome) for t, (x, _) in zip(tasks, values, strict=True)]
        name = f"{predictor.key} {outcome} {'+'.join(f'{t.model}/{t.dataset}' for t in tasks)}"
        found = spearman(runs, name)
        cell = self._cell(f"{CORRELATION}/{outcome}", tasks, predictor)
        why = {reason: sum(w.get(reason, 0) for _, w in values) for _, w in values for reason in w}
        cells = [_filled(cell, found, sum(len(r.x) for r in runs), why, clusters_of(runs))]
        if predictor.better != "none":
            pairs = [t.pairs(x, outcome, predictor.better) for t, (x, _) in zip(tasks, values, strict=True)]
            cells.append(_share(self._cell(f"{WRONG}/{outcome}", tasks, predictor), pairs, name))
        return cells

    def _verdict(self, asked: list[Predictor], tasks: list[TaskRuns], known: Known) -> list[Cell]:
        """Share of wrong pairs of the gap less that of each rival, on the test metric, over all tasks."""

        def pairs(p: Predictor) -> list[Pairs]:
            return [t.pairs(known[p.key][f"{t.model}/{t.dataset}"][0], "test_metric", p.better) for t in tasks]

        gap = next(p for p in asked if p.key == "gap")
        cells = []
        for rival in (p for p in asked if p.kind in RIVALS and p.better != "none"):
            found = difference(pairs(gap), pairs(rival), rival.key)
            cell = replace(self._cell(VERDICT, tasks, rival), unit="points", digits=0, planned=0)
            value, low, high = (None if v is None else 100 * v for v in (found.value, found.low, found.high))
            percent = Estimate(value, low, high, found.p)
            cells.append(_filled(cell, percent, 0, {}, clusters_of(pairs(gap))))
        return cells

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        made = [correlation_table(cells, plan, notes), wrong_table(cells, plan, notes)]
        return [*made, verdict_table(cells, notes)] if any(c.panel == VERDICT for c in cells) else made

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import predictor_figure  # loads matplotlib

        return predictor_figure.draw(self.id, cells, plan, folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        kinds = {p.kind for p in predictors(self.candidates)}
        said = [
            verdict(cells), "Correlation: Spearman's, over runs, ranks within each task. The test metric is turned so that more is better. Wrong pairs: "
            "of the pairs of methods of a task whose outcomes differ by more than their noise over seeds (Welch's 95 % interval of the "
            "difference; below three seeds any difference counts), the share on which the number prefers the worse method; 50 % is a "
            "coin. Small: how many pairs.",
            f"Intervals: 95 %, bootstrap over methods with all their runs, so they are for other methods like these; a method and its twin "
            f"count once; none where all pairs agree, which is no certainty, or hang on few methods. p: permutation of methods. *: p < {ALPHA:g} after Holm's correction over all correlations of this table.",
            "A method comes with its hyper-parameters, so what a number tells apart may be these; the methods that adapt nothing are left "
            "out. The gap contains the test loss of the very items that the test metric is of, which no landscape and no intruder count "
            "has seen: this favours it.",
        ]  # fmt: skip
        if "spectrum" in kinds:
            said.append(
                "Of effective rank, stable rank and columns touched nobody says which way is better, so no pair is wrong."
            )
        return said


def _not_asked(of: dict[str, tuple[Values, dict[str, int]]]) -> bool:
    """Whether a diagnostic was computed and has this number of no run: its options leave it out."""
    return not any(values for values, _ in of.values()) and {r for _, why in of.values() for r in why} == {UNDEFINED}


def _share(cell: Cell, pairs: list[Pairs], name: str) -> Cell:
    """Percent of wrong pairs; n counts pairs on which it prefers one, planned all that the outcome tells apart."""
    import numpy as np

    found = wrong_share(pairs, name)
    decided = sum(len(p.wrong) for p in pairs)
    preferred = sum(int(np.isfinite(p.wrong).sum()) for p in pairs)
    shown = replace(cell, unit="%", digits=0, n=preferred, planned=decided)
    if found.value is None:
        why = "it prefers none of a pair" if decided else "no two methods differ by more than their noise"
        return replace(shown, status="not_available", reason=why)
    low, high = (None if v is None else 100 * v for v in (found.low, found.high))
    return replace(shown, value=100 * found.value, low=low, high=high)


def _filled(cell: Cell, found: Estimate, n: int, why: dict[str, int], methods: int) -> Cell:
    """A cell with its estimate, and what is missing in words."""
    absent = "; ".join(f"{count} run{'s' * (count > 1)}: {reason}" for reason, count in why.items())
    filled = replace(cell, value=found.value, low=found.low, high=found.high, p=found.p, n=n)
    if found.value is None:
        return replace(filled, status="not_available", reason=absent or "all runs have the same value")
    if methods < FEWEST:
        few = f"{methods} methods: no interval below {FEWEST}"
        return replace(filled, status="partial" if absent else "ok", reason=f"{absent}; {few}" if absent else few)
    return replace(filled, status="partial" if absent else "ok", reason=absent or None)


def _corrected(cells: list[Cell], family: str) -> list[Cell]:
    """The cells of a family, p-values with Holm's correction over it."""
    mine = [c for c in cells if c.panel.startswith(family)]
    adjusted = iter(holm([c.p for c in mine if c.p is not None]))
    return [c if c.p is None else replace(c, p_adjusted=next(adjusted)) for c in mine]


def verdict(cells: list[Cell]) -> str:
    """The paper's claim (sections 4.3.1, 5) against these runs, from the cells.

    Supported: the gap has fewer wrong pairs than every rival, each with p < 0.05 after Holm. Contradicted: some rival has fewer than
    the gap, with such a p; or the gap's own interval lies above 50 %. Else these runs do not decide it.
    """
    claim = "The paper's claim, that the measured gap points to the better method with fewer false positives than landscapes and intruder dimensions, is"
    rivals = [c for c in cells if c.panel == VERDICT]
    whole = [c for c in cells if c.panel == f"{WRONG}/test_metric" and c.row == "gap"]
    if not rivals or not whole:
        return f"{claim} not examined here: no landscape, sharpness or intruders among the candidates."
    own = max(whole, key=lambda c: c.column == ALL)
    sure = [c for c in rivals if c.value is not None and c.p_adjusted is not None and c.p_adjusted < ALPHA]
    behind, ahead = [c for c in sure if c.number < 0], [c for c in sure if c.number > 0]
    backwards = own.low is not None and own.low > 50
    word = CONTRADICTED if ahead or backwards else SUPPORTED if len(behind) == len(rivals) else OPEN
    at = "" if own.value is None else f"The gap puts {own.number:.0f} % of {own.n} pairs the wrong way round"
    if own.low is not None and own.high is not None:
        at += f" (95 % interval {own.low:.0f} to {own.high:.0f} %)"
    counts = (
        f"it is better than {len(behind)} of {len(rivals)} rivals and worse than {len(ahead)}, after Holm's correction"
    )
    return (
        f"{claim} {word}. {at}; {counts}."
        if at
        else f"{claim} {word}: no pair of methods differs by more than its noise."
    )
