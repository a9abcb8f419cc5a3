"""Tiny models, and the cases of the property matrix: methods x executions x kinds of places, from the registry.

What the paper's methods promise stands in `PROMISES`, written down independently of their files. Every other method is held
to what its own description says: those of examples/methods, of tests/unit/methods, and plug-ins that somebody names in
PEFT_LIB_PLUGINS (paths, separated as in PATH):

    PEFT_LIB_PLUGINS=my_methods/mine.py python -m pytest tests/unit -k mine
"""

import copy
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.pytorch_utils import Conv1D

from peft_lib.layers.adapter import Adapter, adapt
from peft_lib.layers.factor_place import FactorPlace
from peft_lib.layers.place import Place
from peft_lib.methods.method import Method
from peft_lib.methods.registry import available, get_method, load_plugin

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = (
    *sorted((ROOT / "examples/methods").glob("*.py")),
    *sorted((ROOT / "tests/unit/methods").glob("*.py")),
    *(Path(p) for p in os.environ.get("PEFT_LIB_PLUGINS", "").split(os.pathsep) if p),
)
for plugin in PLUGINS:
    load_plugin(plugin)

RANK, ALPHA = 5, 7.0  # no power of two, and 5 divides no width below: nothing is right by luck
SCALE = ALPHA / RANK
STEPS, RESETS = 20, (7, 14)
EXECUTIONS = ("dense", "gather", "inplace")
Kind = Literal["linear", "fused", "conv1d"]
KINDS: tuple[Kind, ...] = ("linear", "fused", "conv1d")


@dataclass(frozen=True)
class Promise:
    """What PROTOCOL 6.1 says of a method: what trains, what A is at the start, whether it chains."""

    trains: str
    start: Literal["gaussian", "first", "columns", "none", "own", "tensors"]
    chains: bool = False
    tensors: tuple[str, ...] = ()
    """Names of trained tensors of a method that is none of the form W + s B A."""
    selects: bool = False
    """Of other methods than the paper's: `start` returns Columns."""

    @property
    def sparse(self) -> bool:
        return self.selects or self.start in ("first", "columns")


PROMISES = {
    "fft": Promise("backbone", "none"),
    "head_only": Promise("", "none"),
    "lora": Promise("AB", "gaussian"),
    "lora_plus": Promise("AB", "gaussian"),
    "cola": Promise("AB", "gaussian", chains=True),
    "asym_lora": Promise("B", "gaussian"),
    "rac_lora": Promise("B", "gaussian", chains=True),
    "cla": Promise("B", "first"),
    "c3la": Promise("B", "first", chains=True),
    "r_cla": Promise("B", "columns"),
    "r_c3la": Promise("B", "columns", chains=True),
    "paca": Promise("P", "columns"),
    "d_paca": Promise("P", "first"),
    "c_paca": Promise("P", "columns", chains=True),
}


def promise_of(method_id: str) -> Promise:
    """The paper's methods by the table above, others by their own description."""
    if method_id in PROMISES:
        return PROMISES[method_id]
    method = get_method(method_id)
    if method.kind == "tensors":
        return Promise("", "tensors", method.chains, tensors=method.trains)
    start: Literal["none", "own"] = "none" if method.kind == "none" else "own"
    return Promise("".join(method.trains), start, method.chains, selects=method.column_sparse)


NO_FACTORS = "adapts no layer: there is nothing that an execution could compute in another way"
DENSE_A = "A is a dense matrix: there are no columns to gather or to fold into W"
EXCLUDED = {
    **{(method, execution): NO_FACTORS for method in ("fft", "head_only") for execution in EXECUTIONS},
    **{
        (method, execution): DENSE_A
        for method in ("lora", "lora_plus", "cola", "asym_lora", "rac_lora")
        for execution in ("gather", "inplace")
    },
    **{
        (method, execution): "its own description says that it cannot run so"
        for method in available()
        if method not in PROMISES
        for execution in EXECUTIONS
        if execution not in get_method(method).executions(get_method(method).parse_options({}))
        or promise_of(method).start == "none"
    },
}
"""Combinations that the matrix leaves out, each with its reason. Those that adapt no layer run as 'default'."""


