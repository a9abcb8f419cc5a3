"""Directions of a landscape: drawn at random or from a trajectory, and filter-normalised (Li et al. 2018, section 4)."""

from typing import Literal

import torch

from peft_lib.analysis.space import Direction, Space, row_norms
from peft_lib.seeds import generator

Normalisation = Literal["row", "tensor", "none"]


def random_direction(space: Space, seed: int, *names: str | int) -> Direction:
    """Independent standard normal entries for every weight of the space.

    A weight's entries are drawn from (seed, "direction", names, its own name), so they are the same for every method and
    do not depend on which other weights are in the space.
    """
    return {
        name: torch.randn(weight.shape, generator=generator(seed, "direction", *names, name)).to(weight.device)
        for name, weight in space.items()
    }


def normalise(direction: Direction, space: Space, how: Normalisation) -> Direction:
    """Scales a direction in place and returns it. W: the weights in the space, d: the direction.

    row:    each row (filter) d_i becomes d_i |W_i| / |d_i|
    tensor: each weight's d becomes d |W| / |d|
    none:   the whole direction gets length 1

    What is zero stays zero. Norms are Euclidean, in fp32. With `row`, a direction that moves r of a weight's columns alone
    has the norm of whole rows in those r columns: filter normalisation makes a sparse direction a steep one, whatever the
    size of the update was (PROTOCOL section 9).

    Raises ValueError for a direction that is zero, or of entries that are not finite.
    """
    for name, d in direction.items():
        norms = row_norms(d)
        if not bool(torch.isfinite(norms).all()):
            raise ValueError(f"the direction's entries at {name} are not finite, so it has no length")
        if how == "row":
            scale = torch.where(norms > 0, row_norms(space[name]) / norms.clamp_min(torch.finfo(norms.dtype).tiny), 0.0)
            d.mul_(scale.view(-1, *[1] * (d.ndim - 1)))
        elif how == "tensor" and bool(norms.any()):
            d.mul_(float(row_norms(space[name]).norm()) / float(norms.norm()))
    length = sum(float(row_norms(d).double().square().sum()) for d in direction.values()) ** 0.5
    if length == 0:
        raise ValueError("the direction is zero everywhere: none of the weights of this space moves")
    if how == "none":
        for d in direction.values():
            d.div_(length)
    return direction
