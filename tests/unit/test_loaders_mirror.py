"""The loaders on the real data of the mirror: published counts, rates and texts, through the lock file of the repository."""

import collections
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_lib.data.addresses import SourceError, parse
from peft_lib.data.loaders import get_loader, labels_of, rendered
from peft_lib.data.sources import source_of
from peft_lib.study.loading import load_datasets
from tests.conftest import mirror_folder

pytestmark = pytest.mark.mirror
ROOT = Path(__file__).resolve().parents[2]
ENTRIES = load_datasets(ROOT / "config" / "datasets.yaml")
TEXTS = [name for name, e in ENTRIES.items() if e.modality == "text" and parse(e.source).scheme in ("hub", "mirror")]
ABSENT = {"paws", "openbookqa", "folio", "logiqa", "logiqa_v1"}
READ = [name for name in TEXTS if name not in ABSENT]
TABLES: dict[str, pa.Table] = {}


def table_of(name: str) -> pa.Table:
    if name not in TABLES:
        entry = ENTRIES[name]
        loader = get_loader(entry.loader)
        TABLES[name] = loader.rows(entry.options, source_of(entry, loader, mirror_folder()))
    return TABLES[name]


def parts_of(name: str, seed: int = 12) -> dict[str, np.ndarray]:
    table = table_of(name)
    labels = table["label"].to_numpy() if "label" in table.column_names else np.zeros(len(table))
    return get_loader(ENTRIES[name].loader).split(table["split"].to_pylist(), labels, seed)


def raw(path: str) -> pa.Table:
    folder = mirror_folder()
    assert folder is not None
    return pq.read_table(folder / "datasets" / path)


def row(name: str, identity: str, style: str = "prompt") -> dict:
    table = table_of(name)
    index = table["id"].to_pylist().index(identity)
    texts = rendered(get_loader(ENTRIES[name].loader), table.slice(index, 1), style).to_pylist()[0]
    return {column: value for column, value in texts.items() if column in ("text", "text_pair", "target")}


@pytest.mark.parametrize("name", READ)
def test_sizes_ids_and_labels_are_those_of_the_catalog(name) -> None:
    entry, table = ENTRIES[name], table_of(name)
    assert {part: len(rows) for part, rows in parts_of(name).items()} == entry.sizes
    ids = table["id"].to_pylist()
    assert len(set(ids)) == len(ids)
    if entry.task == "classification":
        values = set(table["label"].to_pylist())
        occurring = 18 if entry.loader == "clutrr" else entry.num_labels
        assert (
            values == set(range(occurring))
            and len(labels_of(get_loader(entry.loader), entry.options)) == entry.num_labels
        )
    for style in ("prompt",) if entry.task == "generation" else ("prompt", "pair"):
        texts = rendered(get_loader(entry.loader), table, style)
        named = [column for column in ("text", "text_pair", "target") if column in texts.column_names]
        assert len(texts) == len(table) and all(
            value.strip() for column in named for value in texts[column].to_pylist()
        )


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_what_the_mirror_lacks_is_refused_by_name(name) -> None:
    entry = ENTRIES[name]
    loader = get_loader(entry.loader)
    with pytest.raises(SourceError, match=re.escape(entry.source)) as caught:
        loader.rows(entry.options, source_of(entry, loader, mirror_folder()))
    assert "where there is internet" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [  # the mirror's README, and what every paper on GLUE has
        ("mrpc", "validation", {1: 279, 0: 129}),
        ("mrpc", "train", {1: 2474, 0: 1194}),
        ("mrpc", "test", {1: 1147, 0: 578}),
        ("cola", "validation", {1: 721, 0: 322}),
        ("rte", "validation", {0: 146, 1: 131}),
        ("paws_dev", "test", {1: 3536, 0: 4464}),
        ("folio_v0", "validation", {1: 72, 2: 69, 0: 63}),
    ],
)
def test_classes_have_the_published_rates(name, split, counts) -> None:
    table = table_of(name)
    rows = [
        label for i, label in zip(table["id"].to_pylist(), table["label"].to_pylist(), strict=True) if f"-{split}-" in i
    ]
    assert collections.Counter(rows) == counts


