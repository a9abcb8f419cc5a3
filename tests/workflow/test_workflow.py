"""A study of seconds from end to end, and then: what reruns and what does not."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from peft_lib.data.tables import read_mapped
from peft_lib.study.expand import plan_file
from tests.workflow.repository import copy_repository, planned, planned_methods, snakemake, snakemake_process
from workflow_scripts.errors import run
from workflow_scripts.record_study import dumps

pytestmark = pytest.mark.xdist_group("workflow")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the tiny study finished."""
    folder = copy_repository(tmp_path_factory.mktemp("repository"))
    snakemake(folder)
    return folder


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.fixture
def restore(done: Path):
    """Files edited through this come back with their old content and time, so that tests do not see each other."""
    kept: list[tuple[Path, bytes, os.stat_result]] = []

    def keep(name: str) -> Path:
        path = done / name
        kept.append((path, path.read_bytes(), path.stat()))
        return path

    yield keep
    for path, content, stat in kept:
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def study_with(folder: Path, name: str, top: dict[str, object] | None = None, **main: object) -> str:
    """A variant of the tiny study with changes to its grid and to its top level; returns its path."""
    study = {**yaml.safe_load((folder / "tests/workflow/tiny.yaml").read_text()), **(top or {})}
    study["grids"]["main"].update(main)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(study, allow_unicode=True, sort_keys=False))  # their order is that of tables
    return path.name


SHOWN = {"study": 1, "artefact": 2, "report": 1}
"""What shows a study anew, without training anything."""


def test_the_study_ends_in_a_page_with_its_numbers(done: Path) -> None:
    page = (done / "reports/tiny/index.html").read_text()
    assert "Tiny study" in page and "LoRA" in page
    rows = [pq.read_table(p).to_pylist()[0] for p in (done / "results/runs").rglob("result.parquet")]
    assert sorted(r["method"] for r in rows) == ["c3la", "fft", "lora"] and all(r["status"] == "ok" for r in rows)
    for row in rows:
        assert f"{100 * row['test_metric']:.2f}" in page
    assert (done / "reports/tiny/appendix.tex").is_file()


def test_a_second_call_does_nothing(done: Path) -> None:
    assert planned(done) == {}
    assert "Nothing to be done" in snakemake(done)


@pytest.mark.parametrize("change", [{"seeds": [0, 1]}, {"methods": ["fft", "lora", "c3la", "cla", "paca", "cola"]}])
def test_an_addition_runs_exactly_the_new_runs(done: Path, change: dict) -> None:
    study = study_with(done, "more", **change)
    jobs = planned(done, study=study)
    assert jobs == {"train": 3, **SHOWN}
    new = ["c3la", "fft", "lora"] if "seeds" in change else ["cla", "cola", "paca"]
    assert planned_methods(done, study=study) == new


def test_a_part_is_asked_for_and_nothing_else(done: Path) -> None:
    """By seed, method and artefact; the study that is recorded, and so the tables' jobs, know nothing of it."""
    study = study_with(done, "parts", {"id": "parts"}, seeds=[0, 1], methods=["fft", "lora", "c3la", "cla"])
    part = "only={artefact: table2, seed: [1], method: [lora, cla]}"
    assert planned_methods(done, "--config", part, study=study) == ["cla", "lora"]
    assert planned_methods(done, "--config", "only={seed: 0}", "--", "runs", study=study) == ["cla"]
    assert planned(done, "--config", "only={seed: 0, method: fft}", "--", "runs", study=study) == {}
    snakemake(done, "--until", "study", "--config", part, study=study)
    recorded = json.loads((done / "results/tables/parts/study.json").read_text())
    assert recorded == yaml.safe_load((done / study).read_text())


@pytest.fixture
def without_new_runs(done: Path):
    """Runs that a test trains leave with it: others look at those of the tiny study."""
    before = set((done / "results/runs").glob("*/*/*/*"))
    yield
    for folder in set((done / "results/runs").glob("*/*/*/*")) - before:
        shutil.rmtree(folder)


