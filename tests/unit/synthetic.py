"""A study with catalogs and made-up results: what tests of tables and reports read. No training, no torch."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from peft_lib.methods.registry import available, get_method
from peft_lib.results.parameter_counts import counts
from peft_lib.run_files import EPOCHS, PREDICTIONS, RESULT, write_rows
from peft_lib.study.expand import plan_study
from peft_lib.study.plan import Plan
from peft_lib.study.spec import RunSpec

PAPER = Path(os.environ.get("BEYOND_LORA_PAPER") or Path(__file__).resolve().parents[3] / "shared" / "paper")
"""The transcription of the paper, where there is one; tests that read it are skipped elsewhere."""
METHODS = (
    "fft", "lora", "cola", "asym_lora", "rac_lora", "lora_plus", "cla", "c3la", "r_cla", "r_c3la", "paca", "d_paca",
    "c_paca", "head_only",
)  # fmt: skip
"""The order of the paper's tables."""
FINGERPRINT = "f" * 16
MODELS = {
    "minilm_l3": {
        "name": "MiniLM-L3", "license": "Apache-2.0", "backbone": "bert", "modality": "text",
        "source": "package:x/model", "revision": "1",
        "hidden": 384, "parameters": 17_389_824, "head_parameters": 147_840, "max_length": 512,
        "targets": {"qv": [{"module": "query", "d_in": 384, "d_out": 384, "count": 3},
                           {"module": "value", "d_in": 384, "d_out": 384, "count": 3}]},
    },
    "vit_digits": {
        "name": "ViT (digits)", "license": "MIT", "backbone": "timm_vit", "modality": "image", "source": "package:x/vit", "revision": "1",
        "architecture": {"img_size": 32}, "hidden": 96, "parameters": 460_000, "head_parameters": 0,
        "targets": {"qv": [{"module": "qkv", "d_in": 96, "d_out": 96, "count": 8}]},
    },
    "roberta_base": {
        "name": "RoBERTa-Base", "license": "MIT", "backbone": "bert", "modality": "text",
        "source": "package:x/roberta", "revision": "1",
        "hidden": 768, "parameters": 124_055_040, "head_parameters": 590_592, "max_length": 512,
        "targets": {"qv": [{"module": "query", "d_in": 768, "d_out": 768, "count": 24}]},
    },
}  # fmt: skip
DATASETS = {
    "clutrr_gen": {
        "name": "CLUTRR (generated)", "license": "MIT", "loader": "clutrr_stories", "modality": "text",
        "source": "generated:clutrr", "revision": "1",
        "num_labels": 18, "sizes": {"train": 2000, "validation": 400, "test": 500},
        "description": "Kinship from a story.",
    },
    "digits": {
        "name": "Digits", "license": "BSD-3-Clause", "loader": "digits", "modality": "image",
        "source": "sklearn:digits", "revision": "1",
        "num_labels": 10, "sizes": {"train": 1200, "validation": 200, "test": 397},
        "description": "Handwritten digits.",
    },
    "mrpc": {
        "name": "MRPC", "license": "unknown", "loader": "clutrr_stories", "modality": "text", "source": "hub:nyu-mll/glue", "revision": "1",
        "num_labels": 2, "sizes": {"train": 3668, "validation": 408, "test": 1725}, "description": "Paraphrases.",
    },
}  # fmt: skip


