"""Sharpness as numbers: how fast the loss rises around a point in weight space."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from peft_lib.analysis.directions import Normalisation, normalise, random_direction
from peft_lib.analysis.landscape import STEP, Moved, Objective, curvature
from peft_lib.analysis.space import Space


@dataclass(frozen=True)
class Sharpness:
    """Along K random directions. centre: the loss there; curvatures, rises: (K,)."""

    centre: float
    curvatures: np.ndarray
    rises: np.ndarray


def along_random(
    objective: Objective, space: Space, count: int, radius: float, normalisation: Normalisation, seed: int,
    step: float = STEP,
) -> Sharpness:  # fmt: skip
    """Curvature and rise along `count` random directions d, which (seed, place in the count) determine.

    curvature: second derivative of L(W + a d) at a = 0, by central differences. rise: the larger of L(W + radius d) - L(W)
    and L(W - radius d) - L(W); infinite where a loss is not finite. Four evaluations a direction and one at the centre.
    """
    centre = objective()
    curvatures, rises = [], []
    for index in range(count):
        direction = normalise(random_direction(space, seed, "random", index), space, normalisation)
        with Moved(space, [direction]) as moved:
            curvatures.append(curvature(objective, moved, 0, centre, step))
            ends = []
            for side in (radius, -radius):
                moved.to(0, side)
                ends.append(objective())
        rises.append(max(ends) - centre if np.isfinite(ends).all() else np.inf)
    return Sharpness(centre, np.array(curvatures), np.array(rises))


def top_eigenvalue(
    model: nn.Module, batches: Sequence[object], loss: Callable[[nn.Module, object], Tensor], weight: float,
    parameters: Iterable[nn.Parameter], seed: int, tolerance: float = 1e-2, iterations: int = 100,
) -> float:  # fmt: skip
    """Largest eigenvalue of the Hessian of the mean loss in the parameters, by Lanczos' method on products with it.

    Each product differentiates twice through all batches. `tolerance`: relative, of the eigenvalue. Attention must be able
    to be differentiated twice, which only its plain computation is; it is asked for here.

    Raises ValueError if it has not converged after `iterations` restarts.
    """
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
    from torch.nn.attention import SDPBackend, sdpa_kernel

    chosen = list(parameters)
    sizes = [p.numel() for p in chosen]
    trains = [p.requires_grad for p in chosen]
    device = chosen[0].device

    def product(vector: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.asarray(vector, dtype=np.float32).reshape(-1)).to(device)
        parts = [v.view_as(p) for v, p in zip(given.split(sizes), chosen, strict=True)]
        total = torch.zeros(sum(sizes), dtype=torch.float64)
        for batch in batches:
            with sdpa_kernel(SDPBackend.MATH):
                grads = torch.autograd.grad(loss(model, batch), chosen, create_graph=True, materialize_grads=True)
            dot = torch.stack([(g * v).sum() for g, v in zip(grads, parts, strict=True)]).sum()
            twice = torch.autograd.grad(dot, chosen, materialize_grads=True)
            total += torch.cat([h.reshape(-1) for h in twice]).double().cpu()
        return (total / weight).numpy()

    training = model.training
    model.eval()
    for p in chosen:
        p.requires_grad_(True)
    try:
        with torch.enable_grad():
            start = np.random.default_rng(seed).standard_normal(sum(sizes))
            hessian = LinearOperator((sum(sizes), sum(sizes)), matvec=product, dtype=np.float64)
            found = eigsh(
                hessian, k=1, which="LA", v0=start, tol=tolerance, maxiter=iterations, return_eigenvectors=False
            )
    except ArpackNoConvergence as error:
        raise ValueError(
            f"the largest eigenvalue of the Hessian has not converged after {iterations} restarts: allow more tolerance"
        ) from error
    finally:
        model.train(training)
        for p, was in zip(chosen, trains, strict=True):
            p.requires_grad_(was)
    return float(found[0])
