"""What a landscape costs beside its forward passes, and a trajectory's plane beside the model (tests/benchmarks/landscapes.py)."""

from pathlib import Path

import torch

from peft_lib.analysis.space import BLOCK
from tests.benchmarks.landscapes import point_ratio, text, trajectory_peak, vision

MODEL = 4 * (256 * 256 + 256 + 2 * 256) * 8
"""Bytes of 8 layers of width 256 with their norms."""


def test_a_point_costs_little_more_than_its_forward_passes():
    """At most 1.15 times, also where most weights are embeddings, which move and cost no product."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    ratio = min(point_ratio(vision()) for _ in range(3))  # a busy machine makes any one of them larger
    assert ratio <= 1.15
    assert min(point_ratio(text(), points=3) for _ in range(3)) <= 1.15


def test_the_plane_of_a_trajectory_takes_two_models_and_two_blocks(tmp_path: Path):
    """Whole epochs are never in memory: ten of them take no more than five."""
    (tmp_path / "few").mkdir()
    (tmp_path / "many").mkdir()
    few, held = trajectory_peak(tmp_path / "few", width=256, layers=8, epochs=5)
    many, _ = trajectory_peak(tmp_path / "many", width=256, layers=8, epochs=10)
    assert 1.9 < held < 2
    for peak in (few, many):
        assert peak * MODEL <= 2 * MODEL + 6 * BLOCK
