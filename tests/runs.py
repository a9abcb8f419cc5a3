"""Small real runs for tests: prepared digits, a pre-trained small ViT, specs over them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from peft_lib.data.prepare import prepare
from peft_lib.diagnostics.opened import OpenedRun
from peft_lib.methods.registry import available, load_plugin, unregister
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.expand import plan_study
from peft_lib.study.loading import load_datasets, load_models, read_yaml
from peft_lib.study.plan import Plan
from peft_lib.study.spec import RunSpec
from peft_lib.training.pretrain import pretrain
from peft_lib.training.run import Execution, Inputs, train
from tests.unit.synthetic import with_matching_rules

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests/workflow/tiny.yaml"

TIMES = {
    "wall_s",
    "setup_s",
    "train_s",
    "eval_s",
    "save_s",
    "cpu_s",
    "samples_per_s",
    "started",
    "finished",
    "attempts",
}
MEMORY = {"peak_rss_bytes", "peak_memory_bytes", "command"}


def tiny_plan(**changes: Any) -> Plan:
    """The tests' study with top-level keys replaced."""
    data, lines = read_yaml(TINY)
    if "rules" not in changes and all(isinstance(g.get("tasks"), list) for g in changes.get("grids", {}).values()):
        data = with_matching_rules({**data, **changes})
    return plan_study({**data, **changes}, ROOT, lines)


def entries() -> tuple[ModelEntry, DatasetEntry]:
    models = load_models(ROOT / "tests/workflow/models.yaml")
    return models["vit_tiny_test"], load_datasets(ROOT / "config/datasets.yaml")["digits"]


def make_resources(folder: Path) -> Path:
    """resources/ with prepared digits and the pre-trained test model."""
    model, digits = entries()
    mnist = load_datasets(ROOT / "config/datasets.yaml")["mnist5k"]
    for entry in (digits, mnist):
        prepare(entry, model, None, 16, folder / f"prepared/{entry.id}/{model.id}-16", None)
    pretrain(model, folder / f"prepared/mnist5k/{model.id}-16", folder / f"models/{model.id}")
    return folder


def spec_of(method: str = "c3la", **changes: Any) -> RunSpec:
    """A run of a second: 4 steps an epoch."""
    model, digits = entries()
    fields: dict[str, Any] = {
        "model": model.ref(), "dataset": digits.ref(), "method": method, "seed": 0, "lr": 1e-2, "epochs": 4,
        "batch_size": 32, "input_size": 16, "rank": 4, "alpha": 8.0, "train_limit": 128, "eval_limit": 64,
        "schedule": "linear", "warmup_ratio": 0.1, "clip_norm": 1.0,
    }  # fmt: skip
    if method in ("c3la", "cola", "rac_lora", "r_c3la", "c_paca"):
        fields["chain_period"] = 1
    return RunSpec(**{**fields, **changes})


def run(spec: RunSpec, out: Path, resources: Path, **execution: Any) -> dict[str, Any]:
    """Trains and returns the result row."""
    train(spec, out, inputs_for(spec, resources), Execution(device="cpu", **execution))
    return pq.read_table(out / "result.parquet").to_pylist()[0]


def inputs_for(spec: RunSpec, resources: Path) -> Inputs:
    model, digits = entries()
    prepared = resources / f"prepared/{spec.dataset.id}/{spec.model.id}-{spec.input_size}"
    return Inputs(model, digits, resources / f"models/{spec.model.id}", prepared, fingerprint="test")


def opened_runs(folder: Path, resources: Path, keep: str, **changes: Any) -> Iterator[Callable[[str], OpenedRun]]:
    """Method -> its finished run, trained when first asked for, opened anew at each call. DoRA is there meanwhile."""
    mine = "dora" not in available()  # other tests of this process may have it for good
    load_plugin(str(ROOT / "examples/methods/dora.py"))
    rows: dict[str, Any] = {}

    def opened(method: str) -> OpenedRun:
        spec = spec_of(method, **changes)
        if method not in rows:
            rows[method] = run(spec, folder / method, resources, keep=keep)
        return OpenedRun(spec, inputs_for(spec, resources), rows[method], folder / method, folder / "cache")

    yield opened
    if mine:
        unregister("dora")


def numbers(folder: Path) -> tuple[dict[str, Any], list, list, dict[str, torch.Tensor]]:
    """All that must not depend on when and how often a run was started."""
    row = {k: v for k, v in pq.read_table(folder / "result.parquet").to_pylist()[0].items() if k not in TIMES | MEMORY}
    tables = [pq.read_table(folder / f"{name}.parquet").to_pylist() for name in ("epochs", "predictions")]
    return row, *tables, load_file(folder / "delta.safetensors")


def assert_same(one: Path, other: Path) -> None:
    a, b = numbers(one), numbers(other)
    assert a[:3] == b[:3]
    assert a[3].keys() == b[3].keys()
    assert all(torch.equal(a[3][name], b[3][name]) for name in a[3])
