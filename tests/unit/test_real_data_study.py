"""config/real_data.yaml: every data set but OfficeHome, the six methods, caps; its page has a row for each of its tasks. Of
its own data set, for pre-training, that it holds nothing of what is trained on. Nothing is trained."""

import io
import re
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from peft_lib.data import cifar10_pretraining
from peft_lib.study.expand import plan_file
from peft_lib.study.loading import load_datasets, load_models
from peft_lib.study.plan import Plan
from tests.conftest import mirror_folder
from tests.runs import ROOT
from workflow_scripts.catalog_pages import DATASETS

METHODS = {"fft", "lora", "asym_lora", "cla", "c3la", "paca"}
SEEDS = {12, 22, 32}
OTHER_RELEASES = {"logiqa": "logiqa_v1"}
"""The paper's data set -> loader of the release that the study reads (of FOLIO both releases have one loader)."""
ENCODERS = {"mrpc", "cola", "rte", "stsb", "trec50", "paws"}
DECODERS = {"clutrr", "openbookqa", "folio", "logiqa_v1", "e2e", "django"}


@cache
def study() -> Plan:
    return plan_file(ROOT / "config/real_data.yaml", ROOT)


def loader_of(dataset: str) -> str:
    return study().datasets[dataset].loader


def tasks() -> set[tuple[str, str]]:
    return {(spec.model.id, spec.dataset.id) for spec in study().runs.values()}


def test_every_data_set_of_the_paper_but_officehome_appears() -> None:
    catalog = load_datasets(ROOT / "config/datasets.yaml")
    wanted = {OTHER_RELEASES.get(name, catalog[name].loader) for name in DATASETS if name != "officehome"}
    assert {loader_of(dataset) for _, dataset in tasks()} == wanted and len(wanted) == 13


def test_the_models_read_what_the_issue_says() -> None:
    read: dict[str, set[str]] = {}
    for model, dataset in tasks():
        read.setdefault(model, set()).add(loader_of(dataset))
    assert read.pop("minilm_l3") == ENCODERS and read.pop("stories260k") == DECODERS
    assert read.pop("vit_cifar") == {"cifar10"} and len(read.pop("smollm2_135m")) == 1
    assert not read


def test_six_methods_with_three_seeds_and_smollm2_with_one() -> None:
    runs: dict[tuple[str, str], set[tuple[str, int]]] = {}
    for spec in study().runs.values():
        runs.setdefault((spec.model.id, spec.dataset.id), set()).add((spec.method, spec.seed))
    for (model, dataset), found in runs.items():
        seeds = {12} if model == "smollm2_135m" else SEEDS
        assert found == {(method, seed) for method in METHODS for seed in seeds}, (model, dataset)
    assert not study().warnings


def test_all_runs_are_capped_below_the_data_sets_sizes_and_cheap_to_repeat() -> None:
    for spec in study().runs.values():
        sizes = study().datasets[spec.dataset.id].sizes
        assert spec.train_limit is not None and spec.train_limit < sizes["train"], spec.folder
        assert spec.eval_limit is not None and spec.eval_limit < min(sizes["validation"], sizes["test"]), spec.folder
        assert spec.train_limit * spec.epochs <= 10_000, spec.folder
    assert (study().study.threads, study().study.device) == (1, "cpu")


def test_every_rule_says_where_its_values_come_from_and_no_mirror_is_named() -> None:
    text = (ROOT / "config/real_data.yaml").read_text(encoding="utf-8")
    assert all(rule.source.startswith("ours: ") for rule in study().study.rules)
    assert study().study.assets.mirror is None and "hub_mirror" not in text


