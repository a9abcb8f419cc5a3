"""Every data set that the mirror has, prepared from its real rows and trained on for a few steps: an encoder, real decoder or ViT."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from peft_lib.backbones.assets import fetch_asset
from peft_lib.data.prepare import prepare
from peft_lib.study.catalogs import ModelEntry
from peft_lib.study.loading import load_datasets, load_models
from peft_lib.study.spec import RunSpec
from peft_lib.training.assemble import Inputs
from peft_lib.training.run import Execution, train
from tests.conftest import mirror_folder
from tests.unit.tiny import TINY

ROOT = Path(__file__).resolve().parents[2]
MODELS = {**load_models(ROOT / "config/models.yaml"), **TINY}
DATASETS = load_datasets(ROOT / "config/datasets.yaml")
PAIRS = [
    *((("minilm_l1", name)) for name in ("mrpc", "cola", "rte", "stsb", "stsb_val_as_test", "trec50", "paws_dev")),
    *(
        (("stories260k", name))
        for name in ("clutrr", "openbookqa_carved", "folio_v0", "logiqa_v1_348", "e2e", "django")
    ),
    *((("tiny_vit", name)) for name in ("cifar10_jpeg", "cifar10_4k")),
]
SIZE = {"minilm_l1": 64, "stories260k": 256, "tiny_vit": 16}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tmp_path_factory.mktemp("models") / name
            fetch_asset(MODELS[name], made[name], mirror_folder())
        return made[name]

    return folder


@pytest.mark.mirror
@pytest.mark.parametrize(("model", "dataset"), PAIRS)
def test_real_rows_are_prepared_and_trained_on(
    model: str, dataset: str, folders: Callable[[str], Path], tmp_path: Path
) -> None:
    entry, data = MODELS[model], DATASETS[dataset]
    sizes = (None, image_size(entry)) if entry.modality == "image" else (SIZE[model], None)
    prepare(data, entry, *sizes, tmp_path / "prepared", folders(model), mirror_folder())
    spec = RunSpec(
        model=entry.ref(), dataset=data.ref(), method="c3la", seed=1, lr=1e-3, epochs=2, chain_period=1, batch_size=8,
        input_size=sizes[0] or sizes[1], rank=4, alpha=8.0, train_limit=32, eval_limit=12, clip_norm=1.0,
    )  # fmt: skip
    inputs = Inputs(entry, data, folders(model), tmp_path / "prepared", "test")
    assert train(spec, tmp_path / "run", inputs, Execution(device="cpu")) == "ok"
    row = pq.read_table(tmp_path / "run/result.parquet").to_pylist()[0]
    assert (row["steps"], row["n_train"], row["n_test"]) == (8, 32, 12)
    assert {name for name, _ in row["test_measures"]} == {data.metric, *data.measures}
    assert np.isfinite([value for _, value in row["test_measures"]]).all() and np.isfinite(row["test_loss"])
    assert row["carve_out"] == data.carve_out
    manifest = json.loads((tmp_path / "prepared/manifest.json").read_text())
    assert sum(manifest["rows"].values()) >= sum(data.sizes.values()) * (0.5 if "val_as_test" in dataset else 1)


def image_size(entry: ModelEntry) -> int:
    return int(entry.architecture["image_size"])
