"""The index of results: the same frame as from the files, whatever happened to either."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peft_lib.results import index as module
from peft_lib.results.collect import collect
from peft_lib.results.index import INDEX
from peft_lib.study.plan import Plan
from tests.runs import ROOT
from tests.unit import synthetic


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(Plan, "fingerprint", lambda self, run_id: synthetic.FINGERPRINT)
    return synthetic.make_plan(tmp_path / "study")


@pytest.fixture
def results(plan: Plan, tmp_path: Path) -> Path:
    """Results of every kind: good, diverged, stale, absent, no Parquet, of another run, of another release."""
    folder, ids = tmp_path / "results", list(plan.runs)
    changes = {
        ids[0]: {"status": "diverged", "reason": "loss is nan at step 3"}, ids[1]: {"fingerprint": "0" * 16}, ids[2]: None,
        ids[6]: {"test_measures": {"accuracy": 0.5, "f1": 0.25}, "micro_batch": 4, "deterministic": True},
    }  # fmt: skip
    synthetic.write_results(folder, plan, lambda spec: changes.get(spec.run_id, {}))
    of(folder, plan, 3).write_bytes(b"PAR1 not a table")
    of(folder, plan, 4).write_bytes(of(folder, plan, 5).read_bytes())
    older = pq.read_table(of(folder, plan, 7)).drop_columns(["git_note", "test_measures"])
    pq.write_table(older, of(folder, plan, 7))
    newer = pq.read_table(of(folder, plan, 8)).append_column("mood", pa.array(["good"]))
    pq.write_table(newer, of(folder, plan, 8))
    odd = pq.read_table(of(folder, plan, 9)).drop_columns(["host"]).append_column("host", pa.array([b"\xff"]))
    pq.write_table(odd, of(folder, plan, 9))
    return folder


def of(folder: Path, plan: Plan, place: int) -> Path:
    return folder / "runs" / list(plan.runs.values())[place].folder / "result.parquet"


def from_files(plan: Plan, folder: Path) -> pd.DataFrame:
    """The second opinion: read file by file, the index put aside."""
    aside = (folder / INDEX).rename(folder / "aside")
    frame = collect(plan, folder)
    aside.rename(folder / INDEX)
    return frame


def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The result files that are read from now on."""
    paths: list[Path] = []
    read = module.pq.read_table
    note = lambda path: (paths.append(path), read(path))[1] if path.name != INDEX else read(path)  # noqa: E731
    monkeypatch.setattr(module.pq, "read_table", note)
    return paths


def test_the_frame_is_the_same_and_files_stay_closed(plan, results, monkeypatch) -> None:
    first = collect(plan, results)
    plain = from_files(plan, results)
    paths = opened(monkeypatch)
    second = collect(plan, results)
    pd.testing.assert_frame_equal(first, plain)
    pd.testing.assert_frame_equal(second, plain)
    assert [set(map(type, first[c])) for c in first] == [set(map(type, second[c])) for c in second]
    # no Parquet, of a newer release, of odd types: told from the file each time
    assert sorted(paths) == sorted(of(results, plan, i) for i in (3, 8, 9))
    assert sorted(set(second["status"])) == ["diverged", "missing", "ok", "stale", "unreadable"]


CHANGES: dict[str, Callable[[Path, Plan], None]] = {
    "written anew": lambda folder, plan: synthetic.write_run(folder, plan, list(plan.runs)[12], test_metric=0.123),
    "deleted": lambda folder, plan: of(folder, plan, 12).unlink(),
    "added": lambda folder, plan: synthetic.write_run(folder, plan, list(plan.runs)[2]),
    "damaged": lambda folder, plan: of(folder, plan, 12).write_bytes(b"x"),
    "mended": lambda folder, plan: synthetic.write_run(folder, plan, list(plan.runs)[3]),
    "exchanged, size and time kept": lambda folder, plan: exchange(of(folder, plan, 5), of(folder, plan, 11)),
}


def exchange(one: Path, other: Path) -> None:
    """Another run's result in its place, made to look as old and as large."""
    status = one.stat()
    content = other.read_bytes()[: status.st_size].ljust(status.st_size, b"\0")
    one.unlink()
    one.write_bytes(content)
    os.utime(one, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_of_a_result_is_seen(change, plan, results) -> None:
    before = collect(plan, results)
    CHANGES[change](results, plan)
    after = collect(plan, results)
    assert not after.equals(before)
    pd.testing.assert_frame_equal(after, from_files(plan, results))
    pd.testing.assert_frame_equal(collect(plan, results), after)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "a text": lambda path: path.write_text("<html>"),
    "empty": lambda path: path.write_bytes(b""),
    "another table": lambda path: pq.write_table(pa.table({"path": ["x"]}), path),
    "another version": lambda path: pq.write_table(
        pq.read_table(path).replace_schema_metadata({"index_version": "0"}), path
    ),
    "deleted": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_anew(damage, plan, results, monkeypatch, capsys) -> None:
    before = collect(plan, results)
    DAMAGES[damage](results / INDEX)
    pd.testing.assert_frame_equal(collect(plan, results), before)
    if damage in ("cut off", "a text", "empty"):
        assert "is damaged and not used" in capsys.readouterr().err
    if damage == "a folder":
        assert "is not written" in capsys.readouterr().err
    else:
        paths = opened(monkeypatch)
        collect(plan, results)
        assert len(paths) == 3


def test_studies_share_the_index_of_a_folder(plan, results, tmp_path, monkeypatch) -> None:
    """A study with fewer runs leaves the others' rows in it, those of deleted runs not."""
    collect(plan, results)
    data = synthetic.study()
    small = synthetic.make_plan(
        tmp_path / "small", data | {"grids": {**data["grids"], "main": {**data["grids"]["main"], "seeds": [0]}}}
    )
    synthetic.write_run(results, small, next(iter(small.runs)), test_metric=0.2)
    of(results, plan, 12).unlink()
    collect(small, results)
    paths = opened(monkeypatch)
    collect(plan, results)
    assert len(paths) == 3
    names = pq.read_table(results / INDEX)["path"].to_pylist()
    assert len(names) == len(set(names)) and of(results, plan, 12).relative_to(results).as_posix() not in names


def test_no_results_no_index(plan, tmp_path) -> None:
    assert set(collect(plan, tmp_path / "nowhere")["status"]) == {"missing"}
    assert not (tmp_path / "nowhere").exists()


def test_processes_at_the_same_time_read_the_same(plan, results, tmp_path) -> None:
    program = (
        "import sys; from pathlib import Path; from peft_lib.study.plan import Plan\n"
        "from peft_lib.results.collect import collect; from peft_lib.study.expand import plan_file\n"
        "Plan.fingerprint = lambda self, run_id: 'f' * 16\n"
        "study, results = map(Path, sys.argv[1:]); plan = plan_file(study / 'study.json', study)\n"
        "for _ in range(4):\n"
        "    (results / 'index.parquet').unlink(missing_ok=True)\n"
        "    print(collect(plan, results).values.tolist())"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "study"), str(results)]
    calls = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {line for call in calls for line in call.communicate()[0].splitlines()}
    assert all(call.returncode == 0 for call in calls)
    assert said == {str(collect(plan, results).values.tolist())}
