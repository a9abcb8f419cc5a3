"""Made-up results for all runs of a study, and its tables and report from them: to see what a report will look like.

    python -m workflow_scripts.synthetic --config config/paper.yaml --out /tmp/paper_synthetic

Nothing is trained, and no number means anything: values come from the run's id, method and settings by formulas of this
file and of synthetic_answers.py and synthetic_diagnostics.py, which know nothing of the published numbers. Test metrics are those of
made-up answers, so that methods can be compared item by item; each diagnostic that the artefacts ask for has made-up rows. So that they are never taken for results, they go into a folder of their own
(an existing one is refused), the study is renamed to synthetic_<id>, its title and question say so, and every result names the
machine 'synthetic'.
"""

import argparse
import hashlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.methods.registry import get_method
from peft_lib.results.chains import planned_links
from peft_lib.study.counts import counts
from peft_lib.study.diagnoses import wanted
from peft_lib.study.expand import plan_file
from peft_lib.study.plan import Plan
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.spec import RunSpec
from workflow_scripts.errors import run
from workflow_scripts.synthetic_answers import Answers, answers
from workflow_scripts.synthetic_diagnostics import MADE, Run

TITLE = "SYNTHETIC, not measured: "
QUESTION = "All numbers of this report are made up to show its tables; nothing was trained. The study asks: "
DEVICE = "synthetic"
COMPARED = ("comparisons", "chaining", "noise_floor")
"""Kinds of artefacts that read the answers of their runs; of other runs none are written."""


def marked(plan: Plan) -> Plan:
    """The plan with a study that says of itself that it is made up. The runs are the same."""
    study = plan.study
    changed = {"id": f"synthetic_{study.id}"[:64], "title": TITLE + study.title, "question": QUESTION + study.question}
    return replace(plan, study=study.model_copy(update=changed))


