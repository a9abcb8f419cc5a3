"""Computes a diagnostic of finished runs from what they have stored: <run folder>/diagnostics/<diagnostic>.parquet.

python -m workflow_scripts.diagnose --kind intruders --run results/runs/<model>/<dataset>/<method>/<run id> FINGERPRINT
"""

import argparse
import json
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from peft_lib.names import first_line
from peft_lib.study.problems import Problem, StudyError
from workflow_scripts.devices import own_devices, visible_devices
from workflow_scripts.errors import run
from workflow_scripts.inputs import inputs_of

if TYPE_CHECKING:
    from peft_lib.diagnostics.diagnostic import Diagnostic


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", required=True, help="a file of peft_lib/diagnostics")
    parser.add_argument("--options", default="{}", help="JSON: its options")
    parser.add_argument(
        "--run", action="append", nargs=2, required=True, metavar=("FOLDER", "FINGERPRINT"),
        help="a finished run, and the fingerprint that its file is to carry; several times",
    )  # fmt: skip
    parser.add_argument("--models", default="config/models.yaml")
    parser.add_argument("--datasets", default="config/datasets.yaml")
    parser.add_argument("--plugin", action="append", default=[], help="Python file with a further method")
    parser.add_argument("--resources", default="resources", type=Path)
    parser.add_argument("--cache", default="results/cache", type=Path, help="folder for what runs share")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--nondeterministic", action="store_true", help="allow kernels of CUDA that are not")
    return parser.parse_args()


def diagnostic_of(kind: str, options: str) -> "Diagnostic":
    """The diagnostic that the arguments name. Raises StudyError for options that it does not have."""
    from peft_lib.diagnostics.registry import read_diagnostic

    try:
        return read_diagnostic({**json.loads(options), "kind": kind})
    except (ValidationError, json.JSONDecodeError, TypeError) as error:
        remedy = f"see peft_lib/diagnostics/{kind}.py"
        problem = Problem("--options", options, f"they must be options of {kind} as JSON ({error})", remedy)
        raise StudyError([problem], "command line") from error


def main() -> None:
    options = arguments()
    # before torch is loaded: OpenMP reads it once
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    diagnostic = diagnostic_of(options.kind, options.options)
    todo = [(Path(folder), mark) for folder, mark in options.run if not is_fresh(Path(folder), mark, diagnostic)]
    print(f"{diagnostic.id}: {len(todo)} of {len(options.run)} runs to do", flush=True)
    devices = () if options.device == "cpu" else visible_devices()
    if todo:
        with own_devices(1, devices) if devices or options.device == "cuda" else nullcontext(()) as mine:
            if mine:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
            device = prepare(options)
            for folder, fingerprint in todo:
                diagnose(folder, fingerprint, diagnostic, options, device)


def is_fresh(folder: Path, fingerprint: str, diagnostic: "Diagnostic") -> bool:
    """Whether the file is there already, of the same result, code and options."""
    import pyarrow as pa

    from peft_lib.results.diagnostic_files import file_of, read_facts

    path = file_of(folder, diagnostic)
    try:
        found = read_facts(path)
    except (OSError, pa.ArrowException, ValueError) as error:
        print(f"{path} is damaged and made again: {first_line(error)}", flush=True)
        return False
    return found is not None and found.is_of(facts(result_of(folder), fingerprint, diagnostic))


def result_of(folder: Path) -> dict[str, Any]:
    """The row of result.parquet."""
    from peft_lib.run_files import read_rows

    return read_rows(folder / "result.parquet")[0]


def facts(result: dict[str, Any], fingerprint: str, diagnostic: "Diagnostic", **more: Any) -> Any:
    from peft_lib.results.diagnostic_files import Facts, stamp

    return Facts(diagnostic.canonical, fingerprint, stamp(result), **more)


def diagnose(
    folder: Path, fingerprint: str, diagnostic: "Diagnostic", options: argparse.Namespace, device: Any
) -> None:
    """Computes one run's numbers, or writes down why there are none."""
    from peft_lib.diagnostics.diagnostic import NotAvailable
    from peft_lib.results.diagnostic_files import file_of, write

    result, path = result_of(folder), file_of(folder, diagnostic)
    reason = nothing_kept(result)
    before = time.process_time()
    try:
        rows = [] if reason else list(diagnostic.rows(opened(folder, result, options, device)))
    except NotAvailable as error:
        reason = str(error)
    if reason:
        write(path, [], facts(result, fingerprint, diagnostic, status="not_available", reason=reason))
        print(f"{folder}: not available, {reason}", flush=True)
        return
    seconds = time.process_time() - before
    write(path, rows, facts(result, fingerprint, diagnostic, seconds=seconds))
    print(f"{folder}: {len(rows):,} numbers in {seconds:.1f} CPU-s", flush=True)


def nothing_kept(result: dict[str, Any]) -> str | None:
    """Why a run has nothing to be diagnosed; None if it has."""
    from peft_lib.study.how import KEEPS_DELTA

    if result["status"] != "ok":
        return f"the run has no trained model: {result['status']}"
    return None if result["keep"] in KEEPS_DELTA else f"the run kept no delta (keep: {result['keep']})"


def prepare(options: argparse.Namespace) -> Any:
    """This process, once for all runs; returns the device that it computes on."""
    import torch

    from peft_lib.methods.registry import load_plugin
    from peft_lib.training.machine import prepare_process

    prepare_process(options.threads, options.device, deterministic=not options.nondeterministic)
    for plugin in options.plugin:
        load_plugin(plugin)
    return torch.device("cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu")


def opened(folder: Path, result: dict[str, Any], options: argparse.Namespace, device: Any) -> Any:
    from peft_lib.diagnostics.opened import OpenedRun
    from peft_lib.study.spec import RunSpec

    spec = RunSpec.from_canonical(result["spec"])
    inputs = inputs_of(spec, options, result["fingerprint"], "diagnose")
    return OpenedRun(spec, inputs, result, folder, options.cache, device)


if __name__ == "__main__":
    sys.exit(run(main))