@pytest.mark.usefixtures("without_new_runs")
def test_a_table_shows_results_that_came_outside_of_the_part(done: Path) -> None:
    """A part's table says 'not run' of a run that is not asked for, until there is a result: of another call, or another study."""
    study = study_with(done, "outside", {"id": "outside"}, methods=["lora", "cla", "fft"], seeds=[3])
    part = ("--config", "only={method: lora}")
    snakemake(done, *part, study=study)
    assert planned(done, *part, study=study) == {}
    snakemake(done, "--config", "only={method: cla}", "--", "runs", study=study)
    assert planned(done, *part, study=study) == {"artefact": 2, "report": 1}
    snakemake(done, *part, study=study)
    cells = json.loads((done / "reports/outside/tables/table2.json").read_text())["cells"]
    assert {c["column"]: c["status"] for c in cells if c.get("method")} == {"lora": "ok", "cla": "ok", "fft": "missing"}
    assert planned(done, *part, study=study) == {}


BREAKS = """
from peft_lib.methods.method import Method, Tensors

def start(link, options):
    raise RuntimeError("this method cannot start")

METHOD = Method(
    id="breaks", name="Breaks", formula="none", source="a test", family="present", trains=("l",), start=start,
    weight=lambda w, t, s: w, size=lambda shapes, rank: 0, ranked=False, scaled=False, lr_group="breaks",
    default_lr=1e-2, api=1,
)
"""


def test_a_failed_run_keeps_only_its_own_artefacts_from_being_made(done: Path) -> None:
    (done / "breaks.py").write_text(BREAKS)
    tiny = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    broken = {"tasks": tiny["grids"]["main"]["tasks"], "methods": ["breaks", "lora"], "seeds": [0]}
    shown = {"id": "broken", "kind": "methods", "grid": "broken", "title": "Broken"}
    changes = {
        "id": "failing", "plugins": ["breaks.py"], "grids": {**tiny["grids"], "broken": broken},
        "artefacts": [*tiny["artefacts"], shown],
    }  # fmt: skip
    study = study_with(done, "failing", changes)
    process = snakemake_process(done, "--configfile", study, "--keep-going")
    tables = done / "results/tables/failing"
    assert process.returncode == 1 and "this method cannot start" in process.stdout + process.stderr + logs(done)
    assert {p.stem for p in tables.glob("*.parquet")} == {"table2", "gap"}
    assert not (done / "reports/failing").exists() and "snakemake render" in process.stdout + process.stderr
    snakemake(done, "--", "render", study=study)
    page = (done / "reports/failing/index.html").read_text()
    assert "Broken" in page and "the run has no result yet" in page
    cells = json.loads((done / "reports/failing/tables/broken.json").read_text())["cells"]
    assert {c["column"]: c["status"] for c in cells} == {"breaks": "missing", "lora": "ok", "baseline": "ok"}
    # what is rendered early is not taken for the report: the next call tries again
    assert planned(done, study=study) == {"train": 1, "artefact": 1, "report": 1}
    assert planned_methods(done, study=study) == ["breaks"]


def logs(folder: Path) -> str:
    return "".join(path.read_text() for path in (folder / "results/runs").rglob("breaks/*/log.txt"))


def test_a_run_whose_folder_was_deleted_is_trained_anew(done: Path, tmp_path: Path) -> None:
    """As docs/results.md says, though its tables are still there."""
    cells = json.loads((done / "reports/tiny/tables/table2.json").read_text())["cells"]
    [run_id] = next(cell["run_ids"] for cell in cells if cell["column"] == "lora")
    [folder] = (done / "results/runs").glob(f"*/*/lora/{run_id}")
    folder.rename(tmp_path / "away")
    assert planned(done) == {"train": 1, "artefact": 2, "report": 1} and planned_methods(done) == ["lora"]
    (tmp_path / "away").rename(folder)
    assert planned(done) == {}


def test_a_new_rank_leaves_full_fine_tuning_alone(done: Path) -> None:
    assert planned_methods(done, study=study_with(done, "ranks", vary={"rank": [4, 8]})) == ["c3la", "lora"]


