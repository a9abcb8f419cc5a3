"""Landscapes and sharpness: a quadratic's surface, curvature and path come out; weights come back bit for bit."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from peft_lib.analysis import landscape, sharpness, trajectory_pca
from peft_lib.analysis.directions import normalise, random_direction
from peft_lib.analysis.landscape import Moved, Objective, axis, surface
from peft_lib.analysis.space import BLOCK, all_weights, inner, weights_of
from peft_lib.layers.targets import resolve_targets

EPS = float(np.finfo(np.float32).eps)


class Bowl(nn.Module):
    """Weights whose loss is 1/2 sum of stiffness (W - bottom)^2: everything about it is known."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draws = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(6, 4, generator=draws))
        self.second = nn.Parameter(torch.randn(3, 2, 5, generator=draws))
        self.bias = nn.Parameter(torch.randn(7, generator=draws))
        self.stiffness = {n: torch.rand(p.shape, generator=draws) + 0.1 for n, p in self.named_parameters()}
        self.bottom = {n: torch.randn(p.shape, generator=draws) for n, p in self.named_parameters()}

    def loss(self) -> torch.Tensor:
        terms = [(self.stiffness[n] * (p - self.bottom[n]).square()).double().sum() for n, p in self.named_parameters()]
        return torch.stack(terms).sum() / 2


def objective(model: Bowl) -> Objective:
    """Two batches, the second counting three times: four items together."""
    return Objective(model, (1.0, 3.0), lambda m, share: share * m.loss(), 4.0)


def along(model: Bowl, direction: dict) -> tuple[float, float]:
    """Slope and curvature of the bowl along a direction, in fp64."""
    slope = sum(
        float((model.stiffness[n] * (getattr(model, n).detach() - model.bottom[n]) * d).double().sum())
        for n, d in direction.items()
    )
    return slope, sum(float((model.stiffness[n] * d.square()).double().sum()) for n, d in direction.items())


def pair(space, how="row"):
    return [normalise(random_direction(space, 5, name), space, how) for name in ("x", "y")]


def test_a_quadratic_s_surface_and_curvature_come_out():
    model = Bowl()
    space = all_weights(model)
    d, e = pair(space)
    mixed = sum(float((model.stiffness[n] * d[n] * e[n]).double().sum()) for n in d)
    (g_d, h_d), (g_e, h_e) = along(model, d), along(model, e)
    ask = objective(model)
    centre = ask()
    with Moved(space, [d, e]) as moved:
        x = axis(2.0, 5)
        found = surface(ask, moved, x)
        curved = [landscape.curvature(ask, moved, i, centre, 0.5) for i in (0, 1)]
    a, b = np.meshgrid(x, x)
    known = centre + g_d * a + g_e * b + (h_d * a**2 + h_e * b**2) / 2 + mixed * a * b
    # Each weight is rounded twice on its way to a point: relative to the largest loss, a few eps.
    assert np.abs(found - known).max() < 20 * EPS * known.max()
    assert curved == pytest.approx([h_d, h_e], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_come_back_bit_for_bit_and_no_position_depends_on_the_last(dtype):
    model = Bowl().to(dtype)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    space = all_weights(model)
    d, e = pair(space)
    ask = objective(model)
    centre = ask()
    x = axis(1.0, 5)
    with pytest.raises(ZeroDivisionError), Moved(space, [d, e]) as moved:
        first = surface(ask, moved, x)
        assert first[2, 2] == centre
        for step in range(200):
            moved.begin(step % 2, math.sin(step))
            moved.across(1 - step % 2, math.cos(step))
        assert np.array_equal(surface(ask, moved, x), first)
        moved.begin(1, -0.7)
        moved.across(0, 0.3)
        expected = ((before["first"].float() - 0.7 * e["first"]) + 0.3 * d["first"]).to(dtype)
        # Up to fused multiplication and addition.
        assert torch.allclose(model.first, expected, rtol=4 * torch.finfo(dtype).eps, atol=4 * EPS)
        moved.to(0, 0.0)
        assert ask() == centre
        moved.to(0, 1.0)
        raise ZeroDivisionError  # whatever happens inside
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters())


