"""The tables of docs/data.md, docs/results.md and docs/paper_study.md that are made from catalogs, code and the paper's study.

`python -m workflow_scripts.catalog_pages` writes them into the pages; tests/unit/test_catalog_pages.py says whether they are
up to date.
"""

import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from peft_lib.data.addresses import MADE, parse
from peft_lib.data.loaders import get_loader
from peft_lib.data.splits import BOTH, CUTS, SPLITS
from peft_lib.run_files import DIAGNOSTIC, PREDICTIONS, RESULT
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.choices import KINDS, choices
from peft_lib.study.expand import plan_file
from peft_lib.study.loading import load_datasets, load_models
from peft_lib.study.quantities import DATASET_METRICS, baseline_name
from peft_lib.tasks.loading import get_task

ROOT = Path(__file__).resolve().parents[1]
DATASETS = (
    "mrpc", "cola", "stsb", "rte", "paws", "trec50", "officehome", "cifar10", "django", "openbookqa", "folio", "logiqa",
    "clutrr", "e2e",
)  # fmt: skip
"""The paper's data sets."""
MODELS = (
    "roberta_base", "roberta_large", "gpt2_small", "vit_tiny", "vit_base", "deberta_v3_base", "deberta_v2_xxl", "tinyllama",
    "llama3_8b", "deepseek_coder",
)  # fmt: skip
"""The paper's models."""


def metric_table() -> str:
    """Every metric: name, label, task, unit, what it is (its function's docstring), and the constant answer to beat."""
    rows = []
    for name, what in DATASET_METRICS.items():
        task = get_task(str(what.task))
        text = (inspect.getdoc(task.MEASURES[name]) or "").split("\n\n")[0]
        constant = baseline_name(name) if what.task != "generation" or name in task.DECODED else None
        limits = [f"{bound:g}" if bound is not None else "" for bound in (what.low, what.high)]
        shown = f"{limits[0]} to {limits[1]} {what.unit}" if limits[1] else f"from {limits[0]}"
        better = {"higher": "more", "lower": "less"}[what.direction]
        rows.append(
            (f"`{name}`", what.label, what.task, " ".join(text.split()), shown.strip(), better, constant or "none")
        )
    return _table(("name", "label", "task", "what it is", "shown", "better", "constant answer"), rows)


def column_table() -> str:
    """Columns of predictions.parquet, of result.parquet, and of a diagnostic's file."""
    parts = []
    files = {
        "predictions.parquet": PREDICTIONS, "result.parquet": RESULT, "diagnostics/<kind>-<options>.parquet": DIAGNOSTIC,
    }  # fmt: skip
    for name, schema in files.items():
        rows = [(f"`{f.name}`", str(f.type), (f.metadata or {})[b"description"].decode()) for f in schema]
        parts.append(f"**{name}**\n\n" + _table(("column", "type", "meaning"), rows))
    return "\n\n".join(parts)


def dataset_tables() -> str:
    entries = load_datasets(ROOT / "config/datasets.yaml")
    made = [e for e in entries.values() if parse(e.source).scheme in MADE]
    others = [e for e in entries.values() if e.id not in DATASETS and e not in made]
    parts = {
        "The paper's 14": [entries[name] for name in DATASETS],
        "Variants and other releases": others,
        "Without any download": made,
    }
    head = ("id", "source", "task", "metrics", "train / validation / test", "splits")
    return "\n\n".join(f"**{title}**\n\n" + _table(head, map(_dataset, chosen)) for title, chosen in parts.items())


def _dataset(entry: DatasetEntry) -> tuple[str, ...]:
    sizes = " / ".join(f"{entry.sizes[split]:,}" if split in entry.sizes else "none" for split in SPLITS)
    metrics = ", ".join([f"**{entry.metric}**", *entry.measures])
    task = entry.task + (f", {entry.num_labels} classes" if entry.num_labels else "")
    return (f"`{entry.id}`", f"`{entry.source}`", task, metrics, sizes, _splits(entry))


def _splits(entry: DatasetEntry) -> str:
    """What the loader does with each published split, in shares; then what the catalog says of it."""
    loader = get_loader(entry.loader)
    if not hasattr(loader, "marks"):
        return entry.carve_out or entry.description
    rules = []
    for split, mark in loader.marks(entry.options).items():
        shares = getattr(loader, "FRACTIONS", {}).get(mark) or CUTS.get(mark)
        if shares:
            rules.append(f"{split} → " + " + ".join(f"{100 * share:g} % {part}" for part, share in shares.items()))
        elif mark == BOTH:
            rules.append(f"{split} → validation and test alike")
        elif mark != split:
            rules.append(f"{split} → {mark}")
    rule = "; ".join(rules) if rules else "as published"
    return f"{rule}. {entry.carve_out}" if entry.carve_out else f"{rule}."


