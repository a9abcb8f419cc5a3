"""What the runs of a study left behind: one row per planned run, whatever happened to it.

Statuses: ok, diverged, out_of_memory (as the run recorded them), missing (no result), stale (made by other code or data
than the study now asks for), unreadable (the file cannot be read or belongs to another run). `reason` says why.
"""

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from peft_lib.names import first_line
from peft_lib.results.index import NEEDED, ResultIndex
from peft_lib.results.statuses import RECORDED
from peft_lib.run_files import EPOCHS, RESULT, read_rows
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import MEASURE_COLUMNS, QUANTITIES, quantity, value_of


def collect(plan: Plan, results: Path | str) -> pd.DataFrame:
    """Rows of all planned runs, indexed by run id: the RESULT columns, `gap_absolute`, `gap_running`, `folder`, and a
    column for each metric that a data set may have (`test_measures.f1`).

    A stale run keeps its values, so that tables can show them marked; it never enters a mean with fresh ones. Results that
    have not changed since the last call come from the folder's index (index.py), which is brought up to date.
    """
    index = ResultIndex(Path(results))
    rows = {run_id: _row(plan, run_id, index) for run_id in plan.runs}
    index.save()
    columns = [*RESULT.names, "gap_absolute", "gap_running", "folder", *MEASURE_COLUMNS]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)
    frame.index.name = "run"
    return frame


def _row(plan: Plan, run_id: str, index: ResultIndex) -> dict[str, Any]:
    spec = plan.runs[run_id]
    known = {
        "run_id": run_id, "spec": spec.canonical, "model": spec.model.id, "dataset": spec.dataset.id,
        "method": spec.method, "seed": spec.seed, "folder": spec.folder,
    }  # fmt: skip
    try:
        rows = index.read(index.results / "runs" / spec.folder / "result.parquet")
    except (OSError, pa.ArrowException) as error:
        return {**known, "status": "unreadable", "reason": f"result.parquet: {first_line(error)}"}
    if rows is None:
        return {**known, "status": "missing", "reason": "the run has no result yet"}
    problem = _problem(rows, run_id) or _impossible(rows[0], plan.datasets[spec.dataset.id].metric)
    if problem:
        return {**known, "status": "unreadable", "reason": f"result.parquet: {problem}"}
    row = {name: rows[0].get(name) for name in RESULT.names}
    row |= {"folder": spec.folder, "gap_absolute": None if row["gap"] is None else abs(row["gap"])}
    row["gap_running"] = _difference(row["test_loss"], row["train_loss_running"])
    row |= {column: value_of(rows[0], column) for column in MEASURE_COLUMNS}
    expected = plan.fingerprint(run_id)
    if row["fingerprint"] != expected:
        was = "" if row["status"] == "ok" else f" (it was {row['status']})"
        row["reason"] = f"made by fingerprint {row['fingerprint']}, the study now asks for {expected}{was}"
        row["status"] = "stale"
    return row


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _problem(rows: list[dict[str, Any]], run_id: str) -> str | None:
    """What is wrong with the rows of a result file."""
    if len(rows) != 1:
        return f"{len(rows)} rows where one was expected"
    missing = [name for name in NEEDED if name not in rows[0]]
    if missing:
        return f"columns {', '.join(missing)} are absent: written by another release"
    if rows[0]["run_id"] != run_id:
        return f"holds run {rows[0]['run_id']}"
    if rows[0]["status"] not in RECORDED:
        return f"unknown status {rows[0]['status']!r}"
    return None


def _impossible(row: dict[str, Any], metric: str) -> str | None:
    """A measured value of a good run that its quantity cannot have: not finite, or out of range."""
    if row["status"] != "ok":
        return None
    for name in QUANTITIES:
        what = quantity(name, metric)
        value = value_of(row, what.column)
        if value is None:
            continue
        if not math.isfinite(value):
            return f"{what.column} is {value}: a good run has finite values"
        shown = value * what.scale
        # A correlation may come out as 1 + 2e-16.
        slack = 1e-9 * max(abs(shown), 1.0)
        if (what.low is not None and shown < what.low - slack) or (what.high is not None and shown > what.high + slack):
            allowed = f"at least {what.low}" if what.high is None else f"{what.low} to {what.high}"
            return f"{what.column} is {value}: {what.label} ({what.unit or 'no unit'}) is {allowed}"
    return None


def read_epochs(folder: Path) -> pd.DataFrame:
    """The epochs table of one run. Raises OSError or pyarrow.ArrowException if it cannot be read."""
    rows = read_rows(folder / "epochs.parquet")
    return pd.DataFrame(rows, columns=EPOCHS.names)
