"""An adapted linear: the frozen module plus its places, under one of three executions of the same mathematics.

dense    y = W x + s B (A x), the literal products: the reference. Keeps x (for A) or A x (for B). Methods with tensors of
         their own: y = W x + (weight(W, tensors, s) - W) x.
gather   y = W x + s B x[columns]: the selector's product is a choice of r inputs. Keeps tokens * r elements.
inplace  W[:, columns] holds W + s B before the forward pass; no side product, and the backward pass keeps only the r
         selected inputs per place (PaCA's trick, valid for every column-sparse method).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from peft_lib.layers.bypass import guarded
from peft_lib.layers.factor_place import FactorPlace
from peft_lib.layers.place import Place
from peft_lib.layers.targets import weight_matrix


class AdaptedLinear(nn.Module):
    """Stands in for a linear module. x (..., d_in) -> y (..., d_out); several places may share one fused output."""

    def __init__(self, base: nn.Module, path: str) -> None:
        super().__init__()
        self.base = base
        self.path = path
        self.places = nn.ModuleList()
        self.register_state_dict_pre_hook(_write_back)

    def add_place(self, place: Place) -> None:
        self.places.append(place)

    @property
    def weight(self) -> Tensor:
        """The module's own weight, for code that asks for its dtype or device; it cannot be multiplied with (`bypass`)."""
        assert isinstance(self.base.weight, Tensor)
        return guarded(self.base.weight, self.path)

    @property
    def bias(self) -> Tensor | None:
        """The module's own bias, which no method adapts."""
        bias = self.base.bias
        assert bias is None or isinstance(bias, Tensor)
        return bias

    def folded(self) -> list[FactorPlace]:
        """Places whose open link W itself holds."""
        return [p for p in self.places if isinstance(p, FactorPlace) and p.execution == "inplace"]

    def forward(self, x: Tensor) -> Tensor:
        folded = self.folded()
        if not folded:
            y = self.base(x)
        elif torch.compiler.is_compiling():
            y = self._outside_the_graph(x, folded)
        else:
            y = self._folded(x, folded)
        for place in self.places:
            if isinstance(place, Place) and place.execution != "inplace":
                y = place.add_to(y, x)
        return y

    def _folded(self, x: Tensor, folded: list[FactorPlace]) -> Tensor:
        for place in folded:
            place.write_back()
        if not torch.is_grad_enabled():
            return self.base(x)
        factors = [place.b() for place in folded]
        # A linear's output over other than two dimensions is a view, and a view that a Function returns may not be written
        # into, as some models do (y /= 2): so rows go in, and the view is made outside.
        rows = x.reshape(-1, x.shape[-1]) if x.ndim != 2 else x
        y = _InplaceLinear.apply(rows, weight_matrix(self.base).detach(), self.base, folded, *factors)
        return y.view(*x.shape[:-1], -1) if x.ndim != 2 else y

    # A compiled graph would keep W as an input that changes under it. torch.compiler.disable says the same in public, but
    # imports the compiler (a CPU-second) when it decorates; this does when it is first called.
    _outside_the_graph = torch._disable_dynamo(_folded)


def _write_back(layer: nn.Module, *unused: Any) -> None:
    """Before a state dict is made: the weight in it holds the factors in it."""
    assert isinstance(layer, AdaptedLinear)
    for place in layer.folded():
        place.write_back()


class _InplaceLinear(torch.autograd.Function):
    """y = base(x) with W already holding the update; gradients for x and for each place's B.

    grad_x = g W; grad_B = s g[rows]^T x[columns]. W is saved only if x needs a gradient, so writing into W between the
    forward and the backward pass is caught by autograd's version check. Works under autocast: the forward pass casts as
    `base` does, the backward pass computes in the output's dtype. Gradients of gradients are refused: they would take W for
    a constant. Use the execution dense or gather for them.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, base: nn.Module, places: list[FactorPlace], *factors: Tensor
    ) -> Tensor:
        selected = [x.index_select(-1, p.columns).reshape(-1, p.rank) for p in places if p.columns is not None]
        ctx.save_for_backward(weight if ctx.needs_input_grad[0] else None, *selected)
        ctx.rows = [(p.start, p.stop, p.scale) for p in places]
        ctx.x_dtype = x.dtype
        return base(x)

    @staticmethod
    @once_differentiable
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