class Block(nn.Module):
    """Fused qkv attention and an MLP, as in timm (nn.Linear) and GPT-2 (Conv1D). x (n, 6, 16) -> logits (n, 3)."""

    def __init__(self, conv1d: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.qkv = Conv1D(48, 16) if conv1d else nn.Linear(16, 48)
        self.fc = Conv1D(24, 16) if conv1d else nn.Linear(16, 24)
        self.head = nn.Linear(24, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        attention = torch.softmax(q @ k.transpose(-1, -2) / 4.0, dim=-1)
        return self.head(F.gelu(self.fc(x + attention @ v)).mean(dim=1))


TARGETS: dict[Kind, tuple[str, ...]] = {
    "linear": ("0", "2"),
    "fused": ("qkv[0:16]", "qkv[32:48]"),
    "conv1d": ("qkv[0:16]", "qkv[32:48]", "fc"),
}
HEAD: dict[Kind, str] = {"linear": "4", "fused": "head", "conv1d": "head"}
SIZES = {"0": (12, 24), "2": (24, 36), "qkv[0:16]": (16, 16), "qkv[32:48]": (16, 16), "fc": (16, 24)}
"""(d_in, d_out) of every adapted place."""
WIDTH, DEPTH = 48, 4
"""Longest sum and number of successive products in any of the models."""


def build(kind: Kind, seed: int = 0) -> nn.Module:
    """A model of that kind whose weights, biases and norms are all drawn: no parameter is 0 or 1 by default."""
    with torch.random.fork_rng():  # torch draws weights of its own accord; a test watches its global generator
        model = (
            nn.Sequential(nn.Linear(12, 24), nn.GELU(), nn.Linear(24, 36), nn.GELU(), nn.Linear(36, 3))
            if kind == "linear"
            else Block(conv1d=kind == "conv1d")
        )
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draws) / math.sqrt(parameter.shape[0]))
    return model


def batch(kind: Kind, seed: int = 1, size: int = 8) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    shape = (size, 12) if kind == "linear" else (size, 6, 16)
    return torch.randn(shape, generator=draws), torch.randint(0, 3, (size,), generator=draws)


@dataclass(frozen=True)
class Case:
    """One combination of the matrix."""

    method: str
    execution: str
    kind: Kind

    def __str__(self) -> str:
        return f"{self.method}-{self.execution}-{self.kind}"

    @property
    def promise(self) -> Promise:
        return promise_of(self.method)

    def trial(self, **changes: Any) -> "Trial":
        return Trial(self.method, self.kind, **{"execution": self.execution, **changes})


class Trial:
    """An adapted model with a batch; `plain` is the model as it was."""

    def __init__(
        self, method: str | Method, kind: Kind = "linear", dtype: torch.dtype = torch.float32, **changes: Any
    ) -> None:
        self.kind = kind
        self.model = build(kind).to(dtype)
        self.plain = copy.deepcopy(self.model)
        self.x, self.y = batch(kind)
        self.x = self.x.to(dtype)
        settings: dict[str, Any] = {"rank": RANK, "alpha": ALPHA, "targets": TARGETS[kind], "seed": 3}
        settings["head"] = (HEAD[kind],)
        self.adapter: Adapter = adapt(self.model, method, **{**settings, **changes})

    def loss(self) -> Tensor:
        return F.cross_entropy(self.model(self.x).float(), self.y)

    def gradients(self) -> dict[str, Tensor]:
        """Gradients of one backward pass, for the parameters that have one; by name in the adapted model."""
        self.model.zero_grad(set_to_none=True)
        self.loss().backward()
        return {n: p.grad.clone() for n, p in self.model.named_parameters() if p.grad is not None}

    def train(
        self, steps: int = 6, optimizer: str = "adamw", lr: float = 1e-2, resets: Sequence[int] = (2, 4),
        clip: float | None = None, eps: float = 1e-8,
    ) -> list[float]:  # fmt: skip
        """Trains, with a chain reset (and cleared factor states, PROTOCOL 13.16) before those steps. Returns losses."""
        groups = self.adapter.parameter_groups(lr)
        adam = optimizer == "adamw"
        opt = torch.optim.AdamW(groups, eps=eps) if adam else torch.optim.SGD(groups)
        losses = []
        for step in range(steps):
            if self.adapter.method.chains and step in resets:
                self.adapter.next_link()
                for factor in self.adapter.factors().values():
                    opt.state.pop(factor, None)
            opt.zero_grad()
            loss = self.loss()
            loss.backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_([p for g in groups for p in g["params"]], clip)
            opt.step()
            losses.append(loss.item())
        return losses

    @torch.no_grad()
    def output(self) -> Tensor:
        return self.model(self.x)


