"""Planning: grids expanded, settings resolved, rules between fields checked; every problem is found before any is told."""

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from peft_lib.methods.method import Method, MethodError
from peft_lib.methods.registry import get_method, load_plugin
from peft_lib.study.loading import (
    Lines,
    dotted,
    line_of,
    load_datasets,
    load_models,
    parse_study,
    problems_of,
    read_yaml,
)
from peft_lib.study.plan import Plan, Point
from peft_lib.study.problems import Problem, StudyError
from peft_lib.study.schema import Artefact, Grid, Settings, Study, resolve_alpha
from peft_lib.study.spec import RunSpec


def plan_study(
    data: Mapping[str, Any], root: Path | str = ".", lines: Lines | None = None, source: str = "study"
) -> Plan:
    """Expands and checks a study. Raises StudyError with all problems; needs no torch and no weight."""
    study = parse_study(data, lines, source)
    root = Path(root)
    models = load_models(root / study.catalogs.models)
    datasets = load_datasets(root / study.catalogs.datasets)
    return _Planner(study, models, datasets, root, lines or {}, source).plan()


def plan_file(path: Path | str, root: Path | str = ".") -> Plan:
    """The plan of a study file (YAML or JSON); see `plan_study`."""
    data, lines = read_yaml(path)
    return plan_study(data, root, lines, str(path))


