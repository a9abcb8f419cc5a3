# The plan of the study, computed once, and the look-ups of the rules. Nothing here imports torch.

import json
import shlex

from snakemake.exceptions import WorkflowError

from peft_lib.study.fingerprint import tree_hash
from peft_lib.study.launch import launcher, train_arguments
from peft_lib.study.loading import read_yaml
from peft_lib.study.plan import prepared_folder
from peft_lib.study.expand import plan_study
from peft_lib.study.problems import StudyError


def planned():
    files = [str(f) for f in workflow.configfiles]
    try:
        lines = {}
        for (
            file
        ) in (
            files
        ):  # also refuses repeated keys, which Snakemake's own reading would swallow
            lines = read_yaml(file)[1]
        return plan_study(config, workflow.basedir, lines, ", ".join(files) or "study")
    except StudyError as error:
        raise WorkflowError(str(error))


PLAN = planned()
STUDY = PLAN.study.id
RUNS = PLAN.by_folder
PREPARED = PLAN.prepared
MODELS = sorted({spec.model.id for spec in RUNS.values()})
PRETRAINED = [m for m in MODELS if PLAN.models[m].pretrain]
FETCHED = [m for m in MODELS if not PLAN.models[m].pretrain]
CATALOGS = PLAN.study.catalogs


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


def prepared_manifest(dataset, model, size):
    return f"resources/prepared/{prepared_folder(dataset, model, size)}/manifest.json"


def pretrain_data(wildcards):
    entry = PLAN.models[wildcards.model]
    return prepared_manifest(
        entry.pretrain.dataset, entry.id, entry.architecture["img_size"]
    )
