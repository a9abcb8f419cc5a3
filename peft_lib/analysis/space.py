"""Spaces and directions: the weights that a landscape moves, as matrices, and vectors in that space."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from peft_lib.layers.targets import Target, is_linear, rows_of, weight_matrix

Space = Mapping[str, Tensor]
"""Name -> weight, (outputs, ...), a view: writing into it writes into the model."""
Direction = dict[str, Tensor]
"""Name -> fp32 tensor of the weight's shape. A weight without an entry does not move."""

BLOCK = 1 << 16
"""Elements of temporaries: small beside what a model's vectors take (which directions do not have), and in the processor's
cache."""


def all_weights(model: nn.Module) -> dict[str, Tensor]:
    """Every floating-point parameter of two and more dimensions, tied ones once; the first dimension runs over outputs.

    Vectors (biases, norms) are left out: they do not move (Li et al. 2018, section 4). A weight that its module keeps
    transposed (GPT-2's Conv1D) is given as (outputs, inputs). An embedding's rows are its entries.
    """
    turned = {id(m.weight): weight_matrix(m) for m in model.modules() if is_linear(m)}
    return {
        name: turned.get(id(p), p).detach()
        for name, p in model.named_parameters()
        if p.ndim > 1 and p.is_floating_point()
    }


def weights_of(model: nn.Module, targets: Iterable[Target]) -> dict[str, Tensor]:
    """The weights of places alone, by place key: (d_out, d_in) of a linear, or some outputs of a fused one."""
    found = {}
    for target in targets:
        module = model.get_submodule(target.path)
        start, stop = rows_of(target, module)
        found[target.key] = weight_matrix(module).detach()[start:stop]
    return found


def row_norms(weight: Tensor) -> Tensor:
    """(outputs,) Euclidean norms in fp32."""
    return torch.linalg.vector_norm(weight.reshape(weight.shape[0], -1), dim=1, dtype=torch.float32)


def inner(left: Direction, right: Direction) -> float:
    """Sum over all weights of the products of entries; each weight's sum in fp32, their sum in fp64."""
    return sum(float(torch.dot(t.reshape(-1), right[n].reshape(-1))) for n, t in left.items() if n in right)


def row_blocks(weight: Tensor, copies: int = 1) -> Iterable[slice]:
    """Slices of rows so that `copies` of each have at most BLOCK elements, but at least one row."""
    width = copies * max(1, weight[0].numel())
    step = max(1, BLOCK // width)
    return (slice(start, min(start + step, len(weight))) for start in range(0, len(weight), step))
