"""What a run asks of a machine: relations that must hold, published sizes of known models, and peaks that were measured."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    DebertaV2Config,
    DebertaV2Model,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    LlamaModel,
    RobertaConfig,
    RobertaModel,
)

from peft_lib.diagnostics.diagnostic import Diagnostic
from peft_lib.diagnostics.intruders import Intruders
from peft_lib.diagnostics.landscape import Landscape
from peft_lib.diagnostics.sharpness import Sharpness
from peft_lib.study.catalogs import DatasetEntry, ModelEntry
from peft_lib.study.expand import plan_file, plan_study
from peft_lib.study.how import How
from peft_lib.study.needs import (
    FLOOR_MB,
    FLOOR_MIN,
    MIB,
    Needs,
    _activations,
    blocks_of,
    fetching,
    needs,
    needs_of_diagnosis,
)
from peft_lib.study.spec import RunSpec
from tests.runs import ROOT
from workflow_scripts.needs import main as command

GB = 1000


def decoder(hidden: int, blocks: int, parameters: int, wide: int, **changes: Any) -> ModelEntry:
    """An entry with queries of `hidden` and values of `wide` rows, as in Table 5 of the paper."""
    qv = [
        {"module": "q_proj", "d_in": hidden, "d_out": hidden, "count": blocks},
        {"module": "v_proj", "d_in": hidden, "d_out": wide, "count": blocks},
    ]
    fields: dict[str, Any] = {
        "id": "m", "name": "M", "license": "x", "backbone": "llama", "modality": "text", "source": "hub:a/b",
        "hidden": hidden, "parameters": parameters, "head_parameters": 0, "head_bias": False, "max_length": 8192,
        "targets": {"qv": qv},
    }  # fmt: skip
    return ModelEntry(**{**fields, **changes})


LLAMA = decoder(4096, 32, 7_504_924_672, 1024)
"""Llama-3-8B without its output layer (128,256 x 4096), as it classifies."""
DATA = DatasetEntry(
    id="d", name="D", license="x", loader="x", modality="text", source="hub:a/b", revision="1", num_labels=18,
    sizes={"train": 10_000, "validation": 500, "test": 500}, description="D.",
)  # fmt: skip
TEXTS = DATA.model_copy(update={"task": "generation", "num_labels": None, "metric": "exact_match"})


def spec(model: ModelEntry = LLAMA, method: str = "lora", **changes: Any) -> RunSpec:
    fields: dict[str, Any] = {
        "model": model.ref(), "dataset": DATA.ref(), "method": method, "seed": 0, "lr": 1e-4, "epochs": 5,
        "batch_size": 4, "input_size": 384, "precision": "bf16",
    }  # fmt: skip
    return RunSpec(**{**fields, **changes})


def of(model: ModelEntry = LLAMA, data: DatasetEntry = DATA, attempt: int = 1, cuda: bool = True, **both: Any) -> Needs:
    how = How(**{k: both.pop(k) for k in list(both) if k in How.model_fields})
    return needs(spec(model, **both), model, data, how, attempt, cuda)


def test_llama_3_8b_with_lora_fits_an_80_gb_gpu_and_its_full_fine_tuning_does_not() -> None:
    """Second opinion: bf16 weights alone are 15 GB; weights, gradients and moments in fp32 are 16 bytes x 7.5e9 = 120 GB."""
    lora, full = of(storage="bf16"), of(method="fft", storage="bf16")
    assert 15 * GB < lora.gpu_mem_mb < 80 * GB
    assert full.gpu_mem_mb > 120 * GB
    assert of().gpu_mem_mb > lora.gpu_mem_mb + 15 * GB * 0.9  # fp32 storage: another two bytes each


def test_more_of_anything_needs_no_less() -> None:
    base = of(cuda=False)
    more = {
        "batch": of(cuda=False, batch_size=8), "length": of(cuda=False, input_size=512),
        "parameters": of(decoder(4096, 40, 9_000_000_000, 1024), cuda=False),
        "generation": of(data=TEXTS, cuda=False), "trained": of(cuda=False, method="fft"),
        "arithmetic in fp32": of(cuda=False, precision="fp32", storage="bf16"), "rank": of(cuda=False, rank=64),
    }  # fmt: skip
    for what, asked in more.items():
        reference = of(cuda=False, storage="bf16") if what == "arithmetic in fp32" else base
        assert asked.mem_mb > reference.mem_mb and asked.gpu_mem_mb > reference.gpu_mem_mb, what
    for what in ("batch", "length", "parameters", "generation", "trained"):
        assert more[what].runtime_min >= base.runtime_min, what
    assert of(epochs=10, cuda=False).runtime_min == pytest.approx(2 * base.runtime_min, rel=0.1)


def test_what_saves_memory_lowers_the_request() -> None:
    base = of(batch_size=32)
    savers: tuple[dict[str, Any], ...] = (
        {"gradient_checkpointing": True}, {"micro_batch": 4}, {"storage": "bf16"}, {"processes": 4}, {"optimizer": "sgd"},
    )  # fmt: skip
    for saver in savers:
        method = "fft" if "optimizer" in saver else "lora"
        assert of(batch_size=32, method=method, **saver).gpu_mem_mb < of(batch_size=32, method=method).gpu_mem_mb, saver
    assert of(batch_size=32, gradient_checkpointing=True).runtime_min > base.runtime_min
    assert of(batch_size=32, micro_batch=64) == base  # no batch is that large
    assert of(processes=4).gpus == 4 and base.gpus == 1


def test_each_attempt_asks_for_twice_as_much() -> None:
    first, second, third = (of(attempt=n) for n in (1, 2, 3))
    assert second.mem_mb == 2 * first.mem_mb and third.runtime_min == 4 * first.runtime_min
    assert second.gpu_mem_mb == 2 * first.gpu_mem_mb and second.gpus == first.gpus


def test_checkpointed_activations_are_the_inputs_of_blocks() -> None:
    """Per token the inputs of 32 blocks, and one block's; without, 24 times the first."""
    saved = of(batch_size=64, storage="bf16").gpu_mem_mb - of(batch_size=4, storage="bf16").gpu_mem_mb
    left = (
        of(batch_size=64, storage="bf16", gradient_checkpointing=True).gpu_mem_mb
        - of(batch_size=4, storage="bf16", gradient_checkpointing=True).gpu_mem_mb
    )
    assert saved / left == pytest.approx(24 * 32 / (32 + 24), rel=0.02)


