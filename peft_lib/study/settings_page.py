"""The tables of docs/study.md: every field of a study and of the catalogs, from the schema's types and descriptions.

`python -m peft_lib.study.settings_page` writes them into the page; a test says whether it is up to date.
"""

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from peft_lib.artefacts.kind import Artefact
from peft_lib.artefacts.registry import kinds
from peft_lib.diagnostics.registry import diagnostics
from peft_lib.study.catalogs import DatasetEntry, ModelEntry, PretrainRecipe, Shape
from peft_lib.study.how import How
from peft_lib.study.schema import Assets, Grid, Only, Rule, Study, When
from peft_lib.study.settings import Settings
from peft_lib.study.wording import words_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "study.md"
START, END = "<!-- fields: made from the schema -->", "<!-- end of fields -->"
TABLES: dict[str, type[BaseModel]] = {
    "A study": Study,
    "How runs are executed: the top level, `how` of a rule, `how` of a model": How,
    "`assets` of a study": Assets,
    "Settings: `defaults`, `set` of a rule, `set` of a grid": Settings,
    "A rule": Rule,
    "`when` of a rule": When,
    "A grid": Grid,
    "An artefact of any kind": Artefact,
    **{f"Options of kind `{name}`": kind for name, kind in kinds().items()},
    **{
        f"Options of diagnostic `{name}`, under `candidates` of kind `predictors`": kind
        for name, kind in diagnostics().items()
    },
    "`only` of a study": Only,
    "A model (config/models.yaml)": ModelEntry,
    "`pretrain` of a model": PretrainRecipe,
    "A place under `targets` of a model": Shape,
    "A data set (config/datasets.yaml)": DatasetEntry,
}


def tables() -> str:
    """All tables in Markdown."""
    return "\n".join(line for title, kind in TABLES.items() for line in _table(title, kind))


def _table(title: str, kind: type[BaseModel]) -> Iterator[str]:
    yield from (f"\n**{title}**\n", "| field | allowed | meaning |", "|---|---|---|")
    for name, info in kind.model_fields.items():
        if issubclass(kind, (ModelEntry, DatasetEntry)) and name == "id":
            continue  # the entry's key
        if issubclass(kind, Artefact) and kind is not Artefact and name in Artefact.model_fields:
            continue  # of every kind
        if issubclass(kind, Study) and name in How.model_fields:
            continue  # in a table of their own
        nullable = name in getattr(kind, "nullable", ())
        default = "" if kind is Settings or info.default is None or info.is_required() else _default(info.default)
        needed = " (required)" if info.is_required() else f" (default: {default})" if default else ""
        yield f"| `{name}` | {words_of(info)}{', or null' if nullable else ''}{needed} | {info.description or ''} |"


def _default(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) and value != "" else ""


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(START)
    return f"{before}{START}\n{tables()}\n\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
