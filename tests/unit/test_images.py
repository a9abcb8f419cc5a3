"""Images: what a model sees is the source resized by Pillow, whoever makes it and when; prepared files stay small."""

import io
import json
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from peft_lib.data import cifar10, digits, mnist5k, officehome
from peft_lib.data.batches import load_prepared
from peft_lib.data.image_input import image_columns
from peft_lib.data.images import ImageError, encoded_table, image_pixels, image_table
from peft_lib.data.pixels import Pixels
from peft_lib.data.prepare import PrepareError, prepare
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.loading import load_datasets, load_models
from tests.conftest import mirror_folder

ROOT = Path(__file__).resolve().parents[2]
DATASETS = load_datasets(ROOT / "config" / "datasets.yaml")
GREY = load_models(ROOT / "config" / "models.yaml")["vit_digits"]
COLOUR = GREY.model_copy(update={"architecture": {**GREY.architecture, "in_chans": 3}})
FETCHED = COLOUR.model_copy(update={"pretrain": None, "source": "hub:google/vit-base-patch16-224"})


@dataclass
class Stand:
    """An opened source with the tables or the folder that a test gives it."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    path: Path | None = None

    def split(self, name: str) -> pa.Table:
        return self.tables[name]


def resized_before(images: list[Image.Image], size: int, mean: list[float], std: list[float]) -> torch.Tensor:
    """What the first version of this project did once, when data were prepared: Pillow's bilinear, then the normalisation."""
    arrays = [np.asarray(image.resize((size, size), Image.Resampling.BILINEAR)) for image in images]
    channels_last = np.stack(arrays).reshape(len(images), size, size, -1)
    pixels = torch.from_numpy(np.ascontiguousarray(channels_last.transpose(0, 3, 1, 2)))
    centre, spread = (torch.tensor(v, dtype=torch.float32)[:, None, None] for v in (mean, std))
    return (pixels.to(torch.float32) / 255 - centre) / spread


def pictures(table: pa.Table) -> list[Image.Image]:
    return [Image.fromarray(p[..., 0] if p.shape[2] == 1 else p) for p in image_pixels(table)]


def colour_table(count: int = 12, height: int = 20, width: int = 30) -> pa.Table:
    pixels = np.random.default_rng(0).integers(0, 256, size=(count, height, width, 3), dtype=np.uint8)
    return image_table([f"i{n}" for n in range(count)], ["pool"] * count, pixels, np.arange(count) % 3)


