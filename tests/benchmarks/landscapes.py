"""python -m tests.benchmarks.landscapes: a point of a landscape against its forward passes; a trajectory's memory."""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.profiler import profile
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from peft_lib.analysis.directions import normalise, random_direction
from peft_lib.analysis.landscape import Moved, Objective, axis, row
from peft_lib.analysis.space import all_weights
from peft_lib.analysis.trajectory_pca import principal, project
from peft_lib.diagnostics.around import Centre, InFull, offsets_of
from peft_lib.layers.trajectory import TAG, epoch_file


def vision(items: int = 128) -> Objective:
    """Of the size of the default study's image model: 0.2 million weights, every one of them used by every item."""
    config = ViTConfig(
        image_size=16, patch_size=4, num_channels=1, hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
        intermediate_size=256,
    )  # fmt: skip
    model, images = ViTModel(config).eval(), torch.randn(items, 1, 16, 16)
    return Objective(model, (images,), lambda m, x: m(pixel_values=x).last_hidden_state.sum(), float(items))


def text(items: int = 192) -> Objective:
    """Of the size of its text model: 13.7 million weights, of which 11.7 are embeddings, which move but cost no product."""
    config = BertConfig(hidden_size=384, num_hidden_layers=1, num_attention_heads=12, intermediate_size=1536)
    model, ids = BertModel(config).eval(), torch.randint(0, 30_000, (items, 24))
    batches = tuple(ids.split(96))
    return Objective(model, batches, lambda m, x: m(input_ids=x).last_hidden_state.sum(), float(items))


def point_ratio(objective: Objective, points: int = 7) -> float:
    """Processor time of a landscape's points over that of its forward passes alone.

    Both are taken in turn, a row of the grid and as many plain losses; the median over rows of the ratio of neighbours.
    """
    space = all_weights(objective.model)
    directions = [normalise(random_direction(space, 0, i), space, "row") for i in range(2)]
    coordinates = axis(1.0, points)
    objective()
    ratios = []
    with Moved(space, directions) as moved:
        for b in coordinates:
            plain = _seconds(lambda: [objective() for _ in coordinates])
            moving = _seconds(partial(row, objective, moved, coordinates, float(b)))
            ratios.append(moving / plain)
    return statistics.median(ratios)


def _seconds(work: Callable[[], Any]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def trajectory_peak(folder: Path, width: int = 768, layers: int = 24, epochs: int = 5) -> tuple[float, float]:
    """(peak, held at the end) of memory that the plane and the path of a dense trajectory take beside the model, in models.

    A dense trajectory, as of full fine-tuning: `epochs` files with every weight. Measured by torch's own record of every
    allocation; files are mapped, not read.
    """
    model = nn.Sequential(*(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(layers)))
    states = {n: p.detach().clone() for n, p in model.named_parameters()}
    for epoch in range(epochs):
        draws = torch.Generator().manual_seed(epoch)
        state = {f"trained/{TAG}/{n}": p + torch.randn(p.shape, generator=draws) for n, p in states.items()}
        save_file(state, epoch_file(folder, epoch))
    space = all_weights(model)
    in_full = {name: InFull(name, 0, False) for name in space}
    run: Any = SimpleNamespace(trajectory=SimpleNamespace(folder=folder), snapshot=None)
    centre = Centre(run, "final", epochs, space, Objective(model, (), _no_loss, 1.0), {}, in_full)
    with profile(profile_memory=True, use_cpu=True) as recorded:
        offsets = offsets_of(centre, list(range(epochs)))
        directions, _ = principal(offsets, space)
        for direction in directions:
            normalise(direction, space, "row")
        project(offsets, *directions)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    mapped = {epoch_file(folder, epoch).stat().st_size for epoch in range(epochs)}  # reported when a file is opened
    now = peak = 0
    for event in sorted(recorded.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]" and abs(event.nbytes()) not in mapped:
            now += event.nbytes()
            peak = max(peak, now)
    return peak / size, now / size


def _no_loss(model: nn.Module, batch: Any) -> Tensor:
    raise AssertionError("a trajectory asks for no loss")


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    print(f"| a point of a landscape over its forward passes, image model | {point_ratio(vision()):.3f} |")
    print(f"| the same, text model with its embeddings | {point_ratio(text()):.3f} |")
    with tempfile.TemporaryDirectory() as folder:
        peak, held = trajectory_peak(Path(folder))
    print(f"| plane and path of a dense trajectory of 5 epochs: peak beside the model, in models | {peak:.3f} |")
    print(f"| of it the two directions | {held:.3f} |")


if __name__ == "__main__":
    main()
