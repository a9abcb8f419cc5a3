"""What a study still has to do, and what that costs: runs by artefact, hours, GPUs, disk, and what a change of it means.

Hours come from results where there are some of the same model, data set and method on the same kind of device (median of
seconds per unit of work, `cost.work`), else of the same model and data set, else by arithmetic (cost.py). Each says which.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import pyarrow as pa

from peft_lib.results.collect import collect
from peft_lib.results.diagnosed import diagnosed
from peft_lib.results.index import ResultIndex
from peft_lib.results.statuses import RECORDED
from peft_lib.study import cost
from peft_lib.study.diagnoses import wanted
from peft_lib.study.needs import needs
from peft_lib.study.plan import Plan, prepared_folder

MEASURED, NEAR, BY_FORMULA = "measured", "measured, other methods", "by formula"
GPU_GB = (16, 24, 32, 40, 48, 80, 96, 141, 192)
"""Memory of kinds of GPUs. Drivers keep some: a run fits what has a twentieth more than it needs."""


def outlook(
    plan: Plan, results: Path, resources: Path, processor: cost.Processor, cuda: bool, against: Plan | None = None
) -> dict[str, Any]:
    """Everything as plain values, for JSON. `cuda`: runs compute on GPUs; `against`: another study to compare runs with."""
    frame = collect(plan, results)
    status: dict[str, str] = dict(frame["status"])
    hours, sources = hours_of(plan, results, processor, cuda)
    todo = [run_id for run_id in plan.runs if run_id in plan.asked and status[run_id] not in RECORDED]
    stale = [run_id for run_id in plan.runs if status[run_id] == "stale"]
    shown = Counter(run_id for artefact in plan.study.artefacts for run_id in artefact.run_ids(plan))
    total = {
        "runs": len(plan.runs), "points": sum(map(len, plan.points.values())),
        "shared_by_artefacts": sum(1 for count in shown.values() if count > 1),
        "in_no_artefact": len(plan.runs.keys() - shown.keys()), **_progress(plan.asked, status, hours),
    }  # fmt: skip
    artefacts = [
        {
            "id": artefact.id, "number": artefact.number, "kind": artefact.kind, "runs": len(ids),
            "own": sum(1 for run_id in ids if shown[run_id] == 1), **_progress(plan.asked.intersection(ids), status, hours),
        }
        for artefact in plan.study.artefacts for ids in [artefact.run_ids(plan)]
    ]  # fmt: skip
    return {
        "study": plan.study.id,
        "device": "cuda" if cuda else "cpu",
        "processor": processor.name,
        "total": total,
        "artefacts": artefacts,
        "diagnostics": _diagnostics(plan, frame, results),
        "hours": _by_source(todo, hours, sources),
        "gpus": _gpus(plan, todo, hours) if cuda else [],
        "disk": _disk(plan, todo, resources),
        "stale": _groups(plan, stale),
        "change": None if against is None else _change(plan, against, status, hours),
    }


def _diagnostics(plan: Plan, frame: pd.DataFrame, results: Path) -> list[dict[str, Any]]:
    """Diagnostics that artefacts ask for: of how many runs, and of how many that are asked for they are done (or cannot be)."""
    rows: dict[str, Any] = frame[["status", "reason", "started", "finished"]].to_dict("index")  # type: ignore[assignment]
    listed = []
    for diagnostic, run_ids in wanted(plan).items():
        asked = [run_id for run_id in run_ids if run_id in plan.asked]
        found = [diagnosed(plan, run_id, rows[run_id], diagnostic, results).status for run_id in asked]
        done = sum(status in ("ok", "not_available") for status in found)
        facts = {"id": diagnostic.id, "options": diagnostic.canonical, "runs": len(run_ids)}
        listed.append({**facts, "asked": len(asked), "done": done, "todo": len(asked) - done})
    return listed


def _progress(ids: Iterable[str], status: Mapping[str, str], hours: Mapping[str, float]) -> dict[str, Any]:
    """Of runs that are asked for: done (whatever their outcome), stale, to do (stale ones too), and the hours of these."""
    ids = list(ids)
    left = [run_id for run_id in ids if status[run_id] not in RECORDED]
    stale = sum(1 for run_id in ids if status[run_id] == "stale")
    return {
        "asked": len(ids),
        "done": len(ids) - len(left),
        "stale": stale,
        "todo": len(left),
        "hours": math.fsum(hours[run_id] for run_id in left),
    }


def measured(
    results: Path, tasks: Iterable[tuple[str, str]], device: str
) -> dict[tuple[str, str], dict[str, list[float]]]:
    """(model, data set) -> method -> wall seconds per unit of work of each good or stale result, whichever study it is of."""
    index = ResultIndex(results)
    rates: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for task in tasks:
        for path in sorted((results / "runs" / task[0] / task[1]).glob("*/*/result.parquet")):
            try:
                rows = index.read(path) or []
            except (OSError, pa.ArrowException):  # collect() says what is wrong with it
                continue
            for row in rows[:1]:
                done = _work_of(row)
                if row.get("status") == "ok" and row.get("device") == device and done and row.get("wall_s"):
                    rates[task][row["method"]].append(row["wall_s"] * (row.get("processes") or 1) / done)
    index.save()
    return rates


def _work_of(row: Mapping[str, Any]) -> float | None:
    """`cost.work` of a result."""
    counts = [row.get(name) for name in ("n_train", "n_validation", "n_test", "epochs")]
    if None in counts:
        return None
    train, validation, test, epochs = (int(count) for count in counts if count is not None)
    return train * epochs + (validation * epochs + test + train) / 3


def hours_of(
    plan: Plan, results: Path, processor: cost.Processor, cuda: bool
) -> tuple[dict[str, float], dict[str, tuple[str, int]]]:
    """Run -> hours of its processors (GPUs, or a CPU's processes); run -> where they come from, and from how many results."""
    rates = measured(
        results, sorted({(s.model.id, s.dataset.id) for s in plan.runs.values()}), "cuda" if cuda else "cpu"
    )
    typical = {task: {m: median(rate) for m, rate in by.items()} for task, by in rates.items()}
    hours, sources, known = {}, {}, {}
    for run_id, spec in plan.runs.items():
        task, model, data = (spec.model.id, spec.dataset.id), plan.models[spec.model.id], plan.datasets[spec.dataset.id]
        if spec.method in typical.get(task, {}):
            one = typical[task][spec.method] * cost.work(spec, data)
            sources[run_id] = (MEASURED, len(rates[task][spec.method]))
        elif task in typical:
            one = median(typical[task].values()) * cost.work(spec, data)
            sources[run_id] = (NEAR, sum(map(len, rates[task].values())))
        else:
            key, how = spec.with_seed(0).canonical, plan.how(run_id)
            if key not in known:
                known[key] = cost.seconds(spec, model, data, how, processor, plan.study.threads) * how.processes
            one = known[key]
            sources[run_id] = (BY_FORMULA, 0)
        hours[run_id] = one / 3600
    return hours, sources


def _by_source(todo: Iterable[str], hours: Mapping[str, float], sources: Mapping[str, tuple[str, int]]) -> list[dict]:
    groups: dict[str, list[str]] = {MEASURED: [], NEAR: [], BY_FORMULA: []}
    for run_id in todo:
        groups[sources[run_id][0]].append(run_id)
    return [
        {"source": name, "runs": len(ids), "hours": math.fsum(hours[i] for i in ids)}
        for name, ids in groups.items()
        if ids
    ]


def _gpus(plan: Plan, todo: Iterable[str], hours: Mapping[str, float]) -> list[dict[str, Any]]:
    """Runs by the memory of the smallest kind of GPU that has what they need (an estimate from above, needs.py)."""
    groups: dict[tuple[int, int], list[str]] = defaultdict(list)
    for run_id in todo:
        spec = plan.runs[run_id]
        one = needs(spec, plan.models[spec.model.id], plan.datasets[spec.dataset.id], plan.how(run_id), cuda=True)
        size = next((gb for gb in GPU_GB if one.gpu_mem_mb * 1.05 <= gb * 1000), 0)
        groups[size, one.gpus].append(run_id)
    return [
        {
            "memory_gb": size or None, "gpus": gpus, "runs": len(ids), "hours": math.fsum(hours[i] for i in ids),
            "models": sorted({plan.runs[i].model.id for i in ids}),
        }
        for (size, gpus), ids in sorted(groups.items(), key=lambda item: (item[0][0] or math.inf, item[0][1]))
    ]  # fmt: skip


def _disk(plan: Plan, todo: Iterable[str], resources: Path) -> dict[str, int]:
    """Bytes to come: of finished runs, the largest checkpoint of a run at work, weights and prepared data that are not there."""
    specs = [plan.runs[run_id] for run_id in todo]
    runs, checkpoint = 0, 0
    for spec in specs:
        model, data = plan.models[spec.model.id], plan.datasets[spec.dataset.id]
        runs += cost.run_bytes(spec, model, data, plan.how(spec.run_id))
        checkpoint = max(checkpoint, cost.checkpoint_bytes(spec, model, data))
    models = {spec.model.id for spec in specs}
    absent = {model for model in models if not (resources / "models" / model / "manifest.json").is_file()}
    read = {(spec.dataset.id, spec.model.id, spec.input_size) for spec in specs}
    for model in (plan.models[name] for name in absent):
        if model.pretrain:
            read.add((model.pretrain.dataset, model.id, int(model.architecture["img_size"])))
    data_sets = [
        cost.prepared_bytes(plan.models[m], plan.datasets[d], size)
        for d, m, size in read
        if not (resources / "prepared" / prepared_folder(d, m, size) / "manifest.json").is_file()
    ]
    weights = sum(cost.weights_bytes(plan.models[name]) for name in absent)
    return {"runs": runs, "largest_checkpoint": checkpoint, "weights": weights, "prepared": sum(data_sets)}


def _groups(plan: Plan, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Runs counted by model, data set and method."""
    counted = Counter((plan.runs[i].model.id, plan.runs[i].dataset.id, plan.runs[i].method) for i in ids)
    return [{"model": m, "dataset": d, "method": method, "runs": n} for (m, d, method), n in sorted(counted.items())]


def _change(plan: Plan, other: Plan, status: Mapping[str, str], hours: Mapping[str, float]) -> dict[str, Any]:
    """From the other study to this one. A run is the same if its id is; a kept one may be stale, which `stale` counts."""
    new = [run_id for run_id in plan.runs if run_id not in other.runs]
    gone = [run_id for run_id in other.runs if run_id not in plan.runs]
    kept = [run_id for run_id in plan.runs if run_id in other.runs]
    return {
        "against": other.study.id, "new": len(new), "new_todo": sum(1 for i in new if status[i] not in RECORDED),
        "new_hours": math.fsum(hours[i] for i in new if status[i] not in RECORDED), "kept": len(kept),
        "kept_stale": sum(1 for i in kept if status[i] == "stale"), "gone": len(gone),
        "new_runs": _groups(plan, new), "gone_runs": _groups(other, gone),
    }  # fmt: skip
