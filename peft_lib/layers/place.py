"""One adapted place: its frozen weight, its closed links, and how links are closed, merged and restored.

What an open link is made of is a subclass's: `FactorPlace` (A, columns, B, P) or `TensorPlace` (a method's own tensors).
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from peft_lib.layers.draws import Draws, SharedDraws
from peft_lib.layers.links import AnyLink, DeltaError, content, effective_weight
from peft_lib.layers.targets import Target, TargetError, rows_of, weight_matrix
from peft_lib.methods.method import Columns, LowRank, Method, Tensors


class Place(nn.Module, ABC):
    """State of a method at one target. The weight W (the target's rows of the module's weight) is frozen and holds W0 with
    all closed links; the inplace execution adds the open link too.
    """

    def __init__(
        self, module: nn.Module, target: Target, method: Method, options: BaseModel, rank: int, scale: float, seed: int,
        execution: str, pool: SharedDraws,
    ) -> None:  # fmt: skip
        super().__init__()
        self.target, self.method, self.options = target, method, options
        self.rank, self.scale, self.seed, self.execution, self.pool = rank, scale, seed, execution, pool
        self.start, self.stop = rows_of(target, module)
        self.matrix_of = [module]  # in a list: the module must not become a child of this one
        self.d_out, self.d_in = self.weight.shape
        limit = method.largest_rank(self.d_in, self.d_out)
        if method.ranked and rank > limit:
            raise TargetError(
                f"{target.key}: rank {rank} is larger than the layer ({self.d_out} x {self.d_in}) allows for method "
                f"{method.id}: use at most {limit}"
            )
        self.closed: list[AnyLink] = []
        self.original: Tensor | None = None

    @property
    def weight(self) -> Tensor:
        """W, a (d_out, d_in) view into the module's weight."""
        return weight_matrix(self.matrix_of[0]).detach()[self.start : self.stop]

    @property
    def index(self) -> int:
        """Index of the open link."""
        return len(self.closed)

    def draws(self, index: int, weight: Callable[[], Tensor] | None = None) -> Draws:
        """What link `index` may ask for; its weight is what the closed links have made."""
        read = weight or self.closed_weight
        return Draws(self.seed, self.target.key, self.d_in, self.d_out, self.rank, index, read, self.pool)

    def _start(
        self, index: int, weight: Callable[[], Tensor] | None = None, seed: int | None = None
    ) -> LowRank | Columns | Tensors:
        """What the method starts link `index` with; its own errors say where they come from."""
        assert self.method.start is not None
        draws = replace(self.draws(index, weight), seed=self.seed if seed is None else seed)
        try:
            return self.method.start(draws, self.options)
        except Exception as error:
            error.add_note(f"in `start` of method {self.method.id}, link {index} at {self.target.key}")
            raise

    @abstractmethod
    def factors(self) -> dict[str, nn.Parameter]:
        """What trains, by name."""

    @abstractmethod
    def frozen(self) -> Iterator[Tensor]:
        """The open link's tensors that do not train."""

    @abstractmethod
    def open_link(self, index: int) -> None:
        """Starts link `index` as the method says."""

    @abstractmethod
    def link(self) -> AnyLink:
        """The open link as it stands, copied to the CPU in fp32."""

    @abstractmethod
    def misfit(self, link: AnyLink, is_open: bool) -> str | None:
        """Why a recorded link, open or closed, does not fit here, and the remedy; None if it does."""

    @abstractmethod
    def take(self, link: AnyLink) -> None:
        """Makes a recorded link the open one."""

    @abstractmethod
    def side(self, x: Tensor) -> Tensor:
        """What the open link adds to the output, (..., d_out), in x's dtype."""

    def add_to(self, y: Tensor, x: Tensor) -> Tensor:
        """y with the open link's part added to this place's rows."""
        update = self.side(x).to(y.dtype)
        if self.target.rows is None:
            return y + update
        # In place is safe: a linear keeps its input and weight for the backward pass, never its output.
        y[..., self.start : self.stop] += update
        return y

    def closing(self, link: AnyLink) -> AnyLink:
        """The form in which a link is kept once it is closed."""
        return link

    def hold(self, name: str, value: Tensor, *, trains: bool) -> None:
        """Keeps a tensor as a parameter or a buffer of that name. Writes into the existing one if there is one: the optimiser
        holds it, and so may DDP."""
        old = getattr(self, name, None)
        if old is not None:
            with torch.no_grad():
                old.copy_(value)
        elif trains:
            self._buffers.pop(name, None)
            self.register_parameter(name, nn.Parameter(value.to(self.weight.device)))
        else:
            self.register_buffer(name, value.to(self.weight.device), persistent=False)

    def without_open_link(self) -> None:
        """Takes the open link out of W where the execution has put it in."""

    def write_back(self) -> None:
        """Puts the open link into W where the execution wants it there."""

    @torch.no_grad()
    def next_link(self) -> None:
        """Chain reset: the link goes into W in fp32 and is closed, the next one starts."""
        link = self.link()
        self.merge_open()
        self.closed.append(self.closing(link))
        self.open_link(self.index)
        self.write_back()

    @torch.no_grad()
    def merge_open(self) -> None:
        """W := effective weight with the open link."""
        link = self.link()
        self.keep_original()
        if self.weight.dtype == torch.float32:
            self.without_open_link()
            merged = link.apply(self.weight)
            if merged is not self.weight:
                self.weight.copy_(merged)
        else:
            assert self.original is not None
            self.weight.copy_(effective_weight(self.original, [*self.closed, link]))

    def closed_weight(self) -> Tensor:
        """fp32 effective weight of the closed links."""
        if self.weight.dtype == torch.float32:
            return self.weight
        return effective_weight(
            self.weight if self.original is None else self.original.to(self.weight.device), self.closed
        )

    def keep_original(self) -> None:
        if self.original is None:
            self.original = self.weight.to("cpu", copy=True)

    @torch.no_grad()
    def delta(self) -> Tensor:
        """All links as a dense (d_out, d_in) fp32 matrix on the CPU: W_k - W0."""
        total = torch.zeros(self.d_out, self.d_in)
        for link in [*self.closed, self.link()]:
            total = link.apply(total)
        return total

    @torch.no_grad()
    def reset_weight(self) -> None:
        """W := W0, bit for bit."""
        if self.original is not None:
            self.weight.copy_(self.original)

    def completed(self, closed: Sequence[AnyLink], link: AnyLink, seed: int) -> tuple[AnyLink, ...]:
        """A recorded chain with all that its file left out, the open link last. Changes nothing; raises DeltaError if what was
        left out cannot be had here.
        """
        return (*closed, link)

    @torch.no_grad()
    def restore(self, closed: Sequence[AnyLink], link: AnyLink) -> None:
        """Puts the place into a recorded and completed state: W0, closed links in order, the open link."""
        self.reset_weight()
        self.closed = list(closed)
        if closed:
            self.keep_original()
            assert self.original is not None
            self.weight.copy_(effective_weight(self.original, closed))
        self.take(link)
        self.write_back()

    def record(self) -> dict[str, Any]:
        """What a state dict does not hold, as a few facts: which adapter this is, and a digest of its frozen state."""
        digest = hashlib.sha256()
        for tensor in [*(t for link in self.closed for t in link.stored().values()), *self.frozen()]:
            digest.update(content(tensor))
        return {
            "method": self.method.id, "options": self.options.model_dump(mode="json"), "rank": self.rank,
            "scale": self.scale, "seed": self.seed, "execution": self.execution, "place": self.target.key,
            "links": self.index + 1, "frozen": digest.hexdigest(),
        }  # fmt: skip

    def get_extra_state(self) -> Tensor:
        """`record` in a state dict, as bytes: safetensors, and with it save_pretrained, takes tensors only."""
        return torch.tensor(list(json.dumps(self.record(), sort_keys=True).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Refuses a state dict of another adapter; see `check_state`."""
        theirs, mine = json.loads(bytes(state.tolist())), self.record()
        if odd := [name for name in mine if theirs.get(name) != mine[name]]:
            said = ", ".join(f"{n} {theirs.get(n)!r} (here {mine[n]!r})" for n in odd)
            raise DeltaError(
                f"{self.target.key}: the state dict is of another adapter: {said}. It holds neither A, nor columns, nor "
                "closed links: use adapter.save() and adapter.load()"
            )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Place":
        """Moves with the model; factors stay fp32 when the model's own weights change their dtype."""

        def kept(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        return super()._apply(kept, recurse)


def check_state(module: nn.Module, state: dict[str, Any], prefix: str, *unused: Any) -> None:
    """Hook before `module.load_state_dict`: refuses what does not fit a place before anything is overwritten.

    Raises DeltaError for a state of another adapter, and for one with weights of an adapted layer but no record of its adapter.
    """
    for name, place in module.named_modules():
        if isinstance(place, Place):
            layer = prefix + name.rpartition("places.")[0]
            record = state.get(f"{prefix}{name}._extra_state")
            if record is not None:
                place.set_extra_state(record)
            elif any(key.startswith(layer) for key in state):
                raise DeltaError(
                    f"{place.target.key}: the state dict has this layer, but no record of its adapter. Load plain weights "
                    "before adapt(), and what an adapter learnt with adapter.load()"
                )
