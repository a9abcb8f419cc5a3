"""Pre-trains a small backbone by its catalog recipe: python -m workflow_scripts.pretrain --help."""

import argparse
import sys
from pathlib import Path

from peft_lib.study.loading import load_models
from peft_lib.training.pretrain import pretrain
from workflow_scripts.errors import entry_of, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id in the model catalog")
    parser.add_argument("--catalog", type=Path, default=Path("config/models.yaml"), help="default: %(default)s")
    parser.add_argument("--prepared", required=True, type=Path, help="the recipe's data set, prepared for this model")
    parser.add_argument("--out", required=True, type=Path, help="folder to write, e.g. resources/models/<id>")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; part of the numbers (default: 1)")
    args = parser.parse_args()
    model = entry_of(load_models(args.catalog), args.model, args.catalog)
    manifest = pretrain(model, args.prepared, args.out, args.threads)
    print(f"{args.model}: validation accuracy {manifest['validation_accuracy']:.4f} after {manifest['steps']} steps")


if __name__ == "__main__":
    sys.exit(run(main))
