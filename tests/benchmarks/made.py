"""A study of any size, and everything that it would leave behind, made up: what the benchmarks run on."""

import json
import math
from pathlib import Path

import yaml

from peft_lib.run_files import EPOCHS, PREDICTIONS, write_rows
from peft_lib.study.plan import Plan
from workflow_scripts.synthetic import write_results

TASKS = ("roberta_base/mrpc", "roberta_base/cola", "vit_tiny/cifar10", "vit_base/cifar10", "gpt2_small/e2e")
METHODS = ("fft", "lora", "asym_lora", "cla", "r_cla", "paca", "lora_plus")


def study(runs: int) -> dict:
    """At least `runs` runs: five tasks, seven methods, two seeds, and as many learning rates as that takes."""
    rates = math.ceil(runs / (len(TASKS) * len(METHODS) * 2))
    grid = {
        "tasks": list(TASKS), "methods": list(METHODS), "seeds": [12, 22],
        "vary": {"lr": [round(1e-5 * (i + 1), 8) for i in range(rates)]},
    }  # fmt: skip
    text = {"model": ["roberta_base", "gpt2_small"]}
    return {
        "id": "benchmark", "title": "Benchmark", "question": "How long does it take?", "device": "cpu",
        "defaults": {"rank": 8, "alpha": "2r", "epochs": 3, "batch_size": 16, "input_size": 224},
        "rules": [
            {"when": text, "set": {"input_size": 128}, "source": "benchmark"},
            {"when": {"model": ["roberta_base"]}, "set": {"clip_norm": 1.0}, "source": "benchmark"},
        ],
        "grids": {"main": grid},
        "artefacts": [{"id": "performance", "kind": "methods", "grid": "main", "title": "Performance"}],
    }  # fmt: skip


def write_study(folder: Path, runs: int) -> Path:
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study(runs)))
    return path


def finish(plan: Plan, folder: Path) -> None:
    """Files of all jobs of a study: Snakemake is then told that it made them (--touch)."""
    for name in {spec.model.id for spec in plan.runs.values()}:
        _write(folder / f"resources/models/{name}/manifest.json", "{}")
    for name in plan.prepared:
        _write(folder / f"resources/prepared/{name}/manifest.json", "{}")
        _write(folder / f"resources/prepared/{name}/data.arrow", "made up")
    write_results(plan, folder / "results")
    for spec in plan.runs.values():
        at = folder / "results/runs" / spec.folder
        _write(at / "spec.json", spec.canonical)
        _write(at / "delta.safetensors", "made up")
        if not (at / "epochs.parquet").exists():
            write_rows(at / "epochs.parquet", [], EPOCHS)
        write_rows(at / "predictions.parquet", [], PREDICTIONS)
    _write(folder / f"results/tables/{plan.study.id}/study.json", json.dumps(plan.recorded))
    for artefact in plan.study.artefacts:
        _write(folder / f"results/tables/{plan.study.id}/{artefact.id}.parquet", "made up")
    for name in ("index.html", "appendix.tex"):
        _write(folder / f"reports/{plan.study.id}/{name}", "made up")
    _write(folder / f"results/tables/{plan.study.id}/report.done", "")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
