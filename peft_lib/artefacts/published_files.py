"""The option `published`: which file of reports/reference an artefact is compared with, and whether it can be."""

import re
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from peft_lib.names import nearest
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import Location
from peft_lib.study.types import Name

REFERENCE = Path(__file__).resolve().parents[2] / "reports" / "reference"
DESCRIPTION = "file of reports/reference with the paper's values"
Published = Annotated[Name | None, Field(description=DESCRIPTION, examples=["table_2_18.csv"])]


def check_published(
    name: str | None, kind: str, where: Location, parser: Parser, keyed_by: frozenset[str] = frozenset()
) -> None:
    """The file exists, and its values are of this kind: of `setting`, `quantity` its columns have those in `keyed_by`."""
    if name is None:
        return
    known = sorted(p.name for p in REFERENCE.glob("table*.csv"))
    if not re.fullmatch(r"[\w.-]+", name) or name in (".", ".."):
        rule = "published is the name of a file of reports/reference, without a folder"
        parser.problem(where, name, rule, nearest(name.rpartition("/")[2], known))
    elif name not in known:
        parser.problem(where, name, "no such file of published values in reports/reference", nearest(name, known))
    else:
        fitting = [k for k in known if _columns(k) & {"setting", "quantity"} == keyed_by]
        if name not in fitting:
            rule = f"the file has values of another kind of table than {kind}, so no cell would meet one"
            parser.problem(where, name, rule, f"use one of {', '.join(fitting)}")


@cache
def _columns(name: str) -> set[str]:
    with (REFERENCE / name).open(encoding="utf-8-sig", errors="replace") as file:
        return set(file.readline().strip().split(","))
