"""One run, start to finish: `train(spec, ...)`. Callable many times in one process; it leaves no global state behind."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from peft_lib.backbones.loading import get_backbone
from peft_lib.data.loaders import UnknownModuleError, get_loader
from peft_lib.methods.registry import get_method
from peft_lib.study.how import keeps_trajectory
from peft_lib.study.spec import RunSpec
from peft_lib.training import machine
from peft_lib.training.assemble import Inputs, read_items
from peft_lib.training.build import Execution, Request, build, build_accelerator
from peft_lib.training.checkpoint import Progress
from peft_lib.training.clock import Clock
from peft_lib.training.environment import own_environment
from peft_lib.training.errors import RunError
from peft_lib.training.failures import Diverged, out_of_memory_reason
from peft_lib.training.folder import RunFolder
from peft_lib.training.loop import train_epochs
from peft_lib.training.measure import measure_selected
from peft_lib.training.peers import Peers
from peft_lib.training.record import Attempt, execution_columns, now, write_run
from peft_lib.training.state import State

__all__ = ["Execution", "Inputs", "RunError", "train"]


def train(spec: RunSpec, out_dir: Path | str, inputs: Inputs, execution: Execution = Execution()) -> str:
    """Trains one run and writes its files to `out_dir`; returns its status: 'ok', 'diverged' or 'out_of_memory'.

    The files are put in place together at the end, result.parquet last: its presence means a whole run. An interrupted
    run resumes from its last epoch with the same numbers; a finished one whose files were deleted gets them back; one
    whose files are there is trained again, and its old result stays until there is a new one.

    Raises RunError if the inputs do not fit the spec, another process writes to the folder, locks do not work there, CUDA is
    asked for and absent, or this is not one of `execution.processes` processes.
    """
    folder = RunFolder(out_dir)
    _check(spec, inputs)
    with own_environment(execution.processes):
        request = Request(spec, inputs, execution, build_accelerator(spec, execution))
        with folder.locked() if request.accelerator.is_main_process else nullcontext():
            return _attempt(request, folder)


def _check(spec: RunSpec, inputs: Inputs) -> None:
    """Also imports the model's library, before the run begins: that time is not the run's."""
    for what, mine, listed in (
        ("model", spec.model, inputs.model.ref()),
        ("dataset", spec.dataset, inputs.dataset.ref()),
    ):
        if mine != listed:
            raise RunError(f"the spec's {what} is {mine}, the catalog's {listed}. Plan the study anew")
    for entry, find, name in (
        (f"model '{inputs.model.id}'", get_backbone, inputs.model.backbone),
        (f"data set '{inputs.dataset.id}'", get_loader, inputs.dataset.loader),
    ):
        try:
            find(name)
        except UnknownModuleError as error:
            raise RunError(f"{entry} of the catalog: {error}") from error


def _attempt(request: Request, folder: RunFolder) -> str:
    """One attempt at a run; a peer's out of memory, or this process's own, is the run's."""
    accelerator = request.accelerator
    keeps = keeps_trajectory(
        request.execution.keep, backbone_trains="backbone" in get_method(request.spec.method).trains
    )
    state = State(
        Progress(started=now(), attempts=1), Clock(accelerator.device), folder.checkpoint,
        trajectory=folder.growing_trajectory if keeps else None,
    )  # fmt: skip
    git = machine.git_state() if accelerator.is_main_process else machine.GitState()
    attempt = Attempt(request, git, state)
    peers = Peers(accelerator, request.spec.run_id)
    try:
        with peers.watched():
            lost = _carry_out(attempt, folder)
            if lost is not None:
                return lost
    except Exception as error:
        reason = peers.failure or out_of_memory_reason(error)
        if reason is not None:
            where = machine.device_name(accelerator.device)
            attempt.status, attempt.reason = "out_of_memory", f"{reason} (on {where})"
            peers.report(reason)
        elif isinstance(error, Diverged):
            attempt.status, attempt.reason = "diverged", str(error)
        else:
            raise
    if accelerator.is_main_process:
        write_run(folder, attempt)
    if attempt.status != "out_of_memory":
        accelerator.wait_for_everyone()
    return attempt.status


def _carry_out(attempt: Attempt, folder: RunFolder) -> str | None:
    """Builds, trains and measures; or puts back the files of a finished run, and returns its status."""
    request, state = attempt.request, attempt.state
    with state.clock.phase("setup"):
        attempt.items = read_items(request.spec, request.inputs)
        attempt.run = run = build(request, attempt.items)
    lost = folder.lost_result({**run.identity, **execution_columns(request)})
    request.accelerator.wait_for_everyone()  # all processes have looked, before the first changes anything
    if lost is not None:
        if request.accelerator.is_main_process:
            folder.publish()
        print(f"finished at {lost['finished']}; its files were put back", flush=True)
        return str(lost["status"])
    state.resume(run)
    train_epochs(run, state)
    if request.execution.keep == "both":
        state.final = replace(run.adapter.snapshot(), epoch=state.progress.epoch)
    attempt.columns, attempt.predictions = measure_selected(run, state)
    return None