def model_tables() -> str:
    entries = load_models(ROOT / "config/models.yaml")
    parts = {
        "The paper's 10": [entries[name] for name in MODELS],
        "Variants and small ones": [entry for entry in entries.values() if entry.id not in MODELS],
    }
    head = ("id", "source", "revision", "family", "parameters", "arithmetic", "storage", "checkpointing", "more")
    return "\n\n".join(f"**{title}**\n\n" + _table(head, map(_model, chosen)) for title, chosen in parts.items())


def _model(entry: ModelEntry) -> tuple[str, ...]:
    revision = entry.revision or ""
    more = [f"{name}: {str(value).lower()}" for name, value in entry.options.items()]
    more += [f"layers: {entry.layers}"] if entry.layers else []
    more += [f"micro-batch {entry.how.micro_batch}"] if entry.how.micro_batch else []
    more += ["weights converted when fetched"] if entry.convert else []
    return (
        f"`{entry.id}`",
        f"`{entry.source}`",
        f"`{revision[:8] if re.fullmatch(r'[0-9a-f]{40}', revision) else revision}`" if revision else "",
        entry.backbone,
        f"{entry.parameters:,}",
        entry.settings.precision or "fp32",
        entry.how.storage,
        "yes" if entry.how.gradient_checkpointing else "no",
        "; ".join(more),
    )


def grid_table() -> str:
    """The grids of config/paper.yaml, what they show, and what each adds to those above it."""
    plan = plan_file(ROOT / "config/paper.yaml", ROOT)
    rows: list[tuple[str, ...]] = []
    before: set[str] = set()
    for name, grid in plan.study.grids.items():
        runs = {point.run_id for point in plan.points[name]}
        shown = dict.fromkeys(a.number or a.id for a in plan.study.artefacts if name in a.grids())
        numbers = [text for text in shown if text[0].isdigit() or " " in text] or list(shown)
        varied = ", ".join(f"{len(values)} x {setting}" for setting, values in grid.vary.items())
        rows.append(
            (f"`{name}`", ", ".join(numbers), f"{len(grid.tasks)}", f"{len(grid.methods)}", f"{len(grid.seeds)}", varied,
             f"{len(runs):,}", f"{len(runs - before):,}")
        )  # fmt: skip
        before |= runs
    rows.append(("all", "", "", "", "", "", "", f"{len(before):,}"))
    return _table(("grid", "shown by", "tasks", "methods", "seeds", "varied", "runs", "new"), rows)


def choice_table() -> str:
    """What of config/paper.yaml the paper does not state."""
    plan = plan_file(ROOT / "config/paper.yaml", ROOT)
    everyone = {spec.model.id for spec in plan.runs.values()}
    parts = []
    for kind, title in KINDS.items():
        rows = [
            (f"`{c.setting}`", ", ".join(c.values), "all" if set(c.models) == everyone else ", ".join(c.models), f"{c.runs:,}", c.source)
            for c in choices(plan) if c.kind == kind
        ]  # fmt: skip
        parts.append(f"**{title}**\n\n" + _table(("setting", "value", "models", "runs", "why"), rows))
    return "\n\n".join(parts)


def _table(head: Iterable[str], rows: Iterable[Iterable[str | None]]) -> str:
    names = list(head)
    lines = [names, ["---"] * len(names), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PAGES = {
    "docs/results.md": {"columns": column_table, "metrics": metric_table},
    "docs/data.md": {"data sets": dataset_tables, "models": model_tables},
    "docs/paper_study.md": {"grids": grid_table, "choices": choice_table},
}


def page(name: str, text: str) -> str:
    """The page with its tables made anew. Raises ValueError for a page without the marks of a table."""
    for what, make in PAGES[name].items():
        start, end = f"<!-- {what}: made by workflow_scripts/catalog_pages.py -->", f"<!-- end of {what} -->"
        if start not in text or end not in text:
            raise ValueError(f"{name} has no lines {start} and {end}: put them where the table belongs")
        before, after = text.partition(start)[0], text.partition(end)[2]
        text = f"{before}{start}\n\n{make()}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    for name in PAGES:
        path = ROOT / name
        path.write_text(page(name, path.read_text(encoding="utf-8")), encoding="utf-8")
