# Aggregation: the cells of every artefact, from the runs it names.


rule study:
    output:
        f"results/tables/{STUDY}/study.json",
    log:
        f"results/tables/{STUDY}/study.log",
    conda:
        environment
    params:
        # a function: in a text of its own, Snakemake would take {x} for a wildcard; ASCII, whatever the locale
        # without `assets` and `only`: where files come from, and which part is asked for now, change no table
        study=lambda w: json.dumps(
            {k: v for k, v in PLAN.data.items() if k not in ("assets", "only")},
            sort_keys=True,
        ),
    message:
        "Recording the study {STUDY}"
    shell:
        "printf '%s' {params.study:q} | python -m workflow_scripts.record_study --out {output} >> {log} 2>&1"


rule tables:
    input:
        study=rules.study.output[0],
        runs=lambda w: RESULTS,  # as a function: Snakemake hashes a list once for each of its items
    output:
        [f"results/tables/{STUDY}/{a.id}.parquet" for a in PLAN.study.artefacts],
    log:
        f"results/tables/{STUDY}/tables.log",
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        fingerprint=tree_hash(
            "peft_lib/results",
            "peft_lib/study/quantities.py",
            "peft_lib/study/counts.py",
            "reports/reference",
            extra=[PLAN.shown_facts()],
        ),
        root=untracked(ROOT),
        folder=subpath(input.study, parent=True),
    message:
        "Aggregating {STUDY}"
    shell:
        "python -m workflow_scripts.tables --config {input.study} --root {params.root:q} --results results"
        " --out-dir {params.folder} >> {log} 2>&1"