def test_blocks_are_what_the_entry_says_or_its_places_count() -> None:
    assert blocks_of(LLAMA) == 32
    assert blocks_of(LLAMA.model_copy(update={"architecture": {"num_hidden_layers": 16}})) == 16
    assert blocks_of(LLAMA.model_copy(update={"layers": 2})) == 2


class Kept:
    """Bytes of activations that autograd keeps inside, parameters left out."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.known = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
        self.storages: dict[int, torch.UntypedStorage] = {}
        self.hooks = torch.autograd.graph.saved_tensors_hooks(self.pack, lambda kept: kept)

    def pack(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.storages[storage.data_ptr()] = storage  # held, so that no other takes its address
        return tensor

    @property
    def bytes(self) -> int:
        return sum(storage.nbytes() for storage in self.storages.values())


WIDTH, HEADS, LENGTH, ITEMS = 128, 2, 256, 4
SIZES: dict[str, Any] = {
    "hidden_size": WIDTH, "num_attention_heads": HEADS, "intermediate_size": 4 * WIDTH, "max_position_embeddings": 514,
}  # fmt: skip
LLAMA_SIZES = {**SIZES, "num_key_value_heads": 1, "intermediate_size": 7 * WIDTH // 2, "use_cache": False}
DEBERTA_SIZES = {
    **SIZES, "type_vocab_size": 0, "position_biased_input": False, "relative_attention": True, "position_buckets": 256,
    "pos_att_type": ["p2c", "c2p"], "share_att_key": True, "norm_rel_ebd": "layer_norm",
}  # fmt: skip
BLOCKS: dict[str, Callable[[int], torch.nn.Module]] = {
    "roberta": lambda n: RobertaModel(
        RobertaConfig(num_hidden_layers=n, **SIZES, attention_probs_dropout_prob=0), add_pooling_layer=False
    ),
    "llama": lambda n: LlamaModel(LlamaConfig(num_hidden_layers=n, **LLAMA_SIZES)),
    "gpt2": lambda n: GPT2Model(GPT2Config(n_layer=n, n_embd=WIDTH, n_head=HEADS, use_cache=False, attn_pdrop=0)),
    "deberta": lambda n: DebertaV2Model(DebertaV2Config(num_hidden_layers=n, **DEBERTA_SIZES)),
}
"""Transformers of the paper's families of n blocks, with random weights. Without dropout of attention where that is fused: on
a CPU it would not be."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("family", BLOCKS)
def test_what_a_block_keeps_is_counted_from_above(family: str, frozen: bool, precision: str) -> None:
    """Two more blocks keep no more than the formula says of two blocks, and not less than a third of it."""
    counted = []
    for blocks in (1, 3):
        model = BLOCKS[family](blocks).train().requires_grad_(not frozen)
        inputs = torch.randn(ITEMS, LENGTH, WIDTH, requires_grad=True)
        kept = Kept(model)
        with kept.hooks, torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            result = model(inputs_embeds=inputs)
        counted.append(kept.bytes)
        del result
    both = [
        _activations(spec(entry_, input_size=LENGTH, batch_size=ITEMS, precision=precision), entry_, How())
        for entry_ in (decoder(WIDTH, blocks, 10**6, WIDTH, backbone=family) for blocks in (1, 3))
    ]
    measured, formula = counted[1] - counted[0], both[1] - both[0]
    assert formula / 3 < measured <= 1.02 * formula


