"""Configuration errors: collected, then reported together, each with path, line, value, rule and remedy."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One violated rule. `path` is the YAML path, e.g. grids.main.methods[2]."""

    path: str
    value: object
    rule: str
    remedy: str
    line: int | None = None

    def __str__(self) -> str:
        where = self.path or "(top level)"
        line = f" (line {self.line})" if self.line else ""
        value = repr(self.value)
        return f"{where}{line}: {value if len(value) <= 80 else value[:77] + '...'}\n    rule:   {self.rule}\n    remedy: {self.remedy}"


class StudyError(ValueError):
    """A study that cannot be planned. `problems` has every violated rule that was found."""

    def __init__(self, problems: list[Problem], source: str = "study"):
        self.problems = tuple(problems)
        count = f"{len(problems)} problem{'s' * (len(problems) != 1)}"
        super().__init__(f"{source}: {count}, nothing was run\n" + "\n".join(f"- {p}" for p in problems))
