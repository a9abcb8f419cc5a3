"""The benchmarks run, on a study of seconds; what they take is not judged here (tests/benchmarks/README.md)."""

from pathlib import Path

from tests.benchmarks import intruders
from tests.benchmarks.measure import ALONE, measure
from tests.runs import ROOT


def test_every_benchmark_measures_what_it_says(tmp_path: Path) -> None:
    taken = {one.what: one for one in measure(tmp_path, 70, "tests/workflow/tiny.yaml")}
    assert all(one.cpu_s > 0 and (one.baseline is None or one.baseline in taken) for one in taken.values())
    names = ["plan of 3 runs", "dry run of 3 runs", "a job of 3 runs"]
    expected = [ALONE, *(f"{name}, {how}" for name in names for how in ("no cache", "cached"))]
    expected += [
        "nothing to do for 70 finished runs",
        *(f"collect 70 finished runs, {how}" for how in ("no index", "index")),
    ]
    assert list(taken) == expected
    assert (tmp_path / "results/index.parquet").is_file() and list((tmp_path / ".snakemake/plans").glob("*.plan"))


def test_the_benchmark_of_intruders_counts_the_same_each_way(tmp_path: Path) -> None:
    taken = list(intruders.measure(tmp_path, ROOT, matrices=2, size=40))
    names = [
        f"SVDs of {(what := '2 matrices of 40 x 40')}",
        *(f"intruders of {what}, {how}" for how in ("no cache", "cache empty", "cache filled")),
    ]
    assert [one.what for one in taken] == names
    assert len(list(tmp_path.rglob("layer.*.safetensors"))) == 2
