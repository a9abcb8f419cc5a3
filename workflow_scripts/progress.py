"""How far a study is, and how long it will take: in another terminal while Snakemake runs, or once.

    python -m workflow_scripts.progress
    python -m workflow_scripts.progress --configfile config/paper.yaml --watch 30

It reads the results folder and changes nothing. With --watch it ends when all runs that are asked for have ended.
"""

import argparse
import sys
import time
from collections.abc import Callable
from datetime import datetime

from peft_lib.results.index import ResultIndex
from peft_lib.results.outlook import hours_of
from peft_lib.results.progress import Progress, progress
from workflow_scripts.errors import run
from workflow_scripts.studies import add_arguments, planned, processor_of
from workflow_scripts.texts import span

SHOWN = 12
"""Active runs that have a line of their own."""
AGAIN = 10
"""Looks after which the estimates are made anew, from the runs that have ended meanwhile."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--watch", type=float, metavar="SECONDS", help="look again every so often, until all has ended")
    options = parser.parse_args(arguments)
    if options.watch is not None and options.watch <= 0:
        parser.error(f"--watch {options.watch}: give a number of seconds above 0")
    plan = planned(options)
    processor, cuda = processor_of(plan, options)
    index = ResultIndex(options.results)
    looks, hours = 0, {}

    def look() -> Progress:
        nonlocal looks, hours
        if looks % AGAIN == 0:
            hours = hours_of(plan, options.results, processor, cuda)[0]
        looks += 1
        return progress(plan, index, hours)

    try:
        if options.watch is None:
            say(look())
        elif sys.stdout.isatty():
            bars(look, options.watch)
        else:
            watch(look, options.watch)
    except KeyboardInterrupt:
        return 130
    return 0


def summary(seen: Progress) -> str:
    """One line: 57 of 94 runs have ended (55 ok, 2 diverged), 2 active, 35 waiting; about 12 min left."""
    names = {"ok": "ok", "diverged": "diverged", "out_of_memory": "out of memory"}
    outcomes = ", ".join(f"{seen.outcomes[k]:,} {text}" for k, text in names.items() if seen.outcomes.get(k))
    others = {"active": len(seen.active), "interrupted": seen.interrupted, "stale": seen.stale, "waiting": seen.waiting}
    states = "".join(f", {count:,} {text}" for text, count in others.items() if count)
    return (
        f"{seen.ended:,} of {seen.asked:,} runs have ended{f' ({outcomes})' if outcomes else ''}{states}; {left(seen)}"
    )


def left(seen: Progress) -> str:
    if seen.over:
        return "nothing left"
    if seen.seconds_left is None:
        return f"no run is active, {span(3600 * seen.hours_left)} of work left"
    return f"about {span(seen.seconds_left)} left"


def say(seen: Progress) -> None:
    """Plain lines."""
    print(f"{datetime.now():%H:%M:%S}  {summary(seen)}", flush=True)
    for one in seen.active[:SHOWN]:
        print(f"  {one.run_id}  {one.name}: epoch {one.epoch} of {one.epochs} ({one.host})", flush=True)
    if len(seen.active) > SHOWN:
        print(f"  ... and {len(seen.active) - SHOWN:,} more", flush=True)


def watch(look: Callable[[], Progress], seconds: float) -> None:
    """A line whenever something has changed."""
    before = ""
    while True:
        seen = look()
        if (now := repr((seen.outcomes, seen.active, seen.interrupted, seen.waiting))) != before:
            say(seen)
            before = now
        if seen.over:
            return
        time.sleep(seconds)


def bars(look: Callable[[], Progress], seconds: float) -> None:
    """A bar of all runs and one of each active run."""
    from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Bars(*columns) as shown:
        whole = shown.add_task("runs", total=None, note="")
        tasks: dict[str, TaskID] = {}
        while True:
            seen = look()
            shown.update(
                whole, total=seen.asked, completed=seen.ended, note=summary(seen).partition(" have ended")[2].strip()
            )
            at_work = {one.run_id: one for one in seen.active[:SHOWN]}
            for run_id in [run_id for run_id in tasks if run_id not in at_work]:
                shown.remove_task(tasks.pop(run_id))
            for run_id, one in at_work.items():
                if run_id not in tasks:
                    tasks[run_id] = shown.add_task(one.name, total=one.epochs, note="epochs")
                shown.update(tasks[run_id], completed=one.epoch)
            if seen.over:
                return
            time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(run(main))
