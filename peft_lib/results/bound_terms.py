"""What Table 1's bound of a run is made of, from its spec and the catalogs alone: r, k, sums of widths, p, |N|, q.

The paper's table is printed for eight methods (reports/reference/bounds.csv). The same derivation (D.1.6, Lemma 1) gives the bound
of every method that adapts places, from what its factors train; `source` says which of them a value is.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from peft_lib.analysis.bounds import BITS, table1
from peft_lib.methods.method import Method
from peft_lib.results.reference_file import Fault, PublishedError, read_table
from peft_lib.study.counts import counts
from peft_lib.study.known_methods import method_of
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

FILE = "bounds.csv"
COLUMNS = ("method", "chain", "widths", "note")


@dataclass(frozen=True)
class Terms:
    """rank: r, None where a method has none. links: k, of the whole run. widths: 'm+n', 'n', or '' where the trained numbers are no
    factors. dimensions: the sum of those widths over places, None likewise. parameters: p = r k times it, or the trained numbers
    of all links. head: numbers that every method trains beside it, which p leaves out as D.1.6 does. items: |N|. classes: of
    the data set, None where there are none.
    """

    rank: int | None
    links: int
    widths: str
    dimensions: int | None
    parameters: int
    head: int
    items: int
    classes: int | None

    def bound(self, sigma: float, with_head: bool = False) -> float:
        """sigma sqrt(2 ln 2 q p / |N|)."""
        return table1(self.parameters + self.head * with_head, self.items, sigma, BITS)

    def vacuous(self, sigma: float) -> str:
        """Why the bound says nothing; empty where it says something.

        The gap of a loss in an interval of length 2 sigma is at most 2 sigma. A uniform answer has a loss of ln(classes) whatever the
        items are, and no gap at all; the constant answer's loss is at most that.
        """
        value = self.bound(sigma)
        reasons = [f"the loss' range {2 * sigma:g}"] * (value >= 2 * sigma)
        if self.classes and value >= math.log(self.classes):
            reasons.append(f"a uniform answer's loss ln {self.classes} = {math.log(self.classes):.2f}")
        return f"vacuous: above {' and '.join(reasons)}" if reasons else ""


def terms(spec: RunSpec, plan: "Plan", items: int | None = None) -> Terms | None:
    """The terms of a run; None where its method adapts nothing. items: training items that runs have counted; None: planned."""
    from peft_lib.training.schedule import chain_resets  # a formula of the spec; fingerprints of runs cover that room

    method, model, data = method_of(spec.method), plan.models[spec.model.id], plan.datasets[spec.dataset.id]
    counted = counts(spec, model, data)
    trained = counted.trainable - counted.in_full
    if not trained:
        return None
    links = 1 + len(chain_resets(spec)) if method.chains else 1
    widths = widths_of(method)
    dimensions = None
    if widths:
        dimensions = method.trained_size([(s.d_in, s.d_out, s.count) for s in model.targets[spec.targets]], 1)
    return Terms(
        rank=spec.rank if dimensions is not None else None, links=links, widths=widths, dimensions=dimensions,
        parameters=trained * links, head=counted.in_full, items=items or planned_items(spec, plan),
        classes=data.outputs if data.task == "classification" else None,
    )  # fmt: skip


def widths_of(method: Method) -> str:
    """Which widths the trained factors have: 'm+n' where A and B train, 'n' where B alone does (or PaCA's columns), 'm' for A;
    '' where trained numbers are no factors."""
    if method.kind != "factors":
        return ""
    parts = [name for name, factors in (("m", ("A",)), ("n", ("B", "P"))) if any(f in method.trains for f in factors)]
    return "+".join(parts)


def planned_items(spec: RunSpec, plan: "Plan") -> int:
    """Training items by the catalog, before validation items may be taken off."""
    rows = plan.datasets[spec.dataset.id].sizes["train"]
    return min(rows, spec.train_limit or rows)


def printed(references: Path) -> dict[str, dict[str, str]]:
    """Method -> its row of the paper's Table 1. Raises PublishedError for a row that is not as the table can be."""
    path = references / FILE
    _, rows = read_table(path, COLUMNS, COLUMNS)
    faults = [
        Fault(line, f"{name} {row[name]!r}", f"it is one of {', '.join(allowed)}", "mend it")
        for line, row in rows
        for name, allowed in (("chain", ("yes", "no")), ("widths", ("m+n", "n")))
        if row[name] not in allowed
    ]
    if faults:
        raise PublishedError(path, faults)
    return {row["method"]: row for _, row in rows}
