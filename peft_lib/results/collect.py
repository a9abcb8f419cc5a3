"""What the runs of a study left behind: one row per planned run, whatever happened to it.

Statuses: ok, diverged, out_of_memory (as the run recorded them), missing (no result), stale (made by other code or data
than the study now asks for), unreadable (the file cannot be read or belongs to another run). `reason` says why.
"""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from peft_lib.run_files import EPOCHS, RESULT, read_rows
from peft_lib.study.plan import Plan

RECORDED = ("ok", "diverged", "out_of_memory")
FAILURES = ("diverged", "out_of_memory", "unreadable", "stale", "missing")
"""Everything that is not ok, the one to name first first."""


def collect(plan: Plan, results: Path | str) -> pd.DataFrame:
    """Rows of all planned runs, indexed by run id: the RESULT columns, `gap_absolute` and `folder`.

    A stale run keeps its values, so that tables can show them marked; it never enters a mean with fresh ones.
    """
    results = Path(results)
    rows = {run_id: _row(plan, run_id, results) for run_id in plan.runs}
    columns = [*RESULT.names, "gap_absolute", "folder"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=object)
    frame.index.name = "run"
    return frame


def _row(plan: Plan, run_id: str, results: Path) -> dict[str, Any]:
    spec = plan.runs[run_id]
    known = {
        "run_id": run_id, "spec": spec.canonical, "model": spec.model.id, "dataset": spec.dataset.id,
        "method": spec.method, "seed": spec.seed, "folder": spec.folder,
    }  # fmt: skip
    path = results / "runs" / spec.folder / "result.parquet"
    if not path.is_file():
        return {**known, "status": "missing", "reason": "the run has no result yet"}
    try:
        found = read_rows(path)
    except (OSError, pa.ArrowException) as error:
        return {**known, "status": "unreadable", "reason": f"result.parquet: {_first_line(error)}"}
    problem = _problem(found, run_id)
    if problem:
        return {**known, "status": "unreadable", "reason": f"result.parquet: {problem}"}
    row = {name: found[0].get(name) for name in RESULT.names}
    row |= {"folder": spec.folder, "gap_absolute": None if row["gap"] is None else abs(row["gap"])}
    expected = plan.fingerprint(run_id)
    if row["fingerprint"] != expected:
        was = "" if row["status"] == "ok" else f" (it was {row['status']})"
        row["reason"] = f"made by fingerprint {row['fingerprint']}, the study now asks for {expected}{was}"
        row["status"] = "stale"
    return row


def _problem(found: list[dict[str, Any]], run_id: str) -> str | None:
    """What is wrong with the rows of a result file."""
    if len(found) != 1:
        return f"{len(found)} rows where one was expected"
    missing = [name for name in ("run_id", "status", "fingerprint", "gap") if name not in found[0]]
    if missing:
        return f"columns {', '.join(missing)} are absent: written by another release"
    if found[0]["run_id"] != run_id:
        return f"holds run {found[0]['run_id']}"
    if found[0]["status"] not in RECORDED:
        return f"unknown status {found[0]['status']!r}"
    return None


def read_epochs(folder: Path) -> pd.DataFrame:
    """The epochs table of one run. Raises OSError or pyarrow.ArrowException if it cannot be read."""
    rows = read_rows(folder / "epochs.parquet")
    return pd.DataFrame(rows, columns=EPOCHS.names)


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
