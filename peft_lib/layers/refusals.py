"""What `adapt` refuses before it changes a model: layers that are never called, counts that are not what trains."""

from collections.abc import Sequence

from torch import nn

from peft_lib.layers.bypass import never_called
from peft_lib.layers.place import Place
from peft_lib.layers.targets import Target, TargetError
from peft_lib.methods.method import Method, MethodError


def check_called(model: nn.Module, targets: Sequence[Target]) -> None:
    """Raises TargetError for targets whose layer the model's code never calls."""
    bypassed = []
    for target in targets:
        parent, _, child = target.path.rpartition(".")
        if never_called(model.get_submodule(parent), child):
            bypassed.append(target.key)
    if bypassed:
        raise TargetError(
            f"targets {', '.join(bypassed)}: the model multiplies with their weights without calling them (as "
            "nn.MultiheadAttention does with out_proj), so an adapter would not train. Leave them out of the targets"
        )


def check_size(method: Method, places: Sequence[Place], rank: int) -> None:
    """What planning counts must be what trains; raises MethodError."""
    planned = method.trained_size([(p.d_in, p.d_out, 1) for p in places], rank)
    made = sum(factor.numel() for place in places for factor in place.factors().values())
    if planned != made:
        raise MethodError(
            f"method {method.id}: `size` says {planned} trained parameters, its tensors have {made}. Correct `size`"
        )
