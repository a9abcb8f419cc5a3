"""Nothing finished is lost, and no reader sees half: the folder of a run, its checkpoint, its finished copy, its lock."""

import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from peft_lib import files
from peft_lib.files import atomic_path, write_text
from peft_lib.layers.delta_file import Snapshot
from peft_lib.run_files import RUN_FILES
from peft_lib.training import folder as folder_module
from peft_lib.training import loop
from peft_lib.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from peft_lib.training.errors import RunError
from peft_lib.training.run import Execution, train
from tests.runs import assert_same, inputs_for, run, spec_of

SPEC = spec_of("c3la", epochs=3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, resources: Path) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    run(SPEC, folder, resources)
    return folder


def before_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, happens: Callable[[], Any]) -> None:
    """Something happens while a run is at work."""
    train_epoch = loop.train_epoch

    def watched(run: Any, state: Any, now: int) -> float:
        if now == epoch:
            happens()
        return train_epoch(run, state, now)

    monkeypatch.setattr(loop, "train_epoch", watched)


def delete_outputs(folder: Path) -> None:
    """What Snakemake does before it starts a job, and after one that failed."""
    for name in RUN_FILES:
        (folder / name).unlink(missing_ok=True)


def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    before_epoch(monkeypatch, 1, lambda: pytest.fail("the run was trained again"))


# ------------------------------------------------------------------------------------------- two controllers


