"""Kind `chaining`: does chaining help? Each method that chains against the one that it is without its resets, per task."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.kind import Metric, OfGrids
from peft_lib.display.chaining_tables import (
    BASE,
    BASE_TOUCHED,
    CHAIN,
    DIFFERENCE,
    DIFFERS,
    HELPS,
    HURTS,
    LINKS,
    OPEN,
    RESETS,
    TOUCHED,
    UNKNOWN,
    question,
    remarks_of,
    tables_of,
)  # fmt: skip
from peft_lib.display.entries import fixed
from peft_lib.display.markup import plain_name
from peft_lib.display.tables import setting_name
from peft_lib.display.view import Footnotes, Table
from peft_lib.methods.method import CHAIN_SETTINGS
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.chains import base_of, columns_touched, planned_links
from peft_lib.results.context import Context, Group
from peft_lib.results.row_comparison import RowComparison, compare_row
from peft_lib.statistics.families import ALPHA, holm
from peft_lib.statistics.items import NotComparable
from peft_lib.study.labels import setting_text
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


class Chaining(OfGrids):
    """A row per task and pair: both means, their paired difference, what the chain did."""

    kind: Literal["chaining"]
    metric: Metric = "test_metric"

    def build(self, context: Context) -> list[Cell]:
        """Panels are the chains' method ids; p_adjusted is Holm's over all pairs of the artefact."""
        cells: list[Cell] = []
        for row in context.rows():
            by_method = {group.method: group for group in row}
            bases = {m: base for m in by_method if (base := base_of(get_method(m), by_method))}
            if not bases:
                continue
            whole = [g for g in row if context.cell(g, self.metric).complete]
            compared, why = None, None
            try:
                compared = compare_row(context, whole, self.metric) if whole else None
            except NotComparable as error:
                why = str(error)
            for chain, base in bases.items():
                cells += self._of_pair(context, by_method[chain], by_method[base], compared, why)
        return _corrected(cells)

    def _of_pair(
        self, context: Context, chain: Group, base: Group, compared: RowComparison | None, why: str | None
    ) -> Iterator[Cell]:
        ours = context.cell(chain, self.metric, panel=chain.method, column=CHAIN)
        theirs = context.cell(base, self.metric, panel=chain.method, column=BASE)
        yield theirs
        yield ours
        yield self._difference(ours, theirs, compared, why, _other_settings(context.spec(chain), context.spec(base)))
        pattern = replace(
            ours, value=None, sd=None, low=None, high=None, values=(), status="ok", reason=None, unit="", direction="none",
            digits=1,
        )  # fmt: skip
        spec = context.spec(chain)
        planned = planned_links(spec)
        yield replace(pattern, column=RESETS, metric=RESETS, value=planned - 1, digits=0)
        runs = [run for run in context.of_runs(chain, "links") if run.status == "ok" and run.value is not None]
        links = [int(run.value) for run in runs]
        if not links:
            blank = replace(pattern, status=ours.status, reason=ours.reason)
            yield from (replace(blank, column=c, metric=c) for c in (LINKS, TOUCHED))
        else:
            mean = sum(links) / len(links)
            yield replace(
                pattern, column=LINKS, metric=LINKS, value=mean, values=tuple(map(float, links)), n=len(links),
                text=f"{_short(mean)} of {planned}",
            )  # fmt: skip
            yield self._touched(context, pattern, TOUCHED, chain, links)
        yield self._touched(
            context, replace(pattern, method=base.method, run_ids=base.run_ids), BASE_TOUCHED, base, [1]
        )

    def _difference(
        self, ours: Cell, theirs: Cell, compared: RowComparison | None, why: str | None, note: str | None
    ) -> Cell:
        blank = replace(
            ours, column=DIFFERENCE, value=None, sd=None, low=None, high=None, values=(), source=theirs.method,
            run_ids=(*ours.run_ids, *theirs.run_ids), text=UNKNOWN,
        )  # fmt: skip
        lacking = next((c for c in (ours, theirs) if not c.complete), None)
        if lacking is not None:
            reason = f"{plain_name(str(lacking.method))}: {lacking.reason}"
            return replace(blank, n=0, status="not_available" if lacking.measured else lacking.status, reason=reason)
        chain, base = str(ours.method), str(theirs.method)
        if compared is None or chain not in compared.methods or base not in compared.methods:
            refused = compared.refused if compared else {}
            reason = f"no test: {refused.get(chain) or refused.get(base) or why}"
            return replace(blank, value=ours.number - theirs.number, reason="; ".join(filter(None, (reason, note))))
        found = compared.between(chain, base)
        return replace(
            blank, value=found.value, low=found.low, high=found.high, values=found.singles, n=len(found.singles), p=found.p,
            reason=note,
        )  # fmt: skip

    def _touched(self, context: Context, pattern: Cell, column: str, group: Group, links: list[int]) -> Cell:
        """Mean share of columns that the links up to the reported epoch touched, over adapted places; `text`: of how many."""
        spec = context.spec(group)
        shapes = context.plan.models[group.model].targets[spec.targets]
        counts: dict[int, float | None] = {}
        share, places = 0.0, 0
        for shape in shapes:
            touched = [columns_touched(spec, shape.d_in, shape.d_out, n) for n in links]
            known = [t for t in touched if t is not None]
            counts[shape.d_in] = sum(known) / len(known) if known else None
            share += shape.count * (sum(known) / len(known) / shape.d_in if known else 1.0)
            places += shape.count
        texts = [f"{_short(count)} of {d_in}" for d_in, count in counts.items() if count is not None]
        return replace(
            pattern, column=column, metric="columns_touched", unit="%", value=100 * share / places, n=len(links),
            text="; ".join(texts) or "all",
        )  # fmt: skip

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        return tables_of(cells, plan, notes)

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return remarks_of(cells)


def _corrected(cells: list[Cell]) -> list[Cell]:
    """Adds Holm's p over all tested pairs, and what they say in words. Pairs that are one up to rounding (r-c3LA and C-PaCA,
    with their bases) count once: the same question is not asked twice."""
    asked = {question(c): c.p for c in cells if c.column == DIFFERENCE and c.p is not None}
    adjusted = dict(zip(asked, holm([p or 0.0 for p in asked.values()]), strict=True))
    return [
        replace(c, p_adjusted=adjusted[question(c)], text=_verdict(c, adjusted[question(c)]))
        if c.column == DIFFERENCE and c.p is not None
        else c
        for c in cells
    ]


def _verdict(cell: Cell, p: float) -> str:
    if p >= ALPHA:
        return OPEN
    if cell.direction == "none":
        return DIFFERS
    return HELPS if (cell.number > 0) == (cell.direction == "higher") else HURTS


def _other_settings(chain: RunSpec, base: RunSpec) -> str | None:
    """What the two differ in beside their chaining, in words; options count where both methods have them."""
    skip = {"method", "seed", "options", *CHAIN_SETTINGS}
    one, other = (spec.model_dump(exclude=skip) for spec in (chain, base))
    parts = [
        f"{setting_name(name)} {setting_text(one[name])} against {setting_text(other[name])}"
        for name in one if one[name] != other[name]
    ]  # fmt: skip
    shared = get_method(chain.method).options.model_fields.keys() & get_method(base.method).options.model_fields.keys()
    given = [get_method(spec.method).parse_options(spec.options).model_dump() for spec in (chain, base)]
    parts += [f"{n} {given[0][n]} against {given[1][n]}" for n in sorted(shared) if given[0][n] != given[1][n]]
    return ", ".join(parts) or None


def _short(value: float) -> str:
    """A mean count: whole where it is."""
    return fixed(value, 0 if value == round(value) else 1)
