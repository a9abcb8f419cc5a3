"""(IA)^3: diag(l) W, one trained factor for each output of the layer, l = 1 at the start (Liu et al. 2022).

The weight alone is scaled: a bias stays as it is (the original's layers have none).
"""

from peft_lib.methods.method import LinkContext, Method, Options, Tensors


def start(link: LinkContext, options: Options) -> Tensors:
    import torch

    return Tensors({"l": torch.ones(link.d_out)})


def weight(w, t, s):
    return t["l"][:, None] * w


def size(shapes, rank):
    return sum(count * d_out for d_in, d_out, count in shapes)


METHOD = Method(
    id="ia3",
    name="(IA)³",
    latex="(IA)$^3$",
    formula="diag(l) W0",
    source="Liu et al. 2022",
    family="present",
    trains=("l",),
    start=start,
    weight=weight,
    size=size,
    ranked=False,
    scaled=False,
    lr_group="ia3",
    default_lr=1e-2,
    api=1,
)
