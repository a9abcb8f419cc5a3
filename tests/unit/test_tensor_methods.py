"""Methods with tensors of their own: `weight` is the one definition, and everything else follows from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from peft_lib import adapt, read_delta
from peft_lib.layers.delta_file import DeltaError
from peft_lib.layers.links import TensorLink, effective_weight
from peft_lib.layers.targets import TargetError
from peft_lib.layers.tensor_place import TensorPlace
from peft_lib.methods.method import LowRank, Method, MethodError, Options, Tensors
from peft_lib.methods.registry import get_method, register, unregister
from tests.unit.zoo import (
    BACKWARD,
    FORWARD,
    SCALE,
    TENSOR_CASES,
    Case,
    Trial,
    assert_close,
    build,
    parameter_names,
    place_matrix,
    roundings,
)

CASE = pytest.mark.parametrize("case", TENSOR_CASES, ids=str)


def place_of(trial: Trial, key: str) -> TensorPlace:
    place = trial.adapter.places[key]
    assert isinstance(place, TensorPlace)
    return place


def grown(case: Case, **changes: Any) -> Trial:
    """Tensors far from their start."""
    trial = case.trial(**changes)
    for index, (_, factor) in enumerate(sorted(trial.adapter.factors().items())):
        with torch.no_grad():
            factor.add_(0.3 * torch.randn(factor.shape, generator=torch.Generator().manual_seed(index)))
    return trial


@CASE
def test_the_examples_are_what_the_matrix_covers(case: Case) -> None:
    assert {"vera", "dora", "ia3", "chained_tensors"} <= {c.method for c in TENSOR_CASES}
    assert case.execution == "dense"


@CASE
def test_the_output_and_its_gradients_are_the_definitions(case: Case) -> None:
    """The whole model with weight(W, tensors, s) put in place of W by torch.func, against the adapted one."""
    trial = grown(case)
    method = trial.adapter.method
    found = trial.gradients()
    leaves: dict[str, torch.Tensor] = {}
    weights: dict[str, torch.Tensor] = {n: p.detach().clone() for n, p in trial.plain.named_parameters()}
    for key in trial.adapter.places:
        place = place_of(trial, key)
        path, _, rows = key.partition("[")
        tensors = {n: t.detach().clone().requires_grad_(n in method.trains) for n, t in place.tensors().items()}
        leaves |= {name: tensors[n] for n, name in parameter_names(trial, key).items()}
        new = method.weight(place_matrix(trial.plain, key).clone(), tensors, SCALE if method.scaled else 1.0)
        stored = weights[f"{path}.weight"]
        conv1d = type(trial.plain.get_submodule(path)).__name__ == "Conv1D"
        start, stop = map(int, rows.rstrip("]").split(":")) if rows else (0, new.shape[0])
        full = stored.t() if conv1d else stored
        full = torch.cat([full[:start], new, full[stop:]])
        weights[f"{path}.weight"] = full.t() if conv1d else full
    loss = F.cross_entropy(torch.func.functional_call(trial.plain, weights, (trial.x,)), trial.y)
    assert_close(trial.loss().detach(), loss.detach(), roundings(2 * FORWARD), "loss")
    expected = dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))
    for name, gradient in expected.items():
        assert_close(found[name], gradient, roundings(4 * BACKWARD), name)


@pytest.mark.parametrize("case", [c for c in TENSOR_CASES if get_method(c.method).side], ids=str)
def test_side_is_the_definition_without_w(case: Case) -> None:
    trial = grown(case)
    for key in trial.adapter.places:
        place = place_of(trial, key)
        x = torch.randn(2, 3, place.d_in, generator=torch.Generator().manual_seed(0))
        assert_close(place.side(x).detach(), x @ place.delta().t(), roundings(2 * FORWARD), key)


@pytest.mark.parametrize("case", [c for c in TENSOR_CASES if get_method(c.method).lowrank], ids=str)
def test_lowrank_is_the_definition_as_a_product(case: Case) -> None:
    trial = grown(case)
    for key in trial.adapter.places:
        place = place_of(trial, key)
        a, b = place.method.lowrank(place.tensors(), place.scale)
        assert a.shape == (place.rank, place.d_in) and b.shape == (place.d_out, place.rank)
        assert_close((b @ a).detach(), place.delta(), roundings(2 * FORWARD), key)


@pytest.mark.parametrize("kind", ["linear", "fused", "conv1d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_chain_applies_its_links_in_order(kind: str, dtype: torch.dtype) -> None:
    """W_j+1 = weight(W_j, tensors_j, s) in fp32, and the next link starts as if nothing had been there."""
    trial = Trial("chained_tensors", kind, dtype=dtype)
    method = trial.adapter.method
    expected = {key: place_matrix(trial.plain, key).float() for key in trial.adapter.places}
    for link in range(3):
        if link:
            before = trial.output()
            trial.adapter.next_link()
            if dtype == torch.float32:
                assert_close(trial.output(), before, roundings(4 * FORWARD), "reset")
        trial.train(steps=2, lr=5e-2, resets=())
        for key in expected:
            tensors = {n: t.detach() for n, t in place_of(trial, key).tensors().items()}
            expected[key] = method.weight(expected[key], tensors, SCALE)
    merged = trial.adapter.merge()
    for key, weight in expected.items():
        assert torch.equal(place_matrix(merged, key), weight.to(dtype)), key


def test_shared_draws_are_one_tensor_and_in_no_file(tmp_path: Path) -> None:
    trial = Trial("vera", "fused")
    q, v = (place_of(trial, key).frozen_by_name() for key in trial.adapter.places)
    assert all(q[name].data_ptr() == v[name].data_ptr() for name in ("A", "B"))
    trial.train(steps=3)
    trial.adapter.save(tmp_path / "d.safetensors")
    link = read_delta(tmp_path / "d.safetensors").snapshot().open["qkv[0:16]"]
    assert set(link.stored()) == {"b", "d"} and isinstance(link, TensorLink)
    with pytest.raises(DeltaError, match="load the delta into an adapter"):
        effective_weight(torch.zeros(16, 16), [link])
    assert (tmp_path / "d.safetensors").stat().st_size < 4096


@CASE
def test_a_file_brings_its_seed_with_it(case: Case, tmp_path: Path) -> None:
    """Frozen tensors and later links are drawn as the saved adapter would have drawn them."""
    trial, other = case.trial(), case.trial(seed=99)
    trial.train(steps=6)
    trial.adapter.save(tmp_path / "d.safetensors")
    other.adapter.load(tmp_path / "d.safetensors")
    assert other.adapter.header == trial.adapter.header
    assert torch.equal(other.output(), trial.output())
    assert other.train(4, "sgd", resets=(1, 3)) == trial.train(4, "sgd", resets=(1, 3))


def test_alpha_and_rank_mean_nothing_where_a_method_says_so() -> None:
    outputs = []
    for settings in ({"rank": 5, "alpha": 7.0}, {"rank": 500, "alpha": 1e-3}):
        trial = Trial("ia3", **settings)
        trial.train(steps=3)
        outputs.append(trial.output())
        assert trial.adapter.header["scale"] == 1.0
    assert torch.equal(*outputs)
    method = get_method("ia3")
    assert [method.uses(s) for s in ("rank", "alpha", "scaling", "targets", "chain_period", "lr")] == [
        False, False, False, True, False, True,
    ]  # fmt: skip


def test_the_weight_of_a_context_is_a_copy() -> None:
    def spoil(link: Any, options: Any) -> Tensors:
        link.weight.zero_()
        return Tensors({"l": torch.ones(link.d_out)})

    with registered(start=spoil) as method:
        trial = Trial(method)
        assert torch.equal(trial.output(), trial.plain(trial.x))


class registered:
    """A method made at run time from (IA)^3's fields."""

    def __init__(self, **changes: Any) -> None:
        ia3 = get_method("ia3")
        fields = {"start": ia3.start, "weight": ia3.weight, "size": ia3.size, "trains": ("l",), **changes}
        self.method = Method(id="odd", name="Odd", formula="-", source="test", family="present", **fields)

    def __enter__(self) -> str:
        return register(self.method).id

    def __exit__(self, *unused: object) -> None:
        unregister("odd")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    unregister("odd")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"size": lambda shapes, rank: 1}, MethodError, r"`size` says 1 trained parameters, its tensors have 60"),
        ({"start": lambda link, o: Tensors({"m": torch.ones(link.d_out)})}, TargetError, r"trains \['l'\], but starts"),
        ({"start": lambda link, o: LowRank(torch.ones(5, link.d_in))}, TargetError, "must return Tensors, not LowRank"),
        (
            {"start": lambda link, o: Tensors({"l": torch.ones(link.d_out)}, {"l": torch.ones(1)})},
            TargetError, r"names \['l'\] as trained and as frozen",
        ),
    ],
    ids=["size", "names", "kind", "both"],
)  # fmt: skip
def test_a_method_that_contradicts_itself_is_refused(changes: dict, error: type[Exception], message: str) -> None:
    with registered(**changes) as method, pytest.raises(error, match=message):
        Trial(method)


