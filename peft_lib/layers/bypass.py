"""Forward passes that go round an adapted module: they take its weight and multiply with it themselves.

timm's BEiT and EVA compute F.linear(x, self.qkv.weight), nn.MultiheadAttention hands out_proj's weight to a function. The
adapter is never asked then, nothing trains, and merging would change the function. Where the code of the parent shows it,
`adapt` refuses (`never_called`); where it depends on a branch, the weight that an adapted layer hands out refuses to be
multiplied with (`guarded`); `check` tells before training.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree as pytree

from peft_lib.layers.targets import TargetError

_MULTIPLY = {
    "linear", "matmul", "mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "einsum", "tensordot", "inner", "bilinear",
    "multi_dot", "chain_matmul", "conv1d", "conv2d", "multi_head_attention_forward", "_native_multi_head_attention",
    "_transformer_encoder_layer_fwd", "__matmul__", "__rmatmul__", "scaled_dot_product_attention",
}  # fmt: skip
_STARTS = {"__init__", "__setstate__", "_init_weights", "init_weights", "reset_parameters", "_reset_parameters"}

_noted: list[set[str]] = []


class GuardedWeight(Tensor):
    """A weight that tells dtype, device, shape and values, and raises TargetError when it is multiplied with."""

    path: str

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        paths = {a.path for a in pytree.tree_leaves((args, kwargs)) if isinstance(a, GuardedWeight)}
        if getattr(func, "__name__", "") in _MULTIPLY:
            if not _noted:
                raise TargetError(
                    f"{', '.join(sorted(paths))}: the model's forward pass goes round this adapted layer: it calls "
                    f"{func.__name__} with the layer's weight. The adapter would not train. Leave it out of the targets"
                )
            _noted[-1].update(paths)
        result = super().__torch_function__(func, types, args, kwargs)
        for made in pytree.tree_leaves(result):
            if isinstance(made, GuardedWeight):
                made.path = ", ".join(sorted(paths))
        return result


def guarded(weight: Tensor, path: str) -> Tensor:
    """`weight` (the same memory) as seen from outside an adapted layer."""
    seen = weight.detach().as_subclass(GuardedWeight)
    seen.path = path
    return seen


@contextmanager
def noting() -> Iterator[set[str]]:
    """Inside, multiplying is allowed, and the paths it was done with are collected: to name them all at once."""
    _noted.append(set())
    try:
        yield _noted[-1]
    finally:
        _noted.pop()


def never_called(parent: nn.Module, child: str) -> bool:
    """Whether the code of `parent` reads `self.<child>.weight`, and does nothing else with `self.<child>` anywhere.

    Starting values are set everywhere and do not count. A container calls its children without naming them.
    """
    if isinstance(parent, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        return False
    code = "\n".join(_sources(type(parent)))
    reads = re.search(rf"\bself\.{child}\.weight\b", code)
    uses = re.search(rf"\bself\.{child}\b(?!\.(weight|bias)\b)", code)
    return bool(reads) and not uses


def _sources(kind: type) -> Iterator[str]:
    """Code of a class's functions, those that only set starting values left out."""
    for parent in kind.__mro__:
        if parent in (nn.Module, object):
            continue
        for name, function in vars(parent).items():
            if inspect.isfunction(function) and name not in _STARTS:
                try:
                    yield inspect.getsource(function)
                except OSError:
                    continue  # no source (compiled, a notebook): then the guard and `check` have to tell
