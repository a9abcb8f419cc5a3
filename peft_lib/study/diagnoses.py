"""Which diagnostics a study's artefacts ask for, of which runs, and in which jobs they are computed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.study.how import KEEPS_DELTA, keeps_trajectory
from peft_lib.study.known_methods import method_of
from peft_lib.study.parsing import Parser
from peft_lib.study.spec import RunSpec

if TYPE_CHECKING:
    from peft_lib.study.plan import Plan


@dataclass(frozen=True)
class Diagnosis:
    """One job: a diagnostic of some runs of one task, so that a model is loaded once for all of them."""

    diagnostic: Diagnostic
    model: str
    dataset: str
    part: int
    run_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its path below results/tables/<study>/diagnosed, without ending."""
        return f"{self.diagnostic.id}/{self.model}/{self.dataset}/{self.part}"


def wanted(plan: "Plan") -> dict[Diagnostic, tuple[str, ...]]:
    """Diagnostic -> runs, of all artefacts, each once and in the order of the study."""
    found: dict[Diagnostic, dict[str, None]] = {}
    for artefact in plan.study.artefacts:
        for diagnostic, run_ids in artefact.diagnostics(plan).items():
            found.setdefault(diagnostic, {}).update(dict.fromkeys(run_ids))
    return {diagnostic: tuple(run_ids) for diagnostic, run_ids in found.items()}


def diagnoses(plan: "Plan") -> dict[str, Diagnosis]:
    """Name -> job. A job has at most `runs_per_diagnosis` runs."""
    size = plan.study.runs_per_diagnosis
    jobs: dict[str, Diagnosis] = {}
    for diagnostic, run_ids in wanted(plan).items():
        by_task: dict[tuple[str, str], list[str]] = {}
        for run_id in run_ids:
            spec = plan.runs[run_id]
            by_task.setdefault((spec.model.id, spec.dataset.id), []).append(run_id)
        for (model, dataset), runs in by_task.items():
            for part in range(0, len(runs), size):
                job = Diagnosis(diagnostic, model, dataset, part // size, tuple(runs[part : part + size]))
                jobs[job.name] = job
    return jobs


def check_kept(plan: "Plan", parser: Parser) -> None:
    """Whether runs keep what the artefacts' diagnostics are computed from."""
    for index, artefact in enumerate(plan.study.artefacts):
        for diagnostic, run_ids in artefact.diagnostics(plan).items():
            lacking: dict[tuple[str, str], list[str]] = {}
            for run_id in run_ids:
                spec, keep = plan.runs[run_id], str(plan.how(run_id).keep)
                lack = _lacks(diagnostic, keep, spec)
                if lack:
                    lacking.setdefault((keep, lack), []).append(f"{spec.method} on {spec.model.id}/{spec.dataset.id}")
            for (kept, lack), runs in lacking.items():
                names = list(dict.fromkeys(runs))
                rule = (
                    f"{diagnostic.kind} needs what its runs do not keep (keep: {kept}): {', '.join(names[:3])}"
                    f"{f' and {len(names) - 3} more' if len(names) > 3 else ''}"
                )
                remedy = f"set keep: {lack} for them (at the top level, or how of a rule), or leave them out"
                parser.problem(("artefacts", index), artefact.id, rule, remedy)


def _lacks(diagnostic: Diagnostic, keep: str, spec: RunSpec) -> str:
    """The `keep` that a run would need; empty where it keeps enough."""
    whole = "backbone" in method_of(spec.method).trains
    epochs = keeps_trajectory(keep, backbone_trains=whole)
    if "trajectory" in diagnostic.needs and not epochs:
        return "dense_trajectory" if whole else "trajectory"
    if "final" in diagnostic.needs and not (
        epochs or keep == "both" or (spec.selection == "last" and keep in KEEPS_DELTA)
    ):
        return "both"
    return "selected" if keep not in KEEPS_DELTA else ""
