"""Fetching: what comes into a model's folder from where, what its manifest says, and what is refused."""

import hashlib
import json
import pickle
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from peft_lib import seeds
from peft_lib.backbones import assets, assets_hub
from peft_lib.backbones.assets import AssetError, fetch_asset
from peft_lib.backbones.loading import get_backbone
from peft_lib.backbones.weights import verified_sha256
from peft_lib.files import sha256_file
from tests.unit.tiny import TINY


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def entry_of(source, name="tiny_llama", **changes):
    return TINY[name].model_copy(update={"source": source, **changes})


# ------------------------------------------------------------------------------------------------------- random weights


def test_random_models_follow_from_their_seed_alone(tmp_path):
    for name in ("tiny_llama", "tiny_bert", "tiny_vit", "tiny_timm"):
        torch.manual_seed(7)
        before = torch.get_rng_state()
        folders = [tmp_path / name / str(i) for i in range(3)]
        for folder, seed in zip(folders, (0, 0, 1), strict=True):
            fetch_asset(entry_of(f"random:{seed}", name), folder)
            assert torch.equal(before, torch.get_rng_state())
        first, same, other = (manifest_of(folder)["files"]["model.safetensors"] for folder in folders)
        assert first == same != other
        assert contents(folders[0]) == contents(folders[1])


@pytest.mark.parametrize("name", [n for n in TINY if TINY[n].modality == "text"])
def test_random_tokenizers_are_of_bytes_and_carry_their_special_tokens(name, tiny_dir):
    tokenizer = Tokenizer.from_file(str(tiny_dir(name) / "tokenizer.json"))
    facts = manifest_of(tiny_dir(name))
    text = "Zwölf Boxkämpfer\n jagen → 'E'"
    assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=True) == text
    pair = tokenizer.encode("ab", "c")
    inside = [tokenizer.encode(t, add_special_tokens=False).ids for t in ("ab", "c")]
    bos, eos, pad = (facts[f"{n}_token_id"] for n in ("bos", "eos", "pad"))
    backbone = TINY[name].backbone
    if backbone in ("bert", "deberta"):
        assert pair.ids == [bos, *inside[0], eos, *inside[1], eos] and pair.type_ids == [0] * 4 + [1] * 2 and pad == 0
    elif backbone == "roberta":
        assert (
            pair.ids == [bos, *inside[0], eos, eos, *inside[1], eos] and pad == 1
        )  # its positions are counted from pad
    elif backbone == "llama":
        assert pair.ids == [bos, *inside[0], *inside[1]] and pad == eos
    else:
        assert pair.ids == [*inside[0], *inside[1]] and pad == eos == bos == 256
    assert tokenizer.get_vocab_size() <= TINY[name].architecture["vocab_size"]


def test_a_vocabulary_too_small_for_bytes_is_refused(tmp_path):
    small = entry_of("random:0", architecture={**TINY["tiny_llama"].architecture, "vocab_size": 200})
    with pytest.raises(AssetError, match=r"vocab_size is 200; bytes and special tokens are 259"):
        fetch_asset(small, tmp_path)


# ---------------------------------------------------------------------------------------------------------------- mirror


@pytest.fixture
def mirror(tmp_path, tiny_dir):
    folder = tmp_path / "mirror"
    shutil.copytree(tiny_dir("tiny_llama"), folder / "models" / "org__tiny")
    (folder / "models" / "org__tiny" / "manifest.json").unlink()
    return folder


def test_a_mirror_stands_in_for_the_hub_and_has_sources_of_its_own(mirror, tmp_path, tiny_dir):
    pin = f"sha256:{sha256_file(mirror / 'models/org__tiny/model.safetensors')[:12]}"
    fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "a", mirror)
    fetch_asset(entry_of("mirror:org__tiny", revision=pin), tmp_path / "b", mirror)
    expected = {n: c for n, c in contents(tiny_dir("tiny_llama")).items() if n != "manifest.json"}
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert {n: c for n, c in contents(folder).items() if n != "manifest.json"} == expected
        made = manifest_of(folder)
        assert made["files"] == {name: sha256_file(folder / name) for name in expected}
        assert (made["pad_token_id"], made["eos_token_id"], made["bos_token_id"]) == (2, 2, 1)
    for entry, given, message in (
        (entry_of("mirror:org__tiny", revision=pin), None, r"--mirror"),
        (entry_of("mirror:org__other", revision=pin), mirror, r"there is no folder .*org__other"),
        (entry_of("mirror:org__tiny", revision="sha256:000000000000"), mirror, rf"pins revision .* has '{pin}'"),
    ):
        with pytest.raises(AssetError, match=message):
            fetch_asset(entry, tmp_path / "c", given)
    assert not (tmp_path / "c").exists()


