# The plan of the study, computed once, and the look-ups of the rules. Nothing here imports torch.

import gc
import hashlib
import inspect
import json
import os
import shlex
from functools import cache

from snakemake.settings.types import DeploymentMethod

from peft_lib.study.fingerprint import tree_hash
from peft_lib.study.launch import (
    diagnosis_arguments,
    execution_arguments,
    mirror_arguments,
)
from peft_lib.study.needs import (
    FLOOR_MIN,
    Needs,
    fetching,
    needs,
    needs_of_diagnosis,
)
from peft_lib.study.plan import prepared_folder
from peft_lib.study.plan_cache import plan_config
from peft_lib.study.problems import StudyError
from workflow_scripts.devices import visible_devices

# A plan and Snakemake's graph are millions of objects that live to the end: looking for garbage among them takes an
# eighth of the time.
gc.set_threshold(200_000, 50, 1000)


def planned():
    """The plan, from the cache in .snakemake/plans where the same was planned before."""
    files = [os.path.relpath(file) for file in workflow.configfiles]
    try:
        found = plan_config(config, files, workflow.basedir)
    except StudyError as error:
        # not a WorkflowError: that would put lines of this file around the message
        sys.exit(str(error))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    return found.plan


PLAN = planned()
if workflow.is_main_process:
    for warning in PLAN.warnings:
        print(f"warning: {warning}", file=sys.stderr)

STUDY = PLAN.study.id
RUNS = PLAN.by_folder


def result_of(run_id):
    return f"results/runs/{PLAN.runs[run_id].folder}/result.parquet"


# what is asked for: all runs, or the study's part (`only`)
ASKED = [run_id for run_id in PLAN.runs if run_id in PLAN.asked]
RESULTS = [result_of(run_id) for run_id in ASKED]
# made with the report, and removed by `render`: what that renders early is not taken for the report of all runs
WHOLE = f"results/tables/{STUDY}/report.done"
REPORT = [f"reports/{STUDY}/index.html", WHOLE] if PLAN.study.artefacts else []
ARTEFACTS = {artefact.id: artefact for artefact in PLAN.study.artefacts}
# runs that no artefact waits for
SHOWN = {run_id for a in ARTEFACTS.values() for run_id in a.run_ids(PLAN)}
UNSHOWN = [result_of(run_id) for run_id in ASKED if run_id not in SHOWN]
MODELS = sorted({spec.model.id for spec in RUNS.values()})
PRETRAINED = [m for m in MODELS if PLAN.models[m].pretrain]
FETCHED = [m for m in MODELS if not PLAN.models[m].pretrain]


# How jobs are started.


def untracked(value):
    """A param that reruns nothing when it changes, for what says how or where and not what: Snakemake does not compare
    params whose function asks for `resources`."""
    return lambda wildcards, resources: value


def signed(function):
    """A function that is called for each run, with its signature worked out once. Snakemake asks for it in every job, and
    inspect.signature takes longer than most of these functions."""
    function.__signature__ = inspect.signature(function)
    return function


def at_root(path):
    """A path of the study, which starts at the repository root, as seen from the working directory (--directory)."""
    return os.path.relpath(os.path.join(workflow.basedir, path))


def escaped(text):
    """Snakemake formats most texts: {x} in a folder's name is to stay what it is."""
    return text.replace("{", "{{").replace("}", "}}")


def with_conda():
    settings = workflow.deployment_settings
    return bool(settings) and DeploymentMethod.CONDA in settings.deployment_method


@signed
def environment(wildcards):
    """The rules' conda environment, where --sdm conda asks for it."""
    path = os.path.join(workflow.basedir, "envs", "environment.yaml")
    return escaped(path) if with_conda() else None


def shell_prefix():
    """Jobs import from this repository wherever they run, and `python` is Snakemake's own, activated or not (with
    --sdm conda that of the environment)."""
    exports = [f"PYTHONPATH={shlex.quote(workflow.basedir)}:${{PYTHONPATH-}}"]
    if not with_conda():
        exports.append(f"PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH")
    return escaped(f"set -euo pipefail; export {' '.join(exports)}; ")