MEASURED_MB = {
    ("minilm_l1", "fft"): 1347, ("minilm_l1", "lora"): 1090, ("minilm_l1", "c3la"): 1097, ("minilm_l1", "head_only"): 1058,
    ("vit_digits", "fft"): 869, ("vit_digits", "lora"): 866, ("vit_digits", "head_only"): 857,
}  # fmt: skip
"""Largest peak_rss_bytes of the default study's runs in MiB, on the processor of 2026-11 (two cores)."""


def test_the_default_study_asks_for_what_it_did_and_covers_its_measured_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_file(ROOT / "config.yaml", ROOT)
    for run_id, one in plan.runs.items():
        asked = needs(one, plan.models[one.model.id], plan.datasets[one.dataset.id], plan.how(run_id))
        assert (asked.mem_mb, asked.runtime_min, asked.gpus) == (FLOOR_MB, FLOOR_MIN, 1)
    monkeypatch.setattr("peft_lib.study.needs.FLOOR_MB", 0)
    seen = set()
    for run_id, one in plan.runs.items():
        peak = MEASURED_MB.get((one.model.id, one.method))
        if peak is not None:
            estimate = needs(one, plan.models[one.model.id], plan.datasets[one.dataset.id], plan.how(run_id)).mem_mb
            assert peak < estimate < 1.5 * peak, one.method
            seen.add((one.model.id, one.method))
    assert seen == set(MEASURED_MB)


def test_the_command_lists_the_largest_of_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--config", str(ROOT / "tests/workflow/tiny.yaml")]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["model", "dataset", "method", "mem_mb", "runtime_min", "gpus", "gpu_mem_mb"]
    assert [line.split()[2:5] for line in lines] == [
        [m, str(FLOOR_MB), str(FLOOR_MIN)] for m in ("fft", "lora", "c3la")
    ]


