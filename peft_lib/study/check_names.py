"""What a study's grids and rules name: ids of catalogs and methods, settings to vary; each exists and is listed once."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from peft_lib.methods.method import Method, MethodError
from peft_lib.methods.registry import available, get_method
from peft_lib.names import near_names, nearest
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.declared import declared
from peft_lib.study.labels import number
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location, strange_characters
from peft_lib.study.rule_files import PlacedRule
from peft_lib.study.schema import Grid, Study, When
from peft_lib.study.settings import SWEEPABLE, may_vary

RESERVED_STUDIES = ("templates", "reference")
"""Folders of reports/ that belong to the repository."""

SAID = ("set", "how")
"""What a rule says of its runs."""


class Names:
    """What a study may name. `complete`: every task and method of the grids is known, so that use can be judged."""

    def __init__(
        self, models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetEntry], study: Study,
        rules: Sequence[PlacedRule], data: dict[str, Any], parser: Parser, sound: set[tuple[str, str]],
    ):  # fmt: skip
        self.models, self.datasets, self.study, self.data, self.parser = models, datasets, study, data, parser
        self.rules, self.sound = rules, sound
        self.groups = sorted({get_method(m).lr_group for m in available()})
        self.complete = not any(_about_runs(p) for p in parser.broken)


def _about_runs(place: Location) -> bool:
    inside_grid = len(place) < 3 or place[2] in ("tasks", "methods", "seeds")
    whole_file = place[:1] == ("rules_from",) and len(place) < 3
    return (
        place[:1] == ("plugins",)
        or (place[:1] == ("grids",) and inside_grid)
        or place in ((), ("rules",))
        or whole_file
    )


def _about_when(place: Location) -> bool:
    return (place[:1] == ("rules",) and place[2:3] == ("when",)) or (
        place[:1] == ("rules_from",) and place[3:4] != () and place[3] in When.model_fields
    )


def check_names(names: Names) -> tuple[dict[str, list[tuple[str, str]]], dict[str, list[Method]]]:
    """Checks what grids and rules point at; returns each grid's known tasks and methods."""
    study, parser = names.study, names.parser
    if study.id in RESERVED_STUDIES:
        rule = f"reports/{study.id} belongs to the repository; reserved ids: {', '.join(RESERVED_STUDIES)}"
        parser.problem(("id",), study.id, rule, "choose another id")
    tasks: dict[str, list[tuple[str, str]]] = {}
    methods: dict[str, list[Method]] = {}
    for name, grid in study.grids.items():
        tasks[name], methods[name] = [], []
        for index, task in _indexed(names.data, ("grids", name, "tasks"), grid.tasks):
            if pair := _task(names, ("grids", name, "tasks", index), task):
                tasks[name].append(pair)
        for index, method in _indexed(names.data, ("grids", name, "methods"), grid.methods):
            where = ("grids", name, "methods", index)
            if grid.methods.index(method) == len(methods[name]) or method not in [m.id for m in methods[name]]:
                known = _method(names, where, method)
                methods[name] += [known] if known else []
        for key in ("tasks", "methods", "seeds"):
            _distinct(parser, names.data, ("grids", name, key), getattr(grid, key))
        tasks[name] = list(dict.fromkeys(tasks[name]))
    for placed in names.rules:
        _when(names, placed)
    for index, one in enumerate(study.rules):
        inside = any(parser.is_broken_below(p) or parser.is_broken(p) for p in (("rules", index, k) for k in SAID))
        if not one.set.model_fields_set and not one.how.model_fields_set and not inside:
            at: Location = ("rules", index, "set") if "set" in one.model_fields_set else ("rules", index)
            rule = "a rule sets at least one setting, or says how its runs are executed"
            parser.problem(at, {}, rule, "add set: {lr: 1e-3} or how: {micro_batch: 8}, or remove the rule")
        if one.how.model_fields_set and one.when.grid:
            rule = "how runs are executed depends on model, data set and method, as grids that share a run agree on it"
            parser.problem(
                ("rules", index, "when", "grid"), list(one.when.grid), rule, "name models, data sets or methods"
            )
    if any(_about_when(p) or _about_runs(p) for p in parser.broken):
        names.complete = False
    return tasks, methods


def _indexed(data: Any, where: Location, values: tuple[Any, ...]) -> list[tuple[int, Any]]:
    """Values that could be read, each with its index in the file."""
    raw = _raw(data, where)
    if not isinstance(raw, (list, tuple)) or len(raw) == len(values):
        return list(enumerate(values))
    used: set[int] = set()
    result = []
    for value in values:
        index = next((i for i, r in enumerate(raw) if i not in used and type(r) is type(value) and r == value), 0)
        used.add(index)
        result.append((index, value))
    return result


def _raw(data: Any, where: Location) -> Any:
    for part in where:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _distinct(parser: Parser, data: Any, where: Location, values: tuple[Any, ...]) -> None:
    seen: dict[Any, int] = {}
    for index, value in _indexed(data, where, values):
        if value in seen:
            rule = f"{where[-1]} lists a value once; this is {where[-1]}[{seen[value]}] too"
            parser.problem((*where, index), value, rule, "remove one of them")
        seen.setdefault(value, index)


