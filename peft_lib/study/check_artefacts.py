"""Whether artefacts have names of their own and runs to show; each kind checks its own options (peft_lib/artefacts)."""

from typing import Any

from peft_lib.artefacts.registry import kinds
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT
from peft_lib.study.schema import Study


def check_artefacts(study: Study, data: dict[str, Any], parser: Parser) -> None:
    without_runs = [name for name, kind in kinds().items() if "grid" not in kind.model_fields]
    if "grids" not in data and not (study.artefacts and all(a.kind in (None, *without_runs) for a in study.artefacts)):
        rule = f"grids is missing: only artefacts of kind {', '.join(without_runs)} need no runs"
        parser.problem(("grids",), ABSENT, rule, "add grids: {main: {...}}")
    ids: dict[str, int] = {}
    for index, artefact in enumerate(study.artefacts):
        where = ("artefacts", index)
        if artefact.id in ids and artefact.id is not None:
            rule = f"artefacts have different ids; artefacts[{ids[artefact.id]}] has it too"
            parser.problem((*where, "id"), artefact.id, rule, f"for example {artefact.id}_{index}")
        ids.setdefault(artefact.id, index)
        artefact.check(where, study, parser)
