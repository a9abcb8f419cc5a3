"""What a study would do, without doing it: runs by artefact, hours, GPUs, disk; and what a change of it means.

    python -m workflow_scripts.plan --configfile config/paper.yaml
    python -m workflow_scripts.plan --configfile config/paper.yaml --only '{artefact: table9}' --device cuda
    python -m workflow_scripts.plan --configfile changed.yaml --against config/paper.yaml

Without --against, the study is compared with the one that was recorded when its tables were made, if there is one.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from peft_lib.results.outlook import outlook
from peft_lib.study.plan import Plan
from peft_lib.study.problems import StudyError
from workflow_scripts.errors import run
from workflow_scripts.studies import add_arguments, plan_of, planned, processor_of
from workflow_scripts.texts import size, table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--resources", default="resources", type=Path)
    parser.add_argument("--against", type=Path, metavar="FILE", help="another study, to compare runs with")
    parser.add_argument("--json", action="store_true", help="everything as JSON, for programs")
    options = parser.parse_args(arguments)
    plan = planned(options)
    other, against = compared(options.against, options.results / "tables" / plan.study.id / "study.json", options.root)
    seen = outlook(plan, options.results, options.resources, *processor_of(plan, options), against)
    if options.json:
        json.dump(seen | {"compared_with": str(other) if other else None}, sys.stdout, indent=1)
        print()
    else:
        show(seen, str(other))
    return 0


def compared(named: Path | None, recorded: Path, root: Path) -> tuple[Path | None, Plan | None]:
    """The study to compare with: the named one, else the recorded one if there is one that can still be planned."""
    if named is not None:
        return named, plan_of(named, root)
    if not recorded.is_file():
        return None, None
    try:
        return recorded, plan_of(recorded, root)
    except StudyError as error:
        print(f"note: not compared with what was recorded, which cannot be planned now: {error}", file=sys.stderr)
        return None, None


def show(seen: dict[str, Any], other: str) -> None:
    total, hours = seen["total"], f"{'GPU' if seen['device'] == 'cuda' else 'CPU'} hours"
    part = f", {total['asked']:,} asked for" if total["asked"] != total["runs"] else ""
    print(
        f"Study {seen['study']}: {total['runs']:,} runs{part}; {total['shared_by_artefacts']:,} are in several artefacts, "
        f"{total['in_no_artefact']:,} in none."
    )
    columns = {"runs": "runs", "own": "own", "asked": "asked for", "done": "done", "stale": "stale", "todo": "to do"}
    if not part:
        del columns["asked"]
    rows = [[a["id"], a["number"], *(a[name] for name in columns), a["hours"]] for a in seen["artefacts"]]
    rows.append(["each run once", None, *(total.get(name) for name in columns), total["hours"]])
    table("Runs by artefact", ("artefact", "number", *columns.values(), hours), rows)
    if seen["diagnostics"]:
        rows = [[d["options"], d["runs"], d["done"], d["todo"]] for d in seen["diagnostics"]]
        table("Diagnostics of finished runs", ("diagnostic and options", "runs", "done", "to do"), rows)
    if seen["hours"]:
        table(
            f"{hours} of runs to do",
            ("from", "runs", hours),
            [[h["source"], h["runs"], h["hours"]] for h in seen["hours"]],
        )
        if any(h["source"] == "by formula" for h in seen["hours"]):
            print(f"  By formula: on {seen['processor']}, a central estimate (peft_lib/study/cost.py).")
    if seen["gpus"]:
        kinds = [[f"{g['memory_gb']} GB" if g["memory_gb"] else "more than any", g["gpus"], g["runs"], g["hours"],
                  ", ".join(g["models"])] for g in seen["gpus"]]  # fmt: skip
        table("GPU memory that runs to do need, at most (needs.py)", ("memory", "GPUs", "runs", hours, "models"), kinds)
    disk = seen["disk"]
    names = {"runs": "finished runs", "weights": "weights to fetch", "prepared": "data to prepare",
             "largest_checkpoint": "checkpoint of a run at work, the largest"}  # fmt: skip
    table("Disk to come", ("what", "bytes"), [[text, size(disk[name])] for name, text in names.items()])
    if seen["stale"]:
        groups = [[g["model"], g["dataset"], g["method"], g["runs"]] for g in seen["stale"]]
        table("Results that the present code makes stale", ("model", "data set", "method", "runs"), groups)
    if seen["change"]:
        show_change(seen["change"], other, hours)


def show_change(change: dict[str, Any], other: str, hours: str) -> None:
    rows: list[list[object]] = [
        ["new", change["new"], f"{change['new_todo']:,} to do, {change['new_hours']:,.1f} {hours}"],
        ["kept", change["kept"], f"{change['kept_stale']:,} stale"],
        ["no longer needed", change["gone"], "their results stay on the disk"],
    ]
    table(f"Against {other}", ("runs", "number", ""), rows)
    for title, name in (("New runs", "new_runs"), ("Runs that are no longer needed", "gone_runs")):
        if groups := change[name]:
            lines = [[g["model"], g["dataset"], g["method"], g["runs"]] for g in groups[:40]]
            table(title, ("model", "data set", "method", "runs"), lines)
            if len(groups) > 40:
                print(f"  ... and {len(groups) - 40:,} more lines (--json has all)")


if __name__ == "__main__":
    sys.exit(run(main))
