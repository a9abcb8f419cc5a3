"""Citations of docs/protocol.md and docs/errata.md: each number that code, tests or pages name is there."""

import re
from pathlib import Path

ROOTS = (
    "peft_lib",
    "workflow_scripts",
    "tests",
    "docs",
    "reports/templates",
    "reports/reference",
    "config",
    "examples",
    "rules",
)
FILES = ("README.md", "CHANGELOG.md", "Snakefile", "config.yaml")
SUFFIXES = {".py", ".md", ".yaml", ".j2", ".csv", ".smk", ""}
_CITATION = re.compile(r"\b(PROTOCOL|ERRATA)(?:'s)? +(?:section +)?([0-9]+(?:\.[0-9]+)?)(?:-([0-9]+))?")


def protocol_numbers(text: str) -> set[str]:
    """Sections (6, 6.4), items of lists that open a line of a section (1.4), rows of tables that begin with a number."""
    numbers: set[str] = set()
    section = ""
    for line in text.splitlines():
        if heading := re.match(r"#{2,3} ([0-9]+(?:\.[0-9]+)?)\.? ", line):
            section = heading[1]
            numbers.add(section)
        elif item := re.match(r"(?:\| )?([0-9]+)(?:\. | \|)", line):
            numbers.add(f"{section}.{item[1]}")
    return numbers


def errata_numbers(text: str) -> set[str]:
    return set(re.findall(r"^\| ([0-9]+) \|", text, re.MULTILINE))


def cited(text: str) -> list[tuple[str, str]]:
    """(page, number) of every citation; a range such as 13.14-15 or 23-25 counts as all its numbers."""
    numbers = []
    for page, first, last in _CITATION.findall(text):
        prefix, _, low = first.rpartition(".")
        for number in range(int(low), int(last or low) + 1):
            numbers.append((page, f"{prefix}.{number}" if prefix else str(number)))
    return numbers


def test_every_citation_points_at_a_number(root: Path):
    known = {
        "PROTOCOL": protocol_numbers((root / "docs/protocol.md").read_text(encoding="utf-8")),
        "ERRATA": errata_numbers((root / "docs/errata.md").read_text(encoding="utf-8")),
    }
    assert known["PROTOCOL"] >= {"6.4", "13", *(f"13.{i}" for i in range(1, 43)), "1.12", "14.22"}
    assert known["ERRATA"] == {str(i) for i in range(1, 29)}
    paths = [root / name for name in FILES]
    paths += [p for name in ROOTS for p in (root / name).rglob("*") if p.is_file() and p.suffix in SUFFIXES]
    wrong, count = [], 0
    for path in paths:
        for page, number in cited(path.read_text(encoding="utf-8")):
            count += 1
            if number not in known[page]:
                wrong.append(f"{path.relative_to(root)}: {page} {number}")
    assert not wrong
    assert count >= 26, "the pattern has lost the citations"


def test_bare_numbers_of_methods_md_are_the_protocol_s(root: Path):
    known = protocol_numbers((root / "docs/protocol.md").read_text(encoding="utf-8"))
    bare = re.findall(r"\((13\.[0-9]+)\)", (root / "docs/methods.md").read_text(encoding="utf-8"))
    assert bare and set(bare) <= known


def test_what_counts_as_a_citation():
    assert cited("(PROTOCOL 13.14-15), ERRATA 23-25; PROTOCOL section 5 and PROTOCOL 7's table") == [
        ("PROTOCOL", "13.14"), ("PROTOCOL", "13.15"), ("ERRATA", "23"), ("ERRATA", "24"), ("ERRATA", "25"),
        ("PROTOCOL", "5"), ("PROTOCOL", "7"),
    ]  # fmt: skip