@pytest.mark.parametrize("lost", ["outputs", "folder"])
def test_a_run_whose_files_are_deleted_ends_whole(
    lost: str, tmp_path: Path, resources: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    before_epoch(monkeypatch, 3, lambda: delete_outputs(folder) if lost == "outputs" else shutil.rmtree(folder))
    run(SPEC, folder, resources)
    assert all((folder / name).is_file() for name in RUN_FILES)
    assert (folder / "spec.json").read_text() == SPEC.canonical + "\n"
    assert_same(whole, folder)


def test_a_finished_run_whose_files_are_deleted_gets_them_back(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = run(SPEC, tmp_path, resources)
    old = {name: (tmp_path / name).read_bytes() for name in RUN_FILES}
    asked = time.time() - 1
    delete_outputs(tmp_path)
    no_training(monkeypatch)
    assert run(SPEC, tmp_path, resources) == first
    assert {name: (tmp_path / name).read_bytes() for name in RUN_FILES} == old
    assert all((tmp_path / name).stat().st_mtime > asked for name in RUN_FILES)  # not older than the run's inputs
    assert "its files were put back" in capsys.readouterr().out


def test_another_run_in_the_folder_is_not_given_back(tmp_path: Path, resources: Path) -> None:
    run(SPEC, tmp_path, resources)
    delete_outputs(tmp_path)
    assert run(SPEC, tmp_path, resources, keep="both")["keep"] == "both"
    delete_outputs(tmp_path)
    inputs = inputs_for(SPEC, resources)
    train(SPEC, tmp_path, replace(inputs, fingerprint="other"), Execution(device="cpu"))
    assert folder_module.read_rows(tmp_path / "result.parquet")[0]["fingerprint"] == "other"


def test_a_damaged_finished_copy_is_not_given_back(
    tmp_path: Path, resources: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(SPEC, tmp_path, resources)
    delete_outputs(tmp_path)
    (tmp_path / "checkpoint/result.parquet.finished").write_bytes(b"PAR1")
    run(SPEC, tmp_path, resources)
    assert "result.parquet.finished is damaged and not used" in capsys.readouterr().out
    assert_same(whole, tmp_path)


def test_a_repeat_keeps_the_old_result_until_there_is_a_new_one(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SPEC, tmp_path, resources)
    old = (tmp_path / "result.parquet").read_bytes()

    def interrupt() -> None:
        assert (tmp_path / "result.parquet").read_bytes() == old
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_epoch(patch, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(SPEC, tmp_path, resources)
    assert (tmp_path / "result.parquet").read_bytes() == old
    assert run(SPEC, tmp_path, resources)["attempts"] == 2
    assert (tmp_path / "result.parquet").read_bytes() != old  # its times


def test_a_repeat_without_memory_leaves_the_good_result(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = run(SPEC, tmp_path, resources)

    def full() -> None:
        raise MemoryError("no room")

    before_epoch(monkeypatch, 2, full)
    assert train(SPEC, tmp_path, inputs_for(SPEC, resources), Execution(device="cpu")) == "out_of_memory"
    assert folder_module.read_rows(tmp_path / "result.parquet") == [good]
    assert f"the result of {good['finished']} stays in place" in capsys.readouterr().out
    delete_outputs(tmp_path)
    assert run(SPEC, tmp_path, resources) == good
    assert run(SPEC, tmp_path / "other", resources)["status"] == "out_of_memory"  # nothing good is there: a row


def test_no_reader_sees_files_of_two_attempts(tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(SPEC, tmp_path, resources)
    rename = Path.replace
    seen = []

    def look(self: Path, target: Path) -> Path:
        done = rename(self, target)
        if target.parent == tmp_path and (tmp_path / "result.parquet").is_file():
            seen.append([(tmp_path / n).samefile(tmp_path / f"checkpoint/{n}.finished") for n in RUN_FILES])
        return done

    monkeypatch.setattr(Path, "replace", look)
    run(SPEC, tmp_path, resources)
    assert seen == [[True] * len(RUN_FILES)]


@pytest.mark.parametrize("at", range(len(RUN_FILES)))
def test_a_crash_while_files_are_put_in_place_is_mended_by_the_next_call(
    at: int, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.replace

    def crash(self: Path, target: Path) -> Path:
        if target == tmp_path / RUN_FILES[at]:
            raise KeyboardInterrupt
        return rename(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            run(SPEC, tmp_path, resources)
    assert not (tmp_path / "result.parquet").exists() and not list(tmp_path.glob(".*.tmp"))
    no_training(monkeypatch)
    assert run(SPEC, tmp_path, resources)["status"] == "ok"


def test_a_file_system_without_links_gets_copies(
    tmp_path: Path, resources: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    run(SPEC, tmp_path, resources)
    assert_same(whole, tmp_path)


# ------------------------------------------------------------------------------------------- checkpoints


def damages(content: bytes) -> dict[str, bytes]:
    middle = len(content) * 3 // 4
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return {"empty": b"", "short": content[:7], "header": content[:100], "cut": content[:-1], "bit": flipped,
            "zeros": bytes(len(content)), "text": b"not a checkpoint, but long enough to be one"}  # fmt: skip


@pytest.mark.parametrize("kind", ["empty", "short", "header", "cut", "bit", "zeros", "text"])
def test_a_damaged_checkpoint_counts_as_absent(
    kind: str, tmp_path: Path, resources: Path, whole: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        before_epoch(patch, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(SPEC, tmp_path, resources)
    checkpoint = tmp_path / "checkpoint/epoch.safetensors"
    checkpoint.write_bytes(damages(checkpoint.read_bytes())[kind])
    run(SPEC, tmp_path, resources)
    said = capsys.readouterr().out
    assert "epoch.safetensors is damaged and not used" in said and "resuming" not in said
    assert_same(whole, tmp_path)


def test_a_checkpoint_over_other_weights_is_not_resumed(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half a run from one backbone and half from another would be a run of neither."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    inputs = inputs_for(SPEC, resources)
    model = tmp_path / "model"
    shutil.copytree(inputs.model_dir, model)
    inputs = replace(inputs, model_dir=model)
    with monkeypatch.context() as patch:
        before_epoch(patch, 3, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(SPEC, tmp_path / "run", inputs, Execution(device="cpu"))
    weights = {name: tensor * 1.001 for name, tensor in load_file(model / "model.safetensors").items()}
    save_file(weights, model / "model.safetensors")
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["model.safetensors"] = files.sha256_file(model / "model.safetensors")
    (model / "manifest.json").write_text(json.dumps(manifest))
    train(SPEC, tmp_path / "run", inputs, Execution(device="cpu"))
    row = folder_module.read_rows(tmp_path / "run/result.parquet")[0]
    assert row["attempts"] == 1 and row["weights_sha256"] == manifest["files"]["model.safetensors"]
    assert "resuming" not in capsys.readouterr().out


def test_a_checkpoint_of_other_code_is_not_resumed(tmp_path: Path) -> None:
    header = {"method": "lora", "places": [], "scale": 1.0}
    save_checkpoint(tmp_path / "c", header, {"current": Snapshot({}, {}, {}, 1)}, {}, Progress("mine", epoch=1))
    assert load_checkpoint(tmp_path / "c", "mine") is not None
    assert load_checkpoint(tmp_path / "c", "other") is None


# ------------------------------------------------------------------------------------------- files and locks


@pytest.mark.parametrize("mask", [0o002, 0o027])
def test_every_file_has_the_permissions_that_the_umask_leaves(
    mask: int, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """safetensors makes files for their owner only; a group that shares results could not read them."""
    modes = {}
    folder = tmp_path / "run"

    def look() -> None:
        modes["checkpoint"] = (folder / "checkpoint/epoch.safetensors").stat().st_mode & 0o777

    before_epoch(monkeypatch, 2, look)
    old = os.umask(mask)
    try:
        run(SPEC, folder, resources)
    finally:
        os.umask(old)
    modes |= {path.name: path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert len(modes) == 2 * len(RUN_FILES) + 2 and set(modes.values()) == {0o666 & ~mask}


def test_files_are_on_the_disk_before_they_get_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = []
    fsync, rename = os.fsync, Path.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (order.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd))[1]
    )
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("rename"), rename(self, to))[1])
    write_text(tmp_path / "a", "text")
    temporary = f".a.{socket.gethostname()}.{os.getpid()}.tmp"
    assert order == [str(tmp_path / temporary), "rename", str(tmp_path)]


def test_a_folder_that_cannot_be_flushed_is_no_error_and_a_file_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    files.flush(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        write_text(tmp_path / "a", "text")
    assert not list(tmp_path.iterdir())


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path, resources: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    for name in (".result.parquet.elsewhere.17.tmp", "checkpoint/.epoch.safetensors.elsewhere.17.tmp"):
        (tmp_path / name).write_text("half")
    run(SPEC, tmp_path, resources)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_killed_processs_leftover_is_in_nobodys_way(tmp_path: Path) -> None:
    leftover = files.temporary_path(tmp_path / "a")
    leftover.write_text("half")
    leftover.chmod(0o400)
    with atomic_path(tmp_path / "a") as temporary:
        assert temporary == leftover
        temporary.write_text("whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_text() == "whole"


def test_a_second_writer_is_refused(tmp_path: Path, resources: Path) -> None:
    from filelock import FileLock

    with FileLock(tmp_path / ".lock"), pytest.raises(RunError, match="another process"):
        run(SPEC, tmp_path, resources)


@pytest.mark.parametrize(
    "error",
    [
        NotImplementedError("FileSystem does not appear to support flock"),
        OSError(errno.ENOLCK, "No locks available"),
        OSError(errno.EOPNOTSUPP, "Operation not supported"),
        OSError(errno.ENOSYS, "Function not implemented"),
    ],
    ids=str,
)
def test_a_file_system_without_locks_is_named_with_the_remedy(
    error: Exception, tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(descriptor: int, operation: int) -> None:
        raise error

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(RunError, match=r"this file system has no file locks .*Put the results on one that has"):
        run(SPEC, tmp_path, resources)


def test_a_folder_without_permission_stays_the_error_it_is(
    tmp_path: Path, resources: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        run(SPEC, tmp_path, resources)
