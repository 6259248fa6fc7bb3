"""Nearest vertices by hand, and the implementations against one another."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.torch_utils.ops.implementations import over_compiled, over_implementations
from torch_utils.ops import nearest_vertex_ref
from torch_utils.ops.nearest_vertex import nearest_vertices


@over_implementations
def test_by_hand(impl, device):
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]], device=device)
    points = torch.tensor([[0.4, 0, 5], [0.6, 0, -5], [0.1, 1.1, 0], [9, 9, 9]], device=device)
    assert nearest_vertices(points[None, None], vertices, impl=impl).tolist() == [[[0, 1, 2, 2]]]


@over_compiled
@given(st.integers(0, 999), st.tuples(*[st.integers(1, 19)] * 3), st.integers(1, 300), st.sampled_from([0.01, 1.0, 30]))
@settings(max_examples=30, deadline=None)
def test_implementations_agree(impl, device, seed, size, count, spacing):
    """The vertices found are as near as any, within the rounding of squared distances; grids fine, coarse and far."""
    random = torch.Generator().manual_seed(seed)
    axes = torch.meshgrid(*(spacing * torch.arange(n) for n in size), indexing="ij")
    points = torch.stack(axes, -1) + spacing * torch.rand(*size, 3, generator=random)
    vertices = 2 * torch.randn(count, 3, generator=random)
    index = nearest_vertices(points.to(device), vertices.to(device), impl=impl).cpu()
    assert index.shape == size and index.dtype == torch.int64
    distance = (vertices[index].double() - points.double()).norm(dim=-1)
    least = torch.cdist(points.reshape(-1, 3).double(), vertices.double()).amin(-1).reshape(size)
    assert (distance - least).max() < 1e-5 * (1 + least.max())


@over_implementations
def test_empty_grid_and_numbers_that_are_none(impl, device):
    """No points: no indices. NaN and infinity: some vertex, and the other points have theirs."""
    vertices = torch.randn(7, 3, generator=torch.Generator().manual_seed(0)).to(device)
    assert nearest_vertices(torch.zeros(0, 4, 5, 3, device=device), vertices, impl=impl).shape == (0, 4, 5)
    points = vertices.expand(1, 1, 7, 3).clone()
    points[0, 0, 2, 1], points[0, 0, 3, 0] = math.inf, math.nan
    index = nearest_vertices(points, vertices, impl=impl).flatten().tolist()
    assert all(0 <= i < 7 for i in index)
    assert index[:2] + index[4:] == [0, 1, 4, 5, 6]


@over_implementations
def test_errors(impl, device):
    points, vertices = torch.zeros(1, 1, 2, 3, device=device), torch.zeros(4, 3, device=device)
    for bad in (points[0], points[..., :2]):
        with pytest.raises(ValueError, match=r"points: expected shape \[H, W, S, 3\], found"):
            nearest_vertices(bad, vertices, impl=impl)
    for bad in (vertices[None], vertices[:0]):
        with pytest.raises(ValueError, match=r"vertices: expected shape \[V, 3\] with V >= 1, found"):
            nearest_vertices(points, bad, impl=impl)
    with pytest.raises(TypeError, match="points: expected torch.float32.*, found torch.int32"):
        nearest_vertices(points.int(), vertices, impl=impl)
    with pytest.raises(TypeError, match="vertices: expected torch.float32.*, found torch.float64"):
        nearest_vertices(points, vertices.double(), impl=impl)
    with pytest.raises(ValueError, match="expected one device"):
        nearest_vertices(points, vertices.to("meta"), impl=impl)
    with pytest.raises(ValueError, match="impl: expected one of"):
        nearest_vertices(points, vertices, impl="fast")


@pytest.mark.parametrize("pairs", [1, 1000, 1 << 23])
def test_plain_torch_in_chunks_of_any_size_and_in_double_precision(monkeypatch, pairs):
    """Far from the origin, where |v|^2 - 2 p.v would round: the vertex is as near as the nearest."""
    monkeypatch.setattr(nearest_vertex_ref, "PAIRS_PER_CHUNK", pairs)
    random = torch.Generator().manual_seed(0)
    points, vertices = torch.randn(1, 1, 41, 3, generator=random) + 5, torch.randn(70, 3, generator=random) + 5
    distance = torch.cdist(points[0, 0].double(), vertices.double(), compute_mode="donot_use_mm_for_euclid_dist")
    chosen = distance.gather(-1, nearest_vertices(points, vertices, impl="ref")[0, 0, :, None])[:, 0]
    assert torch.all(chosen - distance.amin(-1) < 1e-5)  # float32's rounding
    assert torch.equal(nearest_vertices(points.double(), vertices.double())[0, 0], distance.argmin(-1))
    with pytest.raises(TypeError, match="points: expected torch.float32, found torch.float64"):
        nearest_vertices(points.double(), vertices.double(), impl="cpp")