def study(**changes: Any) -> dict[str, Any]:
    """The default study in small: 14 methods, two tasks, two seeds, an ablation."""
    return {
        "id": "synthetic", "title": "Sparse and dense adapters on two small tasks",
        "question": "Do adapters that update a few columns of a weight keep up with LoRA, and at what cost?",
        "catalogs": {"models": "models.yaml", "datasets": "datasets.yaml"},
        "defaults": {"rank": 8, "alpha": "2r", "lr": "1e-3", "epochs": 6, "batch_size": 16, "chain_period": 2,
                     "schedule": "linear", "warmup_ratio": 0.1, "weight_decay": 0},
        "rules": [
            {"when": {"model": "minilm_l3"}, "set": {"input_size": 64}, "source": "ours: longest story is 60 tokens"},
            {"when": {"model": "vit_digits"}, "set": {"input_size": 32}, "source": "ours: pre-training size"},
            {"when": {"model": "roberta_base"}, "set": {"input_size": 128, "rank": 16}, "source": "paper: Table 7"},
            {"when": {"lr_group": "fft"}, "set": {"lr": "1e-4"}, "source": "ours: best of 3 on validation"},
            {"when": {"lr_group": "lora"}, "set": {"lr": "1e-2.5"}, "source": "ours: best of 5 on validation, seed 0"},
        ],
        "grids": {
            "main": {"tasks": ["minilm_l3/clutrr_gen", "vit_digits/digits"], "methods": list(METHODS), "seeds": [0, 1]},
            "ablation": {"tasks": ["vit_digits/digits"], "methods": ["lora", "asym_lora", "cla"], "seeds": [0],
                         "vary": {"rank": [2, 4, 8], "lr": ["1e-3.5", "1e-3", "1e-2.5", "1e-2"]}},
        },
        "artefacts": [
            {"id": "performance", "number": "2 / 18", "kind": "methods", "grid": "main", "title": "Performance",
             "caption": "Test accuracy at the epoch of lowest validation loss.", "change_vs_best": True,
             "published": "table_2_18.csv"},
            {"id": "generalization", "number": "3 / 16", "kind": "methods", "grid": "main", "metric": "gap",
             "title": "Generalization gap", "caption": "Test loss minus clean train loss.",
             "published": "table_3_16.csv"},
            {"id": "normalized", "number": "17", "kind": "methods", "grid": "main", "metric": "gap",
             "title": "Gap relative to LoRA", "normalise_to": "lora", "published": "table_17.csv"},
            {"id": "parameters", "number": "6", "kind": "parameters", "grid": "main", "title": "Trainable parameters",
             "published": "table_6.csv"},
            {"id": "hyperparameters", "number": "7", "kind": "hyperparameters", "grid": "main",
            "title": "Hyper-parameters",
             "published": "table_7.csv"},
            {"id": "efficiency", "number": "15", "kind": "efficiency", "grid": "main", "title": "End-to-end efficiency",
             "normalise_to": "lora", "published": "table_15.csv"},
            {"id": "ablation", "number": "9", "kind": "heatmap", "grid": "ablation", "title": "Rank and learning rate",
             "published": "table_9.csv"},
            {"id": "curves", "kind": "curves", "grid": "main", "title": "Training curves"},
            {"id": "cost", "kind": "cost", "grid": "main", "title": "Accuracy against cost"},
        ],
    } | changes  # fmt: skip


