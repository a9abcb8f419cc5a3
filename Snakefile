# Every model x data set x method x seed of a study, trained, tabulated and rendered.
#   snakemake --cores all                                      the default study, config.yaml
#   snakemake --cores all --configfile config/OTHER.yaml       another study
#   snakemake --cores all --profile slurm                      on a cluster

import os
import sys

from snakemake.utils import min_version

min_version("9.0")
sys.path.insert(0, workflow.basedir)

# The default study, unless --configfile names another: the two are never mixed. --config overrides go on top of either.
if not workflow.configfiles:

    configfile: os.path.relpath(os.path.join(workflow.basedir, "config.yaml"))


include: "rules/common.smk"
include: "rules/assets.smk"
include: "rules/lock.smk"
include: "rules/training.smk"
include: "rules/diagnostics.smk"
include: "rules/tables.smk"
include: "rules/report.smk"


onerror:
    print(
        "Some jobs failed. `snakemake render`, with the same --configfile, renders what there is; --keep-going goes on after"
        " a failure."
    )


localrules:
    all,
    runs,
    study,


rule all:
    default_target: True
    input:
        REPORT,
        # a table that is there hides that a run of it was deleted
        RESULTS,


rule runs:
    input:
        RESULTS,
