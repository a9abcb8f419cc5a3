"""Kind `comparisons`: is a difference between methods more than chance? Each method against the row's best and against a named one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from peft_lib.artefacts.kind import Metric, OfGrids
from peft_lib.display import comparison_tables
from peft_lib.display.view import Footnotes, Picture, Table
from peft_lib.results import marks
from peft_lib.results.baseline import baseline
from peft_lib.results.cells import Cell
from peft_lib.results.comparison_panels import (
    AGAINST,
    CORRECTED,
    LAST_EPOCH,
    LEADER,
    LIMITS,
    MORE,
    MORE_SEEDS,
    NOT_LEARNT,
    RIGHT_ALONE,
    SEEDS,
    SINGLE,
    TEST_ITEMS,
    VALUE,
    verdict,
)  # fmt: skip
from peft_lib.results.context import Context, Group
from peft_lib.results.row_comparison import RowComparison, compare_row
from peft_lib.statistics.families import ALPHA
from peft_lib.statistics.items import NotComparable
from peft_lib.statistics.paired import Difference
from peft_lib.statistics.power import Noise, detectable
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.quantities import DATASET_METRICS, quantity
from peft_lib.study.types import Name
from peft_lib.study.wording import known

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan
    from peft_lib.study.schema import Study

COMPARABLE = (
    "test_metric", "test_loss", "gap", "gap_absolute",
    *(f"test_{name}" for name in DATASET_METRICS if name not in ("chrf", "nist")),
)  # fmt: skip
"""Quantities of test items that can be resampled (statistics/measures.py)."""


def check_comparable(name: str) -> str:
    """Raises Refused for a quantity that no resample of test items has."""
    return known(name, COMPARABLE, "comparisons resample test items, and that quantity is no function of them")


class Comparisons(OfGrids):
    """Differences with intervals and p-values, groups that are not told apart, and what limits them."""

    kind: Literal["comparisons"]
    metric: Annotated[Metric, AfterValidator(check_comparable)] = "test_metric"
    against: Annotated[
        Name | None, Field(description="method that every other one is compared with, beside the row's best")
    ] = None

    def check(self, where: Location, study: "Study", parser: Parser) -> None:
        super().check(where, study, parser)
        self.check_reference_method(self.against, where, study, parser, "against")

    def build(self, context: Context) -> list[Cell]:
        """Cells in the panels of results/comparison_panels.py, row by row."""
        return [cell for row in context.rows() for cell in self._row(context, row)]

    def _row(self, context: Context, row: list[Group]) -> Iterator[Cell]:
        values = {g.method: context.cell(g, self.metric, panel=VALUE) for g in row}
        whole = [g for g in row if values[g.method].complete]
        try:
            compared = compare_row(context, whole, self.metric) if whole else None
            reasons = dict(compared.refused) if compared else {}
        except NotComparable as error:
            compared, reasons = None, dict.fromkeys((g.method for g in whole), str(error))
        order = [m for m in values if compared and m in compared.methods]
        order.sort(key=lambda m: marks.goodness(values[m]), reverse=True)
        shown = compared.letters(order) if compared else {}
        yield from marks.rank([replace(c, text=shown.get(m)) for m, c in values.items()], 1)
        if self.metric == "test_metric":
            yield replace(baseline(context, row), panel=VALUE)
        for panel, reference in ((LEADER, order[0] if order else None), (AGAINST, self.against)):
            if panel == LEADER or reference:
                yield from self._against(panel, reference, values, compared, reasons)
        yield from self._limits(context, row, values, compared, order)

    def _against(
        self, panel: str, reference: str | None, values: dict[str, Cell], compared: RowComparison | None,
        reasons: dict[str, str],
    ) -> Iterator[Cell]:  # fmt: skip
        """One cell per method with its difference to the reference, and one with the items that one of the two alone has right."""
        adjusted: dict[str, float] = {}
        if compared and reference in compared.methods and panel == AGAINST:
            adjusted = compared.adjusted_against(reference)
        elif compared and reference in compared.methods:
            adjusted = {m: compared.adjusted(m, reference) for m in compared.methods if m != reference}
        for method, cell in values.items():
            blank = replace(
                cell,
                panel=panel,
                value=None,
                sd=None,
                low=None,
                high=None,
                values=(),
                source=reference,
                rank_in_row=None,
            )
            if method == reference and cell.complete and method not in reasons:
                yield replace(blank, value=0.0, text="leader" if panel == LEADER else "reference")
            elif method in adjusted and compared and reference:
                found = compared.between(method, reference)
                yield _difference(blank, found, adjusted[method])
                if pairs := compared.mcnemar(method, reference):
                    yield replace(
                        blank, panel=f"{panel} {RIGHT_ALONE}", unit="", digits=4, values=tuple(p for _, _, p in pairs),
                        text="; ".join(f"{a}:{b}" for a, b, _ in pairs), reason=None,
                    )  # fmt: skip
            else:
                why = reasons.get(method) or (cell.reason if not cell.complete else None)
                yield replace(
                    blank, n=0, status="not_available" if cell.complete else cell.status,
                    reason=why or _no_reference(reference, values, reasons), text="not tested",
                )  # fmt: skip

    def _limits(
        self,
        context: Context,
        row: list[Group],
        values: dict[str, Cell],
        compared: RowComparison | None,
        order: list[str],
    ) -> Iterator[Cell]:
        """What the row could have found, and what speaks against reading much into it."""
        blank: dict[str, Any] = {
            "panel": LIMITS, "method": None, "value": None, "sd": None, "low": None, "high": None, "values": (), "text": None,
            "status": "ok", "reason": None, "rank_in_row": None, "n": 0, "planned": 0,
        }  # fmt: skip
        pattern = replace(next(iter(values.values())), **blank)
        if compared:
            for column, value in _detectable(compared, order).items():
                yield replace(pattern, column=column, value=value, n=len(compared.seeds), planned=len(compared.seeds))
            count: dict[str, Any] = {"unit": "", "digits": 0, "direction": "none"}
            yield replace(pattern, column=TEST_ITEMS, value=float(compared.items), **count)
            yield replace(pattern, column=SEEDS, value=float(len(compared.seeds)), **count)
        count = {"unit": "runs", "digits": 0, "direction": "none"}
        good = [run_id for group in row for run_id in group.run_ids if context.runs.loc[run_id, "status"] == "ok"]
        rows = context.runs.loc[good]
        # Of runs that choose: under `selection: last` it is the last epoch by rule, and says nothing.
        chosen = rows.loc[[i for i in good if context.plan.runs[i].selection != "last"]]
        last = chosen[chosen["selected_epoch"].notna() & (chosen["selected_epoch"] == chosen["epochs"])]
        if len(chosen):
            yield replace(
                pattern, column=LAST_EPOCH, value=float(len(last)), n=len(chosen), planned=len(chosen), run_ids=tuple(last.index),
                **count,
            )  # fmt: skip
        known = rows[rows["baseline"].notna()] if self.metric == "test_metric" else rows[:0]
        if len(known):
            lower = quantity(self.metric, context.plan.datasets[row[0].dataset].metric).direction == "lower"
            away = known["test_metric"].astype(float) - known["baseline"].astype(float)
            flat = known[(away >= 0) if lower else (away <= 0)]
            names = [f"{method} {seed}" for method, seed in zip(flat["method"], flat["seed"], strict=True)]
            yield replace(
                pattern, column=NOT_LEARNT, value=float(len(flat)), n=len(known), planned=len(good), text="; ".join(names),
                run_ids=tuple(flat.index), **count,
            )  # fmt: skip

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return comparison_tables.tables(cells, plan, notes)

    def figures(self, cells: list[Cell], plan: "Plan", folder: Path) -> list[Picture]:
        from peft_lib.display import comparison_figure  # loads matplotlib

        return comparison_figure.draw(self.id, cells, plan, folder)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return comparison_tables.remarks(cells)


def _difference(blank: Cell, found: Difference, adjusted: float) -> Cell:
    filled = replace(
        blank, value=found.value, low=found.low, high=found.high, n=len(found.singles), planned=len(found.singles),
        values=found.singles, p=found.p, p_adjusted=adjusted, reason=None,
    )  # fmt: skip
    return replace(filled, text=verdict(filled))


def _no_reference(reference: str | None, values: dict[str, Cell], reasons: dict[str, str]) -> str:
    """Why there is nothing to compare a good method with."""
    if reference is None:
        return "no method of the row has all its runs"
    if reference not in values:
        return "the method to compare with is not part of this row"
    return reasons.get(reference) or values[reference].reason or "the method to compare with has no usable result"


def _detectable(compared: RowComparison, order: list[str]) -> dict[str, float]:
    """The smallest difference to the leader that is found four times in five: by one comparison, by one of all pairs of the row,
    and by that with MORE seeds. Noise: root mean squares over the comparisons with the leader, of methods that are not the same.
    Nothing where all are: two equal methods have no noise, and no difference to find."""
    found = [compared.between(order[0], method) for method in compared.others(order[0])]
    if not found:
        return {}

    def typical(parts: list[float]) -> float:
        return float((sum(x * x for x in parts) / len(parts)) ** 0.5)

    noise = Noise(len(compared.seeds), typical([d.se_items for d in found]))
    seeds = [(d.se_within, d.se_seeds, d.df) for d in found]
    strict = ALPHA / compared.family
    within, over, degrees = ([x for x in part if x is not None] for part in zip(*seeds, strict=True))
    if not over:
        return {SINGLE: detectable(noise), CORRECTED: detectable(noise, strict)}
    degree = float(sorted(degrees)[len(degrees) // 2])
    noise = replace(noise, within=typical(within), over_seeds=typical(over), df=degree)
    return {
        SINGLE: detectable(noise), CORRECTED: detectable(noise, strict),
        MORE_SEEDS: detectable(noise.with_seeds(MORE), strict),
    }  # fmt: skip