def file_of(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def picture_files() -> list[bytes]:
    """Photographs, a palette, transparency, grey and print colours, each of another size."""
    rng = np.random.default_rng(1)
    images = [Image.fromarray(rng.integers(0, 256, size=(10 + 7 * n, 40 - 3 * n, 3), dtype=np.uint8)) for n in range(6)]
    faded = images[2].convert("RGBA")
    faded.putalpha(90)
    return [
        file_of(images[0], "JPEG"),
        file_of(images[1].convert("P"), "PNG"),
        file_of(faded, "PNG"),
        file_of(images[3].convert("L"), "JPEG"),
        file_of(images[4].convert("CMYK"), "JPEG"),
        file_of(images[5], "PNG"),
    ]


def files_table() -> pa.Table:
    files = picture_files()
    return encoded_table([f"f{n}" for n in range(len(files))], ["pool"] * len(files), files, np.arange(len(files)))


def seen(rows: pa.Table, size: int, model: ModelEntry, **arguments) -> Pixels:
    table, facts = image_columns(rows, size, model, None)
    return Pixels(facts, table, **arguments)


# ------------------------------------------------------------------------------------------------ what a model sees


@pytest.mark.parametrize("keep_bytes", [0, 2**30])
@pytest.mark.parametrize(
    "rows", [lambda: digits.rows({"part": "study"}), lambda: mnist5k.rows({})], ids=["digits", "mnist5k"]
)
def test_the_small_data_sets_give_the_bits_that_they_gave_when_they_were_prepared_resized(rows, keep_bytes):
    table = rows()
    expected = resized_before(pictures(table), 16, [0.5], [0.5])
    order = np.random.default_rng(0).permutation(len(table))
    batch = seen(table, 16, GREY, keep_bytes=keep_bytes).batch(order)
    assert torch.equal(batch, expected[order])
    assert batch.stride() == expected[order].stride()  # the memory's order decides how a convolution adds up


@pytest.mark.parametrize("workers", [0, 1, 4])
@pytest.mark.parametrize("keep_bytes", [0, 2**30], ids=["lazy", "kept"])
def test_no_bit_depends_on_workers_or_on_what_is_kept(workers, keep_bytes):
    for table, images in (
        (colour_table(), pictures(colour_table())),
        (files_table(), [Image.open(io.BytesIO(file)).convert("RGB") for file in picture_files()]),
    ):
        expected = resized_before(images, 24, [0.5] * 3, [0.5] * 3)
        pixels = seen(table, 24, COLOUR, workers=workers, keep_bytes=keep_bytes)
        batch = pixels.batch(np.arange(len(table)))
        assert torch.equal(batch, expected) and batch.stride() == expected.stride()
        cuts = [[3, 1], [0], [5, 5, 2], [4], [1, 2, 3]]
        streamed = list(pixels.stream((rows, None) for rows in cuts))
        assert all(torch.equal(found, expected[rows]) for found, rows in zip(streamed, cuts, strict=True))
        assert len(streamed) == len(cuts)


def test_images_of_the_models_size_are_not_resampled():
    table = colour_table(height=24, width=24)
    expected = torch.from_numpy(image_pixels(table).transpose(0, 3, 1, 2).astype(np.float32))
    for keep_bytes in (0, 2**30):
        batch = seen(table, 24, COLOUR, keep_bytes=keep_bytes).batch(range(12))
        assert torch.allclose((batch + 1) * 127.5, expected, atol=1e-4)  # a few roundings of numbers up to 255


def test_grey_images_become_colour_for_a_model_that_reads_colour():
    table, facts = image_columns(digits.rows({}), 16, COLOUR, None)
    assert (facts["channels"], facts["original_channels"], facts["grey_to_rgb"]) == (3, 1, True)
    batch = Pixels(facts, table).batch([5, 9])
    grey = seen(digits.rows({}), 16, GREY).batch([5, 9])
    assert batch.shape == (2, 3, 16, 16) and all(torch.equal(batch[:, c : c + 1], grey) for c in range(3))


def test_mean_and_deviation_are_those_of_the_models_checkpoint(tmp_path):
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    (tmp_path / "manifest.json").write_text(json.dumps({"image_mean": mean, "image_std": std}))
    table, facts = image_columns(colour_table(), 24, FETCHED, tmp_path)
    assert (facts["image_mean"], facts["image_std"]) == (mean, std)
    assert torch.equal(
        Pixels(facts, table, keep_bytes=0).batch(range(12)), resized_before(pictures(table), 24, mean, std)
    )


def test_the_channels_of_a_checkpoint_are_those_of_its_configuration(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"image_mean": [0.1], "image_std": [0.2]}))
    (tmp_path / "config.json").write_text(json.dumps({"num_channels": 1}))
    model = FETCHED.model_copy(update={"architecture": {}})
    assert image_columns(digits.rows({}), 16, model, tmp_path)[1]["channels"] == 1


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "fetch it first"),
        ({}, "image_mean=None, image_std=None: need 3 numbers each"),
        ({"image_mean": [0.5], "image_std": [0.5]}, "need 3 numbers each"),
        ({"image_mean": [0.5] * 3, "image_std": [0.5, 0.5, 0]}, "the second positive"),
    ],
)
def test_a_checkpoint_without_mean_and_deviation_is_refused(manifest, message, tmp_path):
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ImageError, match=message):
        image_columns(colour_table(), 24, FETCHED, tmp_path)