def test_weights_in_many_files_come_with_their_index(mirror, tmp_path):
    source = mirror / "models" / "org__tiny"
    state = load_file(source / "model.safetensors")
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[:5], "model-00002-of-00002.safetensors": names[5:]}
    for file, members in parts.items():
        save_file({n: state[n] for n in members}, source / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {n: file for file, members in parts.items() for n in members}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    (source / "model.safetensors").unlink()
    entry = entry_of("hub:org/tiny", revision="main")
    fetch_asset(entry, tmp_path / "out", mirror)
    assert set(parts) | {"model.safetensors.index.json"} <= set(manifest_of(tmp_path / "out")["files"])
    model = get_backbone("llama").build(entry, tmp_path / "out", None, seeds.generator(0, "head"))
    assert all(torch.equal(model.decoder.state_dict()[n], state[n]) for n in names)
    lines = "".join(f"{name} {sha256_file(source / name)}\n" for name in sorted(parts))
    pin = f"sha256:{hashlib.sha256(lines.encode()).hexdigest()[:12]}"
    fetch_asset(entry_of("mirror:org__tiny", revision=pin), tmp_path / "pinned", mirror)
    assert verified_sha256(tmp_path / "pinned").startswith(pin.removeprefix("sha256:"))
    fetch_asset(entry_of("random:0"), tmp_path / "out")  # into the same folder: nothing of the parts is left
    build = get_backbone("llama").build
    build(entry, tmp_path / "out", None, seeds.generator(0, "head"))
    fetch_asset(entry, tmp_path / "out", mirror)
    build(entry, tmp_path / "out", None, seeds.generator(0, "head"))
    (source / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(AssetError, match=r"names 'model-00002-of-00002.safetensors', which is not beside it"):
        fetch_asset(entry, tmp_path / "again", mirror)
    index["weight_map"] = dict.fromkeys(names, "../../secret.safetensors")
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(AssetError, match=r"names '\.\./\.\./secret\.safetensors'"):
        fetch_asset(entry, tmp_path / "again", mirror)


# --------------------------------------------------------------------------------------------------------------- pickles


class Malicious:
    def __reduce__(self):
        return (print, ("this code ran",))


def test_pickles_are_refused_and_read_without_code_where_an_entry_says_so(mirror, tmp_path, capsys):
    source = mirror / "models" / "org__tiny"
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    tied = {**state, "tied.weight": state["lm_head.weight"]}
    torch.save(tied, source / "pytorch_model.bin")
    with pytest.raises(AssetError, match=r"pickles can run code and are refused.*`convert`"):
        fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "out", mirror)
    asked = entry_of("hub:org/tiny", revision="main", convert="pytorch_model.bin")
    fetch_asset(asked, tmp_path / "out", mirror)
    made = load_file(tmp_path / "out" / "model.safetensors")
    assert set(made) == set(tied) and all(torch.equal(made[n], t) for n, t in tied.items())
    assert not (tmp_path / "out" / "pytorch_model.bin").exists()
    assert "pytorch_model.bin" not in manifest_of(tmp_path / "out")["files"]
    for content, message in (
        (lambda file: torch.save({"weight": Malicious()}, file), "without running code"),
        (lambda file: pickle.dump(Malicious(), file.open("wb")), "without running code"),
        (lambda file: torch.save([torch.ones(2)], file), "not tensors by name"),
    ):
        content(source / "pytorch_model.bin")
        with pytest.raises(AssetError, match=message):
            fetch_asset(asked, tmp_path / "bad", mirror)
    assert "this code ran" not in capsys.readouterr().out
    (source / "pytorch_model.bin").unlink()
    with pytest.raises(AssetError, match=r"has no pytorch_model\.bin"):
        fetch_asset(asked, tmp_path / "bad", mirror)


# ------------------------------------------------------------------------------------------------------------- tokenizers


def test_a_tokenizer_is_made_from_a_sentencepiece_model(mirror, tmp_path, tiny_dir):
    """DeBERTa's repositories have spm.model alone."""
    sentencepiece = pytest.importorskip("sentencepiece")
    source = mirror / "models" / "org__deberta"
    shutil.copytree(tiny_dir("tiny_deberta_v3"), source)
    for name in ("tokenizer.json", "tokenizer_config.json", "manifest.json"):
        (source / name).unlink()
    text = tmp_path / "text.txt"
    text.write_text("\n".join(f"the quick brown fox number {n} jumps over the lazy dog" for n in range(200)))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(source / "spm"), vocab_size=60, unk_id=3, bos_id=1, eos_id=2, pad_id=0,
        bos_piece="[CLS]", eos_piece="[SEP]", pad_piece="[PAD]", unk_piece="[UNK]", user_defined_symbols=["[MASK]"],
        minloglevel=2,
    )  # fmt: skip
    (source / "spm.vocab").unlink()
    fetch_asset(entry_of("hub:org/deberta", "tiny_deberta_v3", revision="main"), tmp_path / "out", mirror)
    tokenizer = Tokenizer.from_file(str(tmp_path / "out" / "tokenizer.json"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(source / "spm.model"))
    for sentence in ("the quick fox", "lazy dogs jump over 7"):
        ids = pieces.encode(sentence)
        assert tokenizer.encode(sentence).ids == [1, *ids, 2]
    assert {"tokenizer.json", "spm.model"} <= set(manifest_of(tmp_path / "out")["files"])


def test_a_folder_without_any_tokenizer_is_refused(mirror, tmp_path):
    source = mirror / "models" / "org__tiny"
    (source / "tokenizer.json").unlink()
    with pytest.raises(AssetError, match=r"has no tokenizer\.json, and none can be made"):
        fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "out", mirror)
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("config", "tokens", "expected"),
    [
        ({"pad_token_id": 3, "eos_token_id": 4, "bos_token_id": 5}, {}, (3, 4, 5)),
        ({"eos_token_id": [6, 7]}, {}, (6, 6, None)),  # the first of several; pad is eos
        ({"pad_token_id": -1, "eos_token_id": 4}, {}, (4, 4, None)),  # -1 is how some say: none
        (
            {"pad_token_id": 3, "eos_token_id": 4},
            {"pad_token": "<unk>"},
            (0, 4, None),
        ),  # the tokenizer's own come first
        ({}, {"eos_token": {"content": "</s>"}, "bos_token": "<s>", "pad_token": None}, (2, 2, 1)),
        ({"eos_token_id": 4}, {"pad_token": "<nowhere>"}, (4, 4, None)),
    ],
)
def test_special_tokens_come_from_what_was_published(mirror, tmp_path, config, tokens, expected):
    source = mirror / "models" / "org__tiny"
    (source / "config.json").write_text(json.dumps(config))
    (source / "tokenizer_config.json").write_text(json.dumps(tokens))
    fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "out", mirror)
    made = manifest_of(tmp_path / "out")
    assert tuple(made[f"{name}_token_id"] for name in ("pad", "eos", "bos")) == expected


