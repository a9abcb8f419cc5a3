"""The command line of a run: what the workflow executes and what a person repeats."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from peft_lib.study.plan import Plan
from peft_lib.study.schema import Study

MIRROR_VARIABLE = "BEYOND_LORA_MIRROR"
ACCELERATE_CONFIG = Path(__file__).resolve().parents[2] / "envs" / "accelerate.yaml"


def train_arguments(plan: Plan, run_id: str) -> list[str]:
    """Arguments of workflow_scripts.train for one run of a study."""
    what = ["--spec", plan.runs[run_id].canonical, "--fingerprint", plan.fingerprint(run_id)]
    return [*what, "--threads", str(plan.study.threads), *execution_arguments(plan, run_id)]


def execution_arguments(plan: Plan, run_id: str, path: Callable[[str], str] = str) -> list[str]:
    """The arguments that say where things are and how a run is executed. No result depends on them beyond what
    docs/architecture.md says of each. `path` turns the study's paths into those of a job."""
    study, how = plan.study, plan.how(run_id)
    arguments = {
        "--models": path(study.catalogs.models),
        "--datasets": path(study.catalogs.datasets),
        "--device": study.device,
        "--keep": how.keep,
    }
    if how.processes > 1:
        arguments["--processes"] = str(how.processes)
    if how.execution != "default":
        arguments["--execution"] = how.execution
    if how.micro_batch is not None:
        arguments["--micro-batch"] = str(how.micro_batch)
    if how.storage != "fp32":
        arguments["--storage"] = how.storage
    flat = [text for pair in arguments.items() for text in pair]
    flat += [text for plugin in study.plugins for text in ("--plugin", path(plugin))]
    flat += ["--gradient-checkpointing"] if how.gradient_checkpointing else []
    return flat if study.deterministic else [*flat, "--nondeterministic"]


def diagnosis_arguments(plan: Plan, path: Callable[[str], str] = str) -> list[str]:
    """The arguments of workflow_scripts.diagnose that say where things are and where it computes."""
    study = plan.study
    catalogs = ["--models", path(study.catalogs.models), "--datasets", path(study.catalogs.datasets)]
    plugins = [text for plugin in study.plugins for text in ("--plugin", path(plugin))]
    loose = [] if study.deterministic else ["--nondeterministic"]
    return [*catalogs, "--device", study.device, *plugins, *loose]


def mirror_arguments(study: Study, path: Callable[[str], str] = str) -> list[str]:
    """`--mirror PATH` for what fetches and prepares: the study's `assets.mirror`, else the folder that BEYOND_LORA_MIRROR
    names; nothing where neither is set."""
    if study.assets.mirror is not None:
        return ["--mirror", path(str(Path(study.assets.mirror).expanduser()))]
    named = os.environ.get(MIRROR_VARIABLE)
    return ["--mirror", str(Path(named).expanduser().absolute())] if named else []


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
