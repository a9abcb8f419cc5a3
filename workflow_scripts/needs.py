"""What the runs of a study ask of a machine, as the workflow asks for them: one line per model, data set and method (the
largest of its runs). python -m workflow_scripts.needs --config config.yaml"""

import argparse
import sys
from dataclasses import astuple, fields

from peft_lib.study.expand import plan_file
from peft_lib.study.needs import Needs, needs
from workflow_scripts.errors import run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="config.yaml", help="study file (default: %(default)s)")
    parser.add_argument("--cuda", action="store_true", help="with device: auto, as a machine with GPUs asks")
    options = parser.parse_args(arguments)
    plan = plan_file(options.config)
    cuda = plan.study.device == "cuda" or (plan.study.device == "auto" and options.cuda)
    largest: dict[tuple[str, str, str], tuple[int, ...]] = {}
    for run_id, spec in plan.runs.items():
        model, data = plan.models[spec.model.id], plan.datasets[spec.dataset.id]
        one = astuple(needs(spec, model, data, plan.how(run_id), cuda=cuda))
        key = (model.id, data.id, spec.method)
        largest[key] = tuple(map(max, one, largest.get(key, one)))
    lines = [("model", "dataset", "method", *(f.name for f in fields(Needs)))]
    lines += [(*key, *map(str, value)) for key, value in largest.items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
