"""Intruder dimensions: singular vectors of a fine-tuned weight that are like none of the weight before.

A singular vector u_j of W = W0 + delta is an intruder at eps if max_k |cos(u_j, u_k)| < eps over the singular vectors u_k of
W0 (paper, sections 4.3 and E.4.2; Shuttleworth et al., "LoRA vs Full Fine-tuning: An Illusion of Equivalence", arXiv
2410.21228, who look at the first 10 of W). Left vectors by default, and all of them: the paper's curves end at d.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from peft_lib.analysis.singular import Side, SingularVectors, singular_vectors

BELOW_ONE = math.nextafter(1.0, 0.0)


def largest_cosines(tuned: SingularVectors, base: SingularVectors) -> Tensor:
    """max_k |cos(u_j, u_k)| for each tuned vector u_j: (n,) fp64.

    Signs and order play no part. Where singular values of W0 cannot be told apart, its vectors may be turned among
    themselves. Then u_k runs over all directions of their span: the cosine with the nearest one is the norm of u_j's
    projection on it. A W0 without vectors (all zero) has nothing that u_j could be like: 0.
    """
    squared = (tuned.vectors.double().mT @ base.vectors.double()).square()
    if squared.shape[1] == 0:
        return squared.new_zeros(squared.shape[0])
    groups = base.groups
    on_spans = squared.new_zeros(squared.shape[0], int(groups[-1]) + 1).index_add_(1, groups, squared)
    return on_spans.amax(dim=1).sqrt().clamp(max=1.0)


def intruder_cosines(before: Tensor, after: Tensor, base: SingularVectors, side: Side = "left") -> Tensor:
    """Largest cosines of the singular vectors of `after` with those of `before`: (n,) fp64, in [0, 1], that of the largest
    singular value first.

    before, after: W0 and W0 + delta, (d_out, d_in). base: all singular vectors of `before` on that side.

    A weight that did not change has cosines of 1, and no SVD is needed to know it. Of one that did change they are below 1:
    exact arithmetic gives 1 only where delta leaves a vector as it was, rounding wherever it turned by less than about 1e-4. So at eps = 1 every vector of a changed matrix is an intruder, as in the paper's figures, and none of an unchanged one.
    """
    if torch.equal(before, after):
        return base.values.new_ones(len(base.values))
    return largest_cosines(singular_vectors(after, side), base).clamp(max=BELOW_ONE)


def count(cosines: Tensor, thresholds: Sequence[float]) -> list[int]:
    """Intruders at each threshold: how many cosines lie below it."""
    return [int((cosines < threshold).sum()) for threshold in thresholds]
