"""A data mirror of a few made-up rows per data set, in the hub's columns, for tests without real data.

Row i of a split has class i modulo the number of classes, so that every class occurs in splits that are large enough.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import datasets

from peft_lib.files import sha256_file
from peft_lib.study.catalogs import DatasetEntry
from workflow_scripts.lock_datasets import lock_of

Tables = dict[str, tuple[str, dict[str, dict[str, list]]]]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def pairs(sizes: Mapping[str, int], labels: int | None, number: str = "idx", columns: int = 2) -> dict[str, dict]:
    """Sentences in GLUE's columns; a split "test" without labels if its size is negative."""
    names = [f"sentence{i + 1}" for i in range(columns)] if columns > 1 else ["sentence"]
    return {
        split: {
            number: [100 * (split == "test") + i for i in range(abs(size))],
            **{name: [f"The {split} {name} number {i}." for i in range(abs(size))] for name in names},
            "label": [-1 if size < 0 else i % labels if labels else i % 11 / 2 for i in range(abs(size))],
        }
        for split, size in sizes.items()
    }


def questions(sizes: Mapping[str, int], names: tuple[str, str, str, str]) -> dict[str, dict]:
    context, query, options, answer = names
    return {
        split: {
            context: [f" Facts of {split} {i}. " for i in range(size)],
            query: [f"Which holds in {i}?" for i in range(size)],
            options: [[f"first {i}", "second", "third", "fourth"] for i in range(size)],
            answer: [i % 4 for i in range(size)],
        }
        for split, size in sizes.items()
    }


SIZES = {"train": 24, "validation": 11, "test": 8}
OPENBOOK = {
    split: {
        "id": [f"hub-{split}-{i}" for i in range(size)],
        "question_stem": [f"The {split} sky {i} is" for i in range(size)],
        "choices": [{"text": ["red", "green", f"blue {i}", "grey"], "label": list("ABCD")} for i in range(size)],
        "answerKey": ["ABCD"[i % 4] for i in range(size)],
    }
    for split, size in {"train": 24, "test": 8}.items()
}
E2E = {
    "train": {
        "meaning_representation": ["name[Zizzi], eatType[pub], customer rating[5 out of 5]"] * 3
        + ["near[The Bakers], name[Alimentum]"] * 2,
        "human_reference": ["Zizzi is a pub.", "Zizzi is a pub. ", "A pub: Zizzi.", "Alimentum is near.", "A place."],
    },
    "validation": {"meaning_representation": ["name[Cotto]"] * 2, "human_reference": ["Cotto.", "It is Cotto."]},
    "test": {"meaning_representation": ["name[Strada]"] * 2, "human_reference": ["Strada.", "It is Strada."]},
}
TABLES: Tables = {
    "nyu-mll__glue/mrpc": ("full", pairs(SIZES, 2)),
    "nyu-mll__glue/cola": ("full", pairs(SIZES | {"test": -8}, 2, columns=1)),
    "nyu-mll__glue/stsb": ("full", pairs(SIZES | {"test": -8}, None)),
    "nyu-mll__glue/rte": ("full", pairs(SIZES | {"test": -8}, 2)),
    "google-research-datasets__paws/labeled_final": (
        "validation and test full; train absent",
        pairs({"validation": 16, "test": 8}, 2, number="id"),
    ),
    "CogComp__trec": (
        "full",
        {
            split: {"text": [f"What is {split} {i} ?" for i in range(n)], "fine_label": [i % 50 for i in range(n)]}
            for split, n in {"train": 101, "test": 8}.items()
        },
    ),
    "AhmedSSoliman__DJANGO": (
        "full",
        {
            split: {"nl": [f"assign {i} to x." for i in range(n)], "code": [f"x = {i}" for i in range(n)]}
            for split, n in SIZES.items()
        },
    ),
    "allenai__openbookqa/main": ("train and test full; validation absent", OPENBOOK),
    "tasksource__folio": (
        "full, but another release",
        {
            split: {
                "premises": [f"All {split} cats sleep.\nCat {i} is a cat. " for i in range(n)],
                "conclusion": [f"Cat {i} sleeps." for i in range(n)],
                "label": [("True", "False", "Uncertain", "Unknown")[i % 4] for i in range(n)],
            }
            for split, n in {"train": 24, "validation": 11}.items()
        },
    ),
    "lucasmccabe__logiqa": (
        "validation and test full; train is a subset (24 of 99)",
        questions(SIZES, ("context", "query", "options", "correct_option")),
    ),
    "CLUTRR__v1/gen_train234_test2to10": (
        "full",
        {
            split: {
                "id": [f"{split}-{i:04d}" for i in range(n)],
                "story": [f"[Ann] met her sister [Eve] on day {i}." for i in range(n)],
                "query": ["('Ann', 'Eve')"] * n,
                "target": [i % 18 for i in range(n)],
                "target_text": ["sister"] * n,
            }
            for split, n in SIZES.items()
        },
    ),
    "e2e_nlg": ("full", E2E),
}


def write_mirror(folder: Path, tables: Tables | None = None, order: Iterable[str] | None = None) -> Path:
    """A mirror of `tables` (manifest key -> status, splits); files are written in the given order of keys."""
    tables = TABLES if tables is None else tables
    manifest = {}
    for key in order or tables:
        status, splits = tables[key]
        listed = {}
        for split, columns in splits.items():
            path = folder / "datasets" / key / f"{split}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            data = datasets.Dataset.from_dict(columns)
            data.to_parquet(str(path))
            listed[split] = {
                "file": path.relative_to(folder).as_posix(), "rows": len(data), "sha256": sha256_file(path),
            }  # fmt: skip
        manifest[key] = {"status": status, "splits": listed}
    (folder / "manifest.json").write_text(json.dumps({"datasets": manifest, "models": {}}))
    return folder


def locked(entry: DatasetEntry, mirror: Path) -> DatasetEntry:
    """The catalog's entry, locked as this mirror has it."""
    lock, problems = lock_of(entry.locked(None), mirror, False, mirror)
    assert not problems, problems
    return entry.locked(lock)


def write_hub_cache(cache: Path, repository: str, files: Mapping[str, str], branch: str = "main") -> Path:
    """What huggingface_hub leaves in its cache once it has downloaded a data set's repository."""
    folder = cache / f"datasets--{repository.replace('/', '--')}"
    for name, text in files.items():
        path = folder / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    reference = folder / "refs" / branch
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(COMMIT)
    return cache