class _Planner:
    def __init__(self, study: Study, models: dict, datasets: dict, root: Path, lines: Lines, source: str):
        self.study, self.models, self.datasets = study, models, datasets
        self.root, self.lines, self.source = root, lines, source
        self.problems: dict[tuple[str, str], Problem] = {}

    def plan(self) -> Plan:
        for index, plugin in enumerate(self.study.plugins):
            try:
                load_plugin(self.root / plugin)
            except MethodError as error:
                self.problem(("plugins", index), plugin, str(error), "mend the plug-in or its path")
        self.check_names()
        self.stop_on_problems()
        runs: dict[str, RunSpec] = {}
        provenance: dict[str, dict[str, str]] = {}
        points: dict[str, tuple[Point, ...]] = {}
        for name, grid in self.study.grids.items():
            found = []
            for varied in self.variations(name, grid):
                values = varied.model_dump(exclude_none=True)
                for model, dataset, method, seed in _expand(grid):
                    if made := self.make(name, grid, model, dataset, method, varied, seed):
                        spec, sources = made
                        runs[spec.run_id] = spec
                        provenance.setdefault(spec.run_id, sources)  # of a shared run: the first grid that names it
                        found.append(Point(model, dataset, method, seed, values, spec.run_id))
            points[name] = tuple(found)
        self.stop_on_problems()
        return Plan(self.study, self.models, self.datasets, runs, points, provenance)

    def problem(self, location: tuple[str | int, ...], value: object, rule: str, remedy: str) -> None:
        path = dotted(location)
        self.problems.setdefault((path, rule), Problem(path, value, rule, remedy, line_of(location, self.lines)))

    def stop_on_problems(self) -> None:
        if self.problems:
            raise StudyError(list(self.problems.values()), self.source)

    def check_names(self) -> None:
        """Names that point at catalogs, methods and grids."""
        for name, grid in self.study.grids.items():
            for index, task in enumerate(grid.tasks):
                model, dataset = task.split("/")
                where = ("grids", name, "tasks", index)
                for value, known, kind in (
                    (model, list(self.models), "model"),
                    (dataset, list(self.datasets), "data set"),
                ):
                    if value not in known:
                        self.problem(where, value, f"no {kind} of that id in the catalog", f"known: {', '.join(known)}")
                if model in self.models and dataset in self.datasets:
                    mine, its = self.models[model].modality, self.datasets[dataset].modality
                    if mine != its:
                        self.problem(where, task, f"a model for {mine} cannot read {its} data", "pair what fits")
            for index, method in enumerate(grid.methods):
                self.check_method(("grids", name, "methods", index), method)
        for index, rule in enumerate(self.study.rules):
            for key, known in (("model", list(self.models)), ("dataset", list(self.datasets))):
                for name in getattr(rule.when, key) or ():
                    if name not in known:
                        self.problem(
                            ("rules", index, "when", key), name, "not in the catalog", f"known: {', '.join(known)}"
                        )
            for method in rule.when.method or ():
                self.check_method(("rules", index, "when", "method"), method)
        for index, artefact in enumerate(self.study.artefacts):
            self.check_artefact(index, artefact)

    def check_artefact(self, index: int, artefact: Artefact) -> None:
        grid = self.study.grids.get(artefact.grid)
        if grid is None:
            known = ", ".join(self.study.grids)
            self.problem(("artefacts", index, "grid"), artefact.grid, "no grid of that name", f"known: {known}")
            return
        if artefact.normalise_to and artefact.normalise_to not in grid.methods:
            rule = f"grid {artefact.grid} does not run that method"
            self.problem(("artefacts", index, "normalise_to"), artefact.normalise_to, rule, "add it to the grid")
        if artefact.kind == "heatmap":
            for key, value in (("rows", artefact.rows), ("columns", artefact.columns)):
                if value not in grid.vary:
                    rule = f"grid {artefact.grid} does not vary it"
                    self.problem(("artefacts", index, key), value, rule, "name a setting under the grid's vary")

    def check_method(self, where: tuple[str | int, ...], method: str) -> None:
        try:
            get_method(method)
        except MethodError as error:
            self.problem(where, method, str(error), "use one of the available ids")

    def variations(self, name: str, grid: Grid) -> Iterator[Settings]:
        """The product of a grid's `vary`, each point validated."""
        for values in itertools.product(*grid.vary.values()):
            try:
                yield Settings.model_validate(dict(zip(grid.vary, values, strict=True)))
            except ValidationError as error:
                for problem in problems_of(error, Settings, ("grids", name, "vary"), self.lines):
                    self.problem((problem.path,), problem.value, problem.rule, problem.remedy)

    def make(
        self, name: str, grid: Grid, model: str, dataset: str, method_id: str, varied: Settings, seed: int
    ) -> tuple[RunSpec, dict[str, str]] | None:
        """The spec of one point, or None after noting what is wrong with it."""
        method = get_method(method_id)
        where = ("grids", name)
        settings, sources = self.resolve(grid, model, dataset, method, varied)
        options = settings.pop("options", {})
        relevant = {k: v for k, v in settings.items() if method.uses(k)}
        options = self.options(method, options, where)
        try:
            if "rank" in relevant or "alpha" in relevant:
                rank = relevant.get("rank", RunSpec.model_fields["rank"].default)
                relevant["alpha"] = resolve_alpha(relevant.get("alpha", RunSpec.model_fields["alpha"].default), rank)
            spec = RunSpec(
                model=self.models[model].ref(), dataset=self.datasets[dataset].ref(), method=method_id,
                options=options or {}, seed=seed, **relevant,
            )  # fmt: skip
        except (ValidationError, ValueError) as error:
            found = problems_of(error, RunSpec, where, self.lines) if isinstance(error, ValidationError) else []
            for problem in found:
                field_name = problem.path.rpartition(".")[2]
                remedy = f"set {field_name} under defaults, a rule or grids.{name}.set"
                self.problem((*where, method_id, field_name), problem.value, problem.rule, remedy)
            if not found:
                self.problem((*where, method_id), settings, str(error), "mend the value")
            return None
        if options is not None and self.fits(spec, method, where):
            return RunSpec.from_canonical(spec.canonical), {k: v for k, v in sources.items() if k in relevant}
        return None

    def resolve(
        self, grid: Grid, model: str, dataset: str, method: Method, varied: Settings
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Settings of one point, later sources over earlier ones: defaults, rules, the grid's own, what it varies."""
        layers: list[tuple[Settings, str]] = [(self.study.defaults, "defaults")]
        facts = {"model": model, "dataset": dataset, "method": method.id, "lr_group": method.lr_group}
        for rule in self.study.rules:
            if all(facts[k] in wanted for k, wanted in rule.when if wanted is not None):
                layers.append((rule.set, rule.source))
        layers += [(grid.set, "grid"), (varied, "varied")]
        values: dict[str, Any] = {}
        sources: dict[str, str] = {}
        for settings, source in layers:
            given = settings.model_dump(exclude_none=True)
            if "options" in given:
                given["options"] = {**values.get("options", {}), **given["options"]}
            for exclusive in (("chain_period", "chain_count"), ("chain_count", "chain_period")):
                if exclusive[0] in given and exclusive[1] not in given:
                    values.pop(exclusive[1], None)
            values.update(given)
            sources.update(dict.fromkeys(given, source))
        return values, sources

    def options(self, method: Method, values: dict[str, Any], where: tuple) -> dict[str, Any] | None:
        """Validated options that differ from the method's defaults."""
        try:
            return method.parse_options(values).model_dump(exclude_defaults=True)
        except ValidationError as error:
            for problem in problems_of(error, method.options, (*where, method.id, "options"), self.lines):
                self.problem((problem.path,), problem.value, problem.rule, problem.remedy)
            return None

    def fits(self, spec: RunSpec, method: Method, where: tuple) -> bool:
        """Rules between a spec's fields, its model and its data set."""
        before = len(self.problems)
        entry, data = self.models[spec.model.id], self.datasets[spec.dataset.id]
        at = (*where, method.id)
        if method.has_factors:
            shapes = entry.targets.get(spec.targets)
            if shapes is None:
                remedy = f"use one of {', '.join(entry.targets)}"
                self.problem((*at, "targets"), spec.targets, f"{entry.id} has no target set of that name", remedy)
            else:
                smallest = min(min(s.d_in, s.d_out) for s in shapes)
                if spec.rank > smallest:
                    rule = f"rank is larger than the smallest adapted layer of {entry.id} ({smallest})"
                    self.problem((*at, "rank"), spec.rank, rule, f"use at most {smallest}")
        if method.chains and (spec.chain_period is None) == (spec.chain_count is None):
            given = (spec.chain_period, spec.chain_count)
            rule = "a chain method needs exactly one of chain_period and chain_count"
            self.problem((*at, "chain_period"), given, rule, "set one of them under defaults or a rule")
        if entry.max_length is not None and spec.input_size > entry.max_length:
            rule = f"{entry.id} reads at most {entry.max_length} tokens"
            self.problem((*at, "input_size"), spec.input_size, rule, f"use at most {entry.max_length}")
        if entry.modality == "image" and spec.input_size != entry.architecture.get("img_size", spec.input_size):
            rule = f"{entry.id} reads images of {entry.architecture['img_size']} pixels"
            self.problem((*at, "input_size"), spec.input_size, rule, f"use {entry.architecture['img_size']}")
        size = spec.train_limit or data.sizes["train"]
        if spec.batch_size > size:
            rule = f"a batch is larger than the training set of {data.id} ({size})"
            self.problem((*at, "batch_size"), spec.batch_size, rule, f"use at most {size}")
        if self.study.execution != "default":
            allowed = method.executions(method.parse_options(spec.options))
            if method.has_factors and self.study.execution not in allowed:
                rule = f"{method.id} cannot run as {self.study.execution}"
                self.problem(("execution",), self.study.execution, rule, f"use default or {', '.join(allowed)}")
        return len(self.problems) == before


def _expand(grid: Grid) -> Iterator[tuple[str, str, str, int]]:
    for task, method, seed in itertools.product(grid.tasks, grid.methods, grid.seeds):
        model, dataset = task.split("/")
        yield model, dataset, method, seed
