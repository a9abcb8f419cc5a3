"""Kind `hyperparameters`: the settings that the runs of each task actually use, and where each comes from (Table 7)."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from peft_lib.artefacts.kind import OfGrids
from peft_lib.artefacts.published_files import Published
from peft_lib.display.remarks import published_remarks
from peft_lib.display.tables import setting_name, task_name
from peft_lib.display.view import EMPTY, Entry, Footnotes, Label, Row, Table
from peft_lib.methods.registry import get_method
from peft_lib.results.cells import Cell
from peft_lib.results.context import Context, Group
from peft_lib.study.labels import setting_text
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan

SETTINGS = (
    "lr", "head_lr_mult", "schedule", "warmup_ratio", "warmup_lr", "min_lr", "optimizer", "weight_decay", "clip_norm",
    "batch_size", "epochs", "input_size", "rank", "alpha", "scaling", "targets", "chain_period", "chain_count", "chain_spread",
    "optimizer_reset", "precision", "selection", "train_limit", "eval_limit", "split_seed", "flip", "rand_augment", "mixup",
    "cutmix", "label_smoothing", "options",
)  # fmt: skip
UNLESS_USED = ("flip", "rand_augment", "mixup", "cutmix", "label_smoothing")
"""Left out where they are off: they are of some tasks only."""
SOURCES = {"defaults": "the study's defaults", "grid": "the grid", "varied": "varied by a grid"}


class Hyperparameters(OfGrids):
    """Settings as used, one column per task, with their sources as footnotes."""

    kind: Literal["hyperparameters"]
    published: Published = None

    published_by = frozenset({"setting"})
    layout = "settings"

    def run_ids(self, plan: "Plan") -> tuple[str, ...]:
        """None: settings are in the plan, before any run."""
        return ()

    def build(self, context: Context) -> list[Cell]:
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

    def tables(self, cells: list[Cell], plan: "Plan", notes: Footnotes) -> list[Table]:
        """Rows are settings (and the methods they are for), columns are tasks; footnotes say where values come from."""
        tasks = list(dict.fromkeys((c.model, c.dataset) for c in cells))
        keys = sorted({(c.column, c.row) for c in cells}, key=_order([(c.column, c.row) for c in cells]))
        by_place = {(c.column, c.row, c.model, c.dataset): c for c in cells}
        rows = []
        for setting, who in keys:
            entries = tuple(_shown(by_place.get((setting, who, *task)), notes) for task in tasks)
            rows.append(Row((setting_name(setting), who), entries))
        columns = tuple(Label.plain(task_name(plan, m, d)) for m, d in tasks)
        return [Table(("Setting", "Methods, if not all"), columns, tuple(rows))]

    def remarks(self, cells: list[Cell], tables: list[Table]) -> list[str]:
        return published_remarks(cells, self.published)


def _setting(context: Context, groups: list[Group], setting: str) -> list[Cell]:
    users = [g for g in groups if get_method(g.method).uses(setting)]
    shared: dict[str, list[Group]] = {}
    sources: dict[str, dict[str, None]] = {}
    for group in users:
        spec = context.spec(group)
        value = getattr(spec, setting)
        if value is None or value == {} or (setting in UNLESS_USED and not value) or _idle(spec, setting):
            continue
        source = context.plan.provenance[group.run_ids[0]].get(setting, "default of the code")
        source = SOURCES.get(source, source)
        shared.setdefault(setting_text(value), []).append(group)
        sources.setdefault(setting_text(value), {})[source] = None
    merged: dict[str, list[str]] = {}  # a grid may vary it: the same methods then have several values
    for text, part in shared.items():
        merged.setdefault(_who(part, users), []).append(text)
    return [
        _cell(
            context, [g for text in texts for g in shared[text]], users, setting, ", ".join(texts),
            "; ".join(dict.fromkeys(source for text in texts for source in sources[text])),
        )
        for texts in merged.values()
    ]  # fmt: skip


def _idle(spec: RunSpec, setting: str) -> bool:
    """Where a warm-up starts that there is not, where a constant schedule would end, how no number of resets is spread."""
    return {
        "warmup_lr": not spec.warmup_ratio, "min_lr": spec.schedule == "constant",
        "chain_spread": spec.chain_count is None,
    }.get(setting, False)  # fmt: skip


def _cell(context: Context, part: list[Group], users: list[Group], setting: str, text: str, source: str) -> Cell:
    first = part[0]
    printed = None
    if context.published:
        for group in ("all", "chains", get_method(first.method).lr_group):
            keys = {"model": first.model, "dataset": first.dataset, "setting": setting, "group": group}
            printed = printed or context.published.find(**keys)
    return Cell(
        artefact=context.artefact.id, kind=context.artefact.kind, panel="", model=first.model, dataset=first.dataset,
        row=_who(part, users), column=setting, metric=setting, text=text, source=source,
        published_text=printed.text if printed else None,
        run_ids=tuple(dict.fromkeys(i for g in part for i in g.run_ids)),
    )  # fmt: skip


def _who(part: list[Group], users: list[Group]) -> str:
    """Which methods a value is for: everyone who uses the setting, a learning-rate group, all but one, or names."""
    mine, everyone = (list(dict.fromkeys(g.method for g in groups)) for groups in (part, users))
    if len(mine) == len(everyone):
        return ""
    groups: dict[str, list[str]] = {}
    for method in everyone:
        groups.setdefault(get_method(method).lr_group, []).append(method)
    labels = {name: _label(members) for name, members in groups.items()}
    for name, members in groups.items():
        if members == mine and len(mine) > 1 and labels[name]:
            alone = list(labels.values()).count(labels[name]) == 1
            return labels[name] if alone else f"{name} ({_names(mine)})"
    others = [m for m in everyone if m not in mine]
    return f"all but {_names(others)}" if len(others) == 1 and len(mine) > 2 else _names(mine)


def _label(members: list[str]) -> str:
    """What the methods of a learning-rate group have in common, in the words of Table 7; empty if it has none."""
    trained = {factor for method in members for factor in get_method(method).trains}
    if trained == {"A", "B"}:
        return "A and B train"
    return "B alone trains, or the head" if trained <= {"B", "P"} else ""


def _names(methods: list[str]) -> str:
    return ", ".join(get_method(m).name for m in methods)


def _order(items: list[tuple[str, str]]) -> Callable[[tuple[str, str]], tuple[int, int]]:
    """First by when a setting was first named, then by when its group of methods was."""
    settings_ = {s: i for i, s in reversed(list(enumerate(s for s, _ in items)))}
    places = {item: i for i, item in reversed(list(enumerate(items)))}
    return lambda item: (settings_[item[0]], places[item])


def _shown(cell: Cell | None, notes: Footnotes) -> Entry:
    if cell is None:
        return EMPTY
    lines = {"paper": cell.published_text} if cell.published_text else {}
    return Entry(
        cell.text or "", lines, notes=notes.mark(cell.source), title=f"source: {cell.source}", run=cell.run_ids[0]
    )
