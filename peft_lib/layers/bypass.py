"""Forward passes that go round an adapted module: they take its weight and multiply with it themselves.

timm's BEiT and EVA compute F.linear(x, self.qkv.weight), nn.MultiheadAttention hands out_proj's weight to a function. The
adapter is never asked then, nothing trains, and merging would change the function. Where the code of the parent shows it,
`adapt` refuses (`never_called`); where it depends on a branch, the weight that an adapted layer hands out refuses to be
multiplied with (`guarded`); `Adapter.check` tells before training.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from peft_lib.layers.targets import TargetError

_MULTIPLY = {
    "linear", "matmul", "mm", "bmm", "mv", "addmm", "baddbmm", "einsum", "tensordot", "inner", "bilinear", "conv1d",
    "multi_head_attention_forward", "_native_multi_head_attention", "_transformer_encoder_layer_fwd", "__matmul__",
    "__rmatmul__", "scaled_dot_product_attention",
}  # fmt: skip

_noted: list[set[str]] = []


class GuardedWeight(Tensor):
    """A weight that tells dtype, device, shape and values, and raises TargetError when it is multiplied with."""

    path: str = "(a view of an adapted weight)"

    @classmethod
    def __torch_function__(
        cls, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _MULTIPLY:
            paths = {a.path for a in (*args, *kwargs.values()) if isinstance(a, GuardedWeight)}
            if not _noted:
                raise TargetError(
                    f"{', '.join(sorted(paths))}: the model's forward pass goes round this adapted layer: it calls "
                    f"{func.__name__} with the layer's weight. The adapter would not train. Leave it out of the targets"
                )
            _noted[-1].update(paths)
        return super().__torch_function__(func, types, args, kwargs)


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
    """Whether the class of `parent` reads `self.<child>.weight` in its code and calls `self.<child>(...)` nowhere."""
    try:
        code = inspect.getsource(type(parent))
    except (OSError, TypeError):
        return False  # no source (a notebook, a compiled module): then the guard and Adapter.check have to tell
    return bool(re.search(rf"\bself\.{child}\.weight\b", code)) and not re.search(rf"\bself\.{child}\(", code)
