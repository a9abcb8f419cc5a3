"""docs/adding_a_model.md, followed to the letter in a copy of the repository: written, entered, counted, planned, fetched, adapted."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peft_lib.backbones.assets import fetch_asset
from peft_lib.run_files import read_rows
from tests.unit.tiny import TINY

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "adding_a_model.md").read_text(encoding="utf-8")
(FILE,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
MINI, MINE, ENTRY, GRID = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)
DESCRIBE_MINI, TRAIN, DESCRIBE, FETCH = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
STUDY = f"""
id: mine
title: Mine
question: Does it run?
defaults: {{lr: 1e-3, epochs: 1, batch_size: 8, input_size: 32, targets: qv, rank: 2, alpha: 4}}
{GRID}
    methods: [lora]
    seeds: [12]
"""
PLAN = """
from peft_lib.study.expand import plan_config
import yaml
plan = plan_config(yaml.safe_load(open("study.yaml")), [], ".")
[(run, spec)] = plan.runs.items()
print(run, spec.model.source, plan.fingerprint(run))
"""
ADAPT = """
import torch
from peft_lib import adapt, check, seeds
from peft_lib.backbones.loading import get_backbone
from peft_lib.study.loading import load_models
entry = load_models("config/models.yaml")["electra_small"]
backbone = get_backbone(entry.backbone)
model = backbone.build(entry, "resources/models/electra_small", 18, seeds.generator(0, "head"), torch.float32, "cpu")
adapter = adapt(model, "r_c3la", rank=4, targets=entry.targets["all"], head=backbone.heads(entry, 18))
ids = torch.arange(24).reshape(2, 12)
check(adapter, {"input_ids": ids, "attention_mask": ids * 0 + 1, "token_type_ids": ids * 0}, backbone.forward)
print(len(adapter.places), adapter.counts()["head"])
"""
PUBLISH = """
import torch
from transformers import ElectraConfig, ElectraForPreTraining
torch.manual_seed(0)
config = ElectraConfig(num_attention_heads=4, intermediate_size=1024, hidden_size=256, embedding_size=128)
ElectraForPreTraining(config).save_pretrained("mirror/models/google__electra-small-discriminator")
"""


def run(folder: Path, *command: str, status: int = 0) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout + (done.stderr if status else "")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository with the page's file and entry, and a mirror with a model that is published in the hub's format."""
    for name in ("peft_lib", "workflow_scripts", "config"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "peft_lib/backbones/electra.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    catalog = tmp_path / "config/models.yaml"
    catalog.write_text(catalog.read_text(encoding="utf-8") + "\n" + ENTRY, encoding="utf-8")
    run(tmp_path, sys.executable, "-c", PUBLISH)
    fetch_asset(TINY["tiny_bert"], tmp_path / "tokens")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(tmp_path / "tokens" / name, tmp_path / "mirror/models/google__electra-small-discriminator")
    return tmp_path


def test_the_page_works_as_written(copy: Path) -> None:
    catalog = copy / "config/models.yaml"
    assert "electra_small.targets" in run(copy, sys.executable, "-c", PLAN, status=1)  # not counted yet
    catalog.write_text(catalog.read_text() + run(copy, sys.executable, *DESCRIBE.split()[1:]))
    first = run(copy, sys.executable, "-c", PLAN).split()
    assert first[1] == "hub:google/electra-small-discriminator"

    fetch = [sys.executable, *FETCH.split()[1:]]
    assert "Run this where there is internet" in run(copy, *fetch, status=2)
    run(copy, *fetch, "--mirror", "mirror")
    manifest = json.loads((copy / "resources/models/electra_small/manifest.json").read_text())
    assert manifest["pad_token_id"] == 0 and {"model.safetensors", "tokenizer.json"} <= set(manifest["files"])
    assert run(copy, sys.executable, "-c", ADAPT).split() == ["72", str(18 * 257)]

    # a comment changes nothing; another head changes the fingerprint, and not the run's id
    path = copy / "peft_lib/backbones/electra.py"
    path.write_text(FILE.replace("def heads", "# what trains\ndef heads"))
    assert run(copy, sys.executable, "-c", PLAN).split() == first
    path.write_text(FILE.replace("nn.Dropout(0.1)", "nn.Dropout(0.2)"))
    second = run(copy, sys.executable, "-c", PLAN).split()
    assert second[:2] == first[:2] and second[2] != first[2]
    path.write_text(FILE)

    text = catalog.read_text()
    for old, new, message in (
        ("backbone: electra", "backbone: electro", "there is no file peft_lib/backbones/electro.py"),
        ("revision: main", "revision: main\n  options: {freeze: true}", "backbone electra has no option of that name"),
        ("  revision: main\n", "", "electra_small.revision"),
        ("hub:google/electra", "hub:electra", "names a repository"),
    ):
        start = text.index("\nelectra_small:")
        assert old in text[start:]
        catalog.write_text(text[:start] + text[start:].replace(old, new, 1))
        assert message in run(copy, sys.executable, "-c", PLAN, status=1)


def test_another_checkpoint_needs_an_entry_alone(tmp_path: Path) -> None:
    for name in ("peft_lib", "workflow_scripts", "config", "rules", "envs", "reports/reference", "reports/templates"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", tmp_path)
    catalog = tmp_path / "config/models.yaml"
    catalog.write_text(catalog.read_text(encoding="utf-8") + "\n" + MINI, encoding="utf-8")
    counted = run(tmp_path, sys.executable, *DESCRIBE_MINI.split()[1:])
    assert "hidden: 64" in counted and "{module: q_proj, d_in: 64, d_out: 64, count: 2}" in counted
    catalog.write_text(catalog.read_text(encoding="utf-8") + counted, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(MINE, encoding="utf-8")
    run(tmp_path, str(Path(sys.executable).with_name("snakemake")), *TRAIN.split()[1:])
    (result,) = tmp_path.glob("results/runs/llama_mini/clutrr_short/lora/*/result.parquet")
    (row,) = read_rows(result)
    # by hand: a head of 18 outputs without bias, and r (in + out) for q (64, 64) and v (64, 32) of 2 blocks
    assert (row["status"], row["n_train"]) == ("ok", 16)
    assert (row["head_parameters"], row["adapter_parameters"]) == (18 * 64, 2 * 2 * (64 + 64 + 64 + 32))