@pytest.mark.parametrize("name", ["cola", "rte", "folio_v0"])
def test_halves_are_disjoint_stratified_and_drawn_by_the_seed(name) -> None:
    table = table_of(name)
    labels = table["label"].to_numpy()
    first, second = parts_of(name, 12), parts_of(name, 22)
    assert not np.array_equal(first["test"], second["test"]) and np.array_equal(first["train"], second["train"])
    for parts in (first, second):
        assert not set(parts["validation"]) & set(parts["test"])
        counts = [np.bincount(labels[parts[part]]) for part in ("validation", "test")]
        assert np.abs(counts[0] - counts[1]).max() <= 1
    assert all("-validation-" in table["id"][int(i)].as_py() for i in [*first["validation"], *first["test"]])


@pytest.mark.parametrize("name", ["cola_val_as_test", "rte_val_as_test", "stsb_val_as_test"])
def test_validation_as_test_uses_its_rows_twice(name) -> None:
    parts = parts_of(name)
    assert np.array_equal(parts["validation"], parts["test"]) and not set(parts["train"]) & set(parts["test"])


def test_scores_of_stsb_are_raw() -> None:
    labels = table_of("stsb")["label"].to_numpy()
    published = [raw(f"nyu-mll__glue/stsb/{split}.parquet")["label"].to_numpy() for split in ("train", "validation")]
    assert labels.dtype == np.float64 and labels.min() == 0 and labels.max() == 5
    assert np.array_equal(labels, np.concatenate(published).astype(np.float64))


def test_class_names_are_the_hubs() -> None:
    """In the hub's order: the ClassLabel names of its features."""
    import json

    for name, path, column in (
        ("mrpc", "nyu-mll__glue/mrpc/train.parquet", "label"),
        ("cola", "nyu-mll__glue/cola/train.parquet", "label"),
        ("rte", "nyu-mll__glue/rte/train.parquet", "label"),
        ("trec50", "CogComp__trec/train.parquet", "fine_label"),
        ("clutrr", "CLUTRR__v1/gen_train234_test2to10/train.parquet", "target"),
    ):
        features = json.loads(raw(path).schema.metadata[b"huggingface"])["info"]["features"]
        assert tuple(features[column]["names"]) == get_loader(ENTRIES[name].loader).LABELS
    table = raw("CLUTRR__v1/gen_train234_test2to10/test.parquet")
    labels = get_loader("clutrr").LABELS
    assert [labels[target] for target in table["target"].to_pylist()] == table["target_text"].to_pylist()


def test_trec_trains_on_all_50_classes_and_cuts_546_rows() -> None:
    labels, parts = table_of("trec50")["label"].to_numpy(), parts_of("trec50")
    assert {part: len(set(labels[rows])) for part, rows in parts.items()} == {"train": 50, "validation": 48, "test": 42}


def test_e2e_is_grouped_as_counted_from_the_csv_files() -> None:
    table = table_of("e2e").to_pylist()
    items, groups = collections.Counter(r["split"] for r in table), collections.defaultdict(set)
    for r in table:
        groups[r["split"]].add(r["group"])
    assert items == {"train": 40868, "validation": 4521, "test": 4577}
    assert {split: len(found) for split, found in groups.items()} == {"train": 4862, "validation": 547, "test": 630}
    assert not groups["train"] & groups["test"] and not groups["train"] & groups["validation"]
    # one prompt per MR, and every slot with its value is in it
    prompts = {(r["split"], r["group"]): r["slots"] for r in table}
    assert len({(split, slots) for (split, _), slots in prompts.items()}) == 4862 + 547 + 630
    for (_, group), slots in prompts.items():
        assert sorted(f"{n.strip().lower()} = {v}" for n, v in re.findall(r"([^,\[\]]+)\[([^\]]+)\]", group)) == slots.split(" ; ")  # fmt: skip
    published = {
        (r["meaning_representation"], " ".join(r["human_reference"].split()))
        for r in raw("e2e_nlg/train.parquet").to_pylist()
    }
    ours = [(r["group"], " ".join(r["reference"].split())) for r in table if r["split"] == "train"]
    assert set(ours) == published and not any("\n" in r["reference"] for r in table)