def test_colour_for_a_model_that_reads_grey_is_refused():
    for table in (colour_table(), files_table()):
        with pytest.raises(ImageError, match=r"3 channels \(RGB\), the model reads 1 \(grey\): make them grey"):
            image_columns(table, 24, GREY, None)
    two = image_table(["a"], ["pool"], np.zeros((1, 8, 8, 2), dtype=np.uint8), np.zeros(1))
    with pytest.raises(ImageError, match=r"images have 2 channels: need 1 \(grey\) or 3 \(RGB\)"):
        image_columns(two, 24, COLOUR, None)


@pytest.mark.parametrize("damage", [lambda file: file[: len(file) // 2], lambda file: b"", lambda file: b"no image"])
def test_a_damaged_file_is_found_when_data_are_prepared(damage):
    files = picture_files()
    files[3] = damage(files[3])
    table = encoded_table([f"f{n}" for n in range(6)], ["pool"] * 6, files, np.zeros(6))
    with pytest.raises(ImageError, match=r"row 3 \(id 'f3'\) is not a readable image"):
        image_columns(table, 24, COLOUR, None)


def test_the_manifest_says_of_what_sizes_the_files_are():
    facts = image_columns(files_table(), 24, COLOUR, None)[1]
    assert facts["original_size"] == {"smallest": [10, 25], "largest": [45, 40]}  # height, width
    assert image_columns(colour_table(), 24, COLOUR, None)[1]["original_size"] == [20, 30]


# ------------------------------------------------------------------------------------------------ memory


def write_arrow(table: pa.Table, path: Path) -> pa.Table:
    """The table back from an uncompressed Arrow file, memory-mapped, as `load_prepared` reads it."""
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@pytest.mark.parametrize("encoded", [False, True])
def test_a_large_data_set_is_neither_resized_on_the_disk_nor_read_into_memory(encoded, tmp_path):
    """2,000 images of 32x32, as CIFAR-10's, at 224: 301 MB resized, more than is kept. Extrapolated to CIFAR-10's 60,000."""
    count = 2000
    rows = colour_table(count, 32, 32)
    if encoded:
        files = [file_of(image, "PNG") for image in pictures(rows)]
        rows = encoded_table(rows["id"].to_pylist(), rows["split"].to_pylist(), files, rows["label"].to_numpy())
    table, facts = image_columns(rows, 224, COLOUR, None)
    before = pa.total_allocated_bytes()
    mapped = write_arrow(table, tmp_path / "data.arrow")
    held = (tmp_path / "data.arrow").stat().st_size
    if not encoded:
        assert held * 60_000 / count < 200e6
    tracemalloc.start()
    pixels = Pixels(facts, mapped, workers=0)
    pixels.batch(range(16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6 < held  # NumPy and Pillow objects of one batch; its 9.6 MB are torch's
    assert pa.total_allocated_bytes() == before  # the table's memory is the file's


def test_small_images_of_the_models_size_are_not_copied(tmp_path):
    table, facts = image_columns(colour_table(500, 24, 24), 24, COLOUR, None)
    mapped = write_arrow(table, tmp_path / "data.arrow")
    tracemalloc.start()
    Pixels(facts, mapped)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 < image_pixels(mapped).nbytes


def test_an_image_that_turns_bad_under_way_is_an_error_of_the_batch(tmp_path):
    table, facts = image_columns(files_table(), 24, COLOUR, None)
    files = [*table["encoded"].to_pylist()[:5], b"lost"]
    bad = encoded_table(table["id"].to_pylist(), table["split"].to_pylist(), files, table["label"].to_numpy())
    for workers in (0, 2):
        pixels = Pixels(facts, bad, keep_bytes=0, workers=workers)
        with pytest.raises(ImageError, match="not a readable image"):
            list(pixels.stream([([0, 1], None), ([2, 5], None)]))
        assert pixels.batch([0, 1]).shape == (2, 3, 24, 24)


# ------------------------------------------------------------------------------------------------ CIFAR-10


def cifar_table(labels: list[int], kind: str = "PNG", edge: int = 32) -> pa.Table:
    rng = np.random.default_rng(len(labels))
    files = [file_of(Image.fromarray(rng.integers(0, 256, (edge, edge, 3), dtype=np.uint8)), kind) for _ in labels]
    return pa.table({"img": [{"bytes": f, "path": None} for f in files], "label": pa.array(labels, pa.int64())})


def test_cifar10_is_decoded_in_the_sources_order_and_its_test_split_is_the_published_one():
    train, test = cifar_table([n % 10 for n in range(200)]), cifar_table([n % 10 for n in range(30)])
    table = cifar10.rows({}, Stand({"train": train, "test": test}))
    published = [image["bytes"] for part in (train, test) for image in part["img"].to_pylist()]
    exact = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in published])
    assert np.array_equal(image_pixels(table), exact)
    assert table["label"].to_pylist() == train["label"].to_pylist() + test["label"].to_pylist()
    assert table["id"].to_pylist()[199:201] == ["cifar10-train-00199", "cifar10-test-00000"]
    parts = cifar10.split(table["split"].to_pylist(), table["label"].to_numpy(), 12)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 190, "validation": 10, "test": 30}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(230)) and set(parts["test"]) == set(
        range(200, 230)
    )
    assert set(np.bincount(table["label"].to_numpy()[parts["validation"]])) == {1}
    other = cifar10.split(table["split"].to_pylist(), table["label"].to_numpy(), 22)
    assert not np.array_equal(other["validation"], parts["validation"]) and np.array_equal(other["test"], parts["test"])


def test_cifar10_without_test_images_is_cut_in_three():
    table = cifar10.rows({"test_from_train": True}, Stand({"train": cifar_table([n % 10 for n in range(200)])}))
    parts = cifar10.split(table["split"].to_pylist(), table["label"].to_numpy(), 12)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 140, "validation": 30, "test": 30}
    with pytest.raises(ValueError, match=r"split names \['halves'\]"):
        cifar10.split(["all", "halves"], np.zeros(2), 12)


