# One job per run. Params carry the whole specification and the fingerprint of the code behind it, so that a run is
# repeated exactly when its numbers may change: not for a touched or formatted file, not for another method's edit, not
# for how it is executed. Of that only `threads` is among them: bits depend on it.
#
# Snakemake deletes a job's log before the job starts: what it deletes is a link, and log.txt keeps all attempts.


rule train:
    input:
        model="resources/models/{model}/manifest.json",
        data=data_of,
    output:
        result="results/runs/{model}/{dataset}/{method}/{run_id}/result.parquet",
        epochs="results/runs/{model}/{dataset}/{method}/{run_id}/epochs.parquet",
        predictions="results/runs/{model}/{dataset}/{method}/{run_id}/predictions.parquet",
        delta="results/runs/{model}/{dataset}/{method}/{run_id}/delta.safetensors",
        spec="results/runs/{model}/{dataset}/{method}/{run_id}/spec.json",
    log:
        "results/runs/{model}/{dataset}/{method}/{run_id}/log.link",
    conda:
        environment
    threads: cpus_of
    resources:
        mem_mb=memory_of,
        runtime=runtime_of,
        cpus_per_task=cpus_of,
        gpu=gpus_here,
        gres=gpus_of_cluster,
        gpu_mem_mb=gpu_memory,
    params:
        spec=spec_of,
        fingerprint=fingerprint_of,
        threads=PLAN.study.threads,
        execution=execution_of,
        folder="results/runs/{model}/{dataset}/{method}/{run_id}",
    message:
        "{wildcards.method} on {wildcards.model}/{wildcards.dataset}, run {wildcards.run_id}"
    shell:
        "ln -sf log.txt {log}; python -m workflow_scripts.launch --spec {params.spec:q}"
        " --fingerprint {params.fingerprint} --threads {params.threads} {params.execution:q}"
        " >> {params.folder}/log.txt 2>&1"