def test_a_large_weight_moves_as_a_small_one_does():
    weight = {"w": torch.randn(3, BLOCK // 2, generator=torch.Generator().manual_seed(1))}
    before = weight["w"].clone()
    d, e = pair(weight)
    with Moved(weight, [d, e]) as moved:
        moved.begin(1, 0.5)
        moved.across(0, 0.25)
        assert torch.equal(weight["w"], torch.add(torch.add(before, e["w"], alpha=0.5), d["w"], alpha=0.25))
    assert torch.equal(weight["w"], before)


def test_a_normalised_direction_has_the_norms_of_the_weights():
    space = all_weights(Bowl())
    assert set(space) == {"first", "second"}  # vectors do not move
    by_row = normalise(random_direction(space, 0), space, "row")
    for name, weight in space.items():
        assert torch.allclose(by_row[name].flatten(1).norm(dim=1), weight.flatten(1).norm(dim=1), rtol=1e-5)
    by_tensor = normalise(random_direction(space, 0), space, "tensor")
    for name, weight in space.items():
        assert float(by_tensor[name].norm()) == pytest.approx(float(weight.norm()), rel=1e-5)
    assert inner(*[normalise(random_direction(space, 0), space, "none")] * 2) == pytest.approx(1, rel=1e-5)


def test_row_scaling_turns_a_tiny_sparse_direction_into_one_of_full_norm():
    space = {"w": torch.randn(8, 16)}
    tiny = {"w": torch.zeros(8, 16)}
    tiny["w"][:4, 3] = 1e-6
    scaled = normalise(tiny, space, "row")["w"]
    assert torch.allclose(scaled[:4, 3], space["w"][:4].norm(dim=1), rtol=1e-5)
    assert not scaled[4:].any()  # rows that do not move do not start to


def test_a_weight_s_direction_does_not_depend_on_the_others():
    space = all_weights(Bowl())
    alone = random_direction({"second": space["second"]}, 5, "x")
    assert torch.equal(alone["second"], random_direction(space, 5, "x")["second"])
    assert not torch.equal(alone["second"], random_direction(space, 6, "x")["second"])
    assert not torch.equal(alone["second"], random_direction(space, 5, "y")["second"])


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
def test_a_direction_without_a_length_is_refused(value):
    space = {"w": torch.ones(2, 2)}
    with pytest.raises(ValueError, match="not finite" if value else "zero everywhere"):
        normalise({"w": torch.full((2, 2), value)}, space, "row")


def test_rows_are_outputs_where_a_module_keeps_its_weight_turned():
    model = nn.ModuleDict({"a": Conv1D(6, 4), "b": nn.Linear(4, 6)})
    space = all_weights(model)
    assert space["a.weight"].shape == space["b.weight"].shape == (6, 4)
    before = model["a"].weight.detach().clone()
    d = normalise(random_direction(space, 0), space, "row")
    with Moved(space, [d]) as moved:
        moved.to(0, 1.0)
        assert torch.equal(model["a"].weight, before + d["a.weight"].t())
    assert torch.equal(model["a"].weight, before)
    (target,) = resolve_targets(model, ["b[2:5]"])
    places = weights_of(model, [target])
    assert torch.equal(places[target.key], model["b"].weight[2:5])


def trajectory(model: Bowl, states: list[dict], reference: dict, height: int = 2):
    """Offsets in blocks of `height` rows."""

    def offsets():
        for name, weight in all_weights(model).items():
            for start in range(0, len(weight), height):
                rows = slice(start, min(start + height, len(weight)))
                yield trajectory_pca.Block(
                    name, rows, torch.stack([s[name][rows] - reference[name][rows] for s in states])
                )

    return offsets


def descended(model: Bowl, dimensions: int, steps: int = 9):
    """States of gradient descent in the span of some random directions, and the coordinates in them: a known path."""
    space = all_weights(model)
    basis = [random_direction(space, 9, i) for i in range(dimensions)]
    rates = [0.75 / (i + 1) for i in range(dimensions)]
    coordinates = np.array([[3 * (1 - rate) ** t / (i + 1) for i, rate in enumerate(rates)] for t in range(steps)])
    states = [
        {n: w + sum(float(c) * d[n] for c, d in zip(row, basis, strict=True)) for n, w in space.items()}
        for row in coordinates
    ]
    return space, basis, coordinates, states


def stacked(offsets, space) -> np.ndarray:
    """The whole matrix of offsets, in fp64: what the product never makes."""
    parts: dict[str, list[np.ndarray]] = {}
    for block in offsets():
        parts.setdefault(block.name, []).append(block.offsets.flatten(1).double().numpy())
    return np.concatenate([np.concatenate(parts[name], axis=1) for name in space], axis=1)


@pytest.mark.parametrize("dimensions", [2, 4])
def test_the_plane_is_the_one_of_a_singular_value_decomposition(dimensions):
    model = Bowl()
    space, _, _, states = descended(model, dimensions)
    offsets = trajectory(model, states, {n: w.clone() for n, w in space.items()})
    (first, second), shares = trajectory_pca.principal(offsets, space)
    whole = stacked(offsets, space)
    _, values, vectors = np.linalg.svd(whole, full_matrices=False)
    assert shares == pytest.approx(values**2 / (values**2).sum(), abs=1e-5)
    for found, known in zip((first, second), vectors, strict=False):
        flat = np.concatenate([found[name].flatten().numpy() for name in space])
        sign = np.sign(whole[0] @ known)
        assert np.abs(flat - sign * known).max() < 1e-3
    path = trajectory_pca.project(offsets, first, second)
    assert path.explained == pytest.approx(shares[:2].sum(), abs=1e-5)
    assert path.explained == pytest.approx(1, abs=1e-5) if dimensions == 2 else path.explained < 0.9999


def test_the_path_of_gradient_descent_is_recovered_in_directions_that_are_not_orthogonal():
    model = Bowl()
    space, basis, coordinates, states = descended(model, 2)
    reference = {n: w.clone() for n, w in space.items()}
    path = trajectory_pca.project(trajectory(model, states, reference), *basis)
    assert abs(inner(*basis)) > 1e-2 * inner(basis[0], basis[0])  # else this would prove less
    assert path.coordinates == pytest.approx(coordinates, abs=1e-4)
    assert path.explained == pytest.approx(1, abs=1e-5)
    assert trajectory_pca.covering_range(path) == pytest.approx(1.05 * np.abs(coordinates).max(), rel=1e-4)


def test_what_the_plane_leaves_out_is_counted():
    model = Bowl()
    space, basis, _, states = descended(model, 3)
    offsets = trajectory(model, states, {n: w.clone() for n, w in space.items()})
    path = trajectory_pca.project(offsets, basis[0], basis[1])
    whole, plane = (
        stacked(offsets, space),
        np.stack([np.concatenate([d[n].flatten().numpy() for n in space]) for d in basis[:2]]),
    )
    fitted, *_ = np.linalg.lstsq(plane.T.astype(float), whole.T, rcond=None)
    left = whole - fitted.T @ plane
    assert path.coordinates == pytest.approx(fitted.T, abs=1e-4)
    assert path.explained == pytest.approx(1 - (left**2).sum() / (whole**2).sum(), abs=1e-5)


@pytest.mark.parametrize(("dimensions", "spanned"), [(0, 0), (1, 1)])
def test_a_trajectory_without_a_plane_is_refused(dimensions, spanned):
    model = Bowl()
    space, basis, _, _ = descended(model, 2)
    reference = {n: w.clone() for n, w in space.items()}
    states = [{n: w + dimensions * t * basis[0][n] for n, w in space.items()} for t in range(5)]
    with pytest.raises(ValueError, match=f"spans {spanned} dimensions"):
        trajectory_pca.principal(trajectory(model, states, reference), space)


def test_parallel_directions_span_no_plane():
    model = Bowl()
    space, basis, _, states = descended(model, 2)
    offsets = trajectory(model, states, {n: w.clone() for n, w in space.items()})
    with pytest.raises(ValueError, match="parallel"):
        trajectory_pca.project(offsets, basis[0], {n: -2 * d for n, d in basis[0].items()})


def test_the_area_below_a_level_of_a_bowl_is_an_ellipse_s():
    x = axis(2.0, 41)
    a, b = np.meshgrid(x, x)
    losses = a**2 + 3 * b**2
    assert landscape.area_below(losses, 1.5) == pytest.approx(math.pi * 1.5 / math.sqrt(3) / 16, rel=1e-2)
    assert landscape.area_below(losses, -1.0) == 0
    assert landscape.area_below(losses, 100.0) == 1
    losses[0, :] = np.inf  # diverged along one edge: it is above, the rest as before
    losses[:, 0] = np.nan
    assert landscape.area_below(losses, 1.5) == pytest.approx(math.pi * 1.5 / math.sqrt(3) / 16, rel=1e-2)


@pytest.mark.parametrize(("half", "points"), [(2.0, 4), (2.0, 1), (0.0, 5), (math.nan, 5)])
def test_an_axis_without_a_centre_is_refused(half, points):
    with pytest.raises(ValueError, match="centre" if half == 2 else "range"):
        axis(half, points)


def test_the_centre_of_an_axis_is_exactly_zero():
    assert all(axis(half, points)[points // 2] == 0 for half in (0.1, 1 / 3, 2.0) for points in (3, 21, 51))
    assert axis(0.7, 5) == pytest.approx([-0.7, -0.35, 0, 0.35, 0.7])


def test_sharpness_of_a_quadratic_is_its_own():
    model = Bowl()
    space = all_weights(model)
    found = sharpness.along_random(objective(model), space, 3, 0.5, "row", seed=4, step=0.5)
    for index in range(3):
        d = normalise(random_direction(space, 4, "random", index), space, "row")
        slope, stiff = along(model, d)
        assert found.curvatures[index] == pytest.approx(stiff, rel=1e-3)
        assert found.rises[index] == pytest.approx(0.5 * abs(slope) + stiff / 8, rel=1e-3)
    assert found.centre == pytest.approx(float(model.loss().detach()), rel=1e-9)


def test_a_loss_that_is_not_finite_is_an_infinite_rise():
    model = Bowl()
    before = model.first.detach().clone()

    def loss(m, _):
        near = torch.equal(m.first, before)
        return m.loss() if near else torch.tensor(math.nan)

    found = sharpness.along_random(Objective(model, (None,), loss, 1.0), all_weights(model), 1, 0.5, "row", 0)
    assert np.isinf(found.rises).all() and np.isnan(found.curvatures).all()


def test_the_largest_eigenvalue_is_the_one_of_the_whole_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Dropout(0.5))
    x, y = torch.randn(20, 4), torch.randint(0, 3, (20,))
    batches = [(x[:12], y[:12]), (x[12:], y[12:])]

    def loss(m, batch):
        return nn.functional.cross_entropy(m(batch[0]), batch[1], reduction="sum")

    names = [n for n, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]
    flat = torch.cat([p.detach().flatten() for p in model.parameters()])

    def mean(vector):
        parts = torch.split(vector, [s.numel() for s in shapes])
        given = {n: v.view(s) for n, v, s in zip(names, parts, shapes, strict=True)}
        return nn.functional.cross_entropy(functional_call(model, given, (x,)), y)

    model.eval()
    dense = torch.autograd.functional.hessian(mean, flat)
    model.train()
    model[0].weight.requires_grad_(False)
    found = sharpness.top_eigenvalue(model, batches, loss, 20, model.parameters(), seed=0, tolerance=1e-4)
    assert found == pytest.approx(float(torch.linalg.eigvalsh(dense)[-1]), rel=1e-3)
    assert model.training and not model[0].weight.requires_grad and model[2].weight.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_a_loss_is_of_evaluation_mode_and_the_mode_comes_back():
    model = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.9)).train()
    ask = Objective(model, (torch.ones(2, 3),), lambda m, batch: m(batch).sum(), 2.0)
    assert ask() == ask() == pytest.approx(float(model[0](torch.ones(3)).detach()), rel=1e-6)
    assert model.training


def test_a_direction_that_the_first_state_is_orthogonal_to_has_its_length():
    """Exactly orthogonal offsets have eigenvectors with zeros, which say nothing of a sign."""
    space = {"w": torch.ones(2, 3)}
    states = torch.zeros(2, 2, 3)
    states[0, 0, 0], states[1, 1, 2] = 3.0, 1.0
    directions, _ = trajectory_pca.principal(lambda: [trajectory_pca.Block("w", slice(0, 2), states)], space)
    assert [inner(d, d) for d in directions] == pytest.approx([1.0, 1.0])
