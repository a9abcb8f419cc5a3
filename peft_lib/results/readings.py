"""How the paper counted: for each printed count of parameters the reading that gives it (reports/reference/counts.csv).

A reading says which catalog entry was counted, with how many outputs, which layers were adapted at which rank, what counts as
trained, and what a percentage is of. Ours is: the model as named, the data set's outputs, adapters and head, of model + A + B.
A printed count that needs another reading is explained by the reading's note, and has the intended value beside it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from peft_lib.methods.registry import available
from peft_lib.names import did_you_mean
from peft_lib.results.reference_file import Fault, PublishedError, Rows, read_table
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.counts import Counts, count

READINGS = "counts.csv"
COLUMNS = (
    "file", "model", "dataset", "methods", "entry", "outputs", "targets", "rank", "trained", "percent_of", "note",
)  # fmt: skip
TRAINED = ("adapters + head", "adapters")
PERCENT_OF = ("model + A + B", "model")
TEXT = "text"
GATHERED = "s_"
"""Start of the paper's names for methods that are executed by gathering: s-cLA is cLA."""


class ReadingError(ValueError):
    """A printed count that a reading cannot be found or computed for; the message says why and what to do."""


@dataclass(frozen=True)
class Reading:
    """One way to count. `outputs`: None for those of the data set, 'text' for a model that generates, or a number."""

    entry: str
    outputs: int | str | None
    targets: str
    rank: int
    trained: str = TRAINED[0]
    percent_of: str = PERCENT_OF[0]

    def counts(self, method: str, models: Mapping[str, ModelEntry], data: DatasetEntry) -> Counts:
        """Raises ReadingError if the catalog lacks the entry or its target set."""
        if self.entry not in models:
            raise ReadingError(f"the model catalog has no {self.entry}: add it, or use config/models.yaml")
        entry = models[self.entry]
        if self.targets not in entry.targets:
            raise ReadingError(f"model {self.entry} has no target set {self.targets}: add it to the catalog")
        given = data.outputs if self.outputs is None else self.outputs
        outputs = None if given is None or given == TEXT else int(given)
        return count(method_of(method), entry, outputs, self.targets, self.rank)

    def trainable(self, counted: Counts) -> int:
        """Parameters that count as trained."""
        return counted.trainable - (counted.in_full if self.trained == "adapters" else 0)

    def percent(self, counted: Counts) -> float:
        """These in percent of the model, with A and B or without."""
        return 100 * self.trainable(counted) / (counted.model if self.percent_of == "model" else counted.total)

    @property
    def words(self) -> str:
        """What was counted, for people."""
        special: dict[int | str | None, str] = {None: "the data set's head", TEXT: "its output layer"}
        head = special.get(self.outputs, f"{self.outputs} outputs")
        return f"{self.entry} with {head}, {self.targets}, rank {self.rank}; {self.trained}, of {self.percent_of}"


@dataclass(frozen=True)
class Explained:
    """The reading of a printed count, the one that was meant, and a note in words (required where the two differ)."""

    read: Reading
    meant: Reading
    note: str


def method_of(printed: str) -> str:
    """The method that a printed id stands for: its own, or for an s-variant the one that is executed by gathering."""
    return printed if printed in available() else printed.removeprefix(GATHERED)


class Readings:
    """The readings of one file of published counts.

    Raises FileNotFoundError without counts.csv, PublishedError for one that breaks its rules: known columns and words, whole
    ranks, no row twice, a note for every reading that is not ours.
    """

    def __init__(self, name: str, folder: Path):
        path = folder / READINGS
        if not path.is_file():
            raise FileNotFoundError(f"no {path}: it says how each published count was counted; restore it")
        _, rows = read_table(path, COLUMNS, COLUMNS)
        faults = [*_bad_rows(rows, folder), *_repeats(rows)]
        if faults:
            raise PublishedError(path, faults)
        self.name = name
        self.rows = [(line, row) for line, row in rows if row["file"] == name]

    def find(self, model: str, dataset: str, method: str) -> Explained:
        """The reading of a printed count. Raises ReadingError unless exactly one row is for it."""
        fitting = [(line, row) for line, row in self.rows if _fits(row, model, dataset, method)]
        if len(fitting) != 1:
            lines = f"lines {', '.join(str(line) for line, _ in fitting)} are" if fitting else "no line is"
            raise ReadingError(
                f"{READINGS}: {lines} for {self.name} {model} {dataset} {method}; each printed count has one reading: "
                + ("narrow one of them" if fitting else "add a line")
            )
        read = _reading(fitting[0][1])
        meant = replace(read, entry=model, outputs=None, trained=TRAINED[0], percent_of=PERCENT_OF[0])
        return Explained(read, meant, fitting[0][1]["note"])


def at_printed_digits(value: float, printed: str) -> Decimal:
    """`value` rounded to the digits of a printed number: 0.640 has three decimals, 5.7e6 hundred thousands."""
    return Decimal(value).quantize(Decimal(printed))


def _reading(row: Mapping[str, str]) -> Reading:
    text = row["outputs"]
    outputs = TEXT if text == TEXT else int(text) if text else None
    return Reading(
        row["entry"] or row["model"], outputs, row["targets"], int(row["rank"]), row["trained"], row["percent_of"]
    )


def _fits(row: Mapping[str, str], model: str, dataset: str, method: str) -> bool:
    return (
        row["model"] == model
        and row["dataset"] in ("", dataset)
        and (not row["methods"] or method in row["methods"].split())
    )


def _bad_rows(rows: Rows, folder: Path) -> Iterator[Fault]:
    methods = available()
    for line, row in rows:
        if not (folder / row["file"]).is_file() or not row["file"]:
            near = did_you_mean(row["file"], (p.name for p in folder.glob("table*.csv")))
            yield Fault(
                line, f"file is {row['file']!r}", "file is the name of a table in this folder", f"correct it.{near}"
            )
        for name in ("model", "targets"):
            if not row[name]:
                yield Fault(line, f"no {name}", f"{name} is not empty", "write the id")
        for method in row["methods"].split():
            if method_of(method) not in methods:
                near = did_you_mean(method, methods)
                yield Fault(
                    line, f"method {method!r}", "methods are ids with blanks between, or empty", f"correct it.{near}"
                )
        if not _whole(row["rank"]):
            yield Fault(line, f"rank is {row['rank']!r}", "rank is a whole number of at least 1", "write e.g. 16")
        if row["outputs"] not in ("", TEXT) and not _whole(row["outputs"]):
            rule = "outputs is a whole number of at least 1, 'text', or empty for the data set's own"
            yield Fault(line, f"outputs is {row['outputs']!r}", rule, "write e.g. 1000")
        for name, words in (("trained", TRAINED), ("percent_of", PERCENT_OF)):
            if row[name] not in words:
                yield Fault(line, f"{name} is {row[name]!r}", f"{name} is one of {', '.join(words)}", "use one of them")
        ours = (row["entry"] or row["model"], row["outputs"], row["trained"], row["percent_of"])
        if ours != (row["model"], "", TRAINED[0], PERCENT_OF[0]) and not row["note"].strip():
            yield Fault(line, "no note", "a reading that is not ours is explained", "say in note what was counted")


def _repeats(rows: Rows) -> Iterator[Fault]:
    first: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        before = first.setdefault(tuple(row[name] for name in COLUMNS[:4]), line)
        if before != line:
            rule = "one row for each file, model, data set and methods"
            yield Fault(line, f"repeats line {before}", rule, "remove one of the two")


def _whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) >= 1
