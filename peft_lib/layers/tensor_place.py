"""A place whose links are tensors of the method's own, and what they make of W (`Tensors`, `Method.weight`)."""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from peft_lib.layers.links import AnyLink, DeltaError, TensorLink, content, effective_weight
from peft_lib.layers.place import Place
from peft_lib.layers.targets import TargetError
from peft_lib.methods.method import MethodError, Tensors


class TensorPlace(Place):
    """Trained tensors are fp32 parameters `trained_<name>`, frozen ones buffers `frozen_<name>` that no file holds."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._made: dict[str, Tensor] = {}
        """Frozen tensors as they were made, by name: a shared draw is known by being the same tensor."""
        self.open_link(0)
        self._check_start()

    def factors(self) -> dict[str, nn.Parameter]:
        return {
            name: self.get_parameter(f"trained_{name}")
            for name in self.method.trains
            if f"trained_{name}" in self._parameters
        }

    def frozen(self) -> Iterator[Tensor]:
        yield from self.frozen_by_name().values()

    def frozen_by_name(self) -> dict[str, Tensor]:
        return {name: self.get_buffer(f"frozen_{name}") for name in self._made}

    def tensors(self) -> dict[str, Tensor]:
        """All tensors of the open link, by name."""
        return {**self.frozen_by_name(), **self.factors()}

    def weight_from(self, weight: Tensor, tensors: Mapping[str, Tensor]) -> Tensor:
        """`Method.weight` in fp32, on a copy of W that it may write into."""
        assert self.method.weight is not None
        with torch.autocast(weight.device.type, enabled=False):
            return self.method.weight(weight.float().clone(), tensors, self.scale)

    def open_link(self, index: int) -> None:
        made = self._started(index)
        for name, value in made.trained.items():
            self._set_trained(name, value)
        self._set_frozen(made.frozen)

    def _check_start(self) -> None:
        """The definition, tried once: its shape, that it uses what trains, and that the start changes nothing."""
        where = f"{self.target.key}: method {self.method.id}: weight(W, tensors, s)"
        trained = self.factors()
        with torch.enable_grad():
            made = self.weight_from(self.closed_weight(), self.tensors())
            if made.shape != self.weight.shape:
                raise MethodError(f"{where} has shape {tuple(made.shape)}, W has {tuple(self.weight.shape)}")
            grads = (
                torch.autograd.grad(made.sum(), list(trained.values()), allow_unused=True) if made.requires_grad else []
            )
        unused = [name for name, grad in zip(trained, grads, strict=False) if grad is None] if grads else list(trained)
        if unused:
            raise MethodError(f"{where} does not depend on {', '.join(unused)}, which the method trains")
        before = self.closed_weight().float()
        if not torch.allclose(made.detach(), before, rtol=1e-4, atol=1e-4 * float(before.abs().max())):
            off = float((made.detach() - before).abs().max())
            raise MethodError(f"{where} is off by {off:.3g} from W at the start: choose a start that changes nothing")

    def _started(self, index: int) -> Tensors:
        """What the method starts link `index` with, checked."""
        made = self._start(index)
        where = f"{self.target.key}: method {self.method.id}"
        if not isinstance(made, Tensors):
            raise TargetError(f"{where} has `weight`, so `start` must return Tensors, not {type(made).__name__}")
        if set(made.trained) != set(self.method.trains):
            raise TargetError(f"{where} trains {sorted(self.method.trains)}, but starts with {sorted(made.trained)}")
        if both := set(made.trained) & set(made.frozen):
            raise TargetError(f"{where} names {sorted(both)} as trained and as frozen: use different names")
        if odd := [name for name in made.frozen if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name)]:
            raise TargetError(f"{where}: frozen tensor {odd[0]!r}: use letters, digits and '_'")
        for name, old in self.tensors().items():
            new = {**made.trained, **made.frozen}.get(name)
            if new is None or new.shape != old.shape:
                raise TargetError(f"{where}: tensor {name} changes its shape from link to link; it must keep it")
        return made

    def _set_trained(self, name: str, value: Tensor) -> None:
        """A copy in fp32: the method may have made several tensors of one memory."""
        self.hold(f"trained_{name}", value.detach().to(torch.float32, copy=True), trains=True)

    def _set_frozen(self, tensors: Mapping[str, Tensor]) -> None:
        self._made = dict(tensors)
        for name, value in tensors.items():
            self.register_buffer(f"frozen_{name}", self.pool.on(value, self.weight.device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "TensorPlace":
        """Shared draws stay shared when the model moves to another device."""
        super()._apply(fn, recurse)
        for name, value in self._made.items():
            held = self.get_buffer(f"frozen_{name}")
            self.register_buffer(f"frozen_{name}", self.pool.on(value, held.device), persistent=False)
        return self

    def link(self) -> TensorLink:
        trained = {n: t.detach().to("cpu", copy=True) for n, t in self.factors().items()}
        return TensorLink(self.index, self.scale, trained, dict(self._made), self.method.weight, _digest(self._made))

    @torch.no_grad()
    def completed(self, closed: Sequence[AnyLink], link: AnyLink, seed: int) -> tuple[AnyLink, ...]:
        first = self.weight if self.original is None else self.original
        weight = first.to("cpu", torch.float32, copy=True)
        whole: list[AnyLink] = []
        for one in closed:
            whole.append(self._complete(one, weight, seed))
            weight = whole[-1].apply(weight)
        return (*whole, self._complete(link, weight, seed))

    def _complete(self, link: AnyLink, weight: Tensor, seed: int) -> AnyLink:
        """Frozen tensors as they were drawn; they may depend on the weight that the link found."""
        assert isinstance(link, TensorLink)
        if link.frozen is not None:
            return link
        made = self._start(link.index, lambda: weight, seed)
        assert isinstance(made, Tensors)
        digest = _digest(made.frozen)
        if link.digest not in (None, digest):
            raise DeltaError(
                f"{self.target.key}: the frozen tensors of link {link.index} come out otherwise than when the delta was "
                "written: the model's own weights differ, or the method makes them otherwise on this machine"
            )
        return TensorLink(link.index, link.scale, link.trained, made.frozen, self.method.weight, digest)

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
            cast = {n: t.to(x.dtype) if t.is_floating_point() else t for n, t in self.tensors().items()}
            return self.method.side(x, cast, self.scale)
        found = self.closed_weight()
        return F.linear(x, (self.weight_from(found, self.tensors()) - found).to(x.dtype))

    @torch.no_grad()
    def delta(self) -> Tensor:
        """W_k - W0: such links do not add up, so it is taken from the weights."""
        first = (self.weight if self.original is None else self.original).cpu().float()
        return effective_weight(first, [*self.closed, self.link()]) - first


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(content(tensors[name]))
    return digest.hexdigest()
