"""Problems of single runs, each told once, whatever the number of runs that have it."""

from typing import Any

from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location, Problem, problem_at

Notes = dict[tuple[Location, str], tuple[Any, dict[str, None], str, dict[str, None]]]
"""(where, kind) -> value, rules, remedy, whom it hurts; rules and names in the order in which they came."""


class Tally:
    """Problems of single runs, told once: at the place that set the value, with the models and methods that it hurts."""

    def __init__(self, parser: Parser):
        self.parser = parser
        self.warnings: list[Problem] = []
        self._refused: Notes = {}
        self._warned: Notes = {}

    def refuse(self, where: Location, kind: str, value: Any, rule: str, remedy: str, who: str) -> None:
        _note(self._refused, where, kind, value, rule, remedy, who)

    def warn(self, where: Location, kind: str, value: Any, rule: str, remedy: str, who: str) -> None:
        _note(self._warned, where, kind, value, rule, remedy, who)

    def tell(self) -> None:
        for (where, _), (value, rules, remedy, who) in self._refused.items():
            self.parser.problem(where, value, _whole(list(rules), list(who)), remedy)
        for (where, _), (value, rules, remedy, who) in self._warned.items():
            self.warnings.append(problem_at(where, value, _whole(list(rules), list(who)), remedy, self.parser.lines))


def _note(notes: Notes, where: Location, kind: str, value: Any, rule: str, remedy: str, who: str) -> None:
    _, rules, _, names = notes.setdefault((where, kind), (value, {}, remedy, {}))
    rules[rule] = None
    names[who] = None


def _whole(rules: list[str], who: list[str]) -> str:
    """The rule as it was violated, and by whom if that is not said already."""
    text = "; ".join(rules[:3]) + ("; ..." if len(rules) > 3 else "")
    return text if all(name in text for name in who) else f"{text} ({few(who)})"


def few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
