"""Trains one run. The workflow passes everything; by hand, `--study config.yaml --run RUN_ID` finds it all."""

import argparse
import os
import socket
import sys
from datetime import UTC, datetime
from typing import get_args

from peft_lib.names import first_line
from peft_lib.study.how import How
from peft_lib.study.problems import Problem, StudyError
from workflow_scripts.errors import run
from workflow_scripts.inputs import inputs_of


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--spec", help="canonical JSON of the run's specification")
    what.add_argument("--study", help="study file; with --run")
    parser.add_argument("--run", help="run id (or its first digits) inside --study")
    parser.add_argument("--models", default="config/models.yaml")
    parser.add_argument("--datasets", default="config/datasets.yaml")
    parser.add_argument("--plugin", action="append", default=[], help="Python file with a further method")
    parser.add_argument("--resources", default="resources")
    parser.add_argument("--out", help="folder of the run (default: results/runs/...)")
    parser.add_argument("--fingerprint", default="")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--processes", type=int, default=1, help="of how many processes this is one (torchrun, accelerate)"
    )
    parser.add_argument("--execution", default="default", help="default, dense, gather or inplace")
    parser.add_argument("--micro-batch", type=int)
    parser.add_argument("--keep", choices=get_args(How.model_fields["keep"].annotation), default="selected")
    parser.add_argument("--storage", choices=["fp32", "bf16"], default="fp32", help="of frozen weights")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--nondeterministic", action="store_true")
    options = parser.parse_args()
    if options.study and not options.run:
        parser.error("--study needs --run RUN_ID")
    return options


def from_study(options: argparse.Namespace) -> None:
    """Fills in what the workflow would have passed."""
    from peft_lib.study.expand import plan_file
    from peft_lib.study.launch import train_arguments

    plan = plan_file(options.study)
    fitting = [run_id for run_id in plan.runs if run_id.startswith(options.run)]
    if len(fitting) != 1:
        rule = f"it must fit one run of {options.study}; it fits {len(fitting)} of {len(plan.runs)}"
        remedy = f"use one of {', '.join((fitting or list(plan.runs))[:5])}"
        raise StudyError([Problem("--run", options.run, rule, remedy)], "command line")
    passed = train_arguments(plan, fitting[0])
    sys.argv = [sys.argv[0], *passed, *(["--out", options.out] if options.out else [])]


def main() -> None:
    options = arguments()
    if options.study:
        from_study(options)
        options = arguments()
    # before torch is loaded: OpenMP reads it once
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    from peft_lib.methods.registry import load_plugin
    from peft_lib.study.spec import RunSpec
    from peft_lib.training.run import Execution, train

    try:
        spec = RunSpec.from_canonical(options.spec)
    except ValueError as error:
        rule = "it must be canonical JSON of a specification"
        problem = Problem("--spec", options.spec, rule, f"take it from a spec.json ({first_line(error)})")
        raise StudyError([problem], "command line") from error
    if options.processes == 1 or os.environ.get("RANK") == "0":  # one line an attempt: the log is appended to
        print(
            f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {socket.gethostname()} pid {os.getpid()} "
            f"run {spec.run_id}", flush=True,
        )  # fmt: skip
    for plugin in options.plugin:
        load_plugin(plugin)
    starter = "train" if options.processes == 1 else "launch"
    inputs = inputs_of(spec, options, options.fingerprint, starter)
    execution = Execution(
        layers=options.execution, device=options.device, threads=options.threads, processes=options.processes,
        micro_batch=options.micro_batch, deterministic=not options.nondeterministic, keep=options.keep,
        storage=options.storage, gradient_checkpointing=options.gradient_checkpointing,
    )  # fmt: skip
    status = train(spec, options.out or f"results/runs/{spec.folder}", inputs, execution)
    print(f"run {spec.run_id}: {status}", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
