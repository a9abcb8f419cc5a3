"""Does every adapted place take part in the forward pass? One tiny batch tells, before hours of training."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from peft_lib.layers.adapter import Adapter
from peft_lib.layers.bypass import noting
from peft_lib.layers.linear import AdaptedLinear
from peft_lib.layers.targets import TargetError


def check(adapter: Adapter, batch: Any, forward: Callable[[nn.Module, Any], Any] | None = None) -> None:
    """One forward and backward pass in eval mode on `batch` (two items will do), and one without gradients.

    batch: whatever `forward(model, batch)` takes; by default a mapping is passed as keyword arguments, a tuple or list as
    arguments, anything else as the one argument. All floating tensors in the output count, however they are nested.

    A method that adapts no layer has nothing to check. No gradient, buffer or random state is changed. Raises TargetError with
    the names of the places whose factors get no gradient, or whose layer is not called: the model's forward pass goes round
    them, and they would not train.
    """
    adapter.check_present("check")
    if not adapter.places:
        return
    model = adapter.model
    modes = {module: module.training for module in model.modules()}
    grads = {p: p.grad for p in model.parameters()}
    called: set[str] = set()
    hooks = [m.register_forward_hook(_note(m, called)) for m in model.modules() if isinstance(m, AdaptedLinear)]
    try:
        for parameter in grads:
            parameter.grad = None
        model.eval()
        with torch.random.fork_rng(devices=_cuda_devices(model)), noting() as multiplied:
            size = _size((forward or _call)(model, batch))
            if size.requires_grad:
                size.backward()
            trained_calls = set(called)
            called.clear()
            with torch.no_grad():
                (forward or _call)(model, batch)
        silent = {key for key, place in adapter.places.items() if any(p.grad is None for p in place.factors().values())}
        skipped = {
            key
            for key, place in adapter.places.items()
            if place.target.path not in trained_calls & called or place.target.path in multiplied
        }
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        for parameter, grad in grads.items():
            parameter.grad = grad
    if bad := sorted(silent | skipped):
        raise TargetError(
            f"{len(bad)} of {len(adapter.places)} adapted places get no gradient: {', '.join(bad[:8])}"
            f"{', ...' if len(bad) > 8 else ''}. In eval mode, the model's forward pass goes round them (it uses their "
            "weights without calling them, or not at all), so they would not train. Leave them out of the targets"
        )


def _note(layer: AdaptedLinear, called: set[str]) -> Callable[..., None]:
    def hook(*unused: Any) -> None:
        called.add(layer.path)

    return hook


def _call(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    return model(*batch) if isinstance(batch, (tuple, list)) else model(batch)


def _size(output: Any) -> Tensor:
    """One number that depends on everything the model returns."""
    tensors = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]
    if not tensors:
        raise TypeError(
            f"the model returned {type(output).__name__} without a floating tensor: give `forward`, a function "
            "(model, batch) -> tensor"
        )
    return torch.stack([t.float().square().mean() for t in tensors]).sum()


def _cuda_devices(model: nn.Module) -> list[torch.device]:
    return sorted({p.device for p in model.parameters() if p.device.type == "cuda"}, key=str)