def test_a_text_model_without_pad_and_eos_is_refused(mirror, tmp_path):
    source = mirror / "models" / "org__tiny"
    for name in ("config.json", "tokenizer_config.json"):
        (source / name).write_text("{}")
    with pytest.raises(AssetError, match="names a pad or eos token"):
        fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "out", mirror)


# ----------------------------------------------------------------------------------------------------------------- images


def test_pixel_statistics_are_the_checkpoints_own(mirror, tmp_path, tiny_dir):
    source = mirror / "models" / "org__vit"
    shutil.copytree(tiny_dir("tiny_vit"), source)
    path = source / "preprocessor_config.json"
    entry = entry_of("hub:org/vit", "tiny_vit", revision="main")
    for settings, mean, std in (
        (
            {"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "do_normalize": True},
            [0.1, 0.2, 0.3],
            [1.0, 2.0, 3.0],
        ),
        ({"image_mean": [0.1, 0.2, 0.3], "image_std": [1, 2, 3], "do_normalize": False}, [0.0] * 3, [1.0] * 3),
    ):
        path.write_text(json.dumps(settings))
        fetch_asset(entry, tmp_path / "out", mirror)
        made = manifest_of(tmp_path / "out")
        assert (made["image_mean"], made["image_std"]) == (mean, std) and "pad_token_id" not in made
    path.write_text('{"image_mean": [0.5]}')
    with pytest.raises(AssetError, match="has no list image_mean and image_std"):
        fetch_asset(entry, tmp_path / "out", mirror)
    path.unlink()
    with pytest.raises(AssetError, match=r"no .*preprocessor_config\.json"):
        fetch_asset(entry, tmp_path / "new", mirror)


# -------------------------------------------------------------------------------------------------------------------- hub

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """A hub in a folder: what its API and its download would do, without a network."""

    def __init__(self, folder, error=None, lost=()):
        self.folder, self.error, self.lost, self.asked = folder, error, lost, []

    def model_info(self, name, revision):
        self.asked.append((name, revision))
        if self.error:
            raise self.error
        files = [str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()]
        return SimpleNamespace(sha=COMMIT, siblings=[SimpleNamespace(rfilename=f) for f in files])

    def download(self, name, revision, local_dir, allow_patterns, ignore_patterns):
        from huggingface_hub.utils import filter_repo_objects

        assert revision == COMMIT
        files = [str(p.relative_to(self.folder)) for p in self.folder.rglob("*") if p.is_file()]
        for file in filter_repo_objects(files, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns):
            if file not in self.lost:
                (local_dir / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.folder / file, local_dir / file)
        return str(local_dir)


@pytest.fixture
def hub(mirror, monkeypatch):
    folder = mirror / "models" / "org__tiny"
    (folder / "original").mkdir()
    (folder / "original" / "model.safetensors").write_bytes(b"other weights")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "flax_model.msgpack").write_bytes(b"flax")
    (folder / "handler.py").write_text("print('code')")
    made = Hub(folder)
    monkeypatch.setattr(assets_hub, "HfApi", lambda: made)
    monkeypatch.setattr(assets_hub, "snapshot_download", made.download)
    return made


