"""A place whose links are tensors of the method's own, and what they make of W (`Tensors`, `Method.weight`)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peft_lib.layers.links import AnyLink, TensorLink, effective_weight
from peft_lib.layers.place import Place
from peft_lib.layers.targets import TargetError
from peft_lib.methods.method import Tensors


class TensorPlace(Place):
    """Trained tensors are fp32 parameters `trained_<name>`, frozen ones buffers `frozen_<name>` that no file holds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.frozen_names: tuple[str, ...] = ()
        self.open_link(0)

    def factors(self) -> dict[str, nn.Parameter]:
        return {name: self.get_parameter(f"trained_{name}") for name in self.method.trains if self._has(name)}

    def _has(self, name: str) -> bool:
        return f"trained_{name}" in self._parameters

    def frozen(self) -> Iterator[Tensor]:
        yield from self.frozen_tensors().values()

    def frozen_tensors(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"frozen_{name}") for name in self.frozen_names}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the open link, by name."""
        return {**self.frozen_tensors(), **self.factors()}

    def open_link(self, index: int) -> None:
        made = self._started(index)
        for name, value in made.trained.items():
            self._set_trained(name, value)
        self._set_frozen(made.frozen)

    def _started(self, index: int) -> Tensors:
        """What the method starts link `index` with, checked."""
        assert self.method.start is not None
        made = self.method.start(self.draws(index), self.options)
        where = f"{self.target.key}: method {self.method.id}"
        if not isinstance(made, Tensors):
            raise TargetError(f"{where} has `weight`, so `start` must return Tensors, not {type(made).__name__}")
        if set(made.trained) != set(self.method.trains):
            raise TargetError(f"{where} trains {sorted(self.method.trains)}, but starts with {sorted(made.trained)}")
        if both := set(made.trained) & set(made.frozen):
            raise TargetError(f"{where} names {sorted(both)} as trained and as frozen: use different names")
        for name, old in self.tensors().items():
            new = {**made.trained, **made.frozen}.get(name)
            if new is None or new.shape != old.shape:
                raise TargetError(f"{where}: tensor {name} changes its shape from link to link; it must keep it")
        return made

    def _set_trained(self, name: str, value: Tensor) -> None:
        """Writes into the existing tensor if there is one: the optimiser holds it, and so may DDP."""
        if self._has(name):
            with torch.no_grad():
                self.get_parameter(f"trained_{name}").copy_(value)
        else:
            start = value.detach().to(self.weight.device, torch.float32, copy=True)
            self.register_parameter(f"trained_{name}", nn.Parameter(start))

    def _set_frozen(self, tensors: Mapping[str, Tensor]) -> None:
        for name, value in tensors.items():
            self.register_buffer(f"frozen_{name}", self._on_device(value), persistent=False)
        self.frozen_names = tuple(tensors)

    def _on_device(self, value: Tensor) -> Tensor:
        """A shared draw stays one tensor on the device, too."""
        device = self.weight.device
        if value.device == device:
            return value.detach()
        return self.pool.setdefault((id(value), str(device)), value.detach().to(device))

    def link(self) -> TensorLink:
        trained = {n: t.detach().to("cpu", copy=True) for n, t in self.factors().items()}
        frozen = {n: t.detach().cpu() for n, t in self.frozen_tensors().items()}
        return TensorLink(self.index, self.scale, trained, frozen, self.method.weight)

    def complete(self, link: AnyLink, weight: Tensor) -> AnyLink:
        """Frozen tensors as they were drawn; they may depend on the weight that the link found."""
        assert isinstance(link, TensorLink) and self.method.start is not None
        if link.frozen is not None:
            return link
        draws = self.draws(link.index, lambda: weight)
        made = self.method.start(draws, self.options)
        assert isinstance(made, Tensors)
        return TensorLink(link.index, link.scale, link.trained, made.frozen, self.method.weight)

    def misfit(self, link: AnyLink, is_open: bool) -> str | None:
        if not isinstance(link, TensorLink):
            return f"the delta's kind is {link.kind}, the adapter's tensors. Use the method that wrote it"
        mine = {n: tuple(t.shape) for n, t in self.factors().items()}
        its = {n: tuple(t.shape) for n, t in link.trained.items()}
        if mine != its or link.scale != self.scale:
            return f"the delta has {its} and scale {link.scale}, the adapter {mine} and {self.scale}. Use the same settings"
        return None

    def take(self, link: AnyLink) -> None:
        assert isinstance(link, TensorLink) and link.frozen is not None
        for name, value in link.trained.items():
            self._set_trained(name, value)
        self._set_frozen(link.frozen)

    def side(self, x: Tensor) -> Tensor:
        """(weight(W, tensors, s) - W) x, through the method's own `side` if it has one."""
        if self.method.side is not None:
            return self.method.side(x, {n: t.to(x.dtype) for n, t in self.tensors().items()}, self.scale)
        assert self.method.weight is not None
        found = self.closed_weight()
        return F.linear(x, (self.method.weight(found, self.tensors(), self.scale) - found).to(x.dtype))

    @torch.no_grad()
    def delta(self) -> Tensor:
        """W_k - W0: such links do not add up, so it is taken from the weights."""
        first = (self.weight if self.original is None else self.original).cpu().float()
        return effective_weight(first, [*self.closed, self.link()]) - first
