"""M and the flattening view; the crossing search has its tests in tests/torch_utils/ops."""

import math

import pytest
import torch

from networks.manifold.manifolds import (
    FLAT_CENTRE_Y,
    ManifoldPredictor,
    find_crossings,
    flat_coordinates,
    orthographic_points,
)
from tests.networks.helpers import max_error

LEVELS = torch.tensor([23.0, 15.5, 8.0])


def make_predictor(hidden_dim: int = 32, centre=(0.0, 0.0, -1.5), seed: int = 0) -> ManifoldPredictor:
    torch.manual_seed(seed)
    return ManifoldPredictor(hidden_dim, LEVELS, centre)


def test_predictor_is_a_relu_network_about_its_centre():
    predictor = make_predictor(centre=(0.1, -0.2, -1.5))
    points = torch.randn(5, 2, 3) * 0.2
    x = points / 0.12 - torch.tensor([0.1, -0.2, -1.5])
    for layer in predictor.hidden:
        x = (x @ layer.weight.T + layer.bias).clamp(min=0)
    expected = (x @ predictor.output.weight.T + predictor.output.bias)[..., 0]
    assert max_error(predictor(points), expected) < 1e-4  # s is near 20: 5e-6 of it
    with torch.no_grad():  # its in-place branch
        assert max_error(predictor(points), expected) < 1e-4


@torch.no_grad()
def test_predictor_starts_as_nested_spheres():
    """s ~ 10 |warp(x) - centre|, on average over networks; without biases s is proportional to the distance, exactly.

    A network of width 512 is off by 5 % (one standard deviation), so the mean of 16 by 1.3 %: 6 % is ample.
    """
    torch.manual_seed(0)
    direction = torch.nn.functional.normalize(torch.randn(64, 3), dim=-1)
    means = []
    for seed in range(16):
        predictor = make_predictor(512, seed=seed)
        unit, double = (predictor((predictor.centre + r * direction) * 0.12) for r in (1.0, 2.0))
        assert max_error(double / unit, torch.full((64,), 2.0)) < 1e-4
        means.append(unit.mean())
    assert torch.stack(means).mean().item() == pytest.approx(10, rel=0.06)


# ---- the flattening view ------------------------------------------------------------------------------------------


def test_orthographic_points_by_hand():
    points = orthographic_points(3, dtype=torch.float64)
    assert points.shape == (9, 64, 3)
    rows = [[x, y - 0.02830771] for y in (-0.22, 0.0, 0.22) for x in (-0.22, 0.0, 0.22)]  # the lowest y first
    assert max_error(points[:, 0, :2], torch.tensor(rows, dtype=torch.float64)) < 1e-12
    assert torch.equal(points[:, :, :2], points[:, :1, :2].expand(-1, 64, -1))
    assert max_error(points[4, :, 2], torch.linspace(0.2, -0.2, 64, dtype=torch.float64)) < 1e-12


def test_flat_coordinates_of_the_orthographic_grid():
    points = orthographic_points(5, dtype=torch.float64)[:, 0]
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, 5, dtype=torch.float64)] * 2, indexing="ij")
    assert max_error(flat_coordinates(points), torch.stack([x, y], -1).reshape(-1, 2)) < 1e-12
    assert flat_coordinates(torch.tensor([0.11, FLAT_CENTRE_Y, 7.0])).tolist() == pytest.approx([0.5, 0])


def test_every_parameter_learns_from_the_crossings():
    predictor = make_predictor()
    depth = torch.linspace(0.5, -0.5, 33)
    points = torch.stack([torch.zeros(33), torch.zeros(33), depth], -1)[None, None]
    found = find_crossings(predictor(points), LEVELS)
    assert found.valid.all()
    found.interpolate(points).sum().backward()
    assert all(p.grad.abs().max() > 0 and math.isfinite(p.grad.sum()) for p in predictor.parameters())