def test_editing_a_method_reruns_its_runs_only(done: Path, restore) -> None:
    edit(restore("peft_lib/methods/c3la.py"), "link.index % len(starts)", "(link.index + 1) % len(starts)")
    assert planned_methods(done) == ["c3la"]


def test_editing_shared_code_reruns_all(done: Path, restore) -> None:
    edit(restore("peft_lib/layers/links.py"), "update = self.scale", "update = 1.0 * self.scale")
    assert planned_methods(done) == ["c3la", "fft", "lora"]


def test_formatting_and_touching_rerun_nothing(done: Path, restore) -> None:
    path = restore("peft_lib/methods/c3la.py")
    path.write_text("# a comment\n" + path.read_text().replace("    return window(", "    return window (  "))
    edit(restore("peft_lib/training/run.py"), "from pathlib import Path\n", "from pathlib import Path  # noqa\n\n")
    for name in ("peft_lib/methods/lora.py", "workflow_scripts/train.py", "rules/training.smk", "Snakefile"):
        os.utime(restore(name))
    for found in (done / "resources").rglob("*"):  # ancient(): prepared data and weights are known by their hash
        os.utime(found)
    assert planned(done) == {}


HOW = {
    "device": "auto", "processes": 2, "micro_batch": 8, "deterministic": False, "keep": "both", "execution": "dense",
    "gradient_checkpointing": True,
}  # fmt: skip


@pytest.mark.parametrize("changes", [{name: value} for name, value in HOW.items()] + [HOW])
def test_how_runs_are_executed_reruns_no_run(done: Path, changes: dict) -> None:
    assert planned(done, study=study_with(done, "how", changes)) == SHOWN


def test_how_some_runs_are_executed_reruns_no_run(done: Path) -> None:
    rules = [
        {"when": {"method": "fft"}, "set": {"lr": 1e-3}, "source": "test"},
        {"when": {"method": "lora"}, "how": {"micro_batch": 8, "processes": 2}, "source": "test"},
    ]
    assert planned(done, study=study_with(done, "how", {"rules": rules})) == SHOWN


def test_where_files_come_from_reruns_nothing(done: Path) -> None:
    assert planned(done, study=study_with(done, "assets", {"assets": {"mirror": "."}})) == {}


def test_threads_are_part_of_the_numbers(done: Path) -> None:
    assert planned(done, study=study_with(done, "threads", {"threads": 2})) == {"pretrain": 1, "train": 3, **SHOWN}


@pytest.mark.parametrize(
    ("name", "old", "new", "rerun"),
    [
        ("peft_lib/methods/c3la.py", 'html="c<sup>3</sup>LA"', 'html="C<sup>3</sup>LA"', []),
        ("tests/workflow/models.yaml", "name: ViT (test)", "name: ViT", []),
        ("peft_lib/study/quantities.py", '"accuracy", "test_metric", "%"', '"accuracy", "test_metric", "percent"', []),
        ("peft_lib/study/choices.py", "Chosen by us", "Chosen", []),
        ("tests/workflow/models.yaml", "rows: [64, 96]", "rows: [32, 64]", ["c3la", "lora"]),
    ],
)
def test_what_is_shown_and_what_is_computed(done: Path, restore, name: str, old: str, new: str, rerun: list) -> None:
    edit(restore(name), old, new)
    jobs = planned(done)
    assert jobs.pop("artefact") == 2 and jobs.pop("report") == 1 and jobs == ({"train": len(rerun)} if rerun else {})
    assert planned_methods(done) == rerun


def test_a_catalog_may_move(done: Path) -> None:
    """Catalogs count by what they say; their path may have blanks and braces."""
    (done / "my {catalogs} 1").mkdir(exist_ok=True)
    for name in ("tests/workflow/models.yaml", "config/datasets.yaml"):
        (done / "my {catalogs} 1" / Path(name).name).write_text((done / name).read_text())
    catalogs = {name: f"my {{catalogs}} 1/{name}.yaml" for name in ("models", "datasets")}
    assert planned(done, study=study_with(done, "moved", {"catalogs": catalogs})) == SHOWN