def test_tensors_keep_their_shape_from_link_to_link() -> None:
    def start(link: Any, options: Any) -> Tensors:
        return Tensors({"l": torch.ones(link.d_out)}, {"c": torch.ones(1 + link.index)})

    with registered(start=start, chains=True) as method, pytest.raises(TargetError, match="tensor c changes its shape"):
        Trial(method).adapter.next_link()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": None}, "it needs `start` and `size` too"),
        ({"column_sparse": True}, "not column_sparse"),
        ({"weight": None}, "trains l: factors of W \\+ s B A are A, B, P; tensors of other names need `weight`"),
        ({"trains": ("l m",)}, "tensor 'l m': use letters"),
    ],
)
def test_a_description_that_contradicts_itself_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(MethodError, match=message):
        registered(**changes)


def test_columns_or_a_matrix_need_no_weight_and_tensors_do() -> None:
    def start(link: Any, options: Any) -> Tensors:
        return Tensors({"B": torch.ones(1)})

    with pytest.raises(TargetError, match="starts with Tensors, so its description needs `weight`"):
        Trial(Method(id="odd", name="Odd", formula="-", source="t", family="present", trains=("B",), start=start))


def test_places_on_another_device_hold_their_own_draws() -> None:
    """Unshared tensors have no identity once they are moved: a freed one's must not be taken for another's."""

    def start(link: Any, options: Any) -> Tensors:
        return Tensors({"l": torch.ones(link.d_out)}, {"A": link.normal(1.0, (2, link.d_in))})

    with registered(start=start, weight=lambda w, t, s: t["l"][:, None] * w) as method:
        model = torch.nn.Sequential(*[torch.nn.Linear(6, 6) for _ in range(8)])
        places = adapt(model, method, rank=2).places
        model.to("meta")
        moved = [next(place.frozen()) for place in places.values()]
        assert all(t.device.type == "meta" for t in moved)
        assert len({id(t) for t in moved}) == 8
    vera = torch.nn.Sequential(*[torch.nn.Linear(6, 6) for _ in range(3)])
    shared = adapt(vera, "vera", rank=2).places
    vera.to("meta")
    assert len({id(place.frozen_by_name()["A"]) for place in shared.values()}) == 1