@pytest.mark.parametrize(
    ("options", "tables", "message"),
    [
        ({"part": 1}, {}, "takes no options but `test_from_train: true`"),
        ({"test_from_train": "yes"}, {}, "takes no options but `test_from_train: true`"),
        ({"test_from_train": True}, {"train": cifar_table([0, 1], edge=33)}, "CIFAR-10's have 32x32"),
    ],
)
def test_what_is_not_cifar10_is_refused(options, tables, message):
    with pytest.raises(ValueError, match=message):
        cifar10.rows(options, Stand(tables))


def test_a_damaged_cifar10_file_is_named():
    table = cifar_table([0, 1, 2])
    images = table["img"].to_pylist()
    images[1]["bytes"] = images[1]["bytes"][:60]
    table = table.set_column(0, "img", pa.array(images, table["img"].type))
    with pytest.raises(ImageError, match="image 'cifar10-train-00001' is not a readable image"):
        cifar10.rows({"test_from_train": True}, Stand({"train": table}))


@pytest.mark.mirror
def test_the_real_cifar10_fits_its_promises(tmp_path):
    """Prepared at 224 as a user prepares it: under 200 MB, nothing of it in memory, and the files' own pictures resized."""
    folder = mirror_folder()
    assert folder is not None
    prepare(DATASETS["cifar10_jpeg"], COLOUR, None, 224, tmp_path, None, folder)
    assert (tmp_path / "data.arrow").stat().st_size < 200e6
    before = pa.total_allocated_bytes()
    data = load_prepared(tmp_path)
    parts = data.splits(12, cifar10)
    assert {name: len(found) for name, found in parts.items()} == {"train": 47500, "validation": 2500, "test": 10000}
    assert set(np.bincount(data.y[parts["validation"]])) == {250} and set(np.bincount(data.y[parts["test"]])) == {1000}
    some = np.random.default_rng(0).permutation(60_000)[:40]
    batch = data.collate(some)["pixel_values"]
    assert pa.total_allocated_bytes() - before < 10e6  # ids, classes and marks
    tables = [
        pq.read_table(folder / f"datasets/uoft-cs__cifar10/plain_text/{name}.parquet") for name in ("train", "test")
    ]
    files = [image["bytes"] for image in pa.concat_tables(tables)["img"].take(some).to_pylist()]
    images = [Image.open(io.BytesIO(file)) for file in files]
    assert torch.equal(batch, resized_before(images, 224, [0.5] * 3, [0.5] * 3))


