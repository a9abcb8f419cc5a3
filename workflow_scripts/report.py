"""Renders a study's report: index.html, figures, LaTeX, JSON and CSV.

From tables that are made already, or without --tables from whatever results there are; what has not run says so:
python -m workflow_scripts.report --config config.yaml --tables results/tables/quickstart --out reports/quickstart
python -m workflow_scripts.report --config config.yaml --out reports/quickstart
"""

import argparse
import sys
from pathlib import Path

from peft_lib.report.build import TEMPLATES, build_report, render
from peft_lib.results.cell_files import read_cells
from peft_lib.results.collect import collect
from workflow_scripts.errors import run
from workflow_scripts.studies import plan_of


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="study file (YAML or JSON)")
    parser.add_argument("--root", default=".", type=Path, help="folder that the study's paths start at")
    parser.add_argument("--results", default="results", type=Path)
    parser.add_argument("--tables", type=Path, help="folder of cells: <artefact>.parquet each; absent: made here")
    parser.add_argument("--out", required=True, type=Path, help="folder of the report")
    parser.add_argument("--templates", default=TEMPLATES, type=Path)
    options = parser.parse_args(arguments)
    plan = plan_of(options.config, options.root)
    if options.tables:
        cells = {a.id: read_cells(options.tables / f"{a.id}.parquet") for a in plan.study.artefacts}
        render(plan, collect(plan, options.results), cells, options.out, options.templates)
    else:
        build_report(plan, options.results, options.out, options.templates)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
