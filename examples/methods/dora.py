"""DoRA: m V / |V| with V = W + s B A, |V| the norm of each row, m its trained magnitude (Liu et al. 2024, equation 5).

Rows of W (d_out x d_in), as in the authors' code. The norm counts as a constant in the backward pass (their section 4.3).
"""

from peft_lib.methods.method import LinkContext, Method, Options, Tensors
from peft_lib.methods.selectors import INIT_STD


def start(link: LinkContext, options: Options) -> Tensors:
    import torch

    b = torch.zeros(link.d_out, link.rank)
    return Tensors({"A": link.normal(INIT_STD), "B": b, "m": link.weight.norm(dim=1)})


def weight(w, t, s):
    v = w + s * (t["B"] @ t["A"])
    return (t["m"] / v.detach().norm(dim=1))[:, None] * v


def size(shapes, rank):
    return sum(count * (rank * (d_in + d_out) + d_out) for d_in, d_out, count in shapes)


METHOD = Method(
    id="dora",
    name="DoRA",
    formula="m (W0 + s B A) / |W0 + s B A|",
    source="Liu et al. 2024",
    family="present",
    trains=("A", "B", "m"),
    start=start,
    weight=weight,
    size=size,
    lr_group="lora",
    api=1,
)