class _Std(Options):
    std: float = 1.0


def test_a_file_with_other_options_or_another_w0_is_refused(tmp_path: Path) -> None:
    def start(link: Any, options: Any) -> Tensors:
        a = link.normal(options.std, (2, link.d_in)) * link.weight.abs().mean()
        return Tensors({"b": torch.zeros(link.d_out, 2)}, {"A": a})

    fields = {"start": start, "weight": lambda w, t, s: w + t["b"] @ t["A"], "trains": ("b",), "options": _Std}
    size = lambda shapes, rank: sum(2 * n * d_out for _, d_out, n in shapes)  # noqa: E731
    with registered(**fields, size=size, ranked=False) as method:
        trial = Trial(method, std=2.0)
        trial.train(steps=2)
        trial.adapter.save(tmp_path / "d.safetensors")
        with pytest.raises(DeltaError, match=r"written with options \{'std': 2.0\}, this adapter has \{\}"):
            Trial(method).adapter.load(tmp_path / "d.safetensors")
        other = build("linear", seed=5)
        adapter = adapt(other, method, targets=("0", "2"), head=("4",), seed=3, std=2.0, alpha=7.0, rank=5)
        before = {n: t.clone() for n, t in other.state_dict().items()}
        with pytest.raises(DeltaError, match="come out otherwise than when the delta was written"):
            adapter.load(tmp_path / "d.safetensors")
        assert all(torch.equal(t, before[n]) for n, t in other.state_dict().items())
    chain = Trial("c3la", remainder="drop")
    chain.adapter.save(tmp_path / "c.safetensors")
    with pytest.raises(DeltaError, match="Use the same options"):
        Trial("c3la").adapter.load(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": lambda w, t, s: t["l"][:, None] * w + 1.0}, r"off by 1 from W at the start"),
        ({"weight": lambda w, t, s: (t["l"][:, None] * w)[:1]}, r"has shape \(1, 12\), W has \(24, 12\)"),
        ({"weight": lambda w, t, s: w}, "does not depend on l, which the method trains"),
    ],
    ids=["start", "shape", "unused"],
)
def test_a_definition_is_tried_once(changes: dict, message: str) -> None:
    with registered(**changes) as method, pytest.raises(MethodError, match=message):
        Trial(method)