def test_the_papers_models_as_recommended_fit_80_gb_but_for_llamas_full_fine_tuning() -> None:
    """With the batch and length of Table 7, and what the catalog recommends of precision, storage and checkpointing."""
    sizes = {
        "roberta_large/mrpc": (32, 128), "deberta_v3_base/mrpc": (8, 512), "deberta_v2_xxl/mrpc": (8, 512),
        "gpt2_small/e2e": (16, 64), "vit_base/officehome": (64, 224), "deepseek_coder/django": (8, 512),
        "tinyllama/openbookqa": (8, 512), "llama3_8b/openbookqa": (4, 384),
    }  # fmt: skip
    rules = [
        {"when": {"model": task.split("/")[0]}, "set": {"batch_size": b, "input_size": n}, "source": "paper: Table 7"}
        for task, (b, n) in sizes.items()
    ]
    study = {
        "id": "paper", "title": "T", "question": "Q", "defaults": {"lr": 1e-4, "epochs": 5}, "rules": rules,
        "grids": {"main": {"tasks": list(sizes), "methods": ["fft", "lora", "cla"], "seeds": [0]}},
    }  # fmt: skip
    plan = plan_study(study, ROOT)
    for run_id, one in plan.runs.items():
        model, data = plan.models[one.model.id], plan.datasets[one.dataset.id]
        asked = needs(one, model, data, plan.how(run_id), cuda=True)
        assert (asked.gpu_mem_mb < 80 * GB) == ((model.id, one.method) != ("llama3_8b", "fft")), (model.id, one.method)
        assert one.precision == ("fp32" if model.id.startswith("deberta") else "bf16")
        assert plan.how(run_id).gradient_checkpointing == (model.id in ("tinyllama", "llama3_8b"))
        assert one.flip == (data.modality == "image")


def test_fetching_asks_for_time_by_size_and_for_memory_where_weights_are_converted() -> None:
    assert fetching(LLAMA) == (2000, 101)  # 30 GB at 5 MB/s
    small = LLAMA.model_copy(update={"parameters": 10**6})
    assert fetching(small) == (2000, 30) and fetching(small, attempt=2) == (4000, 60)
    converted = LLAMA.model_copy(update={"parameters": 1_564_549_632, "convert": "pytorch_model.bin"})
    assert 2 * 1.5 * 4 * GB < fetching(converted)[0] < 2 * 1.7 * 4 * GB + 2000


SMALL = DATA.model_copy(update={"sizes": {"train": 100, "validation": 50, "test": 50}})


def test_a_diagnosis_asks_for_what_it_holds():
    """Of Llama-3-8B in bf16: the model and five more fp32 numbers a parameter at most; of adapted weights, far less."""
    how, parameters = How(storage="bf16"), LLAMA.body_size(18) + LLAMA.head_size(18)
    training = needs(spec(), LLAMA, DATA, how, cuda=True)

    def asked(diagnostic: Diagnostic, cuda: bool = True, **changes: Any) -> Needs:
        return needs_of_diagnosis(diagnostic, spec(**changes), LLAMA, DATA, how, cuda=cuda)

    whole, adapted = asked(Landscape(points=3)), asked(Landscape(points=3, subspace="adapted"))
    assert whole.gpu_mem_mb * MIB > (2 + 4 * 4) * parameters > adapted.gpu_mem_mb * MIB
    assert adapted.gpu_mem_mb >= training.gpu_mem_mb
    assert whole.gpu_mem_mb > asked(Sharpness()).gpu_mem_mb > training.gpu_mem_mb
    assert asked(Landscape(points=3), cuda=False).mem_mb * MIB > (2 + 4 * 4) * parameters
    assert (
        asked(Sharpness(eigenvalue=True)).mem_mb * MIB > 20 * 8 * parameters
    )  # Lanczos' vectors, wherever it computes
    assert asked(Intruders()).mem_mb * MIB > training.mem_mb * MIB >= 2 * parameters
    assert asked(Intruders()).gpu_mem_mb == training.gpu_mem_mb


def test_a_diagnosis_asks_for_the_time_of_its_grid_and_for_one_process():
    def minutes(data: DatasetEntry, **options: Any) -> int:
        return needs_of_diagnosis(Landscape(**options), spec(), LLAMA, data, How(), cuda=True).runtime_min

    one, four = minutes(SMALL, points=51), minutes(SMALL, points=101)
    assert one > FLOOR_MIN and four == pytest.approx(101**2 / 51**2 * one, rel=0.01)
    assert minutes(SMALL, points=51, batches=10_000) == pytest.approx(
        50 / 48 * one, rel=0.01
    )  # no more items than there are
    several = needs_of_diagnosis(Landscape(), spec(), LLAMA, SMALL, How(processes=4), cuda=True)
    assert several.gpus == 1 and several == needs_of_diagnosis(Landscape(), spec(), LLAMA, SMALL, How(), cuda=True)
