"""Planning: from a study (a file, or Snakemake's merged configuration) to its runs, or to everything that is wrong with it.

Every part is checked as far as it can be read, so that one call reports all problems, each once, at the place that set
the value. The rules between fields are in the `check_*.py` files, the layers of settings in `layering.py`.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from peft_lib.methods.method import Method, MethodError
from peft_lib.methods.registry import load_plugin
from peft_lib.study.catalogs import DatasetEntry, DatasetRef, ModelEntry, ModelRef
from peft_lib.study.check_artefacts import check_artefacts
from peft_lib.study.check_models import check_pretraining
from peft_lib.study.check_names import Names, check_names, check_vary
from peft_lib.study.check_runs import check_run
from peft_lib.study.check_use import check_use
from peft_lib.study.diagnoses import check_kept
from peft_lib.study.documents import Document, below, read_document, short
from peft_lib.study.layering import Layering, Resolved, ResolvedHow, uses
from peft_lib.study.loading import Lines, read_catalog, read_study
from peft_lib.study.merging import merge_documents
from peft_lib.study.parsing import Parser
from peft_lib.study.parts import check_asked, check_only
from peft_lib.study.plan import Plan, Point
from peft_lib.study.problems import StudyError
from peft_lib.study.rule_files import read_rules
from peft_lib.study.schema import Grid
from peft_lib.study.settings import Settings, resolve_alpha
from peft_lib.study.spec import RunSpec, rounded
from peft_lib.study.tally import Tally

SETTINGS = list(Settings.model_fields)
MAX_POINTS = 100_000
"""Points that the grids of one study may have together."""


def plan_study(
    data: Mapping[str, Any], root: Path | str = ".", lines: Lines | None = None, source: str = "study"
) -> Plan:
    """Expands and checks a study given as data. Raises StudyError with all problems; needs no torch and no weight.

    `lines` says where each value stands (as `read_yaml` returns it), `source` what the message calls the study.
    """
    return _plan(Document(dict(data), lines or {}), root, source)


def plan_file(path: Path | str, root: Path | str = ".") -> Plan:
    """The plan of a study file (YAML or JSON); paths in it start at `root`. Raises StudyError with all problems."""
    return _plan(read_document(path), root, str(path))


def plan_config(config: Mapping[str, Any], files: Sequence[Path | str], root: Path | str = ".") -> Plan:
    """The plan of Snakemake's merged configuration.

    `files`: the config files in the order in which they were merged, later ones winning. A problem names the last file
    that sets the value, with the line, or 'command line' where none does. Raises StudyError with all problems.
    """
    source = ", ".join(short(f) for f in files) or "command line"
    return _plan(merge_documents(config, files), root, source)


def _plan(document: Document, root: Path | str, source: str) -> Plan:
    if any(not p.path for p in document.problems) or (not document.data and document.problems):
        raise StudyError(document.problems, source)
    return _Planner(document, Path(root), source).plan()


class _Planner:
    def __init__(self, document: Document, root: Path, source: str):
        self.parser = Parser(dict(document.lines), document.problems, document.broken)
        self.data, self.root, self.source = document.data, root, source
        self.study = read_study(document.data, self.parser)
        self.tally = Tally(self.parser)
        self.refs: dict[tuple[type, str], Any] = {}

    def plan(self) -> Plan:
        study, parser = self.study, self.parser
        self.plugins()
        self.mirror()
        models, datasets, catalog_problems, sound = self.catalogs()
        rules, texts = read_rules(study, self.root, parser)
        names = Names(models, datasets, study, rules, self.data, parser, sound)
        tasks, methods = check_names(names)
        check_artefacts(study, self.data, parser)
        check_only(study, self.data, parser)
        layering = Layering(study, rules, models, datasets, self.tally)
        runs: dict[str, RunSpec] = {}
        provenance: dict[str, dict[str, str]] = {}
        points: dict[str, tuple[Point, ...]] = {}
        expandable = self.small_enough()
        for name, grid in study.grids.items():
            check_vary(name, grid, parser)
            made: dict[int, list[Point]] = {}
            first_with: dict[tuple[str, str], dict[str, Any]] = {}
            for (model, dataset), method in itertools.product(tasks.get(name, []), methods.get(name, [])):
                layering.note(name, model, dataset, method)
                how = layering.hows[model, dataset, method.id]
                if name not in expandable or (model, dataset) not in sound:
                    continue
                for place, (varied, places) in enumerate(self.variations(name, grid)):
                    settings = layering.resolve(name, model, dataset, method, varied, places)
                    spec = self.spec(name, models[model], datasets[dataset], method, settings, how)
                    if spec is None:
                        continue
                    self.repeated(method, varied, places, first_with.setdefault((dataset, spec.run_id), varied))
                    sources = {**settings.sources, **how.sources}
                    for seed in grid.seeds:
                        run = spec.with_seed(seed)
                        runs[run.run_id] = run
                        provenance.setdefault(run.run_id, sources)  # shared: the first grid that names it
                        made.setdefault(place, []).append(Point(model, dataset, method.id, seed, varied, run.run_id))
            points[name] = tuple(point for _, part in sorted(made.items()) for point in part)
        if names.complete and catalog_problems == [] and models and datasets:
            check_use(study, layering, parser, self.tally)
        self.tally.tell()
        problems = [*parser.problems, *catalog_problems]
        if problems:
            raise StudyError(problems, self.source)
        hows = {key: resolved.how for key, resolved in layering.hows.items()}
        data = {**self.data, "rule_texts": texts} if texts else self.data  # a recorded study needs no other file
        plan = Plan(study, models, datasets, runs, points, hows, provenance, data=data)
        check_kept(plan, parser)
        for index, artefact in enumerate(study.artefacts):
            artefact.check_plan(("artefacts", index), plan, parser)
        warnings = (*self.tally.warnings, *check_asked(plan, self.data, parser))
        if parser.problems:
            raise StudyError(parser.problems, self.source)
        return replace(plan, warnings=warnings)

    def plugins(self) -> None:
        seen: dict[Path, int] = {}
        for index, plugin in enumerate(self.study.plugins):
            where = ("plugins", index)
            try:
                path = self.root / Path(plugin).expanduser()
                load_plugin(path)
                if path.resolve() in seen:
                    rule = f"a plug-in is listed once; this is plugins[{seen[path.resolve()]}] too"
                    self.parser.problem(where, plugin, rule, "remove one of them")
                seen[path.resolve()] = index
            except (MethodError, OSError, ValueError, RuntimeError) as error:
                self.parser.problem(where, plugin, str(error), "mend the plug-in or its path")

    def mirror(self) -> None:
        """A warning: what has been fetched already needs no mirror, and it may lie on another machine than this one."""
        mirror = self.study.assets.mirror
        if mirror is not None and not below(self.root, mirror).is_dir():
            remedy = "mend the path, or remove the line: files then come from their hubs"
            self.tally.warn(
                ("assets", "mirror"), "mirror", mirror, "there is no such folder on this machine", remedy, mirror
            )

    def catalogs(self) -> tuple[dict[str, ModelEntry], dict[str, DatasetEntry], list, set[tuple[str, str]]]:
        """Both catalogs, their problems, and the pairs of entries that have none."""
        paths = self.study.catalogs
        models, of_models = read_catalog(below(self.root, paths.models), ModelEntry)
        datasets, of_datasets = read_catalog(below(self.root, paths.datasets), DatasetEntry)
        if datasets and not of_datasets.problems:
            check_pretraining(models, datasets, of_models)
        problems = []
        for name, catalog in (("models", of_models), ("datasets", of_datasets)):
            recommended = {p: m for p, m in catalog.lines.items() if p[1:2] in (("settings",), ("how",))}
            self.parser.lines.update({("catalogs", name, *place): mark for place, mark in recommended.items()})
            for problem in catalog.problems:
                if problem.path or problem.line is not None:
                    problems.append(problem)
                else:  # the file itself: told where it is named
                    self.parser.problem(("catalogs", name), getattr(paths, name), problem.rule, problem.remedy)
        bad = {p.path.partition(".")[0].partition("[")[0] for p in problems}
        sound = {(m, d) for m in models for d in datasets if m not in bad and d not in bad}
        return models, datasets, problems, sound

    def small_enough(self) -> set[str]:
        """Grids that are expanded. Counted before anything is: a grid of 10^9 points must not hang."""
        total, good = 0, set()
        for name, grid in self.study.grids.items():
            factors = {"tasks": len(grid.tasks), "methods": len(grid.methods), "seeds": len(grid.seeds)}
            factors |= {setting: len(values) for setting, values in grid.vary.items()}
            count = math.prod(factors.values())
            total += count
            product = " x ".join(f"{n:,} {what}" for what, n in factors.items())
            if count > MAX_POINTS:
                rule = f"a study has at most {MAX_POINTS:,} runs; this grid has {product} = {count:,}"
                self.parser.problem(
                    ("grids", name), f"{count:,} runs", rule, "shorten its lists, or make several studies"
                )
            else:
                good.add(name)
        if total > MAX_POINTS and len(good) == len(self.study.grids):
            rule = f"a study has at most {MAX_POINTS:,} runs; its grids have {total:,} together"
            self.parser.problem(("grids",), f"{total:,} runs", rule, "make several studies")
            return set()
        return good

    def variations(self, name: str, grid: Grid) -> Iterator[tuple[dict[str, Any], dict[str, tuple]]]:
        """The product of a grid's `vary`: settings, and the place of each value. Broken values are left out."""
        axes = []
        for setting, values in grid.vary.items():
            place = ("grids", name, "vary", setting)
            good = [(v, (*place, i)) for i, v in enumerate(values) if not self.parser.is_broken((*place, i))]
            axes.append([(setting, v, p) for v, p in good])
        for point in itertools.product(*axes):
            ordered = sorted(point, key=lambda axis: SETTINGS.index(axis[0]) if axis[0] in SETTINGS else len(SETTINGS))
            yield {s: v for s, v, _ in ordered}, {s: p for s, _, p in ordered}

    def repeated(self, method: Method, varied: dict[str, Any], places: dict, first: dict[str, Any]) -> None:
        """Two points of a grid that are one run, though the method uses what differs between them."""
        differing = [s for s in varied if varied[s] != first[s]] if varied is not first else []
        used = [s for s in differing if uses(method, s)]
        if used:
            where = places[used[-1]]
            rule = f"it makes the same run as {_pairs({s: first[s] for s in used})} (method {method.id})"
            self.parser.problem(where, varied[used[-1]], rule, "remove one of the two from the grid's vary")

    def spec(
        self, grid: str, model: ModelEntry, dataset: DatasetEntry, method: Method, settings: Resolved, how: ResolvedHow
    ) -> RunSpec | None:
        """The run's specification (of the grid's first seed), or None after noting what is wrong with it."""
        if settings.options is None or not check_run(grid, model, dataset, method, settings, how, self.tally):
            return None
        relevant = dict(settings.relevant)
        if "alpha" in relevant:
            relevant["alpha"] = resolve_alpha(
                relevant["alpha"], relevant.get("rank", RunSpec.model_fields["rank"].default)
            )
        seeds = self.study.grids[grid].seeds
        try:  # numbers as the run id has them: rounded before they are validated, once
            return RunSpec(
                model=self.ref(model), dataset=self.ref(dataset), method=method.id, seed=seeds[0] if seeds else 0,
                **rounded({**relevant, "options": settings.options}),
            )  # fmt: skip
        except ValidationError as error:  # the schema is stricter than the spec: a gap in it
            names = sorted({str(e["loc"][0]) for e in error.errors() if e["loc"]})
            rule = f"these settings have no meaning for a run of {method.id}: {', '.join(names)}"
            self.parser.problem(("grids", grid), method.id, rule, "mend them under defaults, a rule or the grid")
            return None

    def ref(self, entry: ModelEntry | DatasetEntry) -> ModelRef | DatasetRef:
        """What a spec holds of a catalog's entry: one record for all its runs."""
        key = (type(entry), entry.id)
        if key not in self.refs:
            whole = entry.ref()
            self.refs[key] = type(whole).model_validate(rounded(whole.model_dump(exclude_defaults=True)))
        return self.refs[key]


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {v}" for k, v in values.items())