def test_prompts_are_those_of_the_protocol() -> None:
    """Written out by hand from the data files and PROTOCOL 3.2."""
    assert row("e2e", "e2e-test-00000") == {
        "text": "MR: area = city centre ; eattype = coffee shop ; name = Blue Spice\nTEXT:",
        "target": " A coffee shop in the city centre area called Blue Spice.",
    }
    assert row("django", "django-test-00000") == {
        "text": '"""Task: params is an empty list,"""\n# Solution\n',
        "target": "params = [ ]",
    }
    assert row("openbookqa_carved", "openbookqa-test-00001") == {
        "text": "Question: There is most likely going to be fog around:\nOptions:\nA) a marsh\nB) a tundra\n"
        "C) the plains\nD) a desert\nAnswer:"
    }
    assert row("clutrr", "511be16e-05ba-4d6a-b258-ef2201d6757a") == {
        "text": "Story: [Clarence]'s granddaughter, [Emily], was busy helping her brother, [Michael], move to college.\n"
        "Query: ('Clarence', 'Michael')\nAnswer:"
    }
    assert row("logiqa_v1_348", "logiqa_v1-test-00000")["text"].endswith(
        "and the cultural area is southeast of the leisure area.\n"
        "Question: Based on the above statement, which of the following can be derived?\nOptions:\n"
        "A) Civic Park is north of the administrative service area.\n"
        "B) The leisure area is southwest of the cultural area.\n"
        "C) The cultural district is in the northeast of the business district.\n"
        "D) The business district is southeast of the leisure area.\nAnswer:"
    )
    folio = row("folio_v0", "folio-train-00000")["text"]
    assert folio.startswith(
        "Premises:\nAll people who regularly drink coffee are dependent on caffeine.\nPeople either "
    )
    assert folio.endswith(
        "or neither a person dependent on caffeine nor a student.\n\nStatement:\nRina is a person who jokes about being "
        "addicted to caffeine or unaware that caffeine is a drug.\n\nLabel (True/False/Uncertain):"
    )
    assert row("trec50", "trec50-test-00000") == {"text": "Question: How far is it from Denver to Aspen ?\nType:"}
    assert row("mrpc", "mrpc-test-00000", "pair") == {
        "text": "PCCW 's chief operating officer , Mike Butcher , and Alex Arena , the chief financial officer , will report "
        "directly to Mr So .",
        "text_pair": "Current Chief Operating Officer Mike Butcher and Group Chief Financial Officer Alex Arena will report "
        "to So .",
    }


@pytest.mark.parametrize("name", READ)
def test_texts_are_the_sources_own(name) -> None:
    """Every text of a row is found in its published row: nothing is lost, and rows keep their order within a split."""
    entry = ENTRIES[name]
    folder = parse(entry.source)
    key = "/".join([folder.what.replace("/", "__"), *([folder.config] if folder.config else [])])
    published = {
        split: raw(f"{key}/{split}.parquet").to_pylist() for split in get_loader(entry.loader).marks(entry.options)
    }
    numbers = {split: {r.get("idx", r.get("id")): r for r in rows} for split, rows in published.items()}
    for r in table_of(name).to_pylist():
        if entry.loader == "clutrr":
            continue
        split, number = re.fullmatch(r"\w+-(train|validation|test)-(\d+)", r["id"]).groups()
        by_number = numbers[split] if entry.loader in ("mrpc", "cola", "rte", "stsb", "paws") else published[split]
        source = by_number[int(number)]
        whole = repr([v if not isinstance(v, str) else v.strip() for v in source.values()])
        for column in set(r) - {"id", "split", "label", "slots"}:
            found = repr(r[column]) in whole or r[column] in str(source)
            assert found or r["id"] == "e2e-train-15764", (name, r["id"], column)  # the reference of two lines


def test_carved_splits_say_so_and_keep_off_the_test_split() -> None:
    for name in ("paws_dev", "openbookqa_carved", "trec50"):
        table, parts = table_of(name), parts_of(name)
        ids = np.asarray(table["id"].to_pylist())
        assert ENTRIES[name].carve_out
        assert all("-test-" in i for i in ids[parts["test"]])
        assert not any("-test-" in i for part in ("train", "validation") for i in ids[parts[part]])
