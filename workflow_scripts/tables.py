"""Aggregates the runs of a study into cells: one Parquet per artefact.

python -m workflow_scripts.tables --config config.yaml --out-dir results/tables/quickstart
python -m workflow_scripts.tables --config config.yaml --artefact table2 --out table2.parquet
"""

import argparse
import sys
from pathlib import Path

from peft_lib.results.cell_files import write_cells
from peft_lib.results.collect import collect
from peft_lib.results.context import build
from peft_lib.results.published import REFERENCE
from workflow_scripts.errors import run
from workflow_scripts.studies import plan_of


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="study file (YAML or JSON)")
    parser.add_argument("--root", default=".", type=Path, help="folder that the study's paths start at")
    parser.add_argument("--results", default="results", type=Path)
    parser.add_argument("--references", default=REFERENCE, type=Path, help="folder of published values")
    parser.add_argument("--artefact", help="only this one; needs --out")
    parser.add_argument("--out", type=Path, help="file for --artefact")
    parser.add_argument("--out-dir", type=Path, help="folder for all artefacts: <id>.parquet each")
    options = parser.parse_args(arguments)
    if (options.artefact is None) != (options.out is None) or (options.artefact is None) == (options.out_dir is None):
        parser.error("give either --out-dir, or --artefact together with --out")
    plan = plan_of(options.config, options.root)
    wanted = {a.id: a for a in plan.study.artefacts}
    if options.artefact is not None and options.artefact not in wanted:
        parser.error(f"--artefact {options.artefact!r}: the study has {', '.join(wanted) or 'no artefact'}")
    runs = collect(plan, options.results)
    for name, artefact in wanted.items():
        if options.artefact in (None, name):
            out = options.out or options.out_dir / f"{name}.parquet"
            write_cells(out, build(plan, artefact, runs, options.results, options.references))
    if options.out_dir:
        options.out_dir.mkdir(parents=True, exist_ok=True)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
