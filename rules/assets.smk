# Models and data: fetched or pre-trained once, prepared once per model that reads them. No network after this point.


rule fetch_model:
    output:
        "resources/models/{model}/manifest.json",
    log:
        "resources/models/{model}/fetch.log",
    wildcard_constraints:
        model=one_of(FETCHED),
    conda:
        environment
    resources:
        mem_mb=lambda w, attempt: fetching(PLAN.models[w.model], attempt)[0],
        runtime=lambda w, attempt: fetching(PLAN.models[w.model], attempt)[1],
    params:
        fingerprint=lambda w: PLAN.asset_fingerprint(w.model),
        catalog=untracked(MODEL_CATALOG),
        mirror=untracked(MIRROR),
    message:
        "Fetching the weights of {wildcards.model}"
    shell:
        "python -m workflow_scripts.fetch_asset --model {wildcards.model} --catalog {params.catalog:q}"
        " {params.mirror:q} --out resources/models/{wildcards.model} >> {log} 2>&1"


rule prepare:
    input:
        lambda w: (
            f"resources/models/{w.model}/manifest.json" if w.model in FETCHED else []
        ),
    output:
        data="resources/prepared/{dataset}/{model}-{size}/data.arrow",
        manifest="resources/prepared/{dataset}/{model}-{size}/manifest.json",
    log:
        "resources/prepared/{dataset}/{model}-{size}/prepare.log",
    conda:
        environment
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        fingerprint=lambda w: PLAN.prepare_fingerprint(w.dataset, w.model, int(w.size)),
        size=lambda w: (
            "--max-length"
            if PLAN.models[w.model].modality == "text"
            else "--image-size"
        ),
        models=untracked(MODEL_CATALOG),
        datasets=untracked(DATASET_CATALOG),
        mirror=untracked(MIRROR),
    message:
        "Preparing {wildcards.dataset} for {wildcards.model} at size {wildcards.size}"
    shell:
        "python -m workflow_scripts.prepare --dataset {wildcards.dataset} --model {wildcards.model}"
        " {params.size} {wildcards.size} --models {params.models:q} --datasets {params.datasets:q}"
        " {params.mirror:q} --model-dir resources/models/{wildcards.model}"
        " --out resources/prepared/{wildcards.dataset}/{wildcards.model}-{wildcards.size} >> {log} 2>&1"


rule pretrain:
    input:
        pretrain_data,
    output:
        weights="resources/models/{model}/model.safetensors",
        manifest="resources/models/{model}/manifest.json",
    log:
        "resources/models/{model}/pretrain.log",
    wildcard_constraints:
        model=one_of(PRETRAINED),
    conda:
        environment
    threads: PLAN.study.threads
    resources:
        mem_mb=4000,
        runtime=60,
        cpus_per_task=PLAN.study.threads,
    params:
        fingerprint=lambda w: PLAN.asset_fingerprint(w.model),
        catalog=untracked(MODEL_CATALOG),
        prepared=subpath(input[0], parent=True),
        threads=PLAN.study.threads,
    message:
        "Pre-training {wildcards.model}"
    shell:
        "python -m workflow_scripts.pretrain --model {wildcards.model} --catalog {params.catalog:q}"
        " --prepared {params.prepared} --threads {params.threads}"
        " --out resources/models/{wildcards.model} >> {log} 2>&1"
