"""Sizes, heads and targets of every catalog entry, counted on full-size models without weights."""

from pathlib import Path

import pytest

from peft_lib.backbones.describe import FACTS, describe
from peft_lib.study.loading import load_models
from tests.unit.tiny import TINY
from workflow_scripts import describe_model

ROOT = Path(__file__).resolve().parents[2]
MODELS = load_models(ROOT / "config" / "models.yaml")
ALL = {**TINY, **MODELS}


@pytest.mark.parametrize("name", ALL)
def test_an_entry_says_what_its_skeleton_has(name):
    """Sizes, head and targets of the catalog are those that describe_model prints, and print as they stand there."""
    entry, counted = ALL[name], describe(ALL[name])
    stated = entry.model_dump(include=set(FACTS), exclude={"targets"})
    assert {fact: counted[fact] for fact in stated} == stated
    targets = {
        key: [{**shape.model_dump(exclude_none=True)} for shape in shapes] for key, shapes in entry.targets.items()
    }
    assert {
        k: [s | ({"rows": tuple(s["rows"])} if "rows" in s else {}) for s in v] for k, v in counted["targets"].items()
    } == targets
    catalog = ROOT / ("config/models.yaml" if name in MODELS else "tests/unit/tiny_models.yaml")
    text = catalog.read_text()
    block = text[text.index(f"\n{name}:\n") :]
    for line in describe_model.as_yaml(counted).splitlines():
        assert f"\n{line}\n" in f"{block}\n"


def test_the_command_prints_the_facts_of_an_entry_that_lacks_them(tmp_path, monkeypatch, capsys):
    catalog = tmp_path / "models.yaml"
    catalog.write_text(
        "new:\n  name: New\n  license: MIT\n  backbone: hf_vit\n  modality: image\n  source: hub:org/new\n  revision: main\n"
        "  architecture: {hidden_size: 192, num_attention_heads: 3, num_hidden_layers: 12, intermediate_size: 768}\n"
    )
    arguments = ["describe_model", "--model", "new", "--catalog", str(catalog)]
    monkeypatch.setattr("sys.argv", arguments)
    describe_model.main()
    catalog.write_text(catalog.read_text() + capsys.readouterr().out)
    assert load_models(catalog)["new"].targets == MODELS["vit_tiny"].targets
