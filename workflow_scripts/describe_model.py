"""Prints the counted facts of a model's catalog entry, as YAML to paste: python -m workflow_scripts.describe_model --help.

The entry needs what says which model it is (backbone, source, architecture, options, ...); facts that it lacks, or has
wrong, do not matter. No weight is read.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from peft_lib.backbones.describe import FACTS, describe
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.documents import read_yaml
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import StudyError
from workflow_scripts.errors import entry_of, run

UNKNOWN = {
    "hidden": 1, "parameters": 1, "head_parameters": 0,
    "targets": {"none": [{"module": "none", "d_in": 1, "d_out": 1, "count": 1}]},
}  # fmt: skip
"""Stands in for facts that the entry does not have yet."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="id in the model catalog")
    parser.add_argument("--catalog", type=Path, default=Path("config/models.yaml"), help="default: %(default)s")
    args = parser.parse_args()
    fields = entry_of(read_yaml(args.catalog)[0], args.model, args.catalog)
    reader = Parser({})
    known = {key: value for key, value in fields.items() if key not in FACTS}
    entry = reader.model(ModelEntry, {**UNKNOWN, **known}, (args.model,), id=args.model)
    if reader.problems:
        raise StudyError(reader.problems, str(args.catalog))
    print(as_yaml(describe(entry)), end="")


def as_yaml(facts: dict[str, Any]) -> str:
    """Lines of a catalog entry; facts that are as most entries have them are left out."""
    lines = []
    for name, value in facts.items():
        field = ModelEntry.model_fields[name]
        if name != "targets" and (field.is_required() or value != field.default):
            lines.append(f"  {name}: {str(value).lower()}")
    lines.append("  targets:")
    for name, shapes in facts["targets"].items():
        lines.append(f"    {name}:")
        lines += [f"      - {{{', '.join(f'{k}: {v}' for k, v in shape.items())}}}" for shape in shapes]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run(main))
