"""Kind `hyperparameters`: the settings that the runs of each task actually use, and where each comes from (Table 7)."""

from typing import Any

from peft_lib.methods.registry import get_method
from peft_lib.results.artefacts.context import Context, Group, number
from peft_lib.results.cells import Cell

SETTINGS = (
    "lr", "head_lr_mult", "schedule", "warmup_ratio", "warmup_lr", "min_lr", "optimizer", "weight_decay", "clip_norm",
    "batch_size", "epochs", "input_size", "rank", "alpha", "scaling", "targets", "chain_period", "chain_count",
    "optimizer_reset", "precision", "selection", "train_limit", "eval_limit", "split_seed", "options",
)  # fmt: skip
LR_GROUPS = {"fft": "FFT", "lora": "A and B train", "asym": "B alone trains, or the head"}
SOURCES = {"defaults": "the study's defaults", "grid": "the grid", "varied": "varied by a grid"}


def build(context: Context) -> list[Cell]:
    """One cell per task, setting and set of methods that share a value; settings that no run has are left out."""
    cells: list[Cell] = []
    tasks: dict[tuple[str, str], list[Group]] = {}
    for group in context.groups:
        tasks.setdefault((group.model, group.dataset), []).append(group)
    for groups in tasks.values():
        for setting in SETTINGS:
            cells += _setting(context, groups, setting)
        seeds = ", ".join(dict.fromkeys(str(context.plan.runs[i].seed) for g in groups for i in g.run_ids))
        cells.append(_cell(context, groups, groups, "seeds", seeds, SOURCES["grid"]))
    return cells


def _setting(context: Context, groups: list[Group], setting: str) -> list[Cell]:
    users = [g for g in groups if get_method(g.method).uses(setting)]
    shared: dict[str, list[Group]] = {}
    sources: dict[str, dict[str, None]] = {}
    for group in users:
        value = getattr(context.spec(group), setting)
        if value is None or value == {}:
            continue
        source = context.plan.provenance[group.run_ids[0]].get(setting, "default of the code")
        source = SOURCES.get(source, source)
        shared.setdefault(_text(value), []).append(group)
        sources.setdefault(_text(value), {})[source] = None
    return [_cell(context, part, users, setting, text, "; ".join(sources[text])) for text, part in shared.items()]


def _cell(context: Context, part: list[Group], users: list[Group], setting: str, text: str, source: str) -> Cell:
    first = part[0]
    printed = None
    if context.published:
        for group in ("all", "chains", get_method(first.method).lr_group):
            found = context.published.find(model=first.model, dataset=first.dataset, setting=setting, group=group)
            printed = printed or found
    return Cell(
        artefact=context.artefact.id, kind=context.artefact.kind, panel="", model=first.model, dataset=first.dataset,
        row=_who(part, users), column=setting, metric=setting, text=text, source=source,
        published_text=printed.text if printed else None,
        run_ids=tuple(dict.fromkeys(i for g in part for i in g.run_ids)),
    )  # fmt: skip


def _who(part: list[Group], users: list[Group]) -> str:
    """Which methods a value is for: everyone who uses the setting, a learning rate group, or names."""
    mine, everyone = {g.method for g in part}, {g.method for g in users}
    if mine == everyone:
        return ""
    for key, label in LR_GROUPS.items():
        if mine == {m for m in everyone if get_method(m).lr_group == key}:
            return label
    if mine == {m for m in everyone if get_method(m).lr_group != "fft"}:
        return "all but FFT"
    return ", ".join(get_method(m).name for m in dict.fromkeys(g.method for g in part))


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} = {number(v)}" for k, v in value.items())
    return number(value)
