"""Key findings in sentences, from cells: who wins, by how much, is it more than chance, at what cost, and what limits that.

What is said of differences comes from the study's artefacts of kind `comparisons`; without one, values are given and that nothing
was tested. Overlapping intervals are no test, and nothing is concluded from them.
"""

from dataclasses import dataclass, field

from peft_lib.artefacts.chaining import Chaining
from peft_lib.artefacts.comparisons import Comparisons
from peft_lib.artefacts.cost import Cost
from peft_lib.artefacts.heatmap import Heatmap
from peft_lib.artefacts.methods import Methods
from peft_lib.artefacts.noise_floor import NoiseFloor
from peft_lib.artefacts.predictors import Predictors, verdict
from peft_lib.display.chaining_tables import outcome
from peft_lib.display.predictor_tables import VERDICT
from peft_lib.display.tables import task_name
from peft_lib.report.finding_limits import edges, failures, few_seeds, fewer, limits
from peft_lib.report.finding_sentences import against, cost, floor, headline, margins, parents, rounding, untested
from peft_lib.report.task_material import Material
from peft_lib.results.cells import Cell
from peft_lib.results.context import Task
from peft_lib.results.noise import noise_floor
from peft_lib.study.plan import Plan


@dataclass
class TaskFindings:
    """What the tables say of one task: a headline and sentences."""

    task: str
    headline: str
    sentences: list[str] = field(default_factory=list)


def findings(plan: Plan, tables: dict[str, list[Cell]]) -> list[TaskFindings]:
    """Findings per task of the study's comparisons of the test metric, then of tasks that its first table of it has beside them."""
    artefacts = plan.study.artefacts
    compared = [a for a in artefacts if isinstance(a, Comparisons) and a.metric == "test_metric"]
    means = [a for a in artefacts if isinstance(a, Methods) and a.metric == "test_metric" and not a.normalise_to][:1]
    costs = next((a for a in artefacts if isinstance(a, Cost)), None)
    paid = [c for c in tables[costs.id] if c.panel == "cost"] if costs else []
    grids = [(a.title, tables[a.id]) for a in artefacts if isinstance(a, Heatmap)]
    floors = noise_floor(
        [c for a in artefacts if isinstance(a, NoiseFloor) and a.metric == "test_metric" for c in tables[a.id]]
    )
    by_task: dict[Task, list[Cell]] = {}
    for artefact in (*compared, *means):
        part: dict[Task, list[Cell]] = {}
        for cell in tables[artefact.id]:
            part.setdefault((cell.model, cell.dataset, cell.row), []).append(cell)
        by_task |= {task: own for task, own in part.items() if task not in by_task}
    return [
        _task(
            Material(plan, task, cells, _costs(paid, task), floors.get(task)),
            [s for title, g in grids if (s := edges(title, g, task))],
        )
        for task, cells in by_task.items()
    ]


def across(plan: Plan, tables: dict[str, list[Cell]]) -> list[str]:
    """What the study says beyond single tasks: whether chaining helps, and whether the measured gap is the better guide."""
    said = [
        outcome(tables[a.id]) for a in plan.study.artefacts if isinstance(a, Chaining) and a.metric == "test_metric"
    ]
    said += [
        f"{_scope(plan, tables[a.id])}{verdict(tables[a.id])}" for a in plan.study.artefacts
        if isinstance(a, Predictors) and any(c.panel == VERDICT and c.value is not None for c in tables[a.id])
    ]  # fmt: skip
    return [s for s in said if s]


def _scope(plan: Plan, cells: list[Cell]) -> str:
    """The task that a verdict is of, where it is of one."""
    tasks = {(c.model, c.dataset) for c in cells if c.panel == VERDICT and c.model}
    return f"{task_name(plan, *tasks.pop(), '')}: " if len(tasks) == 1 else ""


def basis(plan: Plan) -> str:
    """What the findings rest on, below them."""
    tests = [a for a in plan.study.artefacts if isinstance(a, Comparisons) and a.metric == "test_metric"]
    titles = [a.title for a in tests]
    if not titles:
        return (
            "Computed from the tables below. No difference was tested: the study has no artefact of kind comparisons."
        )
    return (
        f"Computed from the tables below. Differences are tested in: {', '.join(titles)}; paired over test items and seeds, corrected by Holm "
        f"over all pairs of a task{', against a named method over the comparisons with it' * any(a.against for a in tests)}. Intervals are of single differences, without that correction. Not told apart does not mean equal. "
        "That one method was tuned better than another is in no interval."
    )


def _task(m: Material, at_edges: list[str]) -> TaskFindings:
    name = task_name(m.plan, *m.task)
    lost = [
        fewer([c for c in m.values if c.measured and not c.complete]),
        failures([c for c in m.values if not c.measured]),
    ]
    if not m.good:
        some = any(c.measured for c in m.values)
        nothing = "No method has a result from all its runs yet." if some else "No method has a result yet."
        return TaskFindings(name, nothing, [*at_edges, *(s for s in lost if s)])
    said = TaskFindings(name, headline(m))
    parts = [
        *margins(m), few_seeds(m.cells), untested(m), rounding(m), cost(m), against(m), parents(m), floor(m), *limits(m.of, m.what), *at_edges, *lost,
    ]  # fmt: skip
    said.sentences = [s for s in parts if s]
    return said


def _costs(paid: list[Cell], task: Task) -> dict[str, Cell]:
    return {c.column: c for c in paid if (c.model, c.dataset, c.row) == task and c.method and c.complete}
