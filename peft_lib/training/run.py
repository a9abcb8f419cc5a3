"""One run, start to finish: `train(spec, ...)`. Callable many times in one process; it leaves no global state behind."""

from pathlib import Path

import torch
from filelock import FileLock, Timeout

from peft_lib.backbones.loading import get_backbone
from peft_lib.files import write_text
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.build import Execution, Inputs, Request, RunError, build, build_accelerator, read_task
from peft_lib.training.checkpoint import Progress
from peft_lib.training.clock import Clock
from peft_lib.training.failures import Diverged, is_out_of_memory
from peft_lib.training.loop import train_epochs
from peft_lib.training.measure import measure_selected
from peft_lib.training.record import Outcome, now, write_run
from peft_lib.training.state import State


def train(spec: RunSpec, out_dir: Path | str, inputs: Inputs, execution: Execution = Execution()) -> str:
    """Trains one run and writes its files to `out_dir`; returns its status: 'ok', 'diverged' or 'out_of_memory'.

    result.parquet is written last: its presence means a whole run. An interrupted run resumes from its last epoch with
    the same numbers. Raises RunError if the inputs do not fit the spec or another process writes to the folder.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    _check(spec, inputs)
    get_backbone(inputs.model.backbone)  # imports the model's library now: that time is not the run's
    request = Request(spec, inputs, execution, build_accelerator(spec, execution))
    lock = FileLock(out_dir / ".lock", timeout=0)
    try:
        if request.accelerator.is_main_process:
            lock.acquire()
        return _attempt(request, out_dir)
    except Timeout as error:
        raise RunError(f"{out_dir}: another process is running this run. Wait for it, or stop it first") from error
    finally:
        lock.release()


def _check(spec: RunSpec, inputs: Inputs) -> None:
    for name, mine, catalog in (
        ("model", spec.model, inputs.model.ref()),
        ("dataset", spec.dataset, inputs.dataset.ref()),
    ):
        if mine != catalog:
            raise RunError(f"the spec's {name} is {mine}, the catalog's {catalog}. Plan the study anew")


def _attempt(request: Request, out_dir: Path) -> str:
    """One attempt at a run, from its last checkpoint if there is one."""
    accelerator = request.accelerator
    clock = Clock(accelerator.device)
    with clock.phase("setup"):
        run = build(request, read_task(request))
    state = State(Progress(run.identity, started=now()), clock, out_dir / "checkpoint" / "epoch.safetensors")
    try:
        if accelerator.is_main_process:
            (out_dir / "result.parquet").unlink(missing_ok=True)
            write_text(out_dir / "spec.json", request.spec.canonical + "\n")
        state.resume(run)
        train_epochs(run, state)
        final = run.adapter.snapshot() if request.execution.keep == "both" else None
        outcome = Outcome("ok", None, *measure_selected(run, state), final)
    except Diverged as error:
        outcome = Outcome("diverged", str(error))
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        where = machine.device_name(accelerator.device)
        outcome = Outcome("out_of_memory", f"{str(error).splitlines()[0]} (on {where})")
    if accelerator.is_main_process:
        write_run(out_dir, run, state, outcome)
    accelerator.wait_for_everyone()
    return outcome.status