def test_a_definition_may_write_into_its_copy_of_w_and_index_with_integers() -> None:
    def start(link: Any, options: Any) -> Tensors:
        rows = torch.tensor(link.permutation(link.d_out)[:3])
        return Tensors({"l": torch.zeros(3, link.d_in)}, {"rows": rows, "names": torch.ones(1)})

    def weight(w: Any, t: Any, s: float) -> Any:
        w[t["rows"]] += t["l"]
        return w

    fields = {"start": start, "weight": weight, "size": lambda shapes, rank: sum(3 * i * n for i, _, n in shapes)}
    with registered(**fields) as method:
        trial = Trial(method)
        losses = trial.train(steps=6, lr=5e-2)
        assert losses[-1] < losses[0]
        out = trial.output()
        assert_close(trial.adapter.merge()(trial.x).detach(), out, roundings(2 * FORWARD), "merged")
        assert torch.equal(trial.plain[0].bias, trial.model[0].bias)


def test_writing_into_a_shared_draw_is_refused() -> None:
    def start(link: Any, options: Any) -> Tensors:
        a = link.normal(1.0, (2, 4), name="a", shared=True)
        a *= 0.1
        return Tensors({"l": torch.ones(link.d_out)}, {"a": a})

    with registered(start=start) as method, pytest.raises(MethodError, match="shared draw 'a' was written into"):
        Trial(method)


def test_errors_of_a_start_say_where_they_come_from() -> None:
    def start(link: Any, options: Any) -> Tensors:
        raise ZeroDivisionError("mine")

    with registered(start=start) as method, pytest.raises(ZeroDivisionError) as caught:
        Trial(method)
    assert caught.value.__notes__ == ["in `start` of method odd, link 0 at 0"]


@pytest.mark.parametrize("method", ["vera", "dora", "ia3"])
def test_whole_models_pickle(method: str, tmp_path: Path) -> None:
    trial = Trial(method)
    trial.train(steps=1)
    torch.save(trial.model, tmp_path / "m.pt")
    again = torch.load(tmp_path / "m.pt", weights_only=False)
    with torch.no_grad():
        assert torch.equal(again(trial.x), trial.output())
