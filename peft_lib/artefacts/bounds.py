"""Kind `bounds`: the paper's Table 1 in numbers, for each task and method, beside the gap that was measured (docs/theory.md).

Bounds need no run: they follow from spec and catalogs. The measured gap comes from the runs' results. On request the spectral
norms of W0 and Delta W, which are what Theorem 1 adds to the bound, from the diagnostic `spectrum`.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from peft_lib.analysis.bounds import BITS, most_parameters
from peft_lib.artefacts.kind import OfGrids
from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.spectrum import Spectrum
from peft_lib.display.bound_tables import agreement_table, bound_table, expression_table, norm_tables
from peft_lib.display.remarks import spread_remarks
from peft_lib.display.view import Footnotes, Table
from peft_lib.results.bound_norms import norm_cells
from peft_lib.results.bound_terms import Terms, printed, terms, widths_of
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.known_methods import method_of
from peft_lib.study.types import Positive

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

TABLE, AGREEMENT = "bound", "agreement"
"""Panels: the bound and what it is made of, and whether it ranks methods as the measured gap does."""
PRINTED = "paper, Table 1"
DERIVED = "not in the paper's Table 1 (ERRATA 18): the same derivation"
BY_LEMMA = "not in the paper's Table 1: Lemma 1 with all numbers that train"
FEWEST = 4
"""Methods from which on a rank correlation is given."""


class Bounds(OfGrids):
    """Upper bounds on the generalization error, and what was measured."""

    kind: Literal["bounds"]
    sigma: Annotated[Positive, Field(description="sigma of a sub-Gaussian loss; b/2 for a loss between 0 and b")] = 0.5
    norms: bool = Field(
        False, description="also the spectral norms of W0 and of the updates, and Theorem 1's products of them"
    )

    template = "bounds"
    switches = True

    def diagnostics(self, plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
        return {Spectrum(): self.run_ids(plan)} if self.norms else {}

    def build(self, context: Context) -> list[Cell]:
        """Per task and method one cell for each part of the bound; per task the rank correlation of bound and gap.

        Raises PublishedError for a file of the printed table that cannot be read.
        """
        table, cells = printed(context.references), []
        for row in context.rows():
            parts = [self._of(context, group, table) for group in row]
            cells += [cell for part in parts for cell in part]
            cells += [_agreement(parts, gap) for gap in ("gap", "gap_absolute")]
        if self.norms:
            adapted = [group for group in context.groups if terms(context.spec(group), context.plan) is not None]
            cells += [cell for group in adapted for cell in norm_cells(context, group, Spectrum())]
        return cells

    def _of(self, context: Context, group: Group, table: dict[str, dict[str, str]]) -> list[Cell]:
        gaps = [context.cell(group, name, panel=TABLE, column=name) for name in ("gap", "gap_absolute")]
        blank = Cell(
            artefact=self.id, kind=self.kind, panel=TABLE, model=group.model, dataset=group.dataset, row=group.row, column="",
            metric="", method=group.method, run_ids=group.run_ids,
        )  # fmt: skip
        found = terms(context.spec(group), context.plan, _items(context, group))
        if found is None:
            why = "this method adapts nothing, so the bound, which leaves the head out, is not defined"
            none = replace(blank, column="bound", metric="bound", status="not_available", reason=why)
            return [none, *gaps]
        return [
            *self._parts(found, blank, table.get(group.method)),
            *gaps,
            _ratio(blank, found.bound(self.sigma), gaps[0]),
        ]

    def _parts(self, found: Terms, blank: Cell, row: dict[str, str] | None) -> Iterator[Cell]:
        """What the bound is made of, the bound, and what it says."""
        whole: dict[str, float | None] = {
            "rank": found.rank, "links": found.links, "bits": BITS, "dimensions": found.dimensions, "items": found.items,
            "parameters": found.parameters,
        }  # fmt: skip
        for name, value in whole.items():
            if value is not None:
                yield replace(blank, column=name, metric=name, value=float(value), digits=0)
        source = PRINTED if row else DERIVED if found.widths else BY_LEMMA
        wrong = _contradiction(blank, row)
        bound = replace(blank, direction="lower", source=source, **wrong)
        yield replace(bound, column="bound", metric="bound", value=found.bound(self.sigma))
        yield replace(bound, column="bound_with_head", metric="bound", value=found.bound(self.sigma, with_head=True))
        says = found.vacuous(self.sigma) or "below the range of the loss"
        yield replace(blank, column="says", metric="bound", text=says, source=source)

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        shown = [c for c in cells if c.panel == TABLE]
        agreement = [c for c in cells if c.panel == AGREEMENT]
        return [
            expression_table(shown, plan), bound_table(shown, plan, notes), agreement_table(agreement, plan, notes),
            *norm_tables([c for c in cells if c.panel not in (TABLE, AGREEMENT)], plan, notes),
        ]  # fmt: skip

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        """How many bounds say something, what they assume, and what they leave out."""
        said = [c for c in cells if c.column == "says"]
        vacuous = sum((c.text or "").startswith("vacuous") for c in said)
        items = [c.number for c in cells if c.column == "items"]
        remarks = [
            f"The bound is \u03c3 \u221a(2 ln 2 \u00b7 q p / |N|) with \u03c3 = {self.sigma:g} and q = {BITS} bits: for a loss between 0 and "
            f"{2 * self.sigma:g} (Hoeffding). It is vacuous in {vacuous} of {len(said)} cells."
        ]
        if items:
            most = most_parameters(int(max(items)))
            remarks.append(
                f"Whatever \u03c3 is, it says something only up to p = {max(most, 0):,} trained numbers, with the most training items "
                f"of this table ({max(items):,.0f}); its smallest p is "
                f"{min(c.number for c in cells if c.column == 'parameters'):,.0f}."
            )
        remarks.append(
            "The measured gap is of the task's own loss. Cross-entropy has no upper bound, so no \u03c3 is known for it, and bound and gap "
            "are compared for their order, not for their size. Table 1 adds \u03a6 of Theorem 1 to the bound, and the head, which trains "
            "too, is not in p: 'with head' adds it. That p is of the whole chain; the reported epoch may have fewer links."
        )
        if self.norms:
            remarks.append(
                "Theorem 1 is of fully connected layers with bounded inputs. Its products here run over the adapted matrices alone, as if "
                "they were such a chain; attention, residual connections, normalisation, biases and frozen matrices are not covered, so "
                "no \u03a6 is given. A frozen matrix has \u2016\u0394W\u2016 = 0, so that the product around \u0394W loses its second part."
            )
        return [*remarks, *spread_remarks(cells, tables)]


def _items(context: Context, group: Group) -> int | None:
    """Training items as its runs counted them; None if none has, or they differ."""
    counted = {int(r.value) for r in context.of_runs(group, "n_train") if r.status == "ok" and r.value is not None}
    return counted.pop() if len(counted) == 1 else None


def _contradiction(blank: Cell, row: dict[str, str] | None) -> dict[str, Any]:
    """Whether the printed expression is another one than ours."""
    if row is None:
        return {}
    method = method_of(str(blank.method))
    ours = (widths_of(method), "yes" if method.chains else "no")
    if ours == (row["widths"], row["chain"]):
        return {}
    return {"status": "mismatch", "reason": f"the paper prints {row['widths']}, chain: {row['chain']}; ours is {ours}"}


def _ratio(blank: Cell, bound: float, gap: Cell) -> Cell:
    """The bound divided by the absolute value of the mean gap."""
    cell = replace(blank, column="ratio", metric="ratio", digits=0, n=gap.n, planned=gap.planned)
    if not gap.value:
        why = gap.reason if gap.value is None else "the measured gap is 0"
        return replace(cell, status=gap.status if gap.value is None else "not_available", reason=why)
    return replace(cell, value=bound / abs(gap.value), status=gap.status, reason=gap.reason)


def _agreement(parts: list[list[Cell]], gap: str) -> Cell:
    """Kendall's tau-b of bound and mean gap over a task's methods: 1 where a larger bound always goes with a larger gap.

    tau-b allows for ties, of which Table 1 has many; as gaps have none, it stays below 1 in size then. Only methods with factors
    count (full fine-tuning's bound is by Lemma 1 alone), and only where all planned runs are there.
    """
    from scipy import stats

    pairs = []
    for part in parts:
        found = {c.column: c for c in part}
        if "bound" in found and found["bound"].source in (PRINTED, DERIVED):
            pairs.append((found["bound"], found[gap]))
    whole = [(bound.number, measured.number) for bound, measured in pairs if measured.complete]
    first = parts[0][0]
    cell = Cell(
        artefact=first.artefact, kind=first.kind, panel=AGREEMENT, model=first.model, dataset=first.dataset, row=first.row,
        column=gap, metric="kendall_tau_b", n=len(whole), planned=len(pairs),
    )  # fmt: skip
    columns = [set(values) for values in zip(*whole, strict=True)]
    if len(whole) < FEWEST or min(map(len, columns)) < 2:
        why = f"{len(whole)} methods with all their runs" if len(whole) < FEWEST else "all methods have the same value"
        return replace(cell, status="not_available", reason=why)
    tau = stats.kendalltau(*zip(*whole, strict=True), variant="b")
    return replace(
        cell, value=float(tau.statistic), p=float(tau.pvalue), status="ok" if len(whole) == len(pairs) else "partial",
        reason=None if len(whole) == len(pairs) else f"{len(whole)} of {len(pairs)} methods have all their runs",
    )  # fmt: skip
