"""Odd input that is right, several config files, and what one call reports of many mistakes."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from peft_lib.study.documents import read_yaml
from peft_lib.study.expand import plan_config, plan_file, plan_study
from peft_lib.study.problems import StudyError
from tests.bad_input.cases import PLUGIN, STUDY, put, study, top
from tests.bad_input.test_bad_input import _no_plugin_stays, plan, write  # noqa: F401 - a fixture

GOOD = {
    "an emoji in a title": study("title: Base", 'title: "A \U0001f600 title"'),
    "a Chinese title": study("title: Base", "title: \u7814\u7a76"),
    "braces in a caption": study("kind: methods", 'kind: methods\n    caption: "{x}, {wildcards.y}, 50 % and $z$"'),
    "a title in brackets": study("title: Base", 'title: "[a] b"'),
    "a byte-order mark": {"study.yaml": b"\xef\xbb\xbf" + STUDY.encode()},
    "lines of Windows": {"study.yaml": STUDY.replace("\n", "\r\n").encode()},
    "a folded text": study("question: Does it work?", "question: >\n  Does it\n  work?\n"),
    "the paper's powers": study("lr: 1e-2\n", "lr: 1e-3.5\n"),
    "a capital E": study("lr: 1e-2\n", "lr: 1E-3\n"),
    "a rate without a digit in front": study("clip_norm: 1.0", "clip_norm: .5"),
    "an integer where a number is meant": study("clip_norm: 1.0", "clip_norm: 1"),
    "alpha as a number": study("alpha: 2r", "alpha: 1.5"),
    "a merge key": {
        "study.yaml": [("defaults:\n", "defaults: &d\n"), ("lr: [1e-3, 1e-2]}\n", "lr: [1e-3, 1e-2]}\n    set: {<<: *d, weight_decay: 0.1}\n")]
    },
    "an alias": {"study.yaml": [("seeds: [0, 1]", "seeds: &s [0, 1]"), ("seeds: [0]", "seeds: *s")]},
    "a start of a document": {"study.yaml": "---\n" + STUDY + "...\n"},
    "a text by its tag": study("title: Base", "title: !!str 12"),
    "an option that some methods have": put("options: {remainder: drop}"),
    "null where absent is allowed": top("micro_batch: null"),
    "a plug-in that prints": {"plug.py": 'print("hello")\n' + PLUGIN},
    "JSON with a pair of surrogates": {"study.yaml": json.dumps({**yaml.safe_load(STUDY), "title": "A \U0001f600"})},
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_odd_input_is_accepted(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(tmp_path, GOOD[name]).runs
    assert capsys.readouterr().out == ""  # what a plug-in prints is no output of planning


def test_catalogs_may_lie_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path with a blank, an absolute one, one from the home folder."""
    folder = tmp_path / "my catalogs"
    folder.mkdir()
    path = write(tmp_path, {})
    for name in ("models.yaml", "datasets.yaml"):
        (tmp_path / name).rename(folder / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    for models, datasets in ((folder / "models.yaml", "my catalogs/datasets.yaml"), ("~/my catalogs/models.yaml",) * 2):
        text = STUDY.replace("models: models.yaml", f'models: "{models}"')
        datasets = "my catalogs/datasets.yaml" if datasets == models else datasets
        path.write_text(text.replace("datasets: datasets.yaml", f'datasets: "{datasets}"'))
        assert plan_file(path, tmp_path).runs


def test_one_call_reports_all_that_can_be_known(tmp_path: Path) -> None:
    """Unknown method, unknown key, bad rank, bad type, bad catalogs, bad plug-in and bad artefact together."""
    edit = {
        "study.yaml": [
            ("rank: 4\n", "rank: 40\n"), ("methods: [lora]", "methods: [lora, clla]"), ("threads: 1", "thread: 1"),
            ("epochs: 3", "epochs: true"), ("grid: sweep", "grid: swep"), ("set: {lr: 1e-3}", "set: {lr: 1e-3, options: {x: 1}}"),
        ],
        "models.yaml": [("rows: [64, 96]}\n", "rows: [64, 96]}\n    other: []\n")],
        "datasets.yaml": [("num_labels: 18", "num_labels: 1")],
        "plug.py": "raise KeyError('x')",
    }  # fmt: skip
    with pytest.raises(StudyError) as caught:
        plan(tmp_path, edit)
    assert {p.path for p in caught.value.problems} == {
        "thread", "defaults.epochs", "grids.sweep.methods[1]", "artefacts[1].grid", "plugins[0]", "vit.targets.other",
        "stories.num_labels",
    }  # fmt: skip
    edit = {
        "study.yaml": [
            ("rank: 4\n", "rank: 40\n"),
            ("methods: [lora]", "methods: [lora, clla]"),
            ("threads: 1", "thread: 1"),
        ]
    }
    with pytest.raises(StudyError) as caught:
        plan(tmp_path, edit)
    assert {p.path for p in caught.value.problems} == {"thread", "defaults.rank", "grids.sweep.methods[1]"}


def merged(*files: dict[str, Any]) -> dict[str, Any]:
    """As snakemake.utils.update_config merges."""
    result: dict[str, Any] = {}
    for data in files:
        for key, value in data.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def test_a_problem_names_the_file_that_set_the_value(tmp_path: Path) -> None:
    """Later files win, the command line wins over all; each problem names its own."""
    first = write(tmp_path, {"study.yaml": [("threads: 1", "threads: 0"), ("device: cpu", "device: tpu")]})
    second = tmp_path / "second.yaml"
    second.write_text("# mine\ndefaults:\n  rank: 0\n\n  epochs: 0\n")
    config = merged(yaml.safe_load(first.read_text()), yaml.safe_load(second.read_text()), {"device": "gpu"})
    with pytest.raises(StudyError) as caught:
        plan_config(config, [first, second], tmp_path)
    places = {p.path: (p.file, p.line) for p in caught.value.problems}
    assert places == {
        "threads": (str(first), 4),
        "device": ("command line", None),
        "defaults.rank": (str(second), 3),
        "defaults.epochs": (str(second), 5),
    }
    assert f"defaults.rank ({second}:3): 0" in str(caught.value) and "device (command line): 'gpu'" in str(caught.value)


def test_nested_values_of_the_command_line_are_read_as_yaml(tmp_path: Path) -> None:
    """Snakemake makes texts of them: --config defaults='{rank: 2}' arrives as '2'."""
    path = write(tmp_path, {})
    config = merged(yaml.safe_load(path.read_text()), {"defaults": {"rank": "2", "clip_norm": "null"}})
    plan = plan_config(config, [path], tmp_path)
    lora = next(s for s in plan.runs.values() if s.method == "lora" and plan.points["sweep"][0].run_id != s.run_id)
    assert lora.rank == 2 and lora.clip_norm is None
    (tmp_path / "study.json").write_text(json.dumps(plan.data))
    assert plan_file(tmp_path / "study.json", tmp_path).runs.keys() == plan.runs.keys()
    titled = plan_config(
        merged(yaml.safe_load(path.read_text()), {"title": "2026", "deterministic": "false"}), [path], tmp_path
    )
    assert titled.study.title == "2026" and titled.study.deterministic is False


def test_files_are_named_as_one_types_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snakemake makes every path absolute."""
    path = write(tmp_path, study("threads: 1", "threads: 0"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=r"^study.yaml: 1 problem[^§]*threads \(study.yaml:4\)"):
        plan_config(yaml.safe_load(path.read_text()), [path.resolve()], ".")


def test_a_study_without_an_id_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, study("id: base\n", ""))
    with pytest.raises(StudyError, match="id is missing"):
        plan_config(yaml.safe_load(path.read_text()), [path], tmp_path)


def test_bad_notation_is_found_behind_snakemakes_reading(tmp_path: Path) -> None:
    """Snakemake has merged 012 as 10 and kept the last of two keys; the files are read again."""
    path = write(tmp_path, {"study.yaml": [("rank: 4\n", "rank: 012\n  epochs: 9\n")]})
    with pytest.raises(StudyError) as caught:
        plan_config(yaml.safe_load(path.read_text()), [path], tmp_path)
    assert {p.path for p in caught.value.problems} == {"defaults.rank", "defaults.epochs"}


def test_null_overrides_what_is_inherited(tmp_path: Path) -> None:
    """In a rule, in a grid's set and in vary (1.6): no clipping, where 1.0 was inherited."""
    by_rule = plan(tmp_path, study("set: {lr: 1e-3}", "set: {lr: 1e-3, clip_norm: null}"))
    assert {s.clip_norm for s in by_rule.runs.values() if s.method == "fft"} == {None}
    assert {s.clip_norm for s in by_rule.runs.values() if s.method != "fft"} == {1.0}
    by_grid = plan(tmp_path, study("    vary: {rank", "    set: {clip_norm: null}\n    vary: {rank"))
    assert {by_grid.runs[p.run_id].clip_norm for p in by_grid.points["sweep"]} == {None}
    varied = plan(tmp_path, study("lr: [1e-3, 1e-2]}", "lr: [1e-3], clip_norm: [null, 1.0]}"))
    assert [varied.runs[p.run_id].clip_norm for p in varied.points["sweep"]] == [None, 1.0, None, 1.0]


def test_an_option_goes_to_the_methods_that_have_it(tmp_path: Path) -> None:
    made = plan(tmp_path, put("options: {remainder: drop, offset: 2}"))
    options = {s.method: s.options for s in made.runs.values()}
    assert options == {"fft": {}, "lora": {}, "cla": {}, "c3la": {"remainder": "drop"}, "mine": {"offset": 2}}
    run = next(i for i, s in made.runs.items() if s.method == "mine")
    assert made.provenance[run]["options"] == "defaults" and "rank" in made.provenance[run]


@pytest.mark.parametrize(
    ("edit", "path", "words"),
    [
        (study("lr: 1e-2\n", "lr: 3\n"), "defaults.lr", "rarely trains"),
        ({"study.yaml": STUDY[: STUDY.index("artefacts:")]}, "artefacts", "no artefacts"),
        (study("grid: sweep\n    title", "grid: main\n    title"), "", ""),
        (study("grids:\n", "  - {set: {input_size: 16}, when: {dataset: digits}, source: ours}\ngrids:\n"), "rules[2]", "override"),
    ],
)  # fmt: skip
def test_what_looks_wrong_is_a_warning(edit: dict, path: str, words: str, tmp_path: Path) -> None:
    if not path:  # a heat map of a grid that varies nothing is refused, and the other grid is shown by none
        edit = study("  - id: heat\n    kind: heatmap\n    grid: sweep\n    title: Rank and rate\n", "")
        path, words = "grids.sweep", "no artefact shows"
    assert [(w.path, words in w.rule) for w in plan(tmp_path, edit).warnings] == [(path, True)]


def test_aliases_of_aliases_in_several_files_do_not_hang(tmp_path: Path) -> None:
    path = write(tmp_path, {})
    bomb = tmp_path / "bomb.yaml"
    bomb.write_text(
        "a0: &a0 [x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 8)}]\n" for i in range(1, 12))
    )
    with pytest.raises(StudyError, match="50,000"):
        plan_config(merged(yaml.safe_load(path.read_text()), yaml.safe_load(bomb.read_text())), [path, bomb], tmp_path)


def test_the_study_that_the_tables_read_is_json(tmp_path: Path) -> None:
    path = write(tmp_path, study("title: Base", 'title: "A \U0001f600"'))
    whole = plan_file(path, tmp_path)
    (tmp_path / "study.json").write_text(json.dumps(yaml.safe_load(path.read_text()), sort_keys=True))
    again = plan_file(tmp_path / "study.json", tmp_path)
    assert again.study.title == "A \U0001f600" and again.runs.keys() == whole.runs.keys()
    data, lines = read_yaml(path)
    assert plan_study(data, tmp_path, lines).runs.keys() == whole.runs.keys()
