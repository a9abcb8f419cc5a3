# Aggregation: the cells of every artefact, from the runs it names.


rule study:
    output:
        f"results/tables/{STUDY}/study.json",
    log:
        f"results/tables/{STUDY}/study.log",
    conda:
        "../envs/environment.yaml"
    params:
        study=json.dumps(config, sort_keys=True),
    message:
        "Recording the study {STUDY}"
    shell:
        "printf '%s' {params.study:q} > {output} 2> {log}"


rule tables:
    input:
        study=rules.study.output[0],
        runs=[f"results/runs/{folder}/result.parquet" for folder in RUNS],
    output:
        [f"results/tables/{STUDY}/{a.id}.parquet" for a in PLAN.study.artefacts],
    log:
        f"results/tables/{STUDY}/tables.log",
    conda:
        "../envs/environment.yaml"
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        fingerprint=tree_hash("peft_lib/results", "reports/reference"),
        folder=subpath(output[0], parent=True),
    message:
        "Aggregating {STUDY}"
    shell:
        "python -m workflow_scripts.tables --config {input.study} --results results"
        " --out-dir {params.folder} > {log} 2>&1"
