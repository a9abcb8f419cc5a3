"""The optimiser of a run, its learning rates, and what a chain reset does to its state."""

from typing import Any

import torch
from torch import nn

from peft_lib.layers.adapter import Adapter
from peft_lib.study.spec import RunSpec


def build_optimizer(adapter: Adapter, spec: RunSpec) -> torch.optim.Optimizer:
    """AdamW (Adam where weight decay is 0) or SGD over the adapter's groups; each group remembers its peak rate."""
    groups = adapter.parameter_groups(spec.lr, spec.weight_decay, spec.head_lr_mult)
    for group in groups:
        group["peak_lr"] = group["lr"]
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.lr)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, eps=spec.eps)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor


def clear_state(optimizer: torch.optim.Optimizer, adapter: Adapter, which: str) -> None:
    """Forgets moments and step counts at a chain reset: of the adapter's factors, of all parameters, or of none.

    The step count goes too, or Adam's bias correction would treat the fresh moments as old ones and make the first step
    after a reset about 3.2 times too large (PROTOCOL 13.16).
    """
    if which == "none":
        return
    cleared: list[nn.Parameter] = (
        list(adapter.factors().values())
        if which == "adapter"
        else [p for g in optimizer.param_groups for p in g["params"]]
    )
    for parameter in cleared:
        optimizer.state.pop(parameter, None)


def state_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """State as flat tensors: '<parameter number>/<name>', numbered as in state_dict()."""
    state: dict[int, dict[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{number}/{name}": torch.as_tensor(value).detach().to("cpu", copy=True)
        for number, values in state.items()
        for name, value in values.items()
        if value is not None
    }


def load_state_tensors(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Inverse of `state_tensors`, for an optimiser over the same parameters."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in tensors.items():
        number, name = key.split("/")
        state.setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