shell.prefix(shell_prefix())
ROOT = os.path.relpath(workflow.basedir)
MODEL_CATALOG = at_root(PLAN.study.catalogs.models)
DATASET_CATALOG = at_root(PLAN.study.catalogs.datasets)
MIRROR = mirror_arguments(PLAN.study, at_root)


# What a job asks for. Locally `gpu` is counted against what this machine has (--resources gpu=N says otherwise), and a job
# takes devices of its own (workflow_scripts/devices.py). On a cluster the scheduler counts: Slurm is asked for `gres`.

DEVICES = visible_devices()
CUDA = PLAN.study.device == "cuda" or (PLAN.study.device == "auto" and bool(DEVICES))
if CUDA and workflow.is_main_process and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", max(1, len(DEVICES)))


@signed
def cpus_of(wildcards):
    return PLAN.study.threads * PLAN.how(run_of(wildcards).run_id).processes


def needs_of(wildcards, attempt):
    return needs_of_run(run_of(wildcards).run_id, attempt)


@cache
def needs_of_run(run_id, attempt):
    """Asked for by every resource of a job."""
    spec = PLAN.runs[run_id]
    model, data = PLAN.models[spec.model.id], PLAN.datasets[spec.dataset.id]
    return needs(spec, model, data, PLAN.how(spec.run_id), attempt, cuda=CUDA)


@signed
def memory_of(wildcards, attempt):
    return needs_of(wildcards, attempt).mem_mb


@signed
def runtime_of(wildcards, attempt):
    return needs_of(wildcards, attempt).runtime_min


@signed
def gpus_here(wildcards):
    return needs_of(wildcards, 1).gpus if CUDA and workflow.local_exec else None


@signed
def gpus_of_cluster(wildcards):
    return (
        f"gpu:{needs_of(wildcards, 1).gpus}"
        if CUDA and not workflow.local_exec
        else None
    )


@signed
def gpu_memory(wildcards, attempt):
    return needs_of(wildcards, attempt).gpu_mem_mb if CUDA else None


@signed
def execution_of(wildcards, resources):
    """A param that reruns nothing: as `untracked`."""
    return execution_arguments(PLAN, run_of(wildcards).run_id, at_root)


def one_of(names):
    return "|".join(names) or "(?!)"


wildcard_constraints:
    model="[a-z0-9_]+",
    dataset="[a-z0-9_]+",
    method="[a-z0-9_]+",
    run_id="[0-9a-f]{12}",
    size="[0-9]+",
    study=STUDY,


def run_of(wildcards):
    return RUNS[
        f"{wildcards.model}/{wildcards.dataset}/{wildcards.method}/{wildcards.run_id}"
    ]


@signed
def spec_of(wildcards):
    return run_of(wildcards).canonical


@signed
def fingerprint_of(wildcards):
    return PLAN.fingerprint(run_of(wildcards).run_id)


@signed
def data_of(wildcards):
    spec = run_of(wildcards)
    return prepared_manifest(spec.dataset.id, spec.model.id, spec.input_size)


def results_of(wildcards):
    """The results of the runs that an artefact shows, of those that are asked for: others are shown as they are."""
    return [
        result_of(run_id)
        for run_id in ARTEFACTS[wildcards.artefact].run_ids(PLAN)
        if run_id in PLAN.asked
    ]


# Diagnostics: jobs of the runs that are asked for.


def diagnosed_file(name):
    return f"results/tables/{STUDY}/diagnosed/{name}.done"


def diagnoses_of(wildcards):
    """The jobs that compute what an artefact shows of its runs' diagnostics."""
    asked = ARTEFACTS[wildcards.artefact].diagnostics(PLAN)
    return [
        diagnosed_file(name)
        for name, job in PLAN.diagnoses.items()
        if job.diagnostic in asked
        and not PLAN.asked.isdisjoint(job.run_ids)
        and not set(asked[job.diagnostic]).isdisjoint(job.run_ids)
    ]


def diagnosis_of(wildcards):
    return PLAN.diagnoses[
        f"{wildcards.diagnostic}/{wildcards.model}/{wildcards.dataset}/{wildcards.part}"
    ]