def test_the_hub_gives_what_a_model_needs_of_one_commit(hub, tmp_path, tiny_dir):
    fetch_asset(entry_of("hub:org/tiny", revision="main"), tmp_path / "out")
    assert hub.asked == [("org/tiny", "main")]
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(contents(tiny_dir("tiny_llama")))
    made = manifest_of(tmp_path / "out")
    assert made["commit"] == COMMIT and made["revision"] == "main"
    assert made["files"]["model.safetensors"] == manifest_of(tiny_dir("tiny_llama"))["files"]["model.safetensors"]


def test_a_download_that_is_not_whole_is_told(hub, tmp_path):
    hub.lost = ("config.json",)
    with pytest.raises(AssetError, match=r"config\.json of org/tiny was not downloaded: run this again"):
        fetch_asset(entry_of("hub:org/tiny", revision=COMMIT), tmp_path / "out")
    hub.lost = ()
    fetch_asset(entry_of("hub:org/tiny", revision=COMMIT), tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert not list((tmp_path / "out").glob(".download*"))


def test_errors_of_the_hub_come_with_their_remedy(hub, tmp_path):
    from huggingface_hub import errors

    def made(kind):
        error = kind.__new__(kind)
        Exception.__init__(error, "the hub's own words")
        return error

    for kind, message in (
        (errors.GatedRepoError, r"is gated.*accept its licence \(none.*HF_TOKEN"),
        (errors.RevisionNotFoundError, rf"has no revision '{COMMIT}': correct"),
        (errors.RepositoryNotFoundError, r"shows no model org/tiny"),
        (errors.LocalEntryNotFoundError, r"could not be fetched .*models/org__tiny/"),
        (ConnectionError, r"could not be fetched .* Run this where there is internet"),
    ):
        hub.error = made(kind)
        with pytest.raises(AssetError, match=message):
            fetch_asset(entry_of("hub:org/tiny", revision=COMMIT), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_wanted_is_never_a_pickle_unless_asked_for():
    entry = entry_of("hub:org/tiny")
    assert not [name for name in assets.wanted(entry) if name.endswith(assets.PICKLES)]
    asked = assets.wanted(entry_of("hub:org/tiny", convert="pytorch_model.bin"))
    assert "pytorch_model.bin" in asked and "*.safetensors" not in asked
