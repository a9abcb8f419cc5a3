"""Rules between the parts of a study: names that point somewhere, values that fit together, and what is of no use."""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_lib.methods.method import Method, MethodError
from peft_lib.methods.registry import available, get_method
from peft_lib.names import near_names
from peft_lib.study.catalogs import DatasetEntry, ModelEntry, Shape
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location, Problem, problem_at, strange_characters
from peft_lib.study.schema import SWEEPABLE, Artefact, Grid, Study
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.layering import Layering, Resolved

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
RESERVED_STUDIES = ("templates", "reference")
"""Folders of reports/ that belong to the repository."""
REQUIRED = tuple(
    name
    for name, info in RunSpec.model_fields.items()
    if info.is_required() and name in ("lr", "epochs", "batch_size", "input_size")
)
HIGH_LR = 1.0


class Tally:
    """Problems of single runs, told once: at the place that set the value, with the models and methods that it hurts."""

    def __init__(self, parser: Parser):
        self.parser = parser
        self.warnings: list[Problem] = []
        self._refused: dict[tuple[Location, str], tuple[Any, dict[str, None], str, dict[str, None]]] = {}
        self._warned: dict[tuple[Location, str], tuple[Any, dict[str, None], str, dict[str, None]]] = {}

    def refuse(self, where: Location, kind: str, value: Any, rule: str, remedy: str, who: str) -> None:
        entry = self._refused.setdefault((where, kind), (value, {}, remedy, {}))
        entry[1][rule] = None
        entry[3][who] = None

    def warn(self, where: Location, kind: str, value: Any, rule: str, remedy: str, who: str) -> None:
        entry = self._warned.setdefault((where, kind), (value, {}, remedy, {}))
        entry[1][rule] = None
        entry[3][who] = None

    def tell(self) -> None:
        for (where, _), (value, rules, remedy, who) in self._refused.items():
            self.parser.problem(where, value, _whole(list(rules), list(who)), remedy)
        for (where, _), (value, rules, remedy, who) in self._warned.items():
            self.warnings.append(problem_at(where, value, _whole(list(rules), list(who)), remedy, self.parser.lines))


def _whole(rules: list[str], who: list[str]) -> str:
    """The rule as it was violated, and by whom if that is not said already."""
    text = "; ".join(rules[:3]) + ("; ..." if len(rules) > 3 else "")
    return text if all(name in text for name in who) else f"{text} ({_few(who)})"


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


class Names:
    """What a study may name. `complete`: every task and method of the grids is known, so that use can be judged."""

    def __init__(
        self, models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetEntry], study: Study,
        data: dict[str, Any], parser: Parser, sound: set[tuple[str, str]],
    ):  # fmt: skip
        self.models, self.datasets, self.study, self.data, self.parser = models, datasets, study, data, parser
        self.sound = sound
        self.groups = sorted({get_method(m).lr_group for m in available()})
        self.complete = not any(_about_runs(p) for p in parser.broken)


def _about_runs(place: Location) -> bool:
    inside_grid = len(place) < 3 or place[2] in ("tasks", "methods", "seeds")
    return place[:1] == ("plugins",) or (place[:1] == ("grids",) and inside_grid) or place in ((), ("rules",))


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
    for index, one in enumerate(study.rules):
        _when(names, index, one)
        inside = _broken_below(parser, ("rules", index, "set")) or parser.is_broken(("rules", index, "set"))
        if not one.set.model_fields_set and not inside:
            parser.problem(
                ("rules", index, "set"), {}, "a rule sets at least one setting", "add one, or remove the rule"
            )
    if any(p[:1] in (("grids",), ("rules",)) and (p[2:3] == ("when",) or _about_runs(p)) for p in parser.broken):
        names.complete = False
    return tasks, methods


def _broken_below(parser: Parser, where: Location) -> bool:
    return any(place[: len(where)] == where for place in parser.broken)


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
        remedy = "; ".join(_nearest(value, list(known)) for value, _, known in wrong)
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
    return None if parser.is_broken(where) else (model, dataset)


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
        names.parser.problem(where, method, rule, _nearest(method, list(available())))
        return None


