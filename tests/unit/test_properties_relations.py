"""Relations between methods: which of them take the same steps, and which are special cases of another."""

import pytest
import torch

from peft_lib.methods.lora import start as gaussian_start
from peft_lib.methods.method import LowRank, Method
from peft_lib.methods.registry import get_method, register, unregister
from tests.unit.zoo import (
    BACKWARD,
    KINDS,
    RESETS,
    SCALE,
    STEPS,
    Trial,
    assert_close,
    place_matrix,
    roundings,
    selector_matrix,
)

KIND = pytest.mark.parametrize("kind", KINDS)
OPTIMIZER = pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
RATES = {"sgd": {"lr": 0.1}, "adamw": {"lr": 1e-2, "eps": 1e-3}}  # eps: see test_properties_executions.py
TOLERANCE = {"sgd": roundings(STEPS * 2 * BACKWARD), "adamw": 10 * roundings(STEPS * 2 * BACKWARD)}


def assert_same_steps(one: Trial, other: Trial, optimizer: str, clip: float | None = None) -> None:
    """20 steps, chains with two resets: losses, outputs and learnt matrices agree.

    PaCA stores s P, as large as W, where the others store s B: it rounds to a unit of W at each step and when read.
    """
    losses = [t.train(STEPS, optimizer, resets=RESETS, clip=clip, **RATES[optimizer]) for t in (one, other)]
    assert losses[0][-1] < 0.99 * losses[0][0]
    assert_close(torch.tensor(losses[0]), torch.tensor(losses[1]), TOLERANCE[optimizer], "losses")
    assert_close(one.output(), other.output(), TOLERANCE[optimizer], "output")
    for (key, found), (_, expected) in zip(one.adapter.deltas(), other.adapter.deltas(), strict=True):
        stored = place_matrix(one.plain, key).abs().max().item() if "P" in one.adapter.method.trains else 0.0
        assert_close(found, expected, TOLERANCE[optimizer], key, floor=roundings(STEPS + 2) * stored)


@pytest.mark.parametrize(
    "paca, sparse", [("paca", "r_cla"), ("d_paca", "cla"), ("c_paca", "r_c3la")], ids=lambda method: method
)
@KIND
@OPTIMIZER
@pytest.mark.parametrize("clip", [None, 0.05], ids=["unclipped", "clipped"])
def test_the_paca_family_is_the_sparse_family(paca: str, sparse: str, kind: str, optimizer: str, clip: float | None):
    """P = W[:, cols] / s + B: same gradients, so the same steps, and the same norm to clip (PROTOCOL 13.40).

    The names differ, the seeds do not: both draw the same columns at every link. 0.05 clips: see the test below.
    """
    assert_same_steps(Trial(paca, kind), Trial(sparse, kind), optimizer, clip)


@KIND
def test_the_clipping_above_does_clip(kind: str):
    for method in ("paca", "r_cla"):
        trial = Trial(method, kind)
        norm = torch.stack([g.norm() for g in trial.gradients().values()]).norm()
        assert norm > 2 * 0.05


@KIND
def test_unscaled_columns_would_need_another_rate(kind: str):
    """Why P is W[:, cols] / s: with plain columns a step on W is s^2 (SGD) or s (Adam) times smaller."""
    trial = Trial("paca", kind)
    gradient = trial.gradients()
    trial.train(1, "sgd", lr=0.1)
    for (key, delta), place in zip(trial.adapter.deltas(), trial.adapter.places.values(), strict=True):
        layer = trial.model.get_submodule(key.partition("[")[0])
        name = f"{key.partition('[')[0]}.places.{list(layer.places).index(place)}.P"
        stored = place_matrix(trial.plain, key).abs().max().item()  # delta = s (P - W / s): roundings of s P, P, W / s
        floor = roundings(3) * stored
        assert_close(delta[:, place.columns], -0.1 * SCALE * gradient[name], roundings(3), key, floor)
        assert delta.abs().max() > 20 * floor


@KIND
@OPTIMIZER
def test_lora_plus_with_ratio_1_is_lora(kind: str, optimizer: str):
    """The same program with the same numbers: bitwise."""
    one, other = Trial("lora_plus", kind, ratio=1.0), Trial("lora", kind)
    assert one.train(STEPS, optimizer, lr=1e-2) == other.train(STEPS, optimizer, lr=1e-2)
    assert torch.equal(one.output(), other.output())


