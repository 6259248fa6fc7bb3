"""Lookup in the flattened maps, by hand, and compositing with it in one pass."""

import pytest
import torch
from torch.autograd import gradcheck

from networks.compositing import composite
from networks.manifold.manifolds import FLAT_CENTRE_Y, FLAT_HALF_EXTENT
from networks.manifold.maps import composite_maps, lookup_manifolds, texels_together
from tests.networks.helpers import max_error

FLOAT = 1e-6  # a few roundings of numbers near 1 in float32


def canonical(x: float, y: float) -> list[float]:
    """A canonical point at map coordinates (x, y) in -1..1."""
    return [x * FLAT_HALF_EXTENT, y * FLAT_HALF_EXTENT + FLAT_CENTRE_Y, 0.3]


def look_up(maps: torch.Tensor, x: float, y: float) -> list[float]:
    return lookup_manifolds(maps, torch.tensor([[[canonical(x, y)]]]))[0, 0, 0].tolist()


def make_map(rows: list[list[float]]) -> torch.Tensor:
    return torch.tensor(rows)[None, None, None]  # [1, 1, 1, h, w]


def test_lookup_at_pixel_centres():
    """A map of 2 x 2: its pixels' centres are at +-0.5; row 0 is the lowest y."""
    maps = make_map([[1.0, 2.0], [3.0, 4.0]])
    for (x, y), value in {(-0.5, -0.5): 1, (0.5, -0.5): 2, (-0.5, 0.5): 3, (0.5, 0.5): 4}.items():
        assert look_up(maps, x, y) == pytest.approx([value], abs=1e-5)


def test_lookup_between_pixels():
    maps = make_map([[1.0, 2.0], [3.0, 8.0]])
    assert look_up(maps, 0, 0) == pytest.approx([14 / 4], abs=1e-5)
    assert look_up(maps, 0.25, -0.5) == pytest.approx([1.75], abs=1e-5)
    assert look_up(maps, 0.25, 0.25) == pytest.approx([(1 + 3 * 2 + 3 * 3 + 9 * 8) / 16], abs=1e-5)


@pytest.mark.parametrize("far", [1.0, 1.5, 100.0])
def test_lookup_beyond_the_border_repeats_it(far):
    maps = make_map([[1.0, 2.0], [3.0, 8.0]])
    assert look_up(maps, -far, -far) == pytest.approx([1], abs=1e-5)
    assert look_up(maps, far, far) == pytest.approx([8], abs=1e-5)
    assert look_up(maps, 0, far) == pytest.approx([5.5], abs=1e-5)


def test_every_manifold_reads_its_own_map():
    maps = torch.arange(12.0).reshape(2, 3, 2, 1, 1).expand(-1, -1, -1, 4, 4)  # constant in h and w
    points = torch.randn(2, 5, 3, 3) * 0.1
    expected = maps[..., 0, 0][:, None].expand(2, 5, 3, 2)
    assert max_error(lookup_manifolds(maps, points), expected) < 1e-5


def test_lookup_gradients():
    torch.manual_seed(0)
    maps = torch.randn(1, 2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    points = (0.15 * torch.rand(1, 3, 2, 3, dtype=torch.float64) - 0.1).requires_grad_()
    assert gradcheck(lookup_manifolds, (maps, points))


# ---- both in one pass ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_order", [False, True])
def test_composite_maps_is_lookup_and_compositing(own_order):
    torch.manual_seed(0)
    maps, points = torch.rand(2, 5, 4, 7, 6), 0.15 * torch.randn(2, 11, 5, 3)
    depth, valid = 1 + torch.rand(2, 11, 5), torch.rand(2, 11, 5) > 0.3
    order = -depth if own_order else depth
    rgba = lookup_manifolds(maps, points)
    expected = composite(torch.cat([rgba[..., :3], (rgba[..., 3] * valid)[..., None]], -1), order, depth)
    for layout in (maps, texels_together(maps)):
        assert torch.equal(layout, maps)
        result = composite_maps(layout, points, depth, valid, order)
        assert all(max_error(ours, theirs) < FLOAT for ours, theirs in zip(result, expected, strict=True))


def test_composite_maps_upscales_square_images():
    """Opaque, crossed by all rays: a pixel's depth is between its rays'; see the op's tests for the rest."""
    maps, points = torch.ones(1, 1, 4, 2, 2), torch.zeros(1, 4, 1, 3)
    depth = torch.tensor([1.0, 1.3, 1.6, 1.9]).reshape(1, 4, 1)
    result = composite_maps(maps, points, depth, torch.ones_like(depth), depth, upscale=2)
    expected = [1 + 0.1 * x + 0.2 * y for y in range(4) for x in range(4)]
    assert result.depth[0].tolist() == pytest.approx(expected, abs=FLOAT)