def _nearest(name: object, known: list[str]) -> str:
    near = near_names(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"


def _when(names: Names, index: int, rule: Any) -> None:
    known = {
        "model": list(names.models), "dataset": list(names.datasets), "method": list(available()),
        "lr_group": names.groups,
    }  # fmt: skip
    words = {"model": "model", "dataset": "data set", "method": "method", "lr_group": "learning-rate group"}
    for key, allowed in known.items():
        where: Location = ("rules", index, "when", key)
        values = getattr(rule.when, key) or ()
        many = isinstance(_raw(names.data, where), (list, tuple))
        for place, value in _indexed(names.data, where, values):
            if value not in allowed and allowed:
                odd = strange_characters(value)
                text = f"no {words[key]} of that id{f'; {odd}' if odd else ''}"
                names.parser.problem((*where, place) if many else where, value, text, _nearest(value, allowed))


def check_artefacts(study: Study, data: dict[str, Any], parser: Parser) -> None:
    ids: dict[str, int] = {}
    for index, artefact in enumerate(study.artefacts):
        where = ("artefacts", index)
        if artefact.id in ids and artefact.id is not None:
            rule = f"artefacts have different ids; artefacts[{ids[artefact.id]}] has it too"
            parser.problem((*where, "id"), artefact.id, rule, f"for example {artefact.id}_{index}")
        ids.setdefault(artefact.id, index)
        grid = study.grids.get(artefact.grid)
        misnamed = any(place[:1] == ("grids",) and len(place) == 2 for place in parser.broken)
        if grid is None and artefact.grid is not None and study.grids and not misnamed:
            rule = "no grid of that name"
            parser.problem((*where, "grid"), artefact.grid, rule, _nearest(artefact.grid, list(study.grids)))
        _artefact(artefact, grid, where, data, parser)


def _artefact(artefact: Artefact, grid: Grid | None, where: Location, data: Any, parser: Parser) -> None:
    if artefact.kind in Artefact.uses:
        read = Artefact.uses[artefact.kind]
        for key in sorted(artefact.model_fields_set & {u for uses in Artefact.uses.values() for u in uses} - set(read)):
            value = getattr(artefact, key)
            if value is None or (artefact.kind == "curves" and key == "metric" and value == "test_metric"):
                continue
            kinds = ", ".join(kind for kind, uses in Artefact.uses.items() if key in uses)
            rule = f"kind {artefact.kind} does not use {key}; {kinds} does"
            parser.problem((*where, key), value, rule, "remove the line, or choose another kind")
    if artefact.published is not None and "published" in Artefact.uses.get(artefact.kind, ()):
        _published(artefact.published, artefact.kind, (*where, "published"), parser)
    if grid is None:
        return
    if artefact.normalise_to is not None and artefact.normalise_to not in grid.methods:
        rule = f"grid {artefact.grid} does not run that method"
        remedy = f"use one of {', '.join(grid.methods)}, or add it to the grid"
        parser.problem((*where, "normalise_to"), artefact.normalise_to, rule, remedy)
    if artefact.kind == "heatmap":
        for key in ("rows", "columns"):
            value = getattr(artefact, key)
            place = (*where, key) if key in artefact.model_fields_set else where
            if value not in grid.vary and not parser.is_broken(("grids", artefact.grid, "vary")):
                rule = f"a heat map's {key} are a setting that its grid varies; grid {artefact.grid} varies "
                rule += ", ".join(grid.vary) or "nothing"
                remedy = f"use {key}: " + (" or ".join(grid.vary) or "a setting, and vary it in the grid")
                parser.problem(place, value, rule, remedy)
        if artefact.rows == artefact.columns:
            rule = "rows and columns of a heat map are two settings"
            parser.problem((*where, "columns"), artefact.columns, rule, "name another setting")


def _published(name: str, kind: str, where: Location, parser: Parser) -> None:
    known = sorted(p.name for p in REFERENCE.glob("table*.csv"))
    if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
        rule = "published is the name of a file of reports/reference, without a folder"
        parser.problem(where, name, rule, _nearest(name.rpartition("/")[2], known))
    elif name not in known:
        parser.problem(where, name, "no such file of published values in reports/reference", _nearest(name, known))
    else:
        wanted = {"hyperparameters": {"setting"}, "parameters": {"quantity"}, "efficiency": {"quantity"}}.get(
            kind, set()
        )
        fitting = [k for k in known if _columns(k) & {"setting", "quantity"} == wanted]
        if name not in fitting:
            rule = f"the file has values of another kind of table than {kind}, so no cell would meet one"
            parser.problem(where, name, rule, f"use one of {', '.join(fitting)}")


@cache
def _columns(name: str) -> set[str]:
    with (REFERENCE / name).open(encoding="utf-8-sig", errors="replace") as file:
        return set(file.readline().strip().split(","))


def check_vary(name: str, grid: Grid, parser: Parser) -> None:
    for setting, values in grid.vary.items():
        where = ("grids", name, "vary", setting)
        if setting not in SWEEPABLE:
            near = near_names(setting, SWEEPABLE)
            remedy = f"did you mean {' or '.join(near)}?" if near else f"use one of {', '.join(SWEEPABLE)}"
            parser.problem(where, setting, f"{setting} cannot be varied", remedy)
            continue
        seen: dict[Any, int] = {}
        for index, value in enumerate(values):
            place = (*where, index)
            if parser.is_broken(place):
                continue
            key = _canonical_value(value)
            if key in seen:
                rule = f"vary lists a value once; this is the same as {setting}[{seen[key]}]"
                parser.problem(place, value, rule, "remove one of them")
            seen.setdefault(key, index)


def _canonical_value(value: Any) -> Any:
    """One key for values that mean one run: 4e-3 and 0.004, r and 1r."""
    if isinstance(value, str) and (match := re.fullmatch(r"([0-9]*)r(?:/([0-9]+))?", value)):
        return ("r", int(match[1] or 1) / max(1, int(match[2] or 1)))
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(f"{value:.6g}")
    return value


def check_run(
    study: Study, grid: str, model: ModelEntry, data: DatasetEntry, method: Method, settings: "Resolved", tally: Tally
) -> bool:
    """Rules between a run's settings, its model and its data set; notes what is broken and says whether all is well."""
    broken = {place[-1] for place in tally.parser.broken if place and place[0] in ("defaults", "rules", "grids")}
    broken |= {place[-2] for place in tally.parser.broken if len(place) > 2 and "vary" in place}
    s, places = settings.relevant, settings.places
    good = True
    run = f"{method.id} on {model.id}/{data.id}"

    def refuse(setting: str, rule: str, remedy: str, who: str = method.id, value: Any = None) -> None:
        nonlocal good
        good = False
        if setting in broken:
            return
        where = places.get(setting, ("grids", grid))
        tally.refuse(where, setting, s.get(setting) if value is None else value, rule, remedy, who)

    unread = any(p in (("defaults",), ("rules",)) or (p[:1] == ("rules",) and len(p) < 4) for p in tally.parser.broken)
    for name in REQUIRED:
        if s.get(name) is None:
            good = False
            if name not in broken and not unread:  # a layer that could not be read may set it
                rule = f"{name} is not set for some runs"
                remedy = f"set {name} under defaults, a rule or grids.{grid}.set"
                tally.refuse(("defaults", name), "missing", ABSENT, rule, remedy, run)
    if not good:
        return False
    if method.has_factors:
        targets = s.get("targets", RunSpec.model_fields["targets"].default)
        shapes = model.targets.get(targets)
        if shapes is None:
            near = _nearest(targets, list(model.targets))
            refuse("targets", f"{model.id} has no target set of that name", near, model.id, targets)
        elif method.uses("rank"):
            rank = s.get("rank", RunSpec.model_fields["rank"].default)
            largest = _largest_rank(method, shapes)
            if largest is None:
                rule = f"the method {method.id} cannot say how large its rank may be: its max_rank fails"
                tally.refuse(("grids", grid, "methods"), "max_rank", method.id, rule, "mend the plug-in", method.id)
                good = False
            elif rank > largest:
                rule = f"rank is larger than the smallest adapted place of {model.id} allows ({largest})"
                refuse("rank", rule, f"use at most {largest}, or give these methods a rank of their own", value=rank)
    if method.chains:
        _chain(settings, refuse)
    if model.modality == "text" and s["input_size"] < 3:
        refuse(
            "input_size", "a text needs room for a word between its first and last token", "use at least 3", model.id
        )
    if model.max_length is not None and s["input_size"] > model.max_length:
        rule = f"{model.id} reads at most {model.max_length} tokens"
        refuse("input_size", rule, f"use at most {model.max_length}", model.id)
    image = model.architecture.get("img_size") if model.modality == "image" else None
    if image is not None and s["input_size"] != image:
        refuse("input_size", f"{model.id} reads images of {image} pixels", f"use {image}", model.id)
    _data_limits(s, data, refuse)
    _schedule(settings, refuse)
    if study.execution != "default" and method.has_factors:
        allowed = method.executions(method.parse_options(settings.options or {}))
        if study.execution not in allowed:
            rule = f"{method.id} cannot run as {study.execution}"
            remedy = f"use default or {', '.join(allowed)}"
            tally.refuse(("execution",), "execution", study.execution, rule, remedy, method.id)
    if s["lr"] > HIGH_LR:
        rule = f"a learning rate above {HIGH_LR:g} rarely trains"
        tally.warn(places.get("lr", ("defaults",)), "lr", s["lr"], rule, "check that it is meant", method.id)
    return good


def _largest_rank(method: Method, shapes: Sequence[Shape]) -> int | None:
    """Largest rank that every place takes; None where a plug-in's own rule raises or gives no number."""
    try:
        return min(int(method.largest_rank(shape.d_in, shape.d_out)) for shape in shapes)
    except Exception:  # noqa: BLE001 - a stranger's function
        return None


def _chain(settings: "Resolved", refuse: Any) -> None:
    s = settings.relevant
    period, count, epochs = s.get("chain_period"), s.get("chain_count"), s["epochs"]
    if period is not None and count is not None:
        rule = "a chain method needs exactly one of chain_period and chain_count; here both are set at once"
        refuse("chain_count", rule, "remove one of them")
    elif period is None and count is None:
        rule = "a chain method needs exactly one of chain_period and chain_count"
        refuse("chain_period", rule, "set chain_period: 1 under defaults or a rule", value=ABSENT)
    elif period is not None and period >= epochs:
        rule = f"no chain reset ever happens: chain_period {period} is not below epochs {epochs}"
        remedy = f"use at most {epochs - 1}" if epochs > 1 else "use at least 2 epochs"
        refuse("chain_period", rule, f"{remedy}, or a method without a chain")
    elif count is not None and count > epochs - 1:
        rule = f"{epochs} epochs have room for {epochs - 1} resets, between epochs"
        remedy = f"use at most {epochs - 1}" if epochs > 1 else "use at least 2 epochs"
        refuse("chain_count", rule, f"{remedy}, or more epochs")


def _data_limits(s: Mapping[str, Any], data: DatasetEntry, refuse: Any) -> None:
    rows, limit = data.sizes["train"], s.get("train_limit")
    if limit is not None and limit > rows:
        refuse("train_limit", f"{data.id} has {rows} training rows", f"use at most {rows}, or null for all", data.id)
    size = min(limit or rows, rows)
    if s["batch_size"] > size:
        rule = f"a batch is larger than the training set of {data.id} ({size})"
        refuse("batch_size", rule, f"use at most {size}", data.id)
    largest = max((n for split, n in data.sizes.items() if split != "train"), default=0)
    if s.get("eval_limit") is not None and s["eval_limit"] > largest:
        rule = f"{data.id} has at most {largest} rows in a split for evaluation"
        refuse("eval_limit", rule, f"use at most {largest}, or null for all", data.id)
    if "validation" not in data.sizes and s.get("selection", "val_loss") != "last":
        rule = f"{data.id} has no validation split to select an epoch by"
        refuse("selection", rule, "set selection: last for it", data.id, s.get("selection", "val_loss"))


def _schedule(settings: "Resolved", refuse: Any) -> None:
    s, given = settings.relevant, settings.places
    if s.get("schedule", "constant") != "constant" and "min_lr" in given and s["min_lr"] > s["lr"]:
        rule = f"min_lr is where the schedule ends, and may not be above lr ({s['lr']:g})"
        refuse("min_lr", rule, f"use at most {s['lr']:g}")
    if s.get("warmup_ratio") and "warmup_lr" in given and s["warmup_lr"] > s["lr"]:
        rule = f"warmup_lr is where the warm-up starts, and may not be above lr ({s['lr']:g})"
        refuse("warmup_lr", rule, f"use at most {s['lr']:g}")


def check_use(study: Study, layering: "Layering", parser: Parser, tally: Tally) -> None:
    """What is accepted and of no use: rules that match nothing, settings that no method uses, options that none has."""
    from peft_lib.study.layering import unknown_options

    unknown_options(layering.defaults, layering.methods, tally)
    for index, methods in layering.matched.items():
        where: Location = ("rules", index)
        if _broken_below(parser, (*where, "when")):
            continue
        if not methods:
            given = {k: list(v) for k, v in study.rules[index].when if v is not None}
            rule = "this rule matches no run of any grid"
            remedy = "mend `when`, remove the rule, or add such runs to a grid"
            parser.problem((*where, "when") if given else where, given, rule, remedy)
            continue
        if where not in layering.winners and not _broken_below(parser, where):
            rule = "later rules, or the grids, override every value of this rule"
            tally.warnings.append(problem_at(where, study.rules[index].source, rule, "remove it", parser.lines))
        unknown_options(layering.rules[index], methods, tally)
        _unused(layering.rules[index].given, (*where, "set"), methods, "the methods that the rule is for", parser)
    for name, methods in layering.by_grid.items():
        if not methods:
            continue
        unknown_options(layering.grids[name], methods, tally)
        _unused(layering.grids[name].given, ("grids", name, "set"), methods, "the methods of the grid", parser)
        for setting, values in study.grids[name].vary.items():
            if len(values) > 1 and setting in SWEEPABLE and not any(m.uses(setting) for m in methods.values()):
                rule = f"no method of the grid uses {setting}, so all its values are one run ({_few(list(methods))})"
                parser.problem(("grids", name, "vary", setting), list(values), rule, "remove it from vary")
    if not study.artefacts:
        rule = "the study has no artefacts: its runs are trained, and no table or report is made"
        tally.warnings.append(problem_at(("artefacts",), None, rule, "add artefacts to see results", parser.lines))
        return
    shown_grids = {a.grid for a in study.artefacts}
    for name in (g for g in study.grids if g not in shown_grids):
        rule = "no artefact shows this grid: its runs are trained, and no table has them"
        remedy = f"add an artefact with grid: {name}, if they are to be shown"
        tally.warnings.append(problem_at(("grids", name), name, rule, remedy, parser.lines))


def _unused(given: Mapping[str, Any], where: Location, methods: Mapping[str, Method], who: str, parser: Parser) -> None:
    if given and not any(m.uses(setting) for m in methods.values() for setting in given):
        rule = f"{who} use none of these settings: {', '.join(given)} ({_few(list(methods))})"
        parser.problem(where, ", ".join(given), rule, "remove them, or set what the methods use")
