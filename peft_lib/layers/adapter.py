"""The adapter of a model: `adapt` puts a method in place; the handle it returns does everything else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peft_lib.layers.delta_file import Delta, DeltaError, Snapshot, read_delta, write_delta
from peft_lib.layers.linear import AdaptedLinear
from peft_lib.layers.place import Place
from peft_lib.layers.targets import Target, TargetError, resolve_targets
from peft_lib.methods.method import Method
from peft_lib.methods.registry import get_method
from peft_lib.study.catalogs import Shape


def adapt(
    model: nn.Module,
    method: str | Method,
    *,
    rank: int = 16,
    alpha: float = 32.0,
    targets: str | Iterable[str | Target | Shape] = "all-linear",
    seed: int = 0,
    head: Sequence[str] = (),
    scaling: Literal["alpha/r", "alpha/sqrt_r"] = "alpha/r",
    execution: str = "default",
    **options: Any,
) -> "Adapter":
    """Adapts `model` in place and returns its `Adapter`.

    Every parameter is frozen except the method's factors and the modules named in `head` (paths, trained in full). Each
    target W (d_out x d_in) becomes W + s B A with A (rank, d_in), B (d_out, rank) = 0 and s = alpha / rank (or alpha /
    sqrt(rank)): the outputs do not change before the first step. Factors are fp32 whatever the model's dtype.

    targets: 'all-linear', or names that end module paths, with an output slice for fused projections:
    ['query', 'value'], ['attn.qkv[0:192]']. seed: every draw is derived from (seed, name, module path, link).
    execution: 'default' (the method's), 'dense', 'gather' or 'inplace'. options: the method's, see docs/methods.md.

    Raises MethodError (unknown method), pydantic.ValidationError (options), TargetError (targets, rank, execution, a
    model that is adapted already).
    """
    chosen = get_method(method) if isinstance(method, str) else method
    parsed = chosen.parse_options(options)
    if any(isinstance(m, AdaptedLinear) for m in model.modules()):
        raise TargetError("the model is adapted already: call unload() or merge() on its adapter first")
    if not (isinstance(rank, int) and rank >= 1 and alpha > 0):
        raise TargetError(f"rank {rank}, alpha {alpha}: rank is an integer of at least 1 and alpha is positive")
    heads = [model.get_submodule(path) for path in head]
    places: dict[str, Place] = {}
    resolved: list[Target] = []
    if chosen.has_factors:
        valid = chosen.executions(parsed)
        execution = valid[0] if execution == "default" else execution
        if execution not in valid:
            raise TargetError(f"method {chosen.id} cannot run as {execution!r}. Valid: {', '.join(valid)}")
        resolved = resolve_targets(model, targets, head)
    elif execution not in ("default", "none"):
        raise TargetError(f"method {chosen.id} adapts no layer, so it has no execution {execution!r}. Leave it out")
    else:
        execution = "none"
    scale = alpha / (rank if scaling == "alpha/r" else rank**0.5)
    # Places check ranks and factors; they are made before anything changes, so a refusal leaves the model as it was.
    made = [Place(model.get_submodule(t.path), t, chosen, parsed, rank, scale, seed, execution) for t in resolved]
    trains_all = "backbone" in chosen.trains
    for parameter in model.parameters():
        parameter.requires_grad_(trains_all)
    for module in heads:
        module.requires_grad_(True)
    for place in made:
        target = place.target
        module = model.get_submodule(target.path)
        if isinstance(module, AdaptedLinear):
            layer = module
        else:
            layer = AdaptedLinear(module)
            model.set_submodule(target.path, layer)
        layer.add_place(place)
        places[target.key] = place
    header = {
        "method": chosen.id, "options": parsed.model_dump(exclude_defaults=True), "rank": rank, "scale": scale,
        "seed": seed, "places": list(places),
    }  # fmt: skip
    return Adapter(model, chosen, parsed, places, tuple(head), execution, header)


class Adapter:
    """Handle on an adapted model: what trains, chain resets, snapshots, files, merging, unloading."""

    def __init__(
        self, model: nn.Module, method: Method, options: Any, places: dict[str, Place], head: tuple[str, ...],
        execution: str, header: dict[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.method, self.options = model, method, options
        self.places, self.head, self.execution, self.header = places, head, execution, header

    def factors(self) -> dict[str, nn.Parameter]:
        """Trained factors: '<place>.A', '<place>.B' or '<place>.P' -> parameter."""
        return {
            f"{key}.{name}": parameter
            for key, place in self.places.items()
            for name, parameter in place.named_parameters()
        }

    def trained_in_full(self) -> dict[str, nn.Parameter]:
        """Parameters of the model itself that train: the head, or everything under full fine-tuning."""
        factors = {id(p) for p in self.factors().values()}
        return {n: p for n, p in self.model.named_parameters() if p.requires_grad and id(p) not in factors}

    def head_parameters(self) -> dict[str, nn.Parameter]:
        prefixes = tuple(f"{path}." for path in self.head)
        return {n: p for n, p in self.trained_in_full().items() if n.startswith(prefixes)} if prefixes else {}

    def counts(self) -> dict[str, int]:
        """Numbers of parameters: trainable, adapter, head, total (frozen ones and frozen factors included)."""
        head = sum(p.numel() for p in self.head_parameters().values())
        trainable = sum(p.numel() for p in [*self.factors().values(), *self.trained_in_full().values()])
        frozen_a = sum(
            place.rank * place.d_in for place in self.places.values() if "A" not in self.method.trains
        )  # counted as the paper does, also where a selector stands for A
        total = sum(p.numel() for p in self.model.parameters()) + frozen_a
        return {"trainable": trainable, "adapter": trainable - head, "head": head, "total": total}

    def parameter_groups(self, lr: float, weight_decay: float = 0.0, head_lr_mult: float = 1.0) -> list[dict[str, Any]]:
        """Optimiser groups, each {'name', 'params', 'lr', 'weight_decay'}, empty ones left out.

        A, B, P: lr times the method's multiplier (LoRA+). head: lr * head_lr_mult. backbone: under full fine-tuning;
        there (and in its head) weights with two or more dimensions decay, biases and norms do not (PROTOCOL section 5).
        Under adapters the head does not decay (Table 7 gives decay for full fine-tuning alone).
        """
        multipliers = self.method.lr_multipliers(self.options)
        full = "backbone" in self.method.trains
        groups: list[dict[str, Any]] = []
        for name in ("A", "B", "P"):
            params = [p for n, p in self.factors().items() if n.endswith(f".{name}")]
            groups.append(
                {"name": name, "params": params, "lr": lr * multipliers.get(name, 1.0), "weight_decay": weight_decay}
            )
        head = self.head_parameters()
        rest = {n: p for n, p in self.trained_in_full().items() if n not in head}
        for name, members, rate in (("head", head, lr * head_lr_mult), ("backbone", rest, lr)):
            decayed = [p for p in members.values() if full and p.ndim >= 2]
            others = [p for p in members.values() if not (full and p.ndim >= 2)]
            groups.append({"name": name, "params": decayed, "lr": rate, "weight_decay": weight_decay})
            groups.append({"name": f"{name}_no_decay", "params": others, "lr": rate, "weight_decay": 0.0})
        return [g for g in groups if g["params"]]

    def next_link(self) -> None:
        """Chain reset at every place: W += s B A in fp32, next A, B = 0. The optimiser is the caller's business.

        Raises TargetError for a method that does not chain.
        """
        if not self.method.chains:
            raise TargetError(f"method {self.method.id} does not chain; chains=True in its description allows it")
        for place in self.places.values():
            place.next_link()

    @property
    def links(self) -> int:
        """Links so far, the open one included; 0 without factors."""
        return max((place.index + 1 for place in self.places.values()), default=0)

    def snapshot(self) -> Snapshot:
        """All that was learnt up to now, copied to the CPU."""
        trained = {n: p.detach().to("cpu", copy=True) for n, p in self.trained_in_full().items()}
        closed = {key: tuple(place.closed) for key, place in self.places.items()}
        return Snapshot(closed, {key: place.link() for key, place in self.places.items()}, trained)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Puts the model into a recorded state, bit for bit. Raises DeltaError if it was recorded on another adapter."""
        self._check_fits(snapshot)
        for key, place in self.places.items():
            place.restore(snapshot.closed[key], snapshot.open[key])
        for name, parameter in self.trained_in_full().items():
            parameter.copy_(snapshot.trained[name])

    def _check_fits(self, snapshot: Snapshot) -> None:
        for mine, its, what in (
            (set(self.places), set(snapshot.open), "places"),
            (set(self.trained_in_full()), set(snapshot.trained), "parameters trained in full"),
        ):
            if mine != its:
                odd = sorted(mine ^ its)[:5]
                raise DeltaError(
                    f"the delta's {what} differ from the adapter's, e.g. {odd}. Adapt the model as it was then"
                )
        for key, place in self.places.items():
            link = snapshot.open[key]
            kind = "lowrank" if place.columns is None else "columns"
            if link.kind != kind:
                raise DeltaError(f"{key}: the delta's kind is {link.kind}, the adapter's {kind}. Use the same options")
            if link.B.shape != (place.d_out, place.rank) or link.scale != place.scale:
                raise DeltaError(
                    f"{key}: the delta has B {tuple(link.B.shape)} and scale {link.scale}, "
                    f"the adapter {(place.d_out, place.rank)} and {place.scale}. Use the same rank and alpha"
                )

    def save(self, path: Path | str, snapshots: Mapping[str, Snapshot] | None = None, **facts: Any) -> None:
        """Writes a delta file (safetensors, docs/results.md). Default: one snapshot, 'final', of the current state."""
        write_delta(path, {**self.header, **facts}, snapshots or {"final": self.snapshot()})

    def load(self, path: Path | str, tag: str | None = None) -> Delta:
        """Restores a saved state (default: 'selected' if the file has it, else 'final'); exact, head included.

        Raises DeltaError if the file is damaged or was written by another method or adapter.
        """
        delta = read_delta(path)
        if delta.header["method"] != self.method.id:
            raise DeltaError(
                f"{path}: written by method {delta.header['method']!r}, this adapter is {self.method.id!r}"
            )
        self.restore(delta.snapshot(tag))
        return delta

    def deltas(self) -> Iterator[tuple[str, Tensor]]:
        """(place, sum of all links as a dense fp32 matrix), one place at a time."""
        for key, place in self.places.items():
            total = torch.zeros(place.d_out, place.d_in)
            for link in [*place.closed, place.link()]:
                link.add_to(total)
            yield key, total

    def merge(self) -> nn.Module:
        """Adds all links to the weights and removes the adapter; returns the plain model."""
        for place in self.places.values():
            place.merge_open()
        return self._detach()

    def unload(self) -> nn.Module:
        """Removes the adapter; every adapted weight is W0 again, bit for bit. Head and full fine-tuning stay trained."""
        for place in self.places.values():
            place.reset_weight()
        return self._detach()

    def _detach(self) -> nn.Module:
        for path in {place.target.path for place in self.places.values()}:
            layer = self.model.get_submodule(path)
            assert isinstance(layer, AdaptedLinear)
            self.model.set_submodule(path, layer.base)
        self.places = {}
        return self.model
