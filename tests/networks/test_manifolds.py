"""M, the crossing search against a slow loop, and the flattening view."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.autograd import gradcheck

from networks.manifolds import (
    FLAT_CENTRE_Y,
    Crossings,
    ManifoldPredictor,
    find_crossings,
    flat_coordinates,
    orthographic_points,
    warp,
)
from tests.networks.helpers import max_error

LEVELS = torch.tensor([23.0, 15.5, 8.0])


def make_predictor(hidden_dim: int = 32, centre=(0.0, 0.0, -1.5), seed: int = 0) -> ManifoldPredictor:
    torch.manual_seed(seed)
    return ManifoldPredictor(hidden_dim, LEVELS, centre)


def test_warp_brings_twelve_centimetres_to_one():
    assert max_error(warp(torch.tensor([0.12, -0.24, 0.0])), torch.tensor([1.0, -2.0, 0.0])) < 1e-6


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


# ---- crossings ----------------------------------------------------------------------------------------------------


def slow_crossing(s: list[float], level: float, either_direction: bool) -> tuple[int, float, bool]:
    """The rule, sample by sample: (index, weight, valid)."""
    for i, (near, far) in enumerate(zip(s[:-1], s[1:], strict=True)):
        falls = near >= level >= far
        rises = near <= level <= far
        if falls or (either_direction and rises):
            weight = 1.0 if abs(far - near) <= 0.05 else (near - level) / (near - far)
            return i, weight, falls
    return len(s) - 2, 1.0, False


# Few distinct values, some of them levels: ties, equal neighbours and several crossings are common. Quarters and
# their quotients by the steps below are exact or well apart, so that only true ties are ties.
samples = st.lists(st.sampled_from([30.0, 23.0, 20.25, 20.28125, 15.5, 12.0, 8.0, 3.75]), min_size=2, max_size=8)


@given(samples, st.booleans())
@settings(max_examples=300, deadline=None)
def test_crossings_against_a_loop(s, either_direction):
    found = find_crossings(torch.tensor([[s]]), LEVELS, either_direction=either_direction)
    for k, level in enumerate(LEVELS.tolist()):
        index, weight, valid = slow_crossing(s, level, either_direction)
        assert found.index[0, 0, k] == index
        assert found.valid[0, 0, k] == valid
        assert found.weight[0, 0, k].item() == pytest.approx(weight, abs=1e-6)


def cross(s: list[float], level: float, **options) -> tuple[int, float, bool]:
    found = find_crossings(torch.tensor([[s]]), torch.tensor([level]), **options)
    return found.index.item(), pytest.approx(found.weight.item(), abs=1e-5), found.valid.item()


def test_crossings_by_hand():
    assert cross([10, 6, 2], 8) == (0, 0.5, True)
    assert cross([10, 6, 2], 3) == (1, 0.75, True)
    assert cross([10, 8, 2], 8) == (0, 1.0, True)  # a tie belongs to the interval before it
    assert cross([8, 2, 1], 8) == (0, 0.0, True)
    assert cross([10, 6, 10, 2], 8) == (0, 0.5, True)  # the first of several
    assert cross([10, 9.5, 9], 8) == (1, 1.0, False)  # none: the last sample stands in
    assert cross([6, 9, 12], 8) == (1, 1.0, False)  # rising only
    assert cross([8, 8, 8], 8) == (0, 1.0, True)  # flat: the far end
    assert cross([8.03, 7.99, 2], 8) == (0, 1.0, True)  # as good as flat
    assert cross([8.04, 7.96, 2], 8) == (0, 0.5, True)  # steep enough


def test_crossings_in_either_direction_by_hand():
    """A ray that starts inside leaves first: that crossing counts, and hides the later falling one."""
    assert cross([6, 10, 6], 8, either_direction=True) == (0, 0.5, False)
    assert cross([6, 10, 6], 8) == (1, 0.5, True)
    assert cross([10, 6, 10], 8, either_direction=True) == (0, 0.5, True)
    assert cross([10, 8, 10], 8, either_direction=True) == (0, 1.0, True)
    assert cross([6, 7, 7.5], 8, either_direction=True) == (1, 1.0, False)


def test_rays_and_batches_are_independent():
    s = torch.randn(2, 5, 9) * 10 + 15
    found = find_crossings(s, LEVELS)
    for b in range(2):
        for r in range(5):
            alone = find_crossings(s[b, r][None, None], LEVELS)
            assert torch.equal(found.index[b, r], alone.index[0, 0])
            assert torch.equal(found.weight[b, r], alone.weight[0, 0])


def test_interpolation_by_hand():
    crossings = Crossings(torch.tensor([[[1, 0]]]), torch.tensor([[[0.25, 1.0]]]), torch.tensor([[[True, False]]]))
    values = torch.tensor([[[[0.0, 5.0], [4.0, 6.0], [8.0, 2.0]]]])
    assert crossings.interpolate(values).tolist() == [[[[5.0, 5.0], [4.0, 6.0]]]]


@given(st.floats(0.05, 0.5), st.floats(8.5, 22.5))
@settings(max_examples=50, deadline=None)
def test_a_linear_field_is_crossed_exactly(step, level):
    """s falling linearly: the interpolated position is the level's, whatever the sampling."""
    depth = torch.arange(0, 3, step, dtype=torch.float64)
    s = 25 - 8 * depth
    found = find_crossings(s[None, None], torch.tensor([level], dtype=torch.float64))
    position = found.interpolate(depth[None, None, :, None]).item()
    if level >= s[-1]:
        assert position == pytest.approx((25 - level) / 8, abs=1e-9)
    else:
        assert (position, found.valid.item()) == (depth[-1].item(), False)


def test_crossings_gradients():
    """With respect to the values and to s, where the step is steep; a flat step and a miss pass nothing to s."""
    s = torch.tensor([[[30.0, 26, 20, 12, 3], [30, 24.0, 16, 15, 14]]], dtype=torch.float64, requires_grad=True)
    values = torch.randn(1, 2, 5, 3, dtype=torch.float64, requires_grad=True)
    levels = LEVELS.double()

    def run(s, values):
        return find_crossings(s, levels).interpolate(values)

    assert gradcheck(run, (s, values))
    (gradient,) = torch.autograd.grad(run(s, values)[0, 1, 2].sum(), s)  # level 8 is missed by the second ray
    assert gradient.abs().max() == 0
    flat = torch.tensor([[[8.01, 7.99]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(run(flat, values[:, :1, :2]).sum(), flat)
    assert gradient.tolist() == [[[0.0, 0.0]]]


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
