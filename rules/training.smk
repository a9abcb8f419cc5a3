# One job per run. Params carry the whole specification and the fingerprint of the code behind it, so that a run is
# repeated exactly when its numbers may change: not for a touched or formatted file, not for another method's edit.


rule train:
    input:
        model="resources/models/{model}/manifest.json",
        data=lambda w: prepared_manifest(w.dataset, w.model, run_of(w).input_size),
    output:
        result="results/runs/{model}/{dataset}/{method}/{run_id}/result.parquet",
        epochs="results/runs/{model}/{dataset}/{method}/{run_id}/epochs.parquet",
        predictions="results/runs/{model}/{dataset}/{method}/{run_id}/predictions.parquet",
        delta="results/runs/{model}/{dataset}/{method}/{run_id}/delta.safetensors",
        spec="results/runs/{model}/{dataset}/{method}/{run_id}/spec.json",
    log:
        "results/runs/{model}/{dataset}/{method}/{run_id}/log.txt",
    conda:
        "../envs/environment.yaml"
    threads: PLAN.study.threads
    resources:
        mem_mb=4000,
        runtime=120,
        cpus_per_task=PLAN.study.threads,
    params:
        launch=shlex.join(launcher(PLAN)),
        arguments=lambda w: shlex.join(train_arguments(PLAN, w.run_id)),
    message:
        "{wildcards.method} on {wildcards.model}/{wildcards.dataset}, run {wildcards.run_id}"
    shell:
        "{params.launch} {params.arguments} > {log} 2>&1"
