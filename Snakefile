# Every model x data set x method x seed of a study, trained, tabulated and rendered.
#   snakemake --cores all                                      the default study, config.yaml
#   snakemake --cores all --configfile config/OTHER.yaml       another study
#   snakemake --cores all --profile slurm                      on a cluster

import sys

from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, workflow.basedir)

if (
    "id" not in config
):  # no --configfile: the default study; --config overrides go on top of it

    configfile: "config.yaml"


include: "rules/common.smk"
include: "rules/assets.smk"
include: "rules/training.smk"
include: "rules/tables.smk"
include: "rules/report.smk"


localrules:
    all,
    runs,
    study,


rule all:
    default_target: True
    input:
        f"reports/{STUDY}/index.html",


rule runs:
    input:
        [f"results/runs/{folder}/result.parquet" for folder in RUNS],
