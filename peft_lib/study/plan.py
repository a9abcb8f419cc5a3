"""From a study to its unique runs: grids expanded, settings resolved, rules between fields checked, look-ups ready."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.methods.registry import method_file
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.declared import declared
from peft_lib.study.diagnoses import Diagnosis, diagnoses
from peft_lib.study.fingerprint import FOR_PEOPLE, PACKAGE, fingerprint
from peft_lib.study.how import How
from peft_lib.study.known_methods import method_of
from peft_lib.study.parts import asked
from peft_lib.study.problems import Problem
from peft_lib.study.quantities import DATASET_METRICS
from peft_lib.study.schema import Study
from peft_lib.study.spec import RunSpec


@dataclass(frozen=True)
class Point:
    """One point of a grid: what the study says of it, and the run that measures it."""

    model: str
    dataset: str
    method: str
    seed: int
    varied: Mapping[str, Any]
    run_id: str


@dataclass(frozen=True, eq=False)
class Plan:
    """A study ready to run. All look-ups are dicts built once."""

    study: Study
    models: dict[str, ModelEntry]
    datasets: dict[str, DatasetEntry]
    runs: dict[str, RunSpec]
    points: dict[str, tuple[Point, ...]]
    hows: dict[tuple[str, str, str], How]
    """(model, data set, method) -> how their runs are executed."""
    provenance: dict[str, dict[str, str]] = field(default_factory=dict)
    """run id -> setting -> where its value comes from."""
    warnings: tuple[Problem, ...] = ()
    """What is allowed and looks wrong; the callers print it."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """The study as it was planned, for JSON: files merged, values of the command line read as YAML."""
    fingerprints: dict[tuple[str, str, str, int, str | None], str] = field(default_factory=dict, repr=False)
    """(method, model, data set, input size, targets) -> fingerprint of their runs, as far as it was asked for."""

    def how(self, run_id: str) -> How:
        """How a run is executed: by the model catalog, the study's own keys, its rules; later ones win."""
        spec = self.runs[run_id]
        return self.hows[spec.model.id, spec.dataset.id, spec.method]

    @cached_property
    def asked(self) -> frozenset[str]:
        """Ids of the runs that are asked for: those within the study's `only`; without it, all."""
        return asked(self, self.study.only)

    @cached_property
    def diagnoses(self) -> dict[str, Diagnosis]:
        """Name -> job that computes a diagnostic of some runs, for the artefacts that ask."""
        return diagnoses(self)

    @property
    def by_folder(self) -> dict[str, RunSpec]:
        return {spec.folder: spec for spec in self.runs.values()}

    @property
    def recorded(self) -> dict[str, Any]:
        """The study as it is recorded beside its tables: without where files come from and which part is asked for now, as
        neither changes a table. Its order is that of the study, which tables have, and by which the first grid that names a
        run says where its settings come from."""
        return {key: value for key, value in self.data.items() if key not in ("assets", "only")}

    @property
    def prepared(self) -> dict[str, tuple[str, str, int]]:
        """Folder of prepared data -> (data set, model, input size): what the runs read, and what pre-training reads."""
        wanted = {(s.dataset.id, s.model.id, s.input_size) for s in self.runs.values()}
        for model in {s.model.id for s in self.runs.values()}:
            entry = self.models[model]
            if entry.pretrain:
                wanted.add((entry.pretrain.dataset, model, int(entry.architecture["img_size"])))
        return {prepared_folder(*key): key for key in sorted(wanted)}

    def fingerprint(self, run_id: str) -> str:
        """Fingerprint that a fresh result of this run carries."""
        spec = self.runs[run_id]
        targets = spec.targets if method_of(spec.method).uses("targets") else None
        key = (spec.method, spec.model.id, spec.dataset.id, spec.input_size, targets)
        if key not in self.fingerprints:
            self.fingerprints[key] = self._run_fingerprint(*key)
        return self.fingerprints[key]

    def _run_fingerprint(self, method: str, model: str, dataset: str, input_size: int, targets: str | None) -> str:
        files = (
            method_file(method),
            PACKAGE / f"backbones/{self.models[model].backbone}.py",
            PACKAGE / f"tasks/{self.datasets[dataset].task}.py",
            PACKAGE / "training/run.py",
        )
        recipe = (
            self.prepare_fingerprint(dataset, model, input_size),
            self.asset_fingerprint(model),
            json.dumps(self._catalog_facts(model, dataset, targets), sort_keys=True),
        )
        return fingerprint([f for f in files if f], recipe)

    def diagnosis_fingerprint(self, diagnostic: Diagnostic, run_id: str) -> str:
        """Fingerprint that a fresh file of that diagnostic of that run carries: its code, and all that the run depends on."""
        return fingerprint(
            [
                PACKAGE / f"diagnostics/{type(diagnostic).__module__.rpartition('.')[2]}.py",
                PACKAGE / "diagnostics/opened.py",
            ],
            [self.fingerprint(run_id)],
        )

    def _catalog_facts(self, model: str, dataset: str, targets: str | None) -> dict[str, Any]:
        """What the catalogs say that decides a run's numbers and is in no spec: places, head, task, metric, by value."""
        entry, data = self.models[model], self.datasets[dataset]
        decoding = {"max_length": entry.max_length} if data.task == "generation" else {}  # bounds prompts and answers
        shapes = entry.targets.get(targets, ()) if targets else ()
        return {
            "targets": [shape.model_dump(mode="json") for shape in shapes],
            "backbone": entry.backbone,
            "modality": entry.modality,
            "head": [entry.hidden, entry.head_parameters, entry.head_bias, data.outputs],
            "task": data.task,
            "metric": [data.metric, DATASET_METRICS[data.metric].direction, list(data.measures)],
            **decoding,
        }

    def shown_facts(self, artefact: str | None = None) -> str:
        """What an artefact (None: the report of all) shows and no run depends on, by value: texts of methods, catalog
        entries, the artefact's own options."""
        wanted = [a for a in self.study.artefacts if artefact in (None, a.id)]
        artefacts = list({part.id: part for a in wanted for part in (a, *a.sources(self.study))}.values())
        methods = [method_of(m) for m in sorted({spec.method for spec in self.runs.values()})]
        texts = {m.id: {name: getattr(m, name) for name in sorted(FOR_PEOPLE["Method"])} for m in methods}
        read = sorted({(dataset, model) for dataset, model, _ in self.prepared.values()})
        shown = {
            "methods": texts,
            "models": [self.models[model].model_dump(mode="json") for _, model in read],
            "datasets": [self.datasets[dataset].model_dump(mode="json") for dataset, _ in read],
            "artefacts": [a.model_dump(mode="json") for a in artefacts],
            "counted": self._counted_facts() if any(a.reads_catalogs for a in artefacts) else [],
        }
        return json.dumps(shown, sort_keys=True)

    def _counted_facts(self) -> list[dict[str, Any]]:
        """What counts by formula are of: the whole catalogs, as no run says which entries."""
        entries = (*self.models.values(), *self.datasets.values())
        return [entry.model_dump(mode="json") for entry in entries]

    def prepare_fingerprint(self, dataset: str, model: str, input_size: int) -> str:
        """Fingerprint of prepared data: its loader, its preparation, its source and options, who reads it."""
        entry, source = self.datasets[dataset], self.models[model]
        tokenizer = f"{source.source}@{source.revision}"
        style = str(declared("backbones", source.backbone, "STYLE"))
        roots = [PACKAGE / f"data/{entry.loader}.py", PACKAGE / "data/prepare.py"]
        locked = [f"{name} {split.sha256}" for name, split in sorted(entry.lock.splits.items())] if entry.lock else []
        return fingerprint(
            roots, [entry.ref().model_dump_json(), entry.task, tokenizer, style, str(input_size), *locked]
        )

    def asset_fingerprint(self, model: str) -> str:
        """Fingerprint of a model folder: its reference, and for a pre-trained one the code and data that make it."""
        entry = self.models[model]
        if not entry.pretrain:
            return fingerprint([], [entry.ref().model_dump_json()])
        roots = [PACKAGE / "training/pretrain.py", PACKAGE / f"backbones/{entry.backbone}.py"]
        size = int(entry.architecture["img_size"])
        recipe = [entry.ref().model_dump_json(), self.prepare_fingerprint(entry.pretrain.dataset, model, size)]
        return fingerprint(roots, recipe)


def prepared_folder(dataset: str, model: str, input_size: int) -> str:
    """Folder below resources/prepared: data as one model reads it (its tokenizer, or its pixels and normalisation)."""
    return f"{dataset}/{model}-{input_size}"
