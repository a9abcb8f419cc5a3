"""A chain whose links do not add up: W <- diag(l_j) (W + u v_j^T), u frozen, drawn, and shared; of no use but to the tests."""

from peft_lib.methods.method import LinkContext, Method, Options, Tensors


def start(link: LinkContext, options: Options) -> Tensors:
    import torch

    u = link.normal(1.0, (link.d_out,), name="u")
    scale = link.weight.abs().mean()  # the frozen part may depend on what the links before have made
    return Tensors({"l": torch.ones(link.d_out), "v": torch.zeros(link.d_in)}, {"u": scale * u})


def weight(w, t, s):
    return t["l"][:, None] * (w + s * t["u"][:, None] * t["v"])


METHOD = Method(
    id="chained_tensors",
    name="Chained tensors",
    formula="diag(l) (W + s u v^T)",
    source="tests",
    family="present",
    trains=("l", "v"),
    start=start,
    weight=weight,
    size=lambda shapes, rank: sum(count * (d_in + d_out) for d_in, d_out, count in shapes),
    chains=True,
    api=1,
)
