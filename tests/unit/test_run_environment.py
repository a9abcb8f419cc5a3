"""What surrounds a run does not reach its numbers, and what does is recorded: environment, git, execution."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from peft_lib.training import machine
from peft_lib.training.environment import own_environment
from peft_lib.training.errors import RunError
from peft_lib.training.machine import GitState, git_state
from tests.runs import ROOT, assert_same, run, spec_of

SPEC = spec_of("c3la", epochs=2)
LEFT_OVER = {
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
    "ACCELERATE_DYNAMO_BACKEND": "inductor",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_TORCH_DEVICE": "meta",
    "WORLD_SIZE": "2",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "MASTER_ADDR": "10.255.255.1",
    "MASTER_PORT": "29500",
    "PMI_SIZE": "2",
}


def test_a_strange_environment_changes_no_bit(tmp_path: Path, resources: Path) -> None:
    """As another program, with a time-out: a run that believed these would wait for a machine that does not exist."""
    run(SPEC, tmp_path / "clean", resources)
    home = tmp_path / "home"
    config = home / ".cache/huggingface/accelerate/default_config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text("mixed_precision: bf16\nnum_processes: 2\ndistributed_type: MULTI_CPU\n")
    command = [
        sys.executable, "-m", "workflow_scripts.train", "--spec", SPEC.canonical, "--models",
        "tests/workflow/models.yaml", "--resources", str(resources), "--device", "cpu", "--fingerprint", "test",
        "--out", str(tmp_path / "strange"),
    ]  # fmt: skip
    environment = {**os.environ, **LEFT_OVER, "HOME": str(home), "HF_HOME": str(home / ".cache/huggingface")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same(tmp_path / "clean", tmp_path / "strange")
    header, *lines = done.stdout.splitlines()
    assert header.startswith("--- 20") and " pid " in header and header.endswith(f"run {SPEC.run_id}")
    assert not any(line.startswith("---") for line in lines)


def test_the_environment_is_hidden_for_the_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    with own_environment(1):
        assert not set(LEFT_OVER) & set(os.environ)
    assert LEFT_OVER.items() <= os.environ.items()
    with own_environment(2):
        assert os.environ["WORLD_SIZE"] == "2" and "ACCELERATE_MIXED_PRECISION" not in os.environ


@pytest.mark.parametrize("world", [None, "1", "4"])
def test_several_processes_must_have_been_launched(world: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    if world:
        monkeypatch.setenv("WORLD_SIZE", world)
    with pytest.raises(RunError, match=r"processes: 2, but WORLD_SIZE is .*torchrun --standalone --nproc_per_node 2"):
        own_environment(2).__enter__()


def test_the_execution_is_recorded(tmp_path: Path, resources: Path) -> None:
    row = run(spec_of("lora", epochs=1, precision="bf16"), tmp_path, resources, micro_batch=8, keep="both")
    expected = {
        "micro_batch": 8, "deterministic": True, "mixed_precision": "bf16", "distributed_type": "NO", "processes": 1,
        "threads": 1, "keep": "both", "device": "cpu",
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert len(row["weights_sha256"]) == 64
    fields = pq.read_schema(tmp_path / "result.parquet")
    assert all(field.metadata[b"description"] for field in fields)


# ------------------------------------------------------------------------------------------- git


def fake_git(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "bin/git"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


GIT = f'case "$*" in *show-toplevel*) echo "{ROOT}";; *HEAD*) echo abc123;; *status*) '


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (f"{GIT} true;; esac", GitState("abc123", dirty=False)),
        (f"{GIT} printf ' M \\377\\376.py';; esac", GitState("abc123", dirty=True)),
        (f"{GIT} sleep 5;; esac", GitState("abc123", note="git took longer than 0.3 s")),
        (f"{GIT} echo 'fatal: index broken \\377' >&2; exit 128;; esac", GitState("abc123", note="git exited with 128: ")),
        ("echo 'fatal: detected dubious ownership' >&2; exit 128", GitState(note="git exited with 128: fatal: detected")),
        ("echo 'fatal: not a git repository (or any ...)' >&2; exit 128", GitState(note="not a git checkout")),
        ("echo /somewhere/else", GitState(note="not a git checkout")),
        ("kill -9 $$", GitState(note="git exited with -9: no message")),
    ],
    ids=["clean", "odd bytes", "slow", "broken", "dubious", "no repository", "outer repository", "killed"],
)  # fmt: skip
def test_git_never_fails(script: str, expected: GitState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path, script, monkeypatch)
    monkeypatch.setattr(machine, "GIT_SECONDS", 0.3)
    state = git_state()
    assert (state.commit, state.dirty) == (expected.commit, expected.dirty)
    assert (state.note or "").startswith(expected.note or "") and bool(state.note) == bool(expected.note)


def test_a_machine_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert (git_state().note or "").startswith("git cannot be run")


def test_an_installed_copy_inside_another_repository_reports_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in (["init", "-q"], ["-c", "user.name=a", "-c", "user.email=a", "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    inside = tmp_path / "lib/site-packages"
    inside.mkdir(parents=True)
    monkeypatch.setattr(machine, "ROOT", inside)
    assert git_state() == GitState(note="not a git checkout")
    commit = subprocess.check_output(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], text=True).strip()
    monkeypatch.setattr(machine, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))  # as in a hook of another repository
    assert git_state() == GitState(commit, dirty=False)


def test_git_is_asked_before_the_first_epoch(tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from peft_lib.training import loop

    train_epochs = loop.train_epochs

    def later(*arguments: object) -> None:
        monkeypatch.setattr(machine, "git_state", lambda: pytest.fail("asked after training began"))
        train_epochs(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("peft_lib.training.run.train_epochs", later)
    assert run(SPEC, tmp_path, resources)["status"] == "ok"
