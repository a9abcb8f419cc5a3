"""The adapter of a model: `adapt` puts a method in place; the handle it returns does everything else."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peft_lib.layers.delta_file import Delta, DeltaError, Snapshot, read_delta, write_delta
from peft_lib.layers.draws import SharedDraws
from peft_lib.layers.factor_place import FactorPlace
from peft_lib.layers.groups import parameter_groups
from peft_lib.layers.linear import AdaptedLinear
from peft_lib.layers.place import Place, check_state
from peft_lib.layers.refusals import check_called, check_size
from peft_lib.layers.targets import Target, TargetError, check_head_not_shared, head_modules, resolve_targets
from peft_lib.layers.tensor_place import TensorPlace
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
    head: str | Sequence[str] = (),
    scaling: Literal["alpha/r", "alpha/sqrt_r"] = "alpha/r",
    execution: str = "default",
    **options: Any,
) -> "Adapter":
    """Adapts `model` in place and returns its `Adapter`. `peft_lib.check(adapter, batch)` tells whether every place trains.

    Every parameter is frozen except the method's factors and the modules named in `head` (paths, trained in full). Each
    target W (d_out x d_in) becomes W + s B A with A (rank, d_in), B (d_out, rank) = 0 and s = alpha / rank (or alpha /
    sqrt(rank)), or what the method's own tensors make of it: the outputs do not change before the first step. Factors are
    fp32 whatever the model's dtype.

    targets: 'all-linear', or names that end module paths, with an output slice for fused projections:
    ['query', 'value'], ['attn.qkv[0:192]']. seed: every draw is derived from (seed, name, module path, link).
    execution: 'default' (the method's), 'dense', 'gather' or 'inplace'. options: the method's, see docs/methods.md.

    Raises MethodError (unknown method), pydantic.ValidationError (options), TargetError (targets, rank, execution, a tied
    head, a layer that the model never calls, a model that is adapted already).
    """
    chosen = get_method(method) if isinstance(method, str) else method
    parsed = chosen.parse_options(options)
    if any(isinstance(m, AdaptedLinear) for m in model.modules()):
        raise TargetError("the model is adapted already: call unload() or merge() on its adapter first")
    if not (isinstance(rank, int) and rank >= 1 and alpha > 0):
        raise TargetError(f"rank {rank}, alpha {alpha}: rank is an integer of at least 1 and alpha is positive")
    head = (head,) if isinstance(head, str) else tuple(head)
    heads = head_modules(model, head)
    check_head_not_shared(model, head)
    places: dict[str, Place] = {}
    resolved: list[Target] = []
    if chosen.has_factors:
        valid = chosen.executions(parsed)
        execution = valid[0] if execution == "default" else execution
        if execution not in valid:
            raise TargetError(f"method {chosen.id} cannot run as {execution!r}. Valid: {', '.join(valid)}")
        resolved = resolve_targets(model, targets, head)
        check_called(model, resolved)
    elif execution not in ("default", "none"):
        raise TargetError(f"method {chosen.id} adapts no layer, so it has no execution {execution!r}. Leave it out")
    else:
        execution = "none"
    scale = alpha / (rank if scaling == "alpha/r" else rank**0.5) if chosen.scaled else 1.0
    # Places check ranks and factors; they are made before anything changes, so a refusal leaves the model as it was.
    kind: type[Place] = FactorPlace if chosen.kind == "factors" else TensorPlace
    pool = SharedDraws()
    made = [kind(model.get_submodule(t.path), t, chosen, parsed, rank, scale, seed, execution, pool) for t in resolved]
    check_size(chosen, made, rank)
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
            layer = AdaptedLinear(module, target.path)
            model.set_submodule(target.path, layer)
        layer.add_place(place)
        places[target.key] = place
    header: dict[str, Any] = {
        "method": chosen.id, "options": parsed.model_dump(exclude_defaults=True), "rank": rank, "scale": scale,
        "seed": seed, "places": list(places),
    }  # fmt: skip
    if chosen.kind == "tensors":
        header["tensors"] = list(chosen.trains)
    return Adapter(model, chosen, parsed, places, tuple(head), execution, header)


def _around(model: nn.Module, places: Iterable[Place]) -> list[nn.Module]:
    """All modules that hold an adapted layer: a state dict may be loaded into any of them."""
    paths = {""}
    for place in places:
        parts = place.target.path.split(".")
        paths |= {".".join(parts[:length]) for length in range(len(parts) + 1)}
    return [model.get_submodule(path) for path in sorted(paths)] if len(paths) > 1 else []


class Adapter:
    """Handle on an adapted model: what trains, chain resets, snapshots, files, merging, unloading."""

    def __init__(
        self, model: nn.Module, method: Method, options: Any, places: dict[str, Place], head: tuple[str, ...],
        execution: str, header: dict[str, Any],
    ) -> None:  # fmt: skip
        self.model, self.method, self.options = model, method, options
        self.places, self.head, self.execution, self.header = places, head, execution, header
        self.gone: str | None = None
        """'merge()' or 'unload()' once one of them has taken the adapter off the model."""
        self._state_hooks = [m.register_load_state_dict_pre_hook(check_state) for m in _around(model, places.values())]

    def factors(self) -> dict[str, nn.Parameter]:
        """Trained factors: '<place>.A', '<place>.B' or '<place>.P' -> parameter."""
        return {f"{key}.{name}": p for key, place in self.places.items() for name, p in place.factors().items()}

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
        rank = self.header["rank"]
        shapes = [(place.d_in, place.d_out, 1) for place in self.places.values()]
        uncounted = self.method.counted_size(shapes, rank) - self.method.trained_size(shapes, rank)
        total = sum(p.numel() for p in self.model.parameters()) + uncounted
        return {"trainable": trainable, "adapter": trainable - head, "head": head, "total": total}

    def parameter_groups(self, lr: float, weight_decay: float = 0.0, head_lr_mult: float = 1.0) -> list[dict[str, Any]]:
        """Optimiser groups, each {'name', 'params', 'lr', 'weight_decay'}, empty ones left out.

        A, B, P or the method's own tensors: lr times its multiplier (LoRA+). head: lr * head_lr_mult. backbone: under full
        fine-tuning; there (and in its head) matrices decay; biases, norms, position tables and class tokens do not
        (PROTOCOL section 5).
        Under adapters the head does not decay (Table 7 gives decay for full fine-tuning alone).
        """
        head = self.head_parameters()
        by_name = {
            name: {key: p for key, p in self.factors().items() if key.rpartition(".")[2] == name}
            for name in self.method.trains
            if name != "backbone"
        }
        return parameter_groups(
            self.model, by_name, head, {n: p for n, p in self.trained_in_full().items() if n not in head},
            self.method.lr_multipliers(self.options), lr, weight_decay, head_lr_mult,
            full="backbone" in self.method.trains,
        )  # fmt: skip

    def next_link(self) -> None:
        """Chain reset at every place: W += s B A in fp32, next A, B = 0. The optimiser is the caller's business.

        Raises TargetError for a method that does not chain.
        """
        self.check_present("next_link")
        if not self.method.chains:
            raise TargetError(f"method {self.method.id} does not chain; chains=True in its description allows it")
        for place in self.places.values():
            place.next_link()

    @property
    def links(self) -> int:
        """Links so far, the open one included; 0 without factors."""
        return max((place.index + 1 for place in self.places.values()), default=0)

    def snapshot(self) -> Snapshot:
        """All that was learnt up to now, copied to the CPU. Raises DeltaError after merge() or unload()."""
        self.check_present("snapshot")
        trained = {n: p.detach().to("cpu", copy=True) for n, p in self.trained_in_full().items()}
        closed = {key: tuple(place.closed) for key, place in self.places.items()}
        return Snapshot(closed, {key: place.link() for key, place in self.places.items()}, trained)

    @torch.no_grad()
    def restore(self, snapshot: Snapshot) -> None:
        """Puts the model into a recorded state, bit for bit.

        Raises DeltaError if it was recorded on another adapter or model; then nothing has been overwritten.
        """
        self.check_present("restore")
        self._restore(snapshot, self.header["seed"])

    @torch.no_grad()
    def _restore(self, snapshot: Snapshot, seed: int) -> None:
        """First everything that may be refused, then everything that changes."""
        self._check_fits(snapshot)
        chains = {
            key: place.completed(snapshot.closed[key], snapshot.open[key], seed) for key, place in self.places.items()
        }
        self.header["seed"] = seed
        for key, place in self.places.items():
            place.seed = seed
            place.restore(chains[key][:-1], chains[key][-1])
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
            for link in (*snapshot.closed[key], snapshot.open[key]):
                if problem := place.misfit(link, is_open=link is snapshot.open[key]):
                    raise DeltaError(f"{key}: {problem}")
        for name, parameter in self.trained_in_full().items():
            saved = snapshot.trained[name]
            if saved.dtype != parameter.dtype:
                raise DeltaError(
                    f"{name}: the delta has {saved.dtype}, the model {parameter.dtype}. Use the same precision"
                )
            if (shape := saved.shape) != parameter.shape:
                raise DeltaError(
                    f"{name}: the delta has shape {tuple(shape)}, the model {tuple(parameter.shape)}. Build the model with "
                    "the head that was trained (its number of classes)"
                )

    def check_present(self, what: str) -> None:
        """Raises DeltaError if the adapter has left the model."""
        if self.gone is not None:
            raise DeltaError(
                f"{what}: the adapter left the model at {self.gone}, and its factors with it. Call save() before "
                f"{self.gone}, or adapt the model again and load() what was saved"
            )

    def save(self, path: Path | str, snapshots: Mapping[str, Snapshot] | None = None, **facts: Any) -> None:
        """Writes a delta file (safetensors, docs/results.md). Default: one snapshot, 'final', of the current state.

        Raises DeltaError after merge() or unload().
        """
        self.check_present("save")
        write_delta(path, {**self.header, **facts}, snapshots or {"final": self.snapshot()})

    def load(self, path: Path | str, tag: str | None = None) -> Delta:
        """Restores a saved state (default: 'selected' if the file has it, else 'final'); exact, head included. The file's
        seed becomes the adapter's: later links are drawn as the saved run would have drawn them.

        Raises DeltaError if the file is damaged or was written by another method or adapter; then nothing has changed.
        """
        self.check_present("load")
        delta = read_delta(path)
        if delta.header["method"] != self.method.id:
            raise DeltaError(
                f"{path}: written by method {delta.header['method']!r}, this adapter is {self.method.id!r}"
            )
        for name, remedy in (("options", "options"), ("rank", "rank and alpha"), ("scale", "rank and alpha")):
            ignored = name == "rank" and not self.method.ranked
            if delta.header[name] != self.header[name] and not ignored:
                raise DeltaError(
                    f"{path}: written with {name} {delta.header[name]}, this adapter has {self.header[name]}. Use the same "
                    f"{remedy}"
                )
        self._restore(delta.snapshot(tag), delta.header["seed"])
        return delta

    def deltas(self) -> Iterator[tuple[str, Tensor]]:
        """(place, W_k - W0: what all links make together, as a dense fp32 matrix), one place at a time."""
        self.check_present("deltas")
        for key, place in self.places.items():
            yield key, place.delta()

    def merge(self) -> nn.Module:
        """Puts all links into the weights and removes the adapter; returns the plain model. Raises DeltaError if it is gone."""
        self.check_present("merge")
        for place in self.places.values():
            place.merge_open()
        return self._detach("merge()")

    def unload(self) -> nn.Module:
        """Removes the adapter; every adapted weight is W0 again, bit for bit. Head and full fine-tuning stay trained.

        Raises DeltaError if it is gone already.
        """
        self.check_present("unload")
        for place in self.places.values():
            place.reset_weight()
        return self._detach("unload()")

    def _detach(self, by: str) -> nn.Module:
        for path in {place.target.path for place in self.places.values()}:
            layer = self.model.get_submodule(path)
            assert isinstance(layer, AdaptedLinear)
            self.model.set_submodule(path, layer.base)
        self.places = {}
        self.gone = by
        for hook in self._state_hooks:
            hook.remove()
        return self.model
