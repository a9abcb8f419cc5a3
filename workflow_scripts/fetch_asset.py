"""Fetches a model's pinned weights and tokenizer into a folder: python -m workflow_scripts.fetch_asset --help."""

import argparse
import sys
from pathlib import Path

from peft_lib.backbones.assets import fetch_asset
from peft_lib.study.loading import load_models
from workflow_scripts.errors import entry_of, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id in the model catalog")
    parser.add_argument("--catalog", required=True, type=Path, help="config/models.yaml")
    parser.add_argument("--out", required=True, type=Path, help="folder to write, e.g. resources/models/<id>")
    parser.add_argument("--mirror", type=Path, help="folder with models/<folder>/: the hub's, or of mirror: sources")
    args = parser.parse_args()
    model = entry_of(load_models(args.catalog), args.model, args.catalog)
    fetch_asset(model, args.out, args.mirror)


if __name__ == "__main__":
    sys.exit(run(main))