@pytest.mark.mirror
def test_the_real_cifar10_subset_starts_with_the_well_known_ten(tmp_path):
    folder = mirror_folder()
    assert folder is not None
    prepare(DATASETS["cifar10_4k"], COLOUR, None, 32, tmp_path, None, folder)
    data = load_prepared(tmp_path)
    first = [data.labels[label] for label in data.y[:10]]
    assert " ".join(first) == "frog truck truck deer automobile automobile bird horse ship cat"
    parts = data.splits(12, cifar10)
    assert {name: len(found) for name, found in parts.items()} == {"train": 2800, "validation": 600, "test": 600}
    table = pq.read_table(folder / "datasets/uoft-cs__cifar10/lossless/train.parquet")
    names = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    assert tuple(names) == cifar10.LABELS
    exact = np.asarray(Image.open(io.BytesIO(table["img"][7].as_py()["bytes"])))
    batch = data.collate([7])["pixel_values"][0].permute(1, 2, 0).numpy()
    assert np.array_equal(np.rint((batch + 1) * 127.5), exact)


# ------------------------------------------------------------------------------------------------ OfficeHome


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Two small images of each class in each domain, of different sizes; JPEG but for some PNG."""
    root = tmp_path_factory.mktemp("officehome")
    rng = np.random.default_rng(0)
    for domain in ("Art", "Clipart", "Product", "RealWorld"):
        for name in officehome.LABELS:
            (root / domain / name).mkdir(parents=True)
            for n in (1, 2):
                pixels = rng.integers(0, 256, (rng.integers(4, 12), rng.integers(4, 12), 3), dtype=np.uint8)
                kind = "PNG" if domain == "Clipart" and n == 2 else "JPEG"
                suffix = {"PNG": "png", "JPEG": "jpg"}[kind]
                (root / domain / name / f"{n:05d}.{suffix}").write_bytes(file_of(Image.fromarray(pixels), kind))
    (root / "Art" / "Bed" / "Thumbs.db").write_bytes(b"debris")
    (root / "ImageInfo.csv").write_text("of the release\n")
    return root


def test_officehome_is_the_tree_that_it_reads(tree):
    table = officehome.rows({}, Stand(path=tree))
    ids = table["id"].to_pylist()
    assert len(set(ids)) == len(ids) == 4 * 65 * 2 and ids[-1] == "Real World/Webcam/00002.jpg"
    assert len(officehome.LABELS) == 65 and sorted(officehome.LABELS) == list(officehome.LABELS)
    for name, label, file in zip(ids, table["label"].to_pylist(), table["encoded"].to_pylist(), strict=True):
        assert name.split("/")[1] == officehome.LABELS[label]
        assert file == (tree / name.replace("Real World", "RealWorld")).read_bytes()
    prepared, facts = image_columns(table, 16, COLOUR, None)
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in table["encoded"].to_pylist()]
    assert torch.equal(
        Pixels(facts, prepared, keep_bytes=0).batch(range(520)), resized_before(images, 16, [0.5] * 3, [0.5] * 3)
    )


def test_officehome_is_prepared_from_a_folder(tree, tmp_path):
    sizes = {"train": 364, "validation": 78, "test": 78}
    entry = DATASETS["officehome"].model_copy(update={"source": f"folder:{tree}", "sizes": sizes})
    prepare(entry, COLOUR, None, 16, tmp_path / "out", None)
    data = load_prepared(tmp_path / "out")
    assert len(data) == 520 and data.labels == list(officehome.LABELS)
    assert {name: len(rows) for name, rows in data.splits(12, officehome).items()} == sizes
    with pytest.raises(
        PrepareError, match=r"the catalog says sizes .*'train': 10911.* its loader gives .*'train': 364"
    ):
        prepare(entry.model_copy(update={"sizes": DATASETS["officehome"].sizes}), COLOUR, None, 16, tmp_path, None)
    with pytest.raises(PrepareError, match="OfficeHome; put the data there"):
        prepare(DATASETS["officehome"], COLOUR, None, 16, tmp_path, None)


def test_officehome_of_the_published_size_is_cut_as_published():
    labels = np.random.default_rng(0).integers(0, 65, 15588)
    parts = officehome.split(["pool"] * 15588, labels, 12)
    assert {name: len(rows) for name, rows in parts.items()} == {"train": 10911, "validation": 2338, "test": 2339}
    assert sorted(np.concatenate(list(parts.values()))) == list(range(15588))
    share = np.bincount(labels[parts["test"]], minlength=65) - 0.15 * np.bincount(labels, minlength=65)
    assert np.abs(share).max() < 2  # stratified: each class within rounding of its share
    assert not np.array_equal(parts["test"], officehome.split(["pool"] * 15588, labels, 22)["test"])


def test_officehome_takes_some_domains(tree):
    table = officehome.rows({"domains": "Real World + Art"}, Stand(path=tree))
    assert {name.split("/")[0] for name in table["id"].to_pylist()} == {"Art", "Real World"} and len(table) == 260
    for wrong in ({"domains": "Art, Clipart"}, {"domains": "Art + Art"}, {"domain": "Art"}):
        with pytest.raises(ValueError, match="some of Art, Clipart, Product, Real World joined by"):
            officehome.rows(wrong, Stand(path=tree))


def copied(tree: Path, target: Path) -> Path:
    for path in tree.rglob("*"):
        if path.is_file():
            (target / path.relative_to(tree)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(tree)).hardlink_to(path)
    return target


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "Product").rename(root / "Products"), "0 folders for domain 'Product' .there are: Art"),
        (lambda root: (root / "Real World").mkdir(), "2 folders for domain 'Real World'"),
        (lambda root: (root / "Art" / "Bed").rename(root / "Art" / "Beds"), "missing: Bed; unknown: Beds"),
        (lambda root: [p.unlink() for p in (root / "Clipart" / "Mug").iterdir()], "Mug has no images"),
        (lambda root: (root / "Art" / "Fan" / "00003.txt").write_text(""), r"00003.txt is no .jpg, .jpeg, .png file"),
    ],
)
def test_a_tree_that_is_not_officehome_is_refused(damage, message, tree, tmp_path):
    root = copied(tree, tmp_path / "tree")
    damage(root)
    with pytest.raises(ValueError, match=message):
        officehome.rows({}, Stand(path=root))


def test_a_damaged_picture_of_the_tree_is_named(tree, tmp_path):
    root = copied(tree, tmp_path / "tree")
    (root / "Product" / "Pen" / "00001.jpg").unlink()
    (root / "Product" / "Pen" / "00001.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    with pytest.raises(ImageError, match=r"id 'Product/Pen/00001\.jpg'\) is not a readable image"):
        image_columns(officehome.rows({}, Stand(path=root)), 16, COLOUR, None)