def _task(names: Names, where: Location, task: str) -> tuple[str, str] | None:
    parser = names.parser
    if not re.fullmatch(r"[a-z0-9_]+/[a-z0-9_]+", task):
        odd = strange_characters(task)
        rule = "a task is <model>/<dataset>, two ids of the catalogs"
        if odd:
            rule += f"; {odd}"
        elif re.search(r"[A-Z.-]|/.*/", task):
            rule += "; names of a model hub are not looked up, a catalog entry holds them"
        parser.problem(where, task, rule, _task_remedy(names, task))
        return None
    model, dataset = task.split("/")
    wrong = [
        (value, kind, known)
        for value, kind, known in ((model, "model", names.models), (dataset, "data set", names.datasets))
        if value not in known
    ]
    wrong = [(v, k, known) for v, k, known in wrong if known]  # an unreadable catalog is its own problem
    if wrong:
        swapped = model in names.datasets and dataset in names.models
        rule = "; ".join(f"no {kind} of that id in the catalog: {value}" for value, kind, _ in wrong)
        remedy = "; ".join(nearest(value, list(known)) for value, _, known in wrong)
        parser.problem(where, task, rule, f"write {dataset}/{model}, the model first" if swapped else remedy)
        return None
    if model not in names.models or dataset not in names.datasets:
        return None
    if (model, dataset) in names.sound:
        mine, its = names.models[model].modality, names.datasets[dataset].modality
        if mine != its:
            parser.problem(where, task, f"a model for {mine} cannot read {its} data", "pair a model and data that fit")
        elif "test" not in names.datasets[dataset].sizes:
            rule = f"{dataset} has no test split, so nothing could be reported"
            parser.problem(where, task, rule, "use another data set, or give it a test split in its catalog")
        elif names.datasets[dataset].task == "generation" and _style(names.models[model]) != "prompt":
            rule = f"{dataset} is a task of generation, and {model} (backbone {names.models[model].backbone}) writes no text"
            parser.problem(where, task, rule, "pair it with a decoder: a model whose backbone has STYLE 'prompt'")
    return None if parser.is_broken(where) else (model, dataset)


def _style(model: ModelEntry) -> object:
    return declared("backbones", model.backbone, "STYLE")


def _task_remedy(names: Names, task: str) -> str:
    model, _, dataset = task.rpartition("/")
    models = near_names(model or task, names.models, 2) or list(names.models)[:6]
    datasets = near_names(dataset, names.datasets, 2) or list(names.datasets)[:6]
    return f"models: {', '.join(models) or 'none'}; data sets: {', '.join(datasets) or 'none'}; write <model>/<dataset>"


def _method(names: Names, where: Location, method: str) -> Method | None:
    try:
        return get_method(method)
    except MethodError:
        if any(place[:1] == ("plugins",) for place in names.parser.broken) and not near_names(method, available()):
            return None  # the plug-in that could not be read may bring it
        odd = strange_characters(method)
        rule = f"no method of that id{f'; {odd}' if odd else ''}"
        names.parser.problem(where, method, rule, nearest(method, list(available())))
        return None


def _when(names: Names, placed: PlacedRule) -> None:
    known = {
        "model": list(names.models), "dataset": list(names.datasets), "method": list(available()),
        "lr_group": names.groups, "grid": list(names.study.grids),
    }  # fmt: skip
    words = {
        "model": "model", "dataset": "data set", "method": "method", "lr_group": "learning-rate group", "grid": "grid",
    }  # fmt: skip
    for key, allowed in known.items():
        where = placed.when(key)
        values = getattr(placed.rule.when, key) or ()
        many = len(values) > 1 if placed.of_file else isinstance(_raw(names.data, where), (list, tuple))
        for place, value in enumerate(values) if placed.of_file else _indexed(names.data, where, values):
            if value not in allowed and allowed:
                odd = strange_characters(value)
                text = f"no {words[key]} of that id{f'; {odd}' if odd else ''}"
                names.parser.problem((*where, place) if many else where, value, text, nearest(value, allowed))


def check_vary(name: str, grid: Grid, parser: Parser) -> None:
    for setting, values in grid.vary.items():
        where = ("grids", name, "vary", setting)
        if not may_vary(setting):
            near = near_names(setting, SWEEPABLE)
            remedy = (
                f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(SWEEPABLE)}, options.<name>"
            )
            parser.problem(where, setting, f"{setting} cannot be varied", remedy)
            continue
        seen: dict[Any, int] = {}
        labels: dict[str, int] = {}
        for index, value in enumerate(values):
            place = (*where, index)
            if parser.is_broken(place):
                continue
            key = _canonical_value(value)
            if key in seen:
                rule = f"vary lists a value once; this is the same as {setting}[{seen[key]}]"
                parser.problem(place, value, rule, "remove one of them")
            elif (label := number(value)) in labels:
                rule = (
                    f"tables write it as {label}, as they do {setting}[{labels[label]}]: the two would take one place"
                )
                parser.problem(place, value, rule, "remove one of them, or let them differ in their first three digits")
            seen.setdefault(key, index)
            labels.setdefault(number(value), index)


def _canonical_value(value: Any) -> Any:
    """One key for values that mean one run: 4e-3 and 0.004, r and 1r."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]*)r(?:/([0-9]+))?", value)):
        return ("r", int(match[1] or 1) / max(1, int(match[2] or 1)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(f"{value:.6g}")
    return value
