"""An adapted linear: the frozen module plus its places, under one of three executions of the same mathematics.

dense    y = W x + s B (A x), the literal products: the reference. Keeps x (for A) or A x (for B).
gather   y = W x + s B x[columns]: the selector's product is a choice of r inputs. Keeps tokens * r elements.
inplace  W[:, columns] holds W + s B before the forward pass; no side product, and the backward pass keeps only the r
         selected inputs per place (PaCA's trick, valid for every column-sparse method).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn import functional as F

from peft_lib.layers.place import Place
from peft_lib.layers.targets import weight_matrix


class AdaptedLinear(nn.Module):
    """Stands in for a linear module. x (..., d_in) -> y (..., d_out); several places may share one fused output."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.places = nn.ModuleList()

    def add_place(self, place: Place) -> None:
        self.places.append(place)

    @property
    def weight(self) -> Tensor:
        """The module's own weight, for code that asks for its dtype or device."""
        return self.base.weight  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        folded = [p for p in self.places if isinstance(p, Place) and p.execution == "inplace"]
        for place in folded:
            place.write_back()
        if folded and torch.is_grad_enabled():
            factors = [place.b() for place in folded]
            y = _InplaceLinear.apply(x, weight_matrix(self.base).detach(), self.base, folded, *factors)
        else:
            y = self.base(x)
        for side in (p for p in self.places if isinstance(p, Place) and p.execution != "inplace"):
            y = _add(y, side, _side(side, x))
        return y


def _side(place: Place, x: Tensor) -> Tensor:
    """s B A x of one place, (..., d_out), in x's dtype."""
    b = place.b().to(x.dtype)
    if place.execution == "gather":
        assert place.columns is not None
        return place.scale * F.linear(x.index_select(-1, place.columns), b)
    assert place.A is not None
    return place.scale * F.linear(F.linear(x, place.A.to(x.dtype)), b)


def _add(y: Tensor, place: Place, update: Tensor) -> Tensor:
    if place.target.rows is None:
        return y + update.to(y.dtype)
    # In place is safe: a linear keeps its input and weight for the backward pass, never its output.
    y[..., place.start : place.stop] += update.to(y.dtype)
    return y


class _InplaceLinear(torch.autograd.Function):
    """y = base(x) with W already holding the update; gradients for x and for each place's B.

    grad_x = g W; grad_B = s g[rows]^T x[columns]. W is saved only if x needs a gradient, so writing into W between the
    forward and the backward pass is caught by autograd's version check. Works under autocast: the forward pass casts as
    `base` does, the backward pass computes in the output's dtype.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, base: nn.Module, places: list[Place], *factors: Tensor) -> Tensor:
        selected = [x.index_select(-1, p.columns).reshape(-1, p.rank) for p in places if p.columns is not None]
        ctx.save_for_backward(weight if ctx.needs_input_grad[0] else None, *selected)
        ctx.rows = [(p.start, p.stop, p.scale) for p in places]
        ctx.x_dtype = x.dtype
        return base(x)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (g,) = grads
        weight, *selected = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_x = (g @ weight.to(g.dtype)).to(ctx.x_dtype) if weight is not None else None  # type: ignore[attr-defined]
        flat = g.reshape(-1, g.shape[-1])
        grad_factors = [
            scale * (flat[:, start:stop].t() @ chosen.to(g.dtype)).float()
            for (start, stop, scale), chosen in zip(ctx.rows, selected, strict=True)  # type: ignore[attr-defined]
        ]
        return grad_x, None, None, None, *grad_factors
