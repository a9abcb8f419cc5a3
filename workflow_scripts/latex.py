"""Compiles a report's appendix.tex to appendix.pdf; fails on errors and on boxes that stick out by more than 5 pt.

python -m workflow_scripts.latex --report reports/quickstart
"""

import argparse
import sys
from pathlib import Path

from peft_lib.report.compile import LatexError, compile_appendix


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", required=True, type=Path, help="folder with appendix.tex")
    options = parser.parse_args(arguments)
    try:
        print(compile_appendix(options.report))
    except LatexError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
