"""OfficeHome (Venkateswara et al. 2017): 15,588 photographs and drawings of 65 kinds of things, in four domains.

There is no official split. As in the paper's release (PROTOCOL 3.1) all domains are pooled and cut 70 / 15 / 15 % with the
run's split seed: 10,911 / 2,338 / 2,339 images, the parts rounded as there. Ours is stratified by class (as PROTOCOL 13.19
recommends for cuts of classes), so that chance does not decide how much of a class is tested.

The source is the published tree, <domain>/<class>/<file>. An item's id is its path in the tree, with the domain's name as
below, so it does not depend on where the tree lies.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from peft_lib.data.images import encoded_table
from peft_lib.data.splits import POOL, stratified_split

OPTIONS = ("domains",)
MODALITY = "image"
TASK = "classification"
REVISION = "1"
DOMAINS = ("Art", "Clipart", "Product", "Real World")
LABELS = (  # names of the folders, in the order in which they sort
    "Alarm_Clock", "Backpack", "Batteries", "Bed", "Bike", "Bottle", "Bucket", "Calculator", "Calendar", "Candles",
    "Chair", "Clipboards", "Computer", "Couch", "Curtains", "Desk_Lamp", "Drill", "Eraser", "Exit_Sign", "Fan",
    "File_Cabinet", "Flipflops", "Flowers", "Folder", "Fork", "Glasses", "Hammer", "Helmet", "Kettle", "Keyboard",
    "Knives", "Lamp_Shade", "Laptop", "Marker", "Monitor", "Mop", "Mouse", "Mug", "Notebook", "Oven", "Pan",
    "Paper_Clip", "Pen", "Pencil", "Postit_Notes", "Printer", "Push_Pin", "Radio", "Refrigerator", "Ruler", "Scissors",
    "Screwdriver", "Shelf", "Sink", "Sneakers", "Soda", "Speaker", "Spoon", "TV", "Table", "Telephone", "ToothBrush",
    "Toys", "Trash_Can", "Webcam",
)  # fmt: skip
SUFFIXES = (".jpg", ".jpeg", ".png")
DEBRIS = ("Thumbs.db", "desktop.ini")
"""What file managers leave behind; hidden files (.DS_Store) are passed over too."""


def rows(options: Mapping[str, Any], source: Any) -> pa.Table:
    """The files as they are, domain by domain and class by class, by name.

    Args:
        options: nothing, or `domains`: some of DOMAINS, joined by " + ", e.g. "Art + Real World".
        source: of a folder, with `path`.

    Raises:
        ValueError: for another option, a missing domain or class, a class without images, or a file that is no JPEG or PNG.
    """
    files: list[tuple[str, int, Path]] = []
    for domain in _domains(options):
        folder = _domain_folder(Path(source.path), domain)
        for label, name in enumerate(_classes(folder)):
            images = _images(folder / name)
            files += [(f"{domain}/{name}/{path.name}", label, path) for path in images]
    ids, labels, paths = zip(*files, strict=True)
    return encoded_table(list(ids), [POOL] * len(files), [path.read_bytes() for path in paths], np.array(labels))


def split(column: Sequence[str], labels: np.ndarray, split_seed: int) -> dict[str, np.ndarray]:
    """70 / 15 / 15 %, stratified by class, drawn with the run's split seed; train and validation are rounded down."""
    n = len(labels)
    sizes = {"train": n * 70 // 100, "validation": n * 15 // 100}
    sizes["test"] = n - sum(sizes.values())
    if not all(sizes.values()):
        raise ValueError(f"{n} images cannot be cut into train, validation and test: too few")
    return stratified_split(labels, {name: size / n for name, size in sizes.items()}, split_seed, name="officehome")


def _domains(options: Mapping[str, Any]) -> list[str]:
    chosen = str(options.get("domains", " + ".join(DOMAINS))).split(" + ")
    if set(options) - set(OPTIONS) or set(chosen) - set(DOMAINS) or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"data set 'officehome' takes no options but `domains`, some of {', '.join(DOMAINS)} joined by ' + ', got "
            f"{dict(options)}: correct the catalog"
        )
    return [domain for domain in DOMAINS if domain in chosen]


def _domain_folder(root: Path, domain: str) -> Path:
    """Copies write Real World as RealWorld or real_world: case, blanks and underscores do not count."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir()]
    found = [path for path in folders if _plain(path.name) == _plain(domain)]
    if len(found) != 1:
        raise ValueError(
            f"{root} has {len(found)} folders for domain '{domain}' (there are: "
            f"{', '.join(path.name for path in folders) or 'none'}): put the published tree <domain>/<class>/<file> there"
        )
    return found[0]


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("_", "")


def _classes(folder: Path) -> tuple[str, ...]:
    there = {path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")}
    missing, more = sorted(set(LABELS) - there), sorted(there - set(LABELS))
    if missing or more:
        raise ValueError(
            f"{folder} should have one folder for each of the {len(LABELS)} classes; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(more) or 'none'}. Copy the published tree anew"
        )
    return LABELS


def _images(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.name not in DEBRIS and not path.name.startswith(".")]
    if not files:
        raise ValueError(f"{folder} has no images: copy the published tree anew")
    for path in files:
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            raise ValueError(f"{path} is no {', '.join(SUFFIXES)} file: move it out of the tree")
    return files
