# Which rows the data sets of the catalog have, written into its lock file. Run by hand, where there is internet:
#   snakemake lock
# Choices (one data set, from a mirror, replacing): python -m workflow_scripts.lock_datasets --help


rule lock:
    log:
        "resources/lock.log",
    localrule: True
    conda:
        environment
    params:
        catalog=DATASET_CATALOG,
    message:
        "Locking the data sets of {params.catalog}"
    shell:
        "python -m workflow_scripts.lock_datasets --catalog {params.catalog:q} 2>&1 | tee {log}"
