"""python -m tests.benchmarks: how long planning, re-reading, a call with nothing to do, collecting and analyses take here."""

import argparse
import tempfile
from itertools import chain
from pathlib import Path

from tests.benchmarks import intruders
from tests.benchmarks.measure import measure

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000, help="finished runs (default: %(default)s)")
    parser.add_argument("--study", default="config/paper.yaml", help="study that is planned (default: %(default)s)")
    options = parser.parse_args()
    print("| what | CPU s | wall s | ratio | to |\n|---|---|---|---|---|", flush=True)
    known: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        planning = measure(Path(folder), options.runs, options.study)
        for taken in chain(planning, intruders.measure(Path(folder), ROOT)):
            known[taken.what] = taken.cpu_s
            ratio = f"{taken.cpu_s / known[taken.baseline]:.2f}" if taken.baseline else ""
            print(
                f"| {taken.what} | {taken.cpu_s:.1f} | {taken.wall_s:.1f} | {ratio} | {taken.baseline or ''} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