def diagnosis_asked(wildcards):
    return [
        run_id for run_id in diagnosis_of(wildcards).run_ids if run_id in PLAN.asked
    ]


@signed
def diagnosed_results(wildcards):
    return [result_of(run_id) for run_id in diagnosis_asked(wildcards)]


@signed
def diagnosis_kind(wildcards):
    return diagnosis_of(wildcards).diagnostic.kind


@signed
def diagnosis_options(wildcards):
    return diagnosis_of(wildcards).diagnostic.canonical


@signed
def diagnosis_runs(wildcards):
    """Each run's folder, and the fingerprint that its file is to carry."""
    job = diagnosis_of(wildcards)
    return [
        text
        for run_id in diagnosis_asked(wildcards)
        for text in (
            "--run",
            f"results/runs/{PLAN.runs[run_id].folder}",
            PLAN.diagnosis_fingerprint(job.diagnostic, run_id),
        )
    ]


@signed
def diagnosis_execution(wildcards, resources):
    """A param that reruns nothing: as `untracked`."""
    return diagnosis_arguments(PLAN, at_root)


@cache
def needs_of_job(name, attempt):
    """Of a job's runs, one after the other: the memory of the largest, the time of all."""
    job = PLAN.diagnoses[name]
    each = []
    for run_id in job.run_ids:
        spec = PLAN.runs[run_id]
        model, data = PLAN.models[spec.model.id], PLAN.datasets[spec.dataset.id]
        how = PLAN.how(run_id)
        each.append(
            needs_of_diagnosis(
                job.diagnostic, spec, model, data, how, attempt, cuda=CUDA
            )
        )
    return Needs(
        mem_mb=max(n.mem_mb for n in each),
        runtime_min=max(FLOOR_MIN, sum(n.runtime_min for n in each)),
        gpus=1,
        gpu_mem_mb=max(n.gpu_mem_mb for n in each),
    )


@signed
def diagnosis_memory(wildcards, attempt):
    return needs_of_job(diagnosis_of(wildcards).name, attempt).mem_mb


@signed
def diagnosis_runtime(wildcards, attempt):
    return needs_of_job(diagnosis_of(wildcards).name, attempt).runtime_min


@signed
def diagnosis_gpu_memory(wildcards, attempt):
    job = diagnosis_of(wildcards).name
    return needs_of_job(job, attempt).gpu_mem_mb if CUDA else None


@signed
def diagnosis_data(wildcards):
    """Landscapes take losses on it, and a model is assembled with it."""
    specs = (PLAN.runs[run_id] for run_id in diagnosis_asked(wildcards))
    found = (prepared_manifest(s.dataset.id, s.model.id, s.input_size) for s in specs)
    return sorted(set(found))


@signed
def diagnosis_gpus_here(wildcards):
    return 1 if CUDA and workflow.local_exec else None


@signed
def diagnosis_gpus_of_cluster(wildcards):
    return "gpu:1" if CUDA and not workflow.local_exec else None


def others_of(wildcards):
    """Which results and diagnostics there are of an artefact's runs that are not asked for: no inputs, as nothing is to make
    them, and shown."""
    artefact = ARTEFACTS[wildcards.artefact]
    files = [result_of(run_id) for run_id in set(artefact.run_ids(PLAN)) - PLAN.asked]
    for diagnostic, run_ids in artefact.diagnostics(PLAN).items():
        for run_id in set(run_ids) - PLAN.asked:
            files.append(f"results/runs/{PLAN.runs[run_id].folder}/{diagnostic.file}")
    return hashlib.sha256("".join(map(seen, sorted(files))).encode()).hexdigest()[:16]


@cache
def seen(path):
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return ""
    return f"{path} {found.st_mtime_ns} {found.st_size}\n"


def prepared_manifest(dataset, model, size):
    return f"resources/prepared/{prepared_folder(dataset, model, size)}/manifest.json"


def pretrain_data(wildcards):
    entry = PLAN.models[wildcards.model]
    return prepared_manifest(
        entry.pretrain.dataset, entry.id, entry.architecture["img_size"]
    )