@pytest.mark.parametrize(
    "options, a, b",
    [
        ({}, 1 / 16, 1.0),
        ({"ratio": 4.0}, 1 / 4, 1.0),
        ({"anchor": "A"}, 1.0, 16.0),
        ({"anchor": "A", "ratio": 4.0}, 1.0, 4.0),
    ],
)
def test_lora_plus_rates(options: dict, a: float, b: float):
    """PROTOCOL 13.6: ratio 16, and the tabled rate is B's unless the anchor says A; never 256 as in the release."""
    trial = Trial("lora_plus", **options)
    rates = {g["name"]: g["lr"] for g in trial.adapter.parameter_groups(3e-4, head_lr_mult=10.0)}
    assert rates == pytest.approx({"A": 3e-4 * a, "B": 3e-4 * b, "head_no_decay": 3e-3})
    assert {g["lr"] for g in Trial("lora").adapter.parameter_groups(3e-4)} == {3e-4}


@pytest.fixture
def selected_lora():
    """Methods made at run time: Asymmetric LoRA whose frozen A0 is cLA's, or r-cLA's, selector as a dense matrix."""

    def window(link, options):
        return LowRank(selector_matrix(range(link.rank), link.d_in))

    def drawn(link, options):
        return LowRank(selector_matrix(sorted(link.permutation(link.d_in)[: link.rank]), link.d_in))

    common = {"formula": "W0 + s B A0", "source": "test", "family": "present", "trains": ("B",)}
    starts = {"asym_window": window, "asym_drawn": drawn}
    for name, start in starts.items():
        register(Method(id=name, name=name, start=start, **common))
    yield
    for name in starts:
        unregister(name)


@pytest.mark.usefixtures("selected_lora")
@KIND
@OPTIMIZER
@pytest.mark.parametrize("general, special", [("asym_window", "cla"), ("asym_drawn", "r_cla")])
def test_asymmetric_lora_with_a_selector_is_cla(general: str, special: str, kind: str, optimizer: str):
    """Bitwise under the same (dense) execution, and to rounding when cLA gathers or folds."""
    one, other = Trial(general, kind), Trial(special, kind, execution="dense")
    settings = RATES[optimizer]
    assert one.train(STEPS, optimizer, **settings) == other.train(STEPS, optimizer, **settings)
    assert torch.equal(one.output(), other.output())
    for execution in ("gather", "inplace"):
        assert_same_steps(Trial(general, kind), Trial(special, kind, execution=execution), optimizer)


@KIND
@pytest.mark.parametrize(
    "chained, single",
    [("cola", "lora"), ("rac_lora", "asym_lora"), ("c3la", "cla"), ("r_c3la", "r_cla"), ("c_paca", "paca")],
)
def test_a_chain_of_one_link_is_its_unchained_method(chained: str, single: str, kind: str):
    one, other = Trial(chained, kind), Trial(single, kind)
    assert one.train(STEPS, resets=()) == other.train(STEPS, resets=())
    assert torch.equal(one.output(), other.output())


@KIND
def test_a_chain_with_resets_is_not_its_unchained_method(kind: str):
    """In one of the release's code bases a reset leaves the weights alone, and chained equals unchained."""
    for chained, single in (("cola", "lora"), ("rac_lora", "asym_lora"), ("c3la", "cla"), ("r_c3la", "r_cla")):
        one, other = Trial(chained, kind), Trial(single, kind)
        one.train(STEPS, resets=RESETS)
        other.train(STEPS, resets=RESETS)
        pairs = zip(one.adapter.deltas(), other.adapter.deltas(), strict=True)
        assert min((a - b).abs().max() for (_, a), (_, b) in pairs) > 1e-3, chained


@KIND
def test_gaussian_selectors_are_asymmetric_lora(kind: str):
    """Reading (h) of r-cLA: a dense Gaussian A, as in most of the release's trainers, is Asym (PROTOCOL 1.4)."""
    for method, twin in (("r_cla", "asym_lora"), ("r_c3la", "rac_lora")):
        one, other = Trial(method, kind, selector="gaussian"), Trial(twin, kind)
        assert one.adapter.execution == "dense"
        assert one.train(STEPS, resets=RESETS) == other.train(STEPS, resets=RESETS)
    assert get_method("asym_lora").start is gaussian_start


def test_scale_is_alpha_over_r_or_over_its_root():
    for scaling, scale in (("alpha/r", 7.0 / 5), ("alpha/sqrt_r", 7.0 / 5**0.5)):
        trial = Trial("lora", scaling=scaling)
        place = trial.adapter.places["0"]
        with torch.no_grad():
            place.B.fill_(1.0)
        exact = scale * place.A.detach().double().sum(0).expand(24, -1)
        # r products of fp32 numbers, one sum of r terms, one product with s
        assert_close(dict(trial.adapter.deltas())["0"], exact, roundings(7), scaling)
