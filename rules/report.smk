# Rendering: HTML and LaTeX from the same cells.


rule report:
    message:
        "Rendering reports/{STUDY}"
    input:
        study=rules.study.output,
        tables=rules.tables.output,
    output:
        html=f"reports/{STUDY}/index.html",
        latex=f"reports/{STUDY}/appendix.tex",
    log:
        f"results/tables/{STUDY}/report.log",
    params:
        fingerprint=tree_hash(
            "peft_lib/report", "reports/templates", "reports/reference"
        ),
        tables=f"results/tables/{STUDY}",
        folder=f"reports/{STUDY}",
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m workflow_scripts.report --config {input.study} --results results"
        " --tables {params.tables} --out {params.folder} > {log} 2>&1"


rule appendix:
    message:
        "Compiling reports/{STUDY}/appendix.pdf"
    input:
        f"reports/{STUDY}/appendix.tex",
    output:
        f"reports/{STUDY}/appendix.pdf",
    log:
        f"results/tables/{STUDY}/latex.log",
    params:
        folder=f"reports/{STUDY}",
    resources:
        mem_mb=2000,
        runtime=30,
    shell:
        "python -m workflow_scripts.latex --report {params.folder} > {log} 2>&1"
