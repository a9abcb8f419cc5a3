"""Turns a data set into model input for one model: python -m workflow_scripts.prepare --help."""

import argparse
import sys
from pathlib import Path

from peft_lib.data.prepare import prepare
from peft_lib.study.loading import load_datasets, load_models
from workflow_scripts.errors import entry_of, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="id in the data set catalog")
    parser.add_argument("--model", required=True, help="id in the model catalog")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--max-length", type=int, help="longest sequence in tokens (text)")
    size.add_argument("--image-size", type=int, help="edge in pixels (images)")
    parser.add_argument("--datasets", required=True, type=Path, help="config/datasets.yaml")
    parser.add_argument("--models", required=True, type=Path, help="config/models.yaml")
    parser.add_argument("--model-dir", type=Path, help="the model's folder with its tokenizer (text only)")
    parser.add_argument("--mirror", type=Path, help="folder of a data mirror, read instead of the hub")
    parser.add_argument("--out", required=True, type=Path, help="folder to write")
    args = parser.parse_args()
    dataset = entry_of(load_datasets(args.datasets), args.dataset, args.datasets)
    model = entry_of(load_models(args.models), args.model, args.models)
    prepare(dataset, model, args.max_length, args.image_size, args.out, args.model_dir, args.mirror)


if __name__ == "__main__":
    sys.exit(run(main))
