"""Targets: adapted places as (module path, output slice), and one view of a weight for all kinds of linears."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from peft_lib.names import did_you_mean
from peft_lib.study.catalogs import Shape


class TargetError(ValueError):
    """A place that cannot be adapted; the message names the place, the rule and the remedy."""


@dataclass(frozen=True, order=True)
class Target:
    """One adapted place. `rows` is the output slice [start, stop) of a fused projection, None for the whole output."""

    path: str
    rows: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        """Name of the place in files and seeds: 'layer.0.query', 'blocks.0.attn.qkv[0:64]'."""
        return self.path if self.rows is None else f"{self.path}[{self.rows[0]}:{self.rows[1]}]"

    @classmethod
    def parse(cls, text: str) -> "Target":
        match = re.fullmatch(r"(.+?)(?:\[(\d+):(\d+)\])?", text)
        assert match is not None  # the pattern matches every non-empty text
        return cls(match[1], (int(match[2]), int(match[3])) if match[2] else None)


def is_linear(module: nn.Module) -> bool:
    """nn.Linear, or transformers' Conv1D (GPT-2), whose weight is stored as (d_in, d_out)."""
    return isinstance(module, nn.Linear) or _is_conv1d(module)


def _is_conv1d(module: nn.Module) -> bool:
    # by name: importing transformers.pytorch_utils costs seconds that timm users need not pay
    return type(module).__name__ == "Conv1D" and type(module).__module__ == "transformers.pytorch_utils"


def weight_matrix(module: nn.Module) -> Tensor:
    """The weight as a (d_out, d_in) view; writing into it writes into the module."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    return weight.t() if _is_conv1d(module) else weight


def resolve_targets(
    model: nn.Module, wanted: str | Iterable[str | Target | Shape], head: Sequence[str] = ()
) -> list[Target]:
    """Targets of `model`, in module order.

    `wanted`: 'all-linear', or names that end a module path ('query', 'attn.qkv[0:64]'), Targets, or catalog Shapes.
    A module that several names match is taken by the longest. Modules inside `head` train in full and are left out.
    Raises TargetError for a name that matches no linear, a slice outside the output, places that overlap, or a weight
    that another module shares.
    """
    inside_head = tuple(f"{path}." for path in head)
    if is_linear(model):
        raise TargetError("the model is itself a linear module: wrap it, e.g. in nn.Sequential, and adapt that")
    linears = {n: m for n, m in model.named_modules() if is_linear(m) and not f"{n}.".startswith(inside_head)}
    if not linears:
        raise TargetError(
            "the model has no nn.Linear (or GPT-2 Conv1D) outside the head: other modules, convolutions and quantised "
            "layers among them, are not adapted"
        )
    if wanted == "all-linear":
        everything = [Target(name) for name in linears]
        _check_not_shared(model, everything)
        return everything
    names = [_as_target(w) for w in ([wanted] if isinstance(wanted, str) else wanted)]
    found: list[Target] = []
    matched: set[Target] = set()
    for path, module in linears.items():
        fits = [t for t in names if path == t.path or path.endswith("." + t.path)]
        if not fits:
            continue
        longest = max(len(t.path) for t in fits)
        for target in (t for t in fits if len(t.path) == longest):
            matched.add(target)
            found.append(_checked(Target(path, target.rows), module))
    if not names:
        raise TargetError("targets is empty, so nothing would be adapted: name modules, or use 'all-linear'")
    if missing := [t.key for t in names if t not in matched]:
        hint = did_you_mean(missing[0], sorted({p.rpartition(".")[2] for p in linears}))
        where = "path outside the head" if head else "path"
        raise TargetError(
            f"targets {missing}: no linear module's {where} ends so.{hint} List them with model.named_modules()"
        )
    _check_apart(found)
    _check_not_shared(model, found)
    return found


def _as_target(wanted: str | Target | Shape) -> Target:
    if isinstance(wanted, Shape):
        return Target(wanted.module, wanted.rows)
    return Target.parse(wanted) if isinstance(wanted, str) else wanted


def _checked(target: Target, module: nn.Module) -> Target:
    height = weight_matrix(module).shape[0]
    if target.rows is not None and not 0 <= target.rows[0] < target.rows[1] <= height:
        raise TargetError(f"target {target.key}: the slice must lie inside the output 0:{height}")
    return target


def _check_apart(targets: Sequence[Target]) -> None:
    """Two places on the same rows would overwrite each other when they are folded into W, so they are refused."""
    for index, one in enumerate(targets):
        for other in targets[:index]:
            apart = one.rows and other.rows and (one.rows[1] <= other.rows[0] or other.rows[1] <= one.rows[0])
            if one.path == other.path and not apart:
                raise TargetError(f"targets {other.key} and {one.key} overlap: adapt each row of an output once")


def _names_by_parameter(model: nn.Module) -> dict[int, list[str]]:
    """id of a parameter -> all its names: a tied one has several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return names


def _check_not_shared(model: nn.Module, targets: Sequence[Target]) -> None:
    """Merging into a tied weight would change the other module too, so it is refused."""
    names = _names_by_parameter(model)
    for target in targets:
        weight = model.get_submodule(target.path)._parameters.get("weight")
        if weight is None:
            raise TargetError(
                f"target {target.key}: its weight is computed (weight_norm, a parametrisation), so there is no matrix to "
                "adapt. Remove the parametrisation first, or leave it out of the targets"
            )
        shared = names[id(weight)]
        if len(shared) > 1:
            raise TargetError(
                f"target {target.key}: its weight is shared by {shared}. Untie it or leave it out (name the targets instead "
                "of 'all-linear')"
            )


def head_modules(model: nn.Module, head: Sequence[str]) -> list[nn.Module]:
    """The modules at these paths. Raises TargetError, with near names, for a path that is none."""
    modules = dict(model.named_modules())
    for path in head:
        if not path or path not in modules:
            hint = did_you_mean(path, [name for name in modules if name])
            raise TargetError(f"head {path!r}: there is no module of that path.{hint} Give paths such as 'classifier'")
    return [modules[path] for path in head]


def check_head_not_shared(model: nn.Module, head: Sequence[str]) -> None:
    """A head that shares a parameter with another module would be trained, counted and saved under that one's name.

    Raises TargetError with the names (GPT-2: lm_head is the token embedding).
    """
    inside = tuple(f"{path}." for path in head)
    for shared in _names_by_parameter(model).values():
        its = [name for name in shared if name.startswith(inside)]
        if inside and its and len(its) < len(shared):
            others = ", ".join(name for name in shared if name not in its)
            raise TargetError(
                f"head {its[0]}: its weight is shared by {others}. Untie it (transformers: tie_word_embeddings=False), or "
                "leave it out of the head"
            )


def rows_of(target: Target, module: nn.Module) -> tuple[int, int]:
    return target.rows or (0, weight_matrix(module).shape[0])
