"""A diagnostic of a run as tables read it: its rows, or why there are none."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from peft_lib.diagnostics.diagnostic import Diagnostic, Row
from peft_lib.names import first_line
from peft_lib.results.diagnostic_files import file_of, read, stamp

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


@dataclass(frozen=True)
class Diagnosed:
    """status: ok; missing (not computed yet), stale (of other code, data or an older result), not_available (the run has kept
    nothing to compute it from), unreadable; or the status of the run itself. Rows are those of an ok one."""

    status: str
    reason: str | None = None
    rows: list[Row] = field(default_factory=list)

    @cached_property
    def _by_quantity(self) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for row in self.rows:
            found.setdefault(row.quantity, []).append(row)
        return found

    def of(self, quantity: str) -> list[Row]:
        """Rows of a quantity, in the order of the file; none unless the status is ok."""
        return self._by_quantity.get(quantity, [])

    def scalar(self, quantity: str) -> float | None:
        """A quantity that the run has once; None where it has none, or the status is not ok."""
        found = [r.value for r in self.of(quantity) if r.place is None and r.x is None and r.y is None]
        return found[0] if found else None


def diagnosed(plan: "Plan", run_id: str, run: Mapping[str, Any], diagnostic: Diagnostic, results: Path) -> Diagnosed:
    """A run's numbers. `run`: its row as `collect` has it."""
    if run["status"] != "ok":
        return Diagnosed(str(run["status"]), run["reason"])
    path = file_of(results / "runs" / plan.runs[run_id].folder, diagnostic)
    if not path.is_file():
        return Diagnosed("missing", f"{diagnostic.kind} has not been computed for this run yet")
    try:
        rows, facts = read(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        return Diagnosed("unreadable", f"{path.name}: {first_line(error)}")
    if bad := [r for r in rows if not math.isfinite(r.value)]:
        return Diagnosed("unreadable", f"{path.name}: {bad[0].quantity} is {bad[0].value}, a number is finite")
    expected = plan.diagnosis_fingerprint(diagnostic, run_id)
    if facts.fingerprint != expected:
        return Diagnosed("stale", f"{path.name}: made by fingerprint {facts.fingerprint}, now {expected}")
    if facts.result != stamp(dict(run)):
        return Diagnosed("stale", f"{path.name}: made of an older result of the run")
    return Diagnosed(facts.status, facts.reason, rows)
