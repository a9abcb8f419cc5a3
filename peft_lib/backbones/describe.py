"""The facts of a model's catalog entry, counted on its skeleton: `python -m workflow_scripts.describe_model --help`.

No weight is read or made: the largest model takes a second.
"""

import re
from typing import Any

from torch import nn

from peft_lib.backbones.limits import BackboneError
from peft_lib.backbones.loading import get_backbone
from peft_lib.layers.targets import Target, resolve_targets, weight_matrix
from peft_lib.study.catalogs import ModelEntry

FACTS = ("hidden", "parameters", "head_parameters", "head_bias", "head_frozen", "also_trained", "lm_head", "targets")


def describe(entry: ModelEntry) -> dict[str, Any]:
    """FACTS of the entry as its skeleton has them; target sets by the names that the backbone's `targets` gives them.

    A head is taken to be a fixed part and one row (and bias) for each output: it is counted with one and with two.
    """
    backbone = get_backbone(entry.backbone)
    one, two = (backbone.skeleton(entry, outputs) for outputs in (1, 2))
    heads = backbone.heads(entry, 1)
    last = _last_linear(one, heads)
    # buffers of the head: a layer that no method trains
    frozen = sum(buffer.numel() for name, buffer in one.named_buffers() if name.startswith(_HEADS))
    sizes = [sum(p.numel() for n, p in m.named_parameters() if n.startswith(_HEADS)) for m in (one, two)]
    per_output = sizes[1] - sizes[0]
    parameters = sum(p.numel() for p in one.parameters()) - sizes[0]
    in_body = [path for path in heads if not f"{path}.".startswith(_HEADS)]
    return {
        "hidden": last.in_features,
        "parameters": parameters,
        "head_parameters": sizes[0] + frozen - per_output,
        "head_bias": last.bias is not None,
        "head_frozen": frozen,
        "also_trained": sum(p.numel() for path in in_body for p in one.get_submodule(path).parameters()),
        "lm_head": _writer_size(backbone, entry) - parameters,
        "targets": {name: _shapes(one, entry, names) for name, names in backbone.targets(entry).items()},
    }


_HEADS = ("classifier.", "score.", "head.")


def _last_linear(model: nn.Module, heads: tuple[str, ...]) -> nn.Linear:
    """The layer that gives the outputs."""
    linears = [
        module
        for path in heads
        if f"{path}.".startswith(_HEADS)
        for module in model.get_submodule(path).modules()
        if isinstance(module, nn.Linear)
    ]
    return linears[-1]


def _writer_size(backbone: Any, entry: ModelEntry) -> int:
    """Parameters of the model that generates text, or of the backbone where none does."""
    try:
        writer = backbone.skeleton(entry, None)
    except BackboneError:
        model = backbone.skeleton(entry, 1)
        return sum(p.numel() for n, p in model.named_parameters() if not n.startswith(_HEADS))
    return sum(p.numel() for p in writer.parameters())


def _shapes(model: nn.Module, entry: ModelEntry, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """Places of each name, longest names first served, as `resolve_targets` does it."""
    heads = tuple(path for path in dict(model.named_modules()) if f"{path}.".startswith(_HEADS))
    plain = {name.partition("[")[0] for name in names}
    owned: dict[str, list[nn.Module]] = {name: [] for name in plain}
    for target in resolve_targets(model, sorted(plain), heads):
        owner = max((n for n in plain if target.path == n or target.path.endswith(f".{n}")), key=len)
        owned[owner].append(model.get_submodule(Target(target.path).path))
    shapes = []
    for name in names:
        match = re.fullmatch(r"(.+?)(?:\[(\d)/(\d)\])?", name)
        assert match is not None
        modules = owned[match[1]]
        sizes = {tuple(weight_matrix(module).shape) for module in modules}
        if len(sizes) != 1:
            raise BackboneError(
                f"model '{entry.id}': modules {match[1]} have several sizes {sorted(sizes)}: list them by hand"
            )
        (d_out, d_in) = sizes.pop()
        shape: dict[str, Any] = {"module": match[1], "d_in": d_in, "d_out": d_out, "count": len(modules)}
        if match[2]:
            part = d_out // int(match[3])
            shape |= {"d_out": part, "rows": [int(match[2]) * part, (int(match[2]) + 1) * part]}
        shapes.append(shape)
    return shapes