def make_plan(root: Path, data: dict[str, Any] | None = None) -> Plan:
    """Writes catalogs and study below `root` and plans it. Fingerprints are fixed: they have their own tests."""
    data = with_matching_rules(study() if data is None else data)
    root.mkdir(parents=True, exist_ok=True)
    (root / "models.yaml").write_text(yaml.safe_dump(MODELS))
    (root / "datasets.yaml").write_text(yaml.safe_dump(DATASETS))
    (root / "study.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return plan_study(data, root)


def with_matching_rules(data: dict[str, Any]) -> dict[str, Any]:
    """The study without rules for runs that it does not have: planning refuses them, and tests narrow the grids."""
    pairs = [
        (*task.split("/"), method)
        for g in data.get("grids", {}).values() for task in g["tasks"] for method in g["methods"] if method in available()
    ]  # fmt: skip

    def matches(when: dict[str, Any], model: str, dataset: str, method: str) -> bool:
        facts = {"model": model, "dataset": dataset, "method": method, "lr_group": get_method(method).lr_group}
        return all(facts[k] in (v if isinstance(v, list) else [v]) for k, v in when.items())

    rules = [r for r in data.get("rules", []) if any(matches(r.get("when", {}), *pair) for pair in pairs)]
    return {**data, "rules": rules}


def result(spec: RunSpec, plan: Plan, **changes: Any) -> dict[str, Any]:
    """A plausible result row; the score depends on method, task, rank, learning rate and seed, and on nothing else."""
    rng = np.random.default_rng(int(spec.run_id, 16))
    method = get_method(spec.method)
    twin = {"paca": "r_cla", "d_paca": "cla", "c_paca": "r_c3la"}.get(spec.method, spec.method)
    place = METHODS.index(twin) if twin in METHODS else len(METHODS)
    quality = 0.02 * (len(METHODS) - place) / len(METHODS)
    # A good learning rate near 10^-2.7, better with rank; the twins share their parents' numbers.
    tuned = -0.03 * (math.log10(spec.lr) + 2.7) ** 2 + 0.005 * math.log2(spec.rank)
    base = 0.62 if spec.dataset.id == "clutrr_gen" else 0.9
    twin_rng = np.random.default_rng([place, spec.seed, len(spec.dataset.id)])
    score = base + quality + tuned + float(twin_rng.normal(0, 0.006)) - 0.2 * (spec.method == "head_only")
    train_loss, test_loss = 1.4 * (1 - score), 1.6 * (1 - score) + 0.02
    count = counts(spec, plan)
    head = plan.models[spec.model.id].head_size(plan.datasets[spec.dataset.id].outputs)
    seconds = 9.0 + 4 * (spec.method == "fft") - 2 * method.column_sparse + float(rng.normal(0, 0.2))
    row = dict.fromkeys(RESULT.names) | {
        "run_id": spec.run_id, "spec": spec.canonical, "model": spec.model.id, "dataset": spec.dataset.id,
        "method": spec.method, "seed": spec.seed, "execution": "dense", "status": "ok", "metric": "accuracy",
        "metric_direction": "higher", "selected_epoch": spec.epochs - 1, "epochs": spec.epochs, "steps": 48, "links": 1,
        "test_metric": score, "val_metric": score + 0.01, "test_loss": test_loss, "val_loss": test_loss - 0.01,
        "train_loss": train_loss, "train_loss_running": train_loss + 0.1, "gap": test_loss - train_loss,
        "baseline": 0.08 if spec.dataset.id == "clutrr_gen" else 0.11, "n_train": 1200, "n_validation": 200,
        "n_test": 397,
        "trainable_parameters": count.trainable, "adapter_parameters": count.trainable - head, "head_parameters": head,
        "total_parameters": count.total, "samples_per_s": 768 / seconds, "wall_s": seconds + 3, "setup_s": 1.0,
        "train_s": seconds, "eval_s": 1.8, "save_s": 0.2, "cpu_s": seconds + 2.5, "peak_rss_bytes": 700 << 20,
        "peak_memory_bytes": (700 << 20) + count.trainable * 12, "device": "cpu", "device_name": "Synthetic CPU",
        "threads": 1,
        "processes": 1, "attempts": 1, "versions": '{"python": "3.11.2", "torch": "2.9.0"}', "git_commit": "0" * 40,
        "git_dirty": False, "fingerprint": FINGERPRINT, "data_sha256": "d" * 64, "host": "synthetic",
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:12Z",
        "command": f"python -m workflow_scripts.train --spec {spec.run_id}",
    }  # fmt: skip
    return row | changes


def write_run(results: Path, plan: Plan, run_id: str, **changes: Any) -> None:
    """Writes the files of one run."""
    spec = plan.runs[run_id]
    folder = results / "runs" / spec.folder
    row = result(spec, plan, **changes)
    if row["status"] != "ok":
        row |= dict.fromkeys(
            ("test_metric", "val_metric", "test_loss", "val_loss", "train_loss", "gap", "selected_epoch")
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text(spec.canonical)
    (folder / "log.txt").write_text("synthetic\n")
    write_rows(folder / "epochs.parquet", _epochs(spec, row) if row["status"] == "ok" else [], EPOCHS)
    write_rows(folder / "predictions.parquet", [], PREDICTIONS)
    write_rows(folder / "result.parquet", [row], RESULT)


def _epochs(spec: RunSpec, row: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for epoch in range(1, spec.epochs + 1):
        left = math.exp(-epoch / 2)
        values = {
            ("train", "loss"): row["train_loss"] + 1.5 * left, ("validation", "loss"): row["val_loss"] + left,
            ("validation", "accuracy"): row["val_metric"] - 0.4 * left, ("train", "lr"): spec.lr,
        }  # fmt: skip
        for (split, metric), value in values.items():
            rows.append({"epoch": epoch, "step": epoch * 8, "split": split, "metric": metric, "value": value})
    return rows


def write_results(
    results: Path, plan: Plan, change: Callable[[RunSpec], dict[str, Any] | None] = lambda spec: {}
) -> None:
    """Results of every run; `change` gives columns to replace, or None for a run that is missing."""
    for run_id, spec in plan.runs.items():
        changes = change(spec)
        if changes is not None:
            write_run(results, plan, run_id, **changes)
