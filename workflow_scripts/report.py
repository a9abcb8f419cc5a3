"""Renders a study's report: index.html, figures, LaTeX, JSON and CSV.

python -m workflow_scripts.report --config config.yaml --tables results/tables/quickstart --out reports/quickstart
"""

import argparse
import sys
from pathlib import Path

from peft_lib.report.build import TEMPLATES, build_report
from peft_lib.study.expand import plan_file
from workflow_scripts.errors import run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="study file (YAML or JSON)")
    parser.add_argument("--root", default=".", type=Path, help="folder that the study's paths start at")
    parser.add_argument("--results", default="results", type=Path)
    parser.add_argument("--tables", required=True, type=Path, help="folder of cells: <artefact>.parquet each")
    parser.add_argument("--out", required=True, type=Path, help="folder of the report")
    parser.add_argument("--templates", default=TEMPLATES, type=Path)
    options = parser.parse_args(arguments)
    plan = plan_file(options.config, options.root)
    build_report(plan, options.results, options.tables, options.out, options.templates)
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
