"""The command line of a run: what the workflow executes and what a person repeats."""

import sys
from collections.abc import Callable
from pathlib import Path

from peft_lib.study.plan import Plan
from peft_lib.study.schema import Study

ACCELERATE_CONFIG = Path(__file__).resolve().parents[2] / "envs" / "accelerate.yaml"


def train_arguments(plan: Plan, run_id: str) -> list[str]:
    """Arguments of workflow_scripts.train for one run of a study."""
    what = ["--spec", plan.runs[run_id].canonical, "--fingerprint", plan.fingerprint(run_id)]
    return [*what, "--threads", str(plan.study.threads), *execution_arguments(plan.study)]


def execution_arguments(study: Study, path: Callable[[str], str] = str) -> list[str]:
    """The arguments that say where things are and how runs are executed, the same for all runs of a study. No result
    depends on them beyond what docs/architecture.md says of each. `path` turns the study's paths into those of a job."""
    arguments = {
        "--models": path(study.catalogs.models),
        "--datasets": path(study.catalogs.datasets),
        "--device": study.device,
        "--keep": study.keep,
    }
    if study.processes > 1:
        arguments["--processes"] = str(study.processes)
    if study.execution != "default":
        arguments["--execution"] = study.execution
    if study.micro_batch is not None:
        arguments["--micro-batch"] = str(study.micro_batch)
    flat = [text for pair in arguments.items() for text in pair]
    flat += [text for plugin in study.plugins for text in ("--plugin", path(plugin))]
    return flat if study.deterministic else [*flat, "--nondeterministic"]


def launch_command(processes: int, cuda: bool, module: str = "workflow_scripts.train") -> list[str]:
    """How a run is started, with this Python: through `accelerate launch` on CUDA, through torchrun for several CPU
    processes (Accelerate's launcher starts those with MPI only; inside, Accelerate finds them either way).

    Both find a free port themselves. A single process on a CPU starts directly, which saves the launcher's 7 CPU-seconds.
    """
    python, count = [sys.executable, "-m"], str(processes)
    if cuda:
        flags = ["--config_file", str(ACCELERATE_CONFIG), "--num_machines", "1", "--machine_rank", "0"]
        flags += ["--dynamo_backend", "no", "--mixed_precision", "no", "--main_process_port", "0"]
        several = ["--multi_gpu"] if processes > 1 else []
        launcher = [*python, "accelerate.commands.launch", "--num_processes", count, *flags, *several]
        return [*launcher, "--module", module]
    if processes > 1:
        return [*python, "torch.distributed.run", "--standalone", "--nproc_per_node", count, "--module", module]
    return [*python, module]
