"""Rules from CSV files (`rules_from`): one row is one rule with one setting, read and checked as a rule of the study is.

A value is read as YAML reads it. Each rule keeps its place, ("rules", 3) or ("rules_from", 0, 12), so that a problem names the
file, the line and the column.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from peft_lib.csv_table import Fault, parse
from peft_lib.study.documents import Document, below, read_text, short
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location, Mark
from peft_lib.study.schema import Rule, Study, When
from peft_lib.study.settings import OPTION, Settings
from peft_lib.study.types import Text
from peft_lib.study.yaml_reader import Reader, Stop

KEYS = tuple(When.model_fields)
COLUMNS = (*KEYS, "setting", "value", "source", "note")
REQUIRED = ("setting", "value", "source")
SOURCE = re.compile(r"(paper|inferred|ours)\b")


@dataclass(frozen=True)
class PlacedRule:
    """A rule and where it stands: an entry of `rules`, or a row of a file."""

    rule: Rule
    place: Location

    @property
    def of_file(self) -> bool:
        return self.place[0] == "rules_from"

    @property
    def settings(self) -> Location:
        """Where its settings stand."""
        return (*self.place, "value" if self.of_file else "set")

    def when(self, key: str) -> Location:
        """Where a key of its `when` stands."""
        return (*self.place, key) if self.of_file else (*self.place, "when", key)


def read_rules(study: Study, root: Path, parser: Parser) -> tuple[list[PlacedRule], dict[str, str]]:
    """All rules of a study in the order in which they apply, and the texts of the files that some of them are from.

    Files come first, as `rules_from` lists them, then `rules`. Problems go to the parser.
    """
    placed: list[PlacedRule] = []
    texts: dict[str, str] = {}
    for index, name in enumerate(study.rules_from):
        where = ("rules_from", index)
        if name in texts:
            parser.problem(where, name, "rules_from lists a file once", "remove one of them")
            continue
        text = study.rule_texts.get(name)
        file = name if text is not None else short(below(root, name))
        if text is None:
            text = _text(below(root, name), name, where, parser)
        if text is not None:
            texts[name] = text
            placed += _rules(text, file, where, parser)
    for name in study.rule_texts:
        if name not in study.rules_from:
            rule = "rule_texts holds the texts of files of rules_from; this is none of them"
            parser.problem(("rule_texts", name), name, rule, "name it under rules_from, or remove it")
    return [*placed, *(PlacedRule(rule, ("rules", i)) for i, rule in enumerate(study.rules))], texts


def _text(path: Path, name: str, where: Location, parser: Parser) -> str | None:
    document = Document()
    try:
        text = read_text(path, name, document)
    except OSError as error:
        rule = f"the file must be readable ({error.strerror or error})"
        parser.problem(where, name, rule, "check the path and its permissions")
        return None
    for problem in document.problems:
        if problem.line is not None:
            parser.lines[where] = Mark(short(path), problem.line)
        parser.problem(where, name, problem.rule, problem.remedy)
    return text


def _rules(text: str, file: str, where: Location, parser: Parser) -> Iterator[PlacedRule]:
    table = parse(text, COLUMNS, REQUIRED)
    if table.faults:
        _tell(table.faults, file, where, parser)
        return
    first: dict[tuple[str, ...], int] = {}
    for index, (line, row) in enumerate(table.rows):
        place = (*where, index)
        parser.lines[place] = Mark(file, line)
        before = first.setdefault(tuple(" ".join(row.get(k, "").split()) for k in (*KEYS, "setting")), line)
        if before != line:
            rule = f"one row for each setting of the same runs; line {before} has it too"
            parser.problem((*place, "setting"), row["setting"], rule, "remove one of the two, or narrow its runs")
        yield PlacedRule(_rule(row, place, parser), place)


def _tell(faults: list[Fault], file: str, where: Location, parser: Parser) -> None:
    """One problem for a file that is no table of rules: its first fault, and how many more there are."""
    fault = faults[0]
    if fault.line is not None:
        parser.lines[where] = Mark(file, fault.line)
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    parser.problem(where, fault.what, f"{fault.rule}{more}", fault.remedy)


def _rule(row: dict[str, str], place: Location, parser: Parser) -> Rule:
    when = {key: tuple(row[key].split()) for key in KEYS if row.get(key, "").strip()}
    source = row["source"].strip()
    if not SOURCE.match(source):
        rule = "a source says where the value is from: it starts with paper, inferred or ours"
        parser.problem((*place, "source"), source or ABSENT, rule, 'write e.g. "paper, Table 7" or "ours: how chosen"')
    else:
        parser.value(Text, source, (*place, "source"))
    return Rule.model_construct(
        _fields_set={"when", "set", "source"},
        when=When.model_construct(_fields_set=set(when), **when),
        set=_settings(row["setting"].strip(), row["value"], place, parser),
        source=source,
    )


def _settings(setting: str, text: str, place: Location, parser: Parser) -> Settings:
    """The one setting of a row; none if its name or its value is wrong."""
    option = setting.removeprefix(OPTION) if setting.startswith(OPTION) else ""
    where = (*place, "value", *(("options", option) if option else (setting,)))
    if setting == "options" or (setting.startswith(OPTION) and not option):
        rule = "an option of a method has a row of its own"
        parser.problem((*place, "setting"), setting, rule, "write options.<name>, e.g. options.selector")
    elif not option and setting not in Settings.model_fields:
        parser.unknown((*place, "setting"), setting, list(Settings.model_fields))
    else:
        value = _scalar(text, where, parser)
        if value is not ABSENT:
            inner = Parser({})
            read = inner.model(Settings, {"options": {option: value}} if option else {setting: value}, ())
            for problem in inner.problems:
                parser.problem(where, problem.value, problem.rule, problem.remedy)
            return read
    return Settings()


def _scalar(text: str, where: Location, parser: Parser) -> Any:
    """One value as YAML reads it; ABSENT, with the problem noted, for anything else."""
    rule, remedy = "a cell has one value, as one writes it in YAML", "write a number, a word, true, false or null"
    if not text.strip():
        parser.problem(where, ABSENT, "value is empty", "write the value; null where none is meant")
        return ABSENT
    document = Document()
    reader = Reader("", document)
    try:
        node = reader.compose(text.strip())
    except (yaml.YAMLError, Stop):
        node = None
    if not isinstance(node, yaml.ScalarNode):
        parser.problem(where, text, rule, remedy)
        return ABSENT
    value = reader.build(node)
    for problem in document.problems:
        parser.problem(where, problem.value, problem.rule, problem.remedy)
    return ABSENT if document.problems else value
