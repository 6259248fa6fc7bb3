"""Nearest triangles by hand, and the implementations against one another and against sampled triangles."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops import nearest_triangle_ref
from torch_utils.ops.nearest_triangle import LEAF, build_tree, nearest_triangles
from torch_utils.ops.nearest_triangle_ref import squared_distances

CORNERS = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]], [[5, 0, 0], [6, 0, 0], [5, 1, 0]]])


@over_implementations
def test_by_hand(impl, device):
    """Above the inside, beyond a corner, beyond an edge, beyond the slanted edge; the other triangle."""
    points = torch.tensor([[0.25, 0.25, 2], [-3, -4, 0], [0.5, -2, 0], [1, 1, 0], [5.2, 0.2, -1]], device=device)
    found = nearest_triangles(points, CORNERS.to(device), impl=impl)
    assert found.triangle.tolist() == [0, 0, 0, 0, 1]
    assert found.distance.tolist() == pytest.approx([2, 5, 2, math.sqrt(0.5), 1], rel=1e-6)


@over_implementations
def test_limit(impl, device):
    """A triangle at the limit is none."""
    points = torch.tensor([[0.25, 0.25, 1.0], [0.25, 0.25, 0.99]], device=device)
    found = nearest_triangles(points, CORNERS.to(device), limit=1.0, impl=impl)
    assert found.triangle.tolist() == [-1, 0] and found.distance.tolist() == pytest.approx([1.0, 0.99])


def test_plain_distances_are_the_least_over_a_triangle():
    random = torch.Generator().manual_seed(0)
    corners, points = (
        torch.randn(20, 3, 3, generator=random).double(),
        2 * torch.randn(30, 3, generator=random).double(),
    )
    u = torch.linspace(0, 1, 201).double()
    a, b = torch.meshgrid(u, u, indexing="ij")
    inside = torch.stack([1 - a - b, a, b], -1)[a + b <= 1 + 1e-9]  # barycentric
    dense = torch.einsum("sk,fkc->fsc", inside, corners)
    sampled = torch.cdist(points, dense.flatten(0, 1)).view(30, 20, -1).amin(-1)
    exact = squared_distances(points[:, None], corners).sqrt()
    assert (exact <= sampled + 1e-9).all() and (sampled - exact).max() < 0.03  # samples are up to 0.02 apart


@over_compiled
@given(st.integers(0, 999), st.integers(1, 300), st.integers(1, 40), st.sampled_from([0.01, 1.0, 30]))
@settings(max_examples=30, deadline=None)
def test_implementations_agree(impl, device, seed, count, samples, spread):
    """The triangles found are as near as any, within rounding; large and small, degenerate ones among them."""
    random = torch.Generator().manual_seed(seed)
    corners = torch.randn(count, 1, 3, generator=random) + spread * torch.randn(count, 3, 3, generator=random)
    corners[: count // 7, 2] = corners[: count // 7, 1]
    points = 2 * torch.randn(5, 1, 3, generator=random) + 0.1 * torch.arange(samples)[None, :, None]
    found = nearest_triangles(points.to(device), corners.to(device), impl=impl)
    assert found.triangle.shape == found.distance.shape == (5, samples)
    distances = squared_distances(points[:, :, None].double(), corners.double()).sqrt()
    least = distances.amin(-1)
    chosen = distances.gather(-1, found.triangle.cpu()[..., None])[..., 0]
    scale = 1e-5 * (1 + spread + least)
    assert ((chosen - least).abs() < scale).all() and ((found.distance.cpu() - least).abs() < 10 * scale).all()


def test_tree_holds_every_triangle():
    random = torch.Generator().manual_seed(0)
    corners = torch.randn(37, 3, 3, generator=random)
    tree = build_tree(corners)
    leaves = len(tree.order) // LEAF
    assert leaves == 16 and set(tree.order.tolist()) == set(range(37))
    torch.testing.assert_close(tree.boxes[1], torch.stack([corners.amin((0, 1)), corners.amax((0, 1))]))
    for node in range(1, leaves):
        for child in (2 * node, 2 * node + 1):
            assert (tree.boxes[node, 0] <= tree.boxes[child, 0]).all() and (
                tree.boxes[child, 1] <= tree.boxes[node, 1]
            ).all()
    inside = tree.corners.view(leaves, -1, 3)
    assert (inside >= tree.boxes[leaves:, None, 0]).all() and (inside <= tree.boxes[leaves:, None, 1]).all()


@over_implementations
def test_no_points_and_numbers_that_are_none(impl, device):
    assert nearest_triangles(torch.zeros(4, 0, 3, device=device), CORNERS.to(device), impl=impl).triangle.shape == (
        4,
        0,
    )
    points = torch.tensor([[0.1, 0.1, 1], [math.nan, 0, 0], [math.inf, 0, 0], [5.1, 0.1, 1]], device=device)
    found = nearest_triangles(points, CORNERS.to(device), impl=impl).triangle.tolist()
    assert found[0] == 0 and found[3] == 1 and all(-1 <= row < 2 for row in found)


@over_implementations
def test_errors(impl, device):
    points, corners = torch.zeros(2, 3, device=device), CORNERS.to(device)
    with pytest.raises(ValueError, match=r"points: expected shape \[..., S, 3\], found \[3\]"):
        nearest_triangles(points[0], corners, impl=impl)
    for bad in (corners[:, :2], corners[:0]):
        with pytest.raises(ValueError, match=r"corners: expected shape \[F, 3, 3\] with F >= 1, found"):
            nearest_triangles(points, bad, impl=impl)
    with pytest.raises(TypeError, match="points: expected torch.float32, found torch.float64"):
        nearest_triangles(points.double(), corners, impl=impl)
    with pytest.raises(ValueError, match="expected one device"):
        nearest_triangles(points, corners.to("meta"), impl=impl)
    with pytest.raises(ValueError, match="limit: expected a positive number, found 0"):
        nearest_triangles(points, corners, limit=0, impl=impl)


@pytest.mark.parametrize("pairs", [1, 7, 1 << 20])
def test_plain_torch_in_chunks_of_any_size(monkeypatch, pairs):
    monkeypatch.setattr(nearest_triangle_ref, "PAIRS_PER_CHUNK", pairs)
    points = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    whole = squared_distances(points[:, None], CORNERS)
    triangle, squared = nearest_triangle_ref.nearest_triangles_ref(points, CORNERS)
    assert torch.equal(triangle, whole.argmin(-1)) and torch.equal(squared, whole.amin(-1))