def test_links_are_three_in_every_chain_but_those_of_two_epochs() -> None:
    for spec in study().runs.values():
        if spec.chain_period is not None:
            assert -(-spec.epochs // spec.chain_period) == min(3, spec.epochs), spec.folder


def test_the_page_has_one_row_of_six_numbers_for_each_task() -> None:
    """mean ± sd over seeds, or one number for one seed; beside it the constant answer."""
    page = (ROOT / "docs/real_data.md").read_text(encoding="utf-8")
    table = page.partition("<!-- performance -->")[2].partition("<!-- end of performance -->")[0]
    rows = [re.split(r"\s*\|\s*", line.strip("| ")) for line in table.splitlines() if line.startswith("| `")]
    found = [tuple(row[0].strip("`").split("/")) for row in rows]
    assert sorted(found) == sorted(tasks())
    for (model, _), row in zip(found, rows, strict=True):
        constant, *cells = row[2:]
        assert len(cells) == len(METHODS) and re.fullmatch(r"-?\d+(\.\d+)?|none", constant)
        form = r"\*{0,2}-?\d+(\.\d+)?( ± \d+(\.\d+)?)?\*{0,2}"
        assert all(re.fullmatch(form, cell) for cell in cells), row
        assert all(("±" in cell) == (model != "smollm2_135m") for cell in cells), row


class Stand:
    """A source with a training split in CIFAR-10's columns: images of one grey each, its value the row's number."""

    def __init__(self, per_class: int) -> None:
        self.labels = [n % 10 for n in range(10 * per_class)]

    def split(self, name: str) -> pa.Table:
        assert name == "train"
        files = []
        for n in range(len(self.labels)):
            file = io.BytesIO()
            Image.new("RGB", (32, 32), (n // 10 % 256, n % 10, 7)).save(file, "PNG")
            files.append({"bytes": file.getvalue(), "path": None})
        return pa.table({"img": pa.array(files), "label": pa.array(self.labels, pa.int64())})


def test_pretraining_reads_five_classes_without_the_first_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar10_pretraining, "SKIPPED", 10)
    table = cifar10_pretraining.rows({}, Stand(30))
    numbers = np.array([int(name.removeprefix("cifar10-train-")) for name in table["id"].to_pylist()])
    assert len(numbers) == 5 * 20 and (np.diff(numbers) > 0).all() and numbers.min() == 100
    labels = table["label"].to_numpy()
    assert (2 * labels == numbers % 10).all()  # classes 0, 2, 4, 6, 8 are 0 to 4
    pixels = np.frombuffer(table["image"][7].as_py(), np.uint8)[:2]
    assert pixels.tolist() == [numbers[7] // 10, numbers[7] % 10]
    column = table["split"].to_pylist()
    parts = cifar10_pretraining.split(column, labels, 1)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 90, "validation": 10}
    assert np.bincount(labels[parts["validation"]]).tolist() == [2] * 5
    assert all((parts[name] == rows).all() for name, rows in cifar10_pretraining.split(column, labels, 2).items())
    with pytest.raises(ValueError, match=r"takes no options, got \{'x': 1\}: correct the catalog"):
        cifar10_pretraining.rows({"x": 1}, Stand(30))


@pytest.mark.mirror
def test_no_image_of_cifar10_4k_has_its_jpeg_copy_among_those_for_pretraining() -> None:
    """Thumbnails of 8x8 pixels find an image's copy: the nearest of its class is one of the first SKIPPED, and each time another."""
    folder = mirror_folder()
    assert folder is not None
    exact, copies = (
        pq.read_table(folder / f"datasets/uoft-cs__cifar10/{name}/train.parquet") for name in ("lossless", "plain_text")
    )
    for label in cifar10_pretraining.KEPT:
        few, many = thumbnails(exact, label), thumbnails(copies, label)
        distances = (few**2).sum(1)[:, None] - 2 * few @ many.T + (many**2).sum(1)
        nearest = distances.argmin(axis=1)
        assert nearest.max() < cifar10_pretraining.SKIPPED and len(set(nearest)) == len(few) > 350


def thumbnails(table: pa.Table, label: int) -> np.ndarray:
    chosen = table["img"].filter(pa.compute.equal(table["label"], label)).to_pylist()
    images = [
        Image.open(io.BytesIO(image["bytes"])).convert("RGB").resize((8, 8), Image.Resampling.BOX) for image in chosen
    ]
    return np.stack([np.asarray(image, dtype=np.float64).ravel() for image in images])


def test_the_vit_is_pretrained_on_that_data_set_alone() -> None:
    recipe = load_models(ROOT / "config/models.yaml")["vit_cifar"].pretrain
    assert recipe is not None and recipe.dataset == "cifar10_pretraining"