def test_changing_a_template_only_renders(done: Path, restore) -> None:
    template = next((done / "reports/templates").glob("*.html*"))
    path = restore(str(template.relative_to(done)))
    path.write_text(path.read_text() + "\n<!-- changed -->\n")
    assert planned(done) == {"report": 1}


def test_stale_results_are_marked_without_snakemakes_records(done: Path, restore, tmp_path: Path) -> None:
    """The tables themselves compare fingerprints: Snakemake's records can be lost or overridden."""
    edit(restore("peft_lib/methods/c3la.py"), "link.index % len(starts)", "(link.index + 1) % len(starts)")
    config = ["--config", "results/tables/tiny/study.json", "--out-dir", str(tmp_path)]
    subprocess.run(
        [sys.executable, "-m", "workflow_scripts.tables", *config], cwd=done, check=True, capture_output=True
    )
    cells = pq.read_table(tmp_path / "table2.parquet").to_pylist()
    status = {c["method"]: c["status"] for c in cells if c["method"] in ("lora", "fft", "c3la")}
    assert status == {"lora": "ok", "fft": "ok", "c3la": "stale"}


def test_one_run_by_hand_gives_the_same_numbers(done: Path, tmp_path: Path) -> None:
    result = next((done / "results/runs").glob("*/*/c3la/*/result.parquet"))
    command = [sys.executable, "-m", "workflow_scripts.train", "--study", "tests/workflow/tiny.yaml"]
    command += ["--run", result.parent.name[:6], "--out", str(tmp_path)]
    subprocess.run(command, cwd=done, check=True, capture_output=True)
    mine, its = (pq.read_table(p).to_pylist()[0] for p in (tmp_path / "result.parquet", result))
    for name in ("test_metric", "test_loss", "train_loss", "gap", "selected_epoch", "fingerprint"):
        assert mine[name] == its[name]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"defaults": {"lr": -1}}, ["defaults.lr", "a number above 0"]),
        (
            {"grids": {"main": {"tasks": ["vit_tiny_test/digits"], "methods": ["clla"], "seeds": [0]}}},
            ["did you mean cla"],
        ),
        ({"colour": 1}, ["colour", "unknown key"]),
    ],
)
def test_bad_configuration_is_refused_before_any_job(done: Path, changes: dict, expected: list[str]) -> None:
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    (done / "bad.yaml").write_text(yaml.safe_dump({**study, **changes}))
    failed = snakemake_process(done, "--configfile", "bad.yaml")
    output = failed.stdout + failed.stderr
    assert failed.returncode != 0 and "nothing was run" in output and "Traceback" not in output
    assert all(text in output for text in expected)


def test_refusals_are_the_message_alone(done: Path) -> None:
    """No lines of Snakemake's stack, whatever it was asked to do, and also for files that Snakemake itself cannot read."""
    (done / "negative.yaml").write_text("defaults: {lr: -1}\n")
    (done / "utf16.yaml").write_bytes("id: tiny\n".encode("utf-16"))
    for arguments, message in (
        (("-n", "--configfile", "tests/workflow/tiny.yaml", "negative.yaml"), "- defaults.lr (negative.yaml:1): -1\n"),
        (("--lint", "--configfile", "tests/workflow/tiny.yaml", "--config", "seeds=[1]"), "- seeds (command line): "),
        (("--configfile", "nowhere.yaml"), "nowhere.yaml: 1 problem, nothing was run\n"),
        (("--configfile", "utf16.yaml"), "utf16.yaml: 1 problem, nothing was run\n"),
    ):
        failed = snakemake_process(done, *arguments)
        lines = failed.stderr.splitlines(keepends=True)
        start = next(i for i, line in enumerate(lines) if "nothing was run" in line)
        assert failed.returncode == 1 and message in "".join(lines[start:])
        assert all(line.startswith("Using workflow specific profile") for line in lines[:start])
        assert not [line for line in lines if "Error" in line or "Traceback" in line or line.startswith("  File")]