def draw(*key: object) -> float:
    """A number from 0 to 1 that only the key decides."""
    digest = hashlib.sha256(json.dumps([str(k) for k in key]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def like(spec: RunSpec) -> str:
    """The method whose numbers a run's resemble: of twins, which are one method up to rounding, the same."""
    return get_method(spec.method).twin or spec.method


def score(spec: RunSpec) -> float:
    """From 0 to 1, the larger the better: a task, a method, a rank, a rate near the task's best one, a seed."""
    task, method = (spec.model.id, spec.dataset.id), like(spec)
    best = -5 + 3 * draw("best rate", *task, get_method(spec.method).lr_group)
    away = math.log10(spec.lr) - best
    logit = (
        0.2 + 2.2 * draw("level", *task) + 0.5 * draw("method", *task, method) + 0.04 * math.log2(spec.rank)
        - 0.12 * away**2 - 0.2 * draw("scale", *task) * abs(math.log2(spec.alpha / spec.rank) - 1)
        - (0.3 / spec.chain_period if spec.chain_period else 0) + 0.25 * (draw("seed", spec.run_id) - 0.5)
    )  # fmt: skip
    return 1 / (1 + math.exp(-logit))


def measure(metric: str, quality: float) -> float:
    """The value of a metric that no answers stand behind: shares as fractions, errors and perplexities falling with quality."""
    what = DATASET_METRICS[metric]
    if what.direction == "lower":
        return (what.low or 0.0) + 4 * (1 - quality)
    return quality if what.high is not None else 8 * quality


def result(spec: RunSpec, plan: Plan) -> tuple[dict[str, Any], Answers]:
    """One row of result.parquet (status ok, every quantity that a table may show), and the answers that it is of."""
    data = plan.datasets[spec.dataset.id]
    quality = score(spec)
    counted = counts(spec, plan.models[spec.model.id], data)
    method = get_method(spec.method)
    train = 1.2 * (1 - quality) * (0.4 + 0.3 * draw("fit", like(spec), spec.dataset.id))
    gap = 0.02 + 0.4 * draw("gap", like(spec), spec.dataset.id, spec.model.id) * (0.9 + 0.2 * draw(spec.run_id))
    given = answers(spec, data, like(spec), quality, train + gap)
    test = given.loss
    train = test / (1 + gap) if data.task == "regression" else test - gap  # a squared error follows from the answers
    measures = {name: measure(name, quality) for name in (data.metric, *data.measures)} | given.measures
    speed = 400 * (0.8 + 0.1 * method.column_sparse - 0.2 * (spec.method == "fft") + 0.1 * draw("speed", spec.run_id))
    size = plan.models[spec.model.id].parameters
    classes = data.num_labels or 0
    baseline = 1.2 / classes if data.metric == "accuracy" and classes else None if data.metric == "perplexity" else 0.0
    row = {
        "run_id": spec.run_id, "spec": spec.canonical, "model": spec.model.id, "dataset": spec.dataset.id,
        "method": spec.method, "seed": spec.seed, "execution": "dense", "status": "ok", "task": data.task,
        "metric": data.metric, "metric_direction": DATASET_METRICS[data.metric].direction, "carve_out": data.carve_out,
        "selected_epoch": spec.epochs, "epochs": spec.epochs, "steps": 100 * spec.epochs, "links": planned_links(spec),
        "test_metric": measures[data.metric], "val_metric": measures[data.metric], "test_measures": measures,
        "test_loss": test, "val_loss": test, "train_loss": train, "train_loss_running": train, "gap": test - train,
        "baseline": baseline, "n_train": data.sizes.get("train"), "n_validation": data.sizes.get("validation"),
        "n_test": data.sizes.get("test"), "trainable_parameters": counted.trainable, "total_parameters": counted.total,
        "adapter_parameters": counted.trainable - counted.in_full, "head_parameters": counted.in_full,
        "samples_per_s": speed, "wall_s": 1e5 / speed, "train_s": 9e4 / speed, "cpu_s": 1.1e5 / speed,
        "peak_memory_bytes": 4 * size + 12 * counted.trainable + (600 << 20), "device": "cuda", "device_name": DEVICE,
        "threads": plan.study.threads, "processes": 1, "attempts": 1, "versions": "{}", "host": DEVICE,
        "git_note": "made up", "fingerprint": plan.fingerprint(spec.run_id), "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:00Z", "command": f"made up for {spec.run_id}: there is nothing to repeat",
    }  # fmt: skip
    return row, given


def epochs(spec: RunSpec, row: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of epochs.parquet: losses that fall to the run's own, the headline metric that gets better up to it."""
    worse = 0.2 if row["metric_direction"] == "lower" else -0.2
    values = {
        ("train", "loss"): (row["train_loss"], 1.5), ("validation", "loss"): (row["val_loss"], 1.0),
        ("validation", row["metric"]): (row["val_metric"], worse * row["val_metric"]),
    }  # fmt: skip
    return [
        {"epoch": e, "step": 100 * e, "split": split, "metric": name, "value": end + away * math.exp(-e / 2)}
        for e in range(1, spec.epochs + 1)
        for (split, name), (end, away) in values.items()
    ]


def write_results(plan: Plan, results: Path, run_ids: Iterable[str] | None = None) -> Counter[str]:
    """Writes result.parquet of the runs (default: all), and what else of theirs an artefact shows: epochs.parquet, their answers,
    their diagnostics. How many of each; of a kind of diagnostic that nothing is made up for under `kind: missing`."""
    from peft_lib.run_files import EPOCHS, PREDICTIONS, RESULT, write_rows

    artefacts = plan.study.artefacts
    curves = any(a.kind == "curves" for a in artefacts)
    compared = {run_id for a in artefacts if a.kind in COMPARED for run_id in a.run_ids(plan)}
    asked: dict[str, list[Diagnostic]] = {}
    for diagnostic, ids in wanted(plan).items():
        for run_id in ids:
            asked.setdefault(run_id, []).append(diagnostic)
    made: Counter[str] = Counter()
    for run_id in plan.runs if run_ids is None else run_ids:
        spec = plan.runs[run_id]
        folder = results / "runs" / spec.folder
        row, given = result(spec, plan)
        if curves:
            write_rows(folder / "epochs.parquet", epochs(spec, row), EPOCHS)
        if run_id in compared:
            write_rows(folder / "predictions.parquet", given.rows(), PREDICTIONS)
        write_rows(folder / "result.parquet", [dict.fromkeys(RESULT.names) | row], RESULT)
        made.update(["results", *(["answers"] if run_id in compared else [])])
        made.update(write_diagnostic(plan, folder, row, diagnostic) for diagnostic in asked.get(run_id, ()))
    return made


def write_diagnostic(plan: Plan, folder: Path, row: dict[str, Any], diagnostic: Diagnostic) -> str:
    """Writes a diagnostic of a run as if it was fresh. Its kind, with `: missing` where nothing makes its rows up."""
    from peft_lib.results.diagnostic_files import Facts, file_of, stamp, write

    if type(diagnostic) not in MADE:
        return f"{diagnostic.kind}: missing"
    spec = plan.runs[row["run_id"]]
    rows = MADE[type(diagnostic)](diagnostic, Run(spec, plan.models[spec.model.id], row))
    fingerprint = plan.diagnosis_fingerprint(diagnostic, spec.run_id)
    write(file_of(folder, diagnostic), rows, Facts(diagnostic.canonical, fingerprint, stamp(row), reason="made up"))
    return diagnostic.kind


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="study file (YAML or JSON)")
    parser.add_argument("--root", default=".", type=Path, help="folder that the study's paths start at")
    parser.add_argument("--out", required=True, type=Path, help="folder to make; it must not exist")
    options = parser.parse_args(arguments)
    if options.out.exists():
        parser.error(
            f"--out {options.out}: it exists, and made-up results never go where others may be. Name a new folder"
        )
    plan = marked(plan_file(options.config, options.root))
    written = write_results(plan, options.out / "results")
    print(f"made up in {options.out / 'results'}: " + ", ".join(f"{n} {what}" for what, n in written.items()))
    from peft_lib.report.build import build_report  # here: it loads matplotlib, and made-up results need none

    report = options.out / "reports" / plan.study.id
    build_report(plan, options.out / "results", report)
    print(f"report: {report / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