def factorless(method: str) -> bool:
    return promise_of(method).start == "none"


CASES = tuple(
    Case(method, execution, kind)
    for method in available()
    for execution in (("default",) if factorless(method) else EXECUTIONS)
    for kind in KINDS
    if (method, execution) not in EXCLUDED
)
PLACE_CASES = tuple(c for c in CASES if not factorless(c.method))
FACTOR_CASES = tuple(c for c in PLACE_CASES if not c.promise.tensors)
TENSOR_CASES = tuple(c for c in PLACE_CASES if c.promise.tensors)
CHAIN_CASES = tuple(c for c in CASES if c.promise.chains)
FACTOR_CHAIN_CASES = tuple(c for c in CHAIN_CASES if not c.promise.tensors)
SPARSE_CASES = tuple(c for c in CASES if c.promise.sparse)

UNIT = torch.finfo(torch.float32).eps / 2
FORWARD = DEPTH * (WIDTH + RANK + 4)
"""Roundings on the longest path of a forward pass: per product a sum of WIDTH terms, the side product, s, the sums."""
BACKWARD = 3 * FORWARD
"""Of a gradient: the forward pass and, as each product has two gradients, twice as much again."""


def roundings(count: int, unit: float = UNIT) -> float:
    """Relative error that `count` roundings may leave: of random sign, so 8 standard deviations of sqrt(count)."""
    return 8 * math.sqrt(count) * unit


def assert_close(actual: Tensor, expected: Tensor, tolerance: float, what: str = "", floor: float = 0.0) -> None:
    """|actual - expected| <= tolerance * max |expected| + floor: an error is relative to what is summed, not to a sum.

    `floor` is for small differences of large stored numbers.
    """
    assert actual.shape == expected.shape, f"{what}: shapes {tuple(actual.shape)} and {tuple(expected.shape)}"
    error = (actual.double() - expected.double()).abs().max().item()
    size = expected.double().abs().max().item()
    allowed = tolerance * size + floor
    assert error <= allowed, f"{what}: off by {error:.3g}, allowed {allowed:.3g} ({tolerance:.3g} of {size:.3g})"


def plain_parameters(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def matrix(model: nn.Module, path: str) -> Tensor:
    """The weight of a linear as (d_out, d_in), in the test's own words."""
    module = model.get_submodule(path)
    weight = module.weight.detach()
    return weight.t() if isinstance(module, Conv1D) else weight


def place_matrix(model: nn.Module, key: str) -> Tensor:
    """W of the place 'path' or 'path[a:b]' in an unadapted model."""
    return rows_of(matrix(model, key.partition("[")[0]), key)


def rows_of(weight: Tensor, key: str) -> Tensor:
    """The rows of a (d_out, d_in) matrix that belong to the place 'path' or 'path[a:b]'."""
    rows = key.partition("[")[2].rstrip("]")
    return weight[slice(*map(int, rows.split(":")))] if rows else weight


def selector_matrix(columns: Iterable[int], d_in: int) -> Tensor:
    """A of a selector: row i is the unit vector of column i."""
    return torch.eye(d_in)[list(columns)]


def factor_place(trial: Trial, key: str) -> FactorPlace:
    place = trial.adapter.places[key]
    assert isinstance(place, FactorPlace)
    return place


def start_of(trial: Trial, key: str) -> Tensor:
    """What the open link started from: A, or all tensors in a row."""
    place = trial.adapter.places[key]
    if isinstance(place, FactorPlace):
        return a_matrix(trial, key)
    return torch.cat([t.detach().flatten() for t in (*place.factors().values(), *place.frozen())])


def parameter_names(trial: Trial, key: str) -> dict[str, str]:
    """Factor or tensor of a place -> its parameter's name in the adapted model."""
    place: Place = trial.adapter.places[key]
    names = {id(p): n for n, p in trial.model.named_parameters()}
    return {factor: names[id(p)] for factor, p in place.factors().items()}


def a_matrix(trial: Trial, key: str) -> Tensor:
    """A (r, d_in) of the open link, whatever the execution keeps."""
    place = factor_place(trial, key)
    if place.columns is not None:
        return selector_matrix(place.columns.tolist(), place.d_in)
    assert place.A is not None
    return place.A.detach().clone()