def test_warnings_are_printed_once(done: Path) -> None:
    """Also by a call that finds its plan in the cache, and by one that finds a damaged file there."""
    study = study_with(done, "warned", set={"lr": 3})
    before = set((done / ".snakemake/plans").iterdir())
    for _ in range(2):
        ran = snakemake_process(done, "-n", "--configfile", study)
        assert ran.returncode == 0 and ran.stderr.count("warning: grids.main.set.lr (warned.yaml:") == 1, ran.stderr
    [kept] = set((done / ".snakemake/plans").iterdir()) - before
    kept.write_bytes(kept.read_bytes()[:-1])
    ran = snakemake_process(done, "-n", "--configfile", study)
    assert ran.stderr.count("warning: grids.main.set.lr") == ran.stderr.count("is damaged and not used") == 1, (
        ran.stderr
    )


def test_a_study_without_id_is_not_mixed_with_the_default(done: Path) -> None:
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    del study["id"]
    (done / "anonymous.yaml").write_text(yaml.safe_dump(study))
    failed = snakemake_process(done, "-n", "--configfile", "anonymous.yaml")
    assert failed.returncode == 1 and "- id (anonymous.yaml" in failed.stderr and "quickstart" not in failed.stderr


def test_a_study_without_artefacts_trains_what_its_grids_say(done: Path) -> None:
    study = study_with(done, "bare", {"id": "bare", "artefacts": [], "rules": []}, methods=["lora", "cla"])
    assert planned(done, study=study) == {"train": 1} and planned_methods(done, study=study) == ["cla"]


def test_runs_that_no_artefact_shows_are_trained_too(done: Path) -> None:
    """As the warning about such a grid says; the page, which has details of every run, waits for them."""
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    study["grids"]["more"] = {**study["grids"]["main"], "methods": ["paca"]}
    (done / "unshown.yaml").write_text(yaml.safe_dump(study))
    assert planned_methods(done, study="unshown.yaml") == ["paca"]
    assert planned_methods(done, "--config", "only={grid: main}", study="unshown.yaml") == []
    waiting = snakemake(done, "-n", "--", "report", study="unshown.yaml")
    assert re.findall(r"^Job [0-9]+: ([a-z0-9_]+) on ", waiting, re.MULTILINE) == ["paca"]


TITLE = "Emoji \U0001f389, {x}, {{y}} and 'quotes'"


def test_any_text_reaches_the_record_of_the_study(done: Path) -> None:
    study = study_with(
        done, "texts", {"title": TITLE, "question": "{wildcards.x}?", "id": "texts"}, set={"min_lr": 1e-05}
    )
    snakemake(done, "--until", "study", study=study)
    recorded = (done / "results/tables/texts/study.json").read_text(encoding="utf-8")
    assert "\U0001f389" in recorded
    meant = yaml.safe_load((done / study).read_text())
    assert json.loads(recorded) == yaml.safe_load(recorded) == meant and isinstance(
        meant["grids"]["main"]["set"]["min_lr"], float
    )


def test_the_order_of_a_study_reaches_its_record(done: Path) -> None:
    """A run that grids share has the sources of the first grid that names it, and tables the order of the study."""
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    main = study["grids"]["main"]
    study |= {"id": "ordered", "grids": {"main": main, "extra": {**main, "set": {"rank": 4}}, "also": main}}
    (done / "ordered.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
    snakemake(done, "--until", "study", study="ordered.yaml")
    recorded = plan_file(done / "results/tables/ordered/study.json", done)
    meant = plan_file(done / "ordered.yaml", done)
    assert list(recorded.points) == list(meant.points) == ["main", "extra", "also"]
    assert recorded.provenance == meant.provenance and list(recorded.data) == list(study)


def test_a_recorded_study_is_json_and_yaml() -> None:
    values = {"a": [1e-05, -2e20, 0.5, 3, True, None], "b": "\x85\u2028\x7f\ufeff\n\\ '\" \U0001f389", "1e5": {}}
    assert json.loads(dumps(values)) == yaml.safe_load(dumps(values)) == values


def test_the_workflow_runs_from_elsewhere_unactivated(done: Path, tmp_path: Path) -> None:
    """Started in another folder, with nothing but the system on PATH: the preparation of data runs as a job."""
    folder = tmp_path / "{x} y"
    folder.mkdir()
    command = [sys.executable, "-m", "snakemake", "-s", str(done / "Snakefile"), "--cores", "1", "--until", "prepare"]
    command += ["--configfile", str(done / "tests/workflow/tiny.yaml")]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "PATH": "/usr/bin:/bin"
    }
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    made = folder / "resources/prepared/digits/vit_tiny_test-16/data.arrow"
    assert read_mapped(made).equals(read_mapped(done / made.relative_to(folder)))


