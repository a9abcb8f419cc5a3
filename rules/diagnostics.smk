# Diagnostics of finished runs, computed from what they have stored, for the artefacts that ask. A job takes some runs of one
# task (`runs_per_diagnosis`). Each run's numbers lie in its own folder with the fingerprint of what they depend on; a job
# computes those that are not there yet or are stale, so its own output is only a mark that it has looked.


rule diagnose:
    input:
        runs=diagnosed_results,
        model="resources/models/{model}/manifest.json",
        data=diagnosis_data,
    output:
        touch(
            f"results/tables/{STUDY}/diagnosed/{{diagnostic}}/{{model}}/{{dataset}}/{{part}}.done"
        ),
    log:
        f"results/tables/{STUDY}/diagnosed/{{diagnostic}}/{{model}}/{{dataset}}/{{part}}.log",
    wildcard_constraints:
        diagnostic="[a-z0-9_]+-[0-9a-f]{8}",
        part="[0-9]+",
    conda:
        environment
    threads: PLAN.study.threads
    resources:
        mem_mb=diagnosis_memory,
        runtime=diagnosis_runtime,
        cpus_per_task=PLAN.study.threads,
        gpu=diagnosis_gpus_here,
        gres=diagnosis_gpus_of_cluster,
        gpu_mem_mb=diagnosis_gpu_memory,
    params:
        kind=diagnosis_kind,
        options=diagnosis_options,
        runs=diagnosis_runs,
        execution=diagnosis_execution,
        threads=PLAN.study.threads,
    message:
        "{wildcards.diagnostic} of {wildcards.model}/{wildcards.dataset}, part {wildcards.part}"
    shell:
        "python -m workflow_scripts.diagnose --kind {params.kind} --options {params.options:q} {params.runs:q}"
        " --threads {params.threads} {params.execution:q} >> {log} 2>&1"
