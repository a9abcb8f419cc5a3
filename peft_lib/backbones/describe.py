"""The facts of a model's catalog entry, counted on its skeleton: `python -m workflow_scripts.describe_model --help`.

No weight is read or made: the largest model takes a second.
"""

import re
from types import ModuleType
from typing import Any

from torch import nn

from peft_lib.backbones.limits import BackboneError
from peft_lib.backbones.loading import get_backbone
from peft_lib.layers.targets import resolve_targets, weight_matrix
from peft_lib.study.catalogs import ModelEntry

FACTS = ("hidden", "parameters", "head_parameters", "head_bias", "head_frozen", "also_trained", "lm_head", "targets")


def describe(entry: ModelEntry) -> dict[str, Any]:
    """FACTS of the entry as its skeleton has them; target sets by the names that the backbone's `targets` gives them.

    A head is taken to be a fixed part and one row (and bias) for each output: it is counted with one and with two.
    """
    backbone = get_backbone(entry.backbone)
    one, two = (backbone.skeleton(entry, outputs) for outputs in (1, 2))
    trained = backbone.heads(entry, 1)
    head = _head(one, trained, backbone.targets(entry))
    # buffers of the head: a layer that no method trains
    frozen = sum(buffer.numel() for name, buffer in one.named_buffers() if name.startswith(head))
    sizes = [sum(p.numel() for n, p in m.named_parameters() if n.startswith(head)) for m in (one, two)]
    parameters = sum(p.numel() for p in one.parameters()) - sizes[0]
    last = [m for n, m in one.named_modules() if f"{n}.".startswith(head) and isinstance(m, nn.Linear)][-1]
    in_body = [one.get_submodule(path) for path in trained if not f"{path}.".startswith(head)]
    return {
        "hidden": last.in_features,
        "parameters": parameters,
        "head_parameters": sizes[0] + frozen - (sizes[1] - sizes[0]),
        "head_bias": last.bias is not None,
        "head_frozen": frozen,
        "also_trained": sum(p.numel() for module in in_body for p in module.parameters()),
        "lm_head": _writer_size(backbone, entry, parameters) - parameters,
        "targets": {name: _shapes(one, entry, names, trained) for name, names in backbone.targets(entry).items()},
    }


def _head(model: nn.Module, trained: tuple[str, ...], targets: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """How names in the head start: the parts of the model that train in full and hold no target."""
    plain = sorted({name.partition("[")[0] for names in targets.values() for name in names})
    body = {target.path.split(".")[0] for target in resolve_targets(model, plain, trained)}
    return tuple(sorted(f"{top}." for top in {path.split(".")[0] for path in trained} - body))


def _writer_size(backbone: ModuleType, entry: ModelEntry, parameters: int) -> int:
    """Parameters of the model that generates text, or of the backbone where none does."""
    try:
        writer = backbone.skeleton(entry, None)
    except BackboneError:
        return parameters
    return sum(p.numel() for p in writer.parameters())


def _shapes(
    model: nn.Module, entry: ModelEntry, names: tuple[str, ...], trained: tuple[str, ...]
) -> list[dict[str, Any]]:
    """Places of each name, longest names first served, as `resolve_targets` does it."""
    plain = {name.partition("[")[0] for name in names}
    owned: dict[str, list[nn.Module]] = {name: [] for name in plain}
    for target in resolve_targets(model, sorted(plain), trained):
        owner = max((n for n in plain if target.path == n or target.path.endswith(f".{n}")), key=len)
        owned[owner].append(model.get_submodule(target.path))
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
