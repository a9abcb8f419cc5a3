"""Writes the study that a call of the workflow carried out, its --config overrides included, read as JSON from stdin.

The file is JSON in UTF-8 that reads the same as YAML, since `read_yaml` reads all studies: floats have a decimal point
(YAML 1.1 takes 1e-05 for a text), characters outside the Basic Multilingual Plane are no surrogate pairs, and those that
YAML does not print are escaped.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from peft_lib.files import write_text
from workflow_scripts.errors import run

NOT_PRINTED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Beside what JSON escapes itself: control characters, and what YAML takes for a line break or a byte order mark."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path, help="file to write")
    options = parser.parse_args()
    write_text(options.out, dumps(json.load(sys.stdin)) + "\n")


def dumps(value: Any) -> str:
    """JSON that is YAML as well."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{dumps(str(key))}: {dumps(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(dumps, value)) + "]"
    if isinstance(value, float):
        return re.sub(r"^(-?[0-9]+)e", r"\1.0e", json.dumps(value))
    return NOT_PRINTED.sub(lambda match: f"\\u{ord(match[0]):04x}", json.dumps(value, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(run(main))