@pytest.mark.parametrize(
    ("device", "visible", "extra", "resources"),
    [
        ("cpu", "0,1", [], None),
        ("auto", "", [], None),
        ("auto", "0", [], "gpu=1"),
        ("cuda", "0,1", [], "gpu=1"),
        ("cuda", "0,1", ["processes"], "gpu=2"),
    ],
)
def test_runs_ask_for_devices_and_processors(
    done: Path, restore, monkeypatch: pytest.MonkeyPatch, device: str, visible: str, extra: list, resources: str | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    path = restore("rules/training.smk")  # Snakemake lists the resources of jobs without a message of their own
    head, _, tail = path.read_text().partition("    message:\n")
    path.write_text(head + tail.partition("\n")[2])
    changes = {"device": device, "threads": 2, **dict.fromkeys(extra, 2)}
    output = snakemake(done, "-n", "--cores", "16", study=study_with(done, "devices", changes))
    jobs = [line.split(", ") for line in output.splitlines() if "resources:" in line and "runtime=120" in line]
    assert len(jobs) == 3
    for job in jobs:
        assert [item for item in job if item.startswith("gpu=")] == ([resources] if resources else [])
        assert f"cpus_per_task={4 if extra else 2}" in job and not any("gres" in item for item in job)


def test_a_log_keeps_every_attempt(done: Path) -> None:
    logs = sorted((done / "results/runs").rglob("log.txt"))
    before = {log: log.read_text() for log in logs}
    lora = next(log for log in logs if "/lora/" in str(log))
    snakemake(done, "--forcerun", str(lora.with_name("result.parquet").relative_to(done)), "--until", "train")
    assert lora.read_text().startswith(before.pop(lora)) and lora.read_text().count("--- ") == 2
    assert all(log.read_text() == text for log, text in before.items())
    assert lora.with_name("log.link").read_text() == lora.read_text()  # what Snakemake shows of a failed job


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["tables", "--config", "bad.yaml", "--out-dir", "tables"], "- colour (bad.yaml:"),
        (["report", "--config", "nowhere.yaml", "--tables", "tables", "--out", "out"], "the file must exist"),
        (["report", "--config", "config.yaml", "--tables", "nowhere", "--out", "out"], "file not found: nowhere/"),
        (["fetch_asset", "--model", "vit_digit", "--catalog", "config/models.yaml", "--out", "out"], "vit_digits"),
        (["train", "--spec", "{}"], "- --spec"),
        (["train", "--study", "config.yaml", "--run", "none"], "it fits 0 of"),
    ],
)
def test_commands_say_what_is_wrong_with_their_input(done: Path, command: list[str], message: str) -> None:
    study = yaml.safe_load((done / "tests/workflow/tiny.yaml").read_text())
    (done / "bad.yaml").write_text(yaml.safe_dump({**study, "colour": 1}))
    failed = subprocess.run(
        [sys.executable, "-m", f"workflow_scripts.{command[0]}", *command[1:]],
        cwd=done, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2 and message in failed.stderr and "Traceback" not in failed.stderr


def test_faults_of_the_program_keep_their_traceback() -> None:
    def fault() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(fault)
    with pytest.raises(OSError, match="full"):
        run(lambda: (_ for _ in ()).throw(OSError("disk full")))


def test_command_line_overrides_reach_the_plan(done: Path) -> None:
    assert planned(done, "--config", "title=Another title") == SHOWN


def test_specs_on_disk_are_the_plans(done: Path) -> None:
    for path in (done / "results/runs").rglob("spec.json"):
        assert json.loads(path.read_text())["method"] == path.parts[-3]
