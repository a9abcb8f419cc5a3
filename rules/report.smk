# Rendering: HTML and LaTeX from the same cells.

RENDERING = tree_hash(
    "peft_lib/artefacts",
    "peft_lib/display",
    "peft_lib/report",
    "peft_lib/study/quantities.py",
    "peft_lib/study/counts.py",
    "peft_lib/study/labels.py",
    "reports/templates",
    "reports/reference",
)


rule report:
    input:
        study=rules.study.output[0],
        tables=expand(rules.artefact.output[0], artefact=ARTEFACTS),
        # the page has details of every run
        runs=UNSHOWN,
    output:
        html=f"reports/{STUDY}/index.html",
        latex=f"reports/{STUDY}/appendix.tex",
        whole=touch(WHOLE),
    log:
        f"results/tables/{STUDY}/report.log",
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=RENDERING,
        shown=lambda w: PLAN.shown_facts(),
        root=untracked(ROOT),
        tables=subpath(input.study, parent=True),
        folder=subpath(output.html, parent=True),
    message:
        "Rendering reports/{STUDY}"
    shell:
        "python -m workflow_scripts.report --config {input.study} --root {params.root:q} --results results"
        " --tables {params.tables} --out {params.folder} >> {log} 2>&1"


# What there is by now, without running anything: snakemake render
rule render:
    input:
        study=rules.study.output[0],
    log:
        f"results/tables/{STUDY}/render.log",
    localrule: True
    conda:
        environment
    params:
        root=untracked(ROOT),
        folder=f"reports/{STUDY}",
        whole=WHOLE,
    message:
        "Rendering reports/{STUDY} from the results that there are"
    shell:
        "rm -f {params.whole}; python -m workflow_scripts.report --config {input.study} --root {params.root:q}"
        " --results results --out {params.folder} >> {log} 2>&1"


rule appendix:
    input:
        f"reports/{STUDY}/appendix.tex",
    output:
        f"reports/{STUDY}/appendix.pdf",
    log:
        f"results/tables/{STUDY}/latex.log",
    conda:
        environment
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        folder=subpath(output[0], parent=True),
    message:
        "Compiling reports/{STUDY}/appendix.pdf"
    shell:
        "python -m workflow_scripts.latex --report {params.folder} >> {log} 2>&1"
