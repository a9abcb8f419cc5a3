"""Trainable parameters by formula beside those that runs counted.

Percent is of (model + A + B), the model with its head, A and B whether they train or not: selectors count as the matrix
they stand for, as in the paper.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.counts import Counts
from peft_lib.study.counts import counts as counts_of
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


def counts(spec: RunSpec, plan: "Plan") -> Counts:
    """Trainable parameters and (model + A + B), from the catalog's dimensions."""
    return counts_of(spec, plan.models[spec.model.id], plan.datasets[spec.dataset.id])


def checked(context: Context, group: Group, by_formula: Counts) -> Cell:
    """The counted value, or the formula's where no run has counted yet, and a mismatch said loudly."""
    blank: dict[str, Any] = {"sd": None, "low": None, "high": None, "values": ()}
    cell = replace(context.cell(group, "trainable_parameters"), expected=by_formula.trainable, **blank)
    counted = _counted(context, group)
    if reason := _contradiction(counted, by_formula):
        return replace(cell, status="mismatch", reason=reason)
    if not counted:
        return replace(cell, value=by_formula.trainable, reason=f"by formula, not yet counted by a run ({cell.reason})")
    return replace(cell, value=by_formula.trainable, reason=cell.reason if cell.status != "ok" else None)


def checked_against_formula(context: Context, group: Group, cell: Cell) -> Cell:
    """A cell of counted parameters, as a mismatch if the formula says otherwise."""
    reason = _contradiction(_counted(context, group), counts(context.spec(group), context.plan))
    return replace(cell, status="mismatch", reason=reason) if reason else cell


def _counted(context: Context, group: Group) -> list[int]:
    """The different numbers of trainable parameters that the group's good runs counted."""
    rows = context.of_runs(group, "trainable_parameters")
    return sorted({int(row.value) for row in rows if row.status == "ok" and row.value is not None})


def _contradiction(counted: list[int], by_formula: Counts) -> str | None:
    """In words how the runs' counts differ from the formula; None if they agree or there are none."""
    if not counted or counted == [by_formula.trainable]:
        return None
    shown = " and ".join(f"{v:,}" for v in counted)
    return f"runs counted {shown}, the formula says {by_formula.trainable:,}"
