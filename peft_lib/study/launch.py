"""The command line of a run: what the workflow executes and what a person repeats."""

from peft_lib.methods.method import Method
from peft_lib.methods.registry import get_method
from peft_lib.study.plan import Plan


def train_arguments(plan: Plan, run_id: str) -> list[str]:
    """Arguments of workflow_scripts.train for one run of a study."""
    study, spec = plan.study, plan.runs[run_id]
    method: Method = get_method(spec.method)
    arguments = {
        "--spec": spec.canonical,
        "--models": study.catalogs.models,
        "--datasets": study.catalogs.datasets,
        "--fingerprint": plan.fingerprint(run_id),
        "--device": study.device,
        "--threads": str(study.threads),
        "--keep": study.keep,
    }
    if study.execution != "default" and method.has_factors:
        arguments["--execution"] = study.execution
    if study.micro_batch is not None:
        arguments["--micro-batch"] = str(study.micro_batch)
    flat = [text for pair in arguments.items() for text in pair]
    flat += [text for plugin in study.plugins for text in ("--plugin", plugin)]
    return flat if study.deterministic else [*flat, "--nondeterministic"]


def launcher(plan: Plan) -> list[str]:
    """How a run is started: through `accelerate launch` where a GPU is meant, through torchrun for several CPU processes
    (Accelerate's launcher starts those with MPI only; inside, Accelerate finds them either way).

    A single process on a CPU starts directly, which saves the launcher's 7 CPU-seconds.
    """
    study = plan.study
    count, module = str(study.processes), "workflow_scripts.train"
    if study.device == "cuda" or (study.device == "auto" and study.processes > 1):
        flags = ["--num_machines", "1", "--dynamo_backend", "no", "--mixed_precision", "no"]
        several = ["--multi_gpu"] if study.processes > 1 else []
        return ["accelerate", "launch", "--num_processes", count, *flags, *several, "--module", module]
    if study.processes > 1:
        return ["torchrun", "--standalone", "--nproc_per_node", count, "--module", module]
    return ["python", "-m", module]
