"""VeRA: W + diag(b) B diag(d) A; A and B are random, frozen and the same in all layers, b and d train (Kopiczko et al. 2024)."""

from peft_lib.methods.method import LinkContext, Method, Options, Tensors


def start(link: LinkContext, options: Options) -> Tensors:
    import torch

    a = link.uniform((6 / link.d_in) ** 0.5, (link.rank, link.d_in), name="A", shared=True)  # Kaiming's bound
    b = link.uniform((6 / link.rank) ** 0.5, (link.d_out, link.rank), name="B", shared=True)
    trained = {"b": torch.zeros(link.d_out), "d": torch.full((link.rank,), 0.1)}
    return Tensors(trained, frozen={"A": a, "B": b})


def weight(w, t, s):
    a, b = lowrank(t, s)
    return w + b @ a


def side(x, t, s):
    return ((x @ t["A"].t() * t["d"]) @ t["B"].t()) * t["b"]


def size(shapes, rank):
    return sum(count * (d_out + rank) for d_in, d_out, count in shapes)


def max_rank(d_in, d_out):
    return max(d_in, d_out)


def lowrank(t, s):
    return t["d"][:, None] * t["A"], t["b"][:, None] * t["B"]


METHOD = Method(
    id="vera",
    name="VeRA",
    formula="W0 + diag(b) B diag(d) A, A and B shared and frozen",
    source="Kopiczko et al. 2024",
    family="present",
    trains=("b", "d"),
    start=start,
    weight=weight,
    side=side,
    size=size,
    lowrank=lowrank,
    scaled=False,
    max_rank=max_rank,
    lr_group="vera",
    default_lr=1e-2,
    api=1,
)
