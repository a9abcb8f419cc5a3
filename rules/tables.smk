# Aggregation: one job per artefact, from the runs that it shows. A run that is missing or failed keeps only the artefacts
# from being made that show it.

AGGREGATION = tree_hash(
    "peft_lib/artefacts",
    "peft_lib/results",
    "peft_lib/statistics",
    "peft_lib/analysis/bounds.py",
    "peft_lib/analysis/theorem1.py",
    "peft_lib/study/quantities.py",
    "peft_lib/study/counts.py",
    "peft_lib/study/choices.py",
    "peft_lib/study/labels.py",
    "reports/reference",
)


rule study:
    output:
        f"results/tables/{STUDY}/study.json",
    log:
        f"results/tables/{STUDY}/study.log",
    conda:
        environment
    params:
        # a function: in a text of its own, Snakemake would take {x} for a wildcard; ASCII, whatever the locale
        study=lambda w: json.dumps(PLAN.recorded),
    message:
        "Recording the study {STUDY}"
    shell:
        "printf '%s' {params.study:q} | python -m workflow_scripts.record_study --out {output} >> {log} 2>&1"


rule artefact:
    input:
        study=rules.study.output[0],
        runs=results_of,
        diagnosed=diagnoses_of,
    output:
        f"results/tables/{STUDY}/{{artefact}}.parquet",
    log:
        f"results/tables/{STUDY}/{{artefact}}.log",
    wildcard_constraints:
        artefact=one_of(ARTEFACTS),
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=AGGREGATION,
        shown=lambda w: PLAN.shown_facts(w.artefact),
        others=others_of,
        root=untracked(ROOT),
    message:
        "Aggregating {wildcards.artefact} of {STUDY}"
    shell:
        "python -m workflow_scripts.tables --config {input.study} --root {params.root:q} --results results"
        " --artefact {wildcards.artefact} --out {output} >> {log} 2>&1"
