"""reports/reference/contradictions.csv and notation.csv: complete, each row in a sentence, every option that they name exists,
and all of it can be set by pdfLaTeX and shown by a browser. Whether the words are right, no test can say."""

import csv
import re

import pytest

from peft_lib.display.latex_text import latex_text
from peft_lib.display.markup import safe_html
from peft_lib.methods.registry import available, get_method
from peft_lib.results.published import REFERENCE
from peft_lib.study.how import How
from peft_lib.study.loading import load_datasets, load_models
from peft_lib.study.quantities import QUANTITIES
from peft_lib.study.settings import Settings
from tests.conftest import need
from tests.runs import ROOT
from tests.unit.synthetic import PAPER
from tests.unit.test_citations import errata_numbers, protocol_numbers


def rows(name: str) -> list[dict[str, str]]:
    with (REFERENCE / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


CONTRADICTIONS = rows("contradictions.csv")


def test_all_decisions_errata_and_anomalies_are_there_once():
    """Section 13 of the protocol, the errata and the lists of anomalies A, B and C, in their order."""
    sources = [r["source"] for r in CONTRADICTIONS]
    protocol = protocol_numbers((ROOT / "docs/protocol.md").read_text(encoding="utf-8"))
    errata = errata_numbers((ROOT / "docs/errata.md").read_text(encoding="utf-8"))
    decisions = sum(number.startswith("13.") for number in protocol)
    assert sources[:decisions] == [f"PROTOCOL 13.{i}" for i in range(1, decisions + 1)]
    listed = [
        f"transcription {part}{i}" for part, count in (("A", 9), ("B", 18), ("C", 4)) for i in range(1, count + 1)
    ]
    assert sources[decisions : decisions + len(listed)] == listed
    assert sources[decisions + len(listed) :] == [f"ERRATA {i}" for i in range(1, len(errata) + 1)]
    assert len({r["id"] for r in CONTRADICTIONS}) == len(CONTRADICTIONS)


def test_the_lists_of_anomalies_have_as_many_items():
    readme = PAPER / "tables" / "README.md"
    need(readme.is_file(), "the transcribed tables are absent")
    part, counted = "", {"": 0, "A": 0, "B": 0, "C": 0}
    for line in readme.read_text(encoding="utf-8").split("## Anomalies in the paper")[1].splitlines():
        part = line[0] if re.match(r"[ABC]\. ", line) else part
        counted[part] += bool(re.match(r"[0-9]+\. ", line))
    assert counted == {"": 0} | {
        part: sum(r["source"].startswith(f"transcription {part}") for r in CONTRADICTIONS) for part in "ABC"
    }


@pytest.mark.parametrize("row", CONTRADICTIONS, ids=lambda r: r["id"])
def test_a_contradiction_says_who_says_what_and_what_was_decided(row: dict[str, str]):
    for name in ("id", "part", "where", "paper", "other", "decision", "source"):
        assert row[name] and row[name] == row[name].strip(), name
    for name in ("paper", "other", "decision"):
        assert row[name].endswith("."), name
    for name in ("where", "paper", "other", "decision"):
        assert "U+" not in latex_text(row[name])


def test_every_option_that_a_decision_names_exists():
    models, datasets = load_models(ROOT / "config/models.yaml"), load_datasets(ROOT / "config/datasets.yaml")
    options = {name for method in available() for name in get_method(method).options.model_fields}
    known = {
        "": set(Settings.model_fields), "options": options, "how": set(How.model_fields), "models": set(models),
        "datasets": set(datasets), "quantities": set(QUANTITIES),
    }  # fmt: skip
    for row in CONTRADICTIONS:
        for option in row["option"].split():
            kind, _, name = option.rpartition(".")
            assert name in known[kind], f"{row['id']}: {option}"


def test_the_symbols_are_those_of_table_19():
    transcribed = PAPER / "tables" / "table19_notation.csv"
    need(transcribed.is_file(), "the transcribed tables are absent")
    with transcribed.open(encoding="utf-8", newline="") as file:
        printed = [r["symbol"] for r in csv.DictReader(file)]
    ours = rows("notation.csv")
    assert len(ours) == len(printed) == 36
    for row, symbol in zip(ours, printed, strict=True):
        assert letters(row["symbol"]) == letters(symbol), symbol


def letters(symbol: str) -> list[str]:
    """Letters and digits of a symbol in either notation, whatever stands between; commands as the letters that they set."""
    plain = re.sub(r"\\(hat|widehat|mathbf|mathrm|mathcal|cdot)|_?hat|\(bold\)|\(calligraphic\)", "", symbol)
    plain = plain.replace("\\ell", "l").replace("\\sigma", "sigma").replace("\\Delta", "Delta").replace("\\|", "||")
    return re.findall(r"[A-Za-z]|[0-9]", plain)


@pytest.mark.parametrize("row", rows("notation.csv"), ids=lambda r: r["symbol"])
def test_a_symbol_is_safe_in_both_languages(row: dict[str, str]):
    """LaTeX: letters, digits and a few commands, in balanced braces. HTML: sub and sup alone, closed."""
    commands = set(re.findall(r"\\([A-Za-z]+|.)", row["symbol"]))
    assert commands <= {"|", "mathbf", "mathrm", "mathcal", "hat", "widehat", "Delta", "sigma", "ell", "cdot"}
    assert re.fullmatch(r"[A-Za-z0-9\\{}()|,^_ ]+", row["symbol"])
    depth = 0
    for character in row["symbol"]:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert "&lt;" not in safe_html(row["html"]) and str(safe_html(row["html"])) == row["html"]
    assert row["definition"] and not row["definition"].endswith(".")
    assert "U+" not in latex_text(f"{row['definition']} {row['note']}")
