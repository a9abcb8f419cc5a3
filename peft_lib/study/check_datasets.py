"""Rules between the fields of a data set's catalog entry, and the file that it names. Nothing here imports torch."""

from collections.abc import Mapping

from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.declared import check_module, check_no_method_options, check_options, declared, scheme_of
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location
from peft_lib.study.quantities import DATASET_METRICS

SCHEMES = {
    "hub": "hub:[<owner>/]<name>[@<revision>][#<configuration>]",
    "mirror": "mirror:<owner>/<name>[#<configuration>]",
    "folder": "folder:<path>",
    "package": "package:<what>",
    "sklearn": "sklearn:<what>",
    "mlxtend": "mlxtend:<what>",
    "generated": "generated:<what>",
}
HUB = r"([\w.-]+/)?[\w.-]+(@[^#\s]+)?(#[\w.-]+)?"
"""What follows hub:; the first data sets of the hub have no owner (e2e_nlg)."""


def check_datasets(datasets: Mapping[str, DatasetEntry], parser: Parser) -> None:
    for key, entry in datasets.items():
        check_module(parser, (key, "loader"), entry.loader, "data", "LABELS", "data set loader")
        reads = declared("data", entry.loader, "MODALITY")
        if isinstance(reads, str) and entry.modality is not None and reads != entry.modality:
            rule = f"loader {entry.loader} makes {reads} data"
            parser.problem((key, "modality"), entry.modality, rule, f"use modality: {reads}, or another loader")
        _task(parser, key, entry)
        _metrics(parser, key, entry)
        scheme = scheme_of(parser, key, entry.source, HUB, SCHEMES)
        if scheme and entry.revision is None and not parser.is_broken((key, "revision")):
            rule = "a data set needs the revision that names its content"
            parser.problem((key, "revision"), ABSENT, rule, f"add revision: {_revision(entry.loader)}")
        sizes = entry.sizes
        if "train" not in sizes and not parser.is_broken((key, "sizes")):
            parser.problem(
                (key, "sizes", "train"), ABSENT, "sizes needs train, the rows to train on", "add train: 1000"
            )
        if sizes.get("train") and entry.num_labels and entry.num_labels > sizes["train"]:
            rule = f"there are more classes than training rows ({sizes['train']})"
            parser.problem((key, "num_labels"), entry.num_labels, rule, "mend num_labels or sizes.train")
        for name in ("train", "validation", "test"):
            made = entry.options.get(name) if isinstance(entry.options, dict) else None
            if made is not None and name in sizes and made != sizes[name]:
                rule = f"the loader is told to make another number of rows than sizes.{name} says ({sizes[name]})"
                parser.problem((key, "options", name), made, rule, "make the two numbers equal")
        check_options(parser, key, entry.options, "data", entry.loader, "loader")
        check_no_method_options(parser, key, entry.settings)


def _task(parser: Parser, key: str, entry: DatasetEntry) -> None:
    """The task is the loader's, and classes are counted where there are some."""
    told = declared("data", entry.loader, "TASK")
    if isinstance(told, str) and told != entry.task and not parser.is_broken((key, "task")):
        rule = f"the task of loader {entry.loader} is {told}"
        parser.problem((key, "task"), entry.task, rule, f"use task: {told}, or another loader")
    where: Location = (key, "num_labels")
    if parser.is_broken((key, "task")) or parser.is_broken(where):
        return
    if entry.task == "classification" and entry.num_labels is None:
        rule = "classification needs num_labels, the number of classes"
        parser.problem(where, ABSENT, rule, "add num_labels: 2 or more, or say task: regression or generation")
    if entry.task != "classification" and entry.num_labels is not None:
        rule = f"num_labels counts classes, and {entry.task} has none"
        parser.problem(where, entry.num_labels, rule, "remove the line, or use task: classification")


def _metrics(parser: Parser, key: str, entry: DatasetEntry) -> None:
    """Metrics of the entry's task, each once."""
    if parser.is_broken((key, "task")) or parser.is_broken((key, "metric")):
        return
    fitting = [name for name, what in DATASET_METRICS.items() if what.task == entry.task]
    places: list[tuple[Location, str]] = [((key, "metric"), entry.metric)]
    places += [((key, "measures", i), name) for i, name in enumerate(entry.measures or ())]
    seen: set[str] = set()
    for where, name in places:
        what = DATASET_METRICS.get(name)
        if what is None or parser.is_broken(where) or parser.is_broken_below((key, "measures")):
            continue
        if what.task != entry.task:
            rule = f"{name} is a metric of {what.task}, and the task is {entry.task}"
            parser.problem(where, name, rule, f"use {' or '.join(fitting)}, or another task")
        elif what.classes is not None and entry.num_labels not in (None, what.classes):
            rule = f"{name} is defined for {what.classes} classes, and num_labels is {entry.num_labels}"
            parser.problem(where, name, rule, "use accuracy or mcc")
        elif name in seen:
            rule = "a metric is recorded once: the headline is `metric`, and `measures` are others"
            parser.problem(where, name, rule, "remove it from measures")
        seen.add(name)


def _revision(loader: object) -> str:
    told = declared("data", loader, "REVISION")
    return f'"{told}"' if isinstance(told, str) else '"1"'
