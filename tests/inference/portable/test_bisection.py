"""Meshes over grids: cover what they should, without cracks, within their error."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.portable.bisection import bisect


def doubled_areas(triangles, nodes):
    """Of triangles of nodes, in cells; positive: counter-clockwise."""
    x, y = (triangles % nodes).double(), (triangles // nodes).double()
    a, b, c = (torch.stack([x[:, i], y[:, i]], 1) for i in range(3))
    (ux, uy), (vx, vy) = (b - a).unbind(1), (c - a).unbind(1)
    return ux * vy - uy * vx


def test_by_hand():
    """What is linear needs two triangles; a peak in the middle needs four; a kept cell two of its own."""
    y, x = torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij")
    everything = torch.ones(2, 2, dtype=torch.bool)
    flat = torch.stack([2 * x - y, y], -1)
    assert sorted(map(sorted, bisect(flat, everything, 1e-6, 2).tolist())) == [[0, 2, 8], [0, 6, 8]]
    peak = torch.zeros(3, 3, 1)
    peak[1, 1] = 1
    quarters = [[0, 2, 4], [0, 4, 6], [2, 4, 8], [4, 6, 8]]
    assert sorted(map(sorted, bisect(peak, everything, 0.5, 2).tolist())) == quarters
    assert len(bisect(peak, everything, 1.5, 2)) == 2
    assert len(bisect(flat, everything, 1e-6, 1)) == 8
    one = torch.zeros(2, 2, dtype=torch.bool)
    one[0, 1] = True
    corner = sorted(map(sorted, bisect(flat, one, 1e-6, 2).tolist()))
    assert corner == [[1, 2, 4], [2, 4, 5]]
    assert len(bisect(flat, ~everything, 1e-6, 2)) == 0


@given(st.integers(0, 99), st.sampled_from([4, 8, 16]), st.floats(0.01, 1))
@settings(max_examples=30, deadline=None)
def test_meshes_cover_the_kept_cells_once_and_have_no_cracks(seed, cells, error):
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(cells + 1, cells + 1, 2, generator=random)
    kept = torch.rand(cells, cells, generator=random) < 0.7
    triangles = bisect(values, kept, error, cells)
    areas = doubled_areas(triangles, cells + 1)
    assert (areas > 0).all()
    assert areas.sum() == 2 * kept.sum()
    middles = torch.cat([(triangles[:, i] + triangles[:, (i + 1) % 3]).float() / 2 for i in range(3)])
    # A longest side's middle is nobody's corner: else there would be a hole beside it.
    sides = torch.cat([triangles[:, [i, (i + 1) % 3]] for i in range(3)])
    across, up = ((sides % (cells + 1)).sum(1), (sides // (cells + 1)).sum(1))
    halved = (across % 2 == 0) & (up % 2 == 0)
    assert not torch.isin(middles[halved].long(), triangles.unique()).any()


def test_error_is_kept():
    """A smooth bump: interpolated within the error everywhere, by far fewer triangles than there are cells."""
    cells = 32
    along = torch.linspace(-1, 1, cells + 1)
    bump = torch.exp(-8 * (along[:, None] ** 2 + along**2))[..., None]
    triangles = bisect(bump, torch.ones(cells, cells, dtype=torch.bool), 0.01, cells)
    assert len(triangles) < 0.5 * 2 * cells**2
    worst = 0.0
    x, y = (triangles % (cells + 1)).float(), (triangles // (cells + 1)).float()
    height = bump.flatten()[triangles]
    shares = torch.rand(50, len(triangles), 3, generator=torch.Generator().manual_seed(0))
    shares = shares / shares.sum(-1, keepdim=True)
    at = [(shares * part).sum(-1) / cells * 2 - 1 for part in (x, y)]
    exact = torch.exp(-8 * (at[0] ** 2 + at[1] ** 2))
    worst = ((shares * height).sum(-1) - exact).abs().max().item()
    assert worst == pytest.approx(0.01, abs=0.01)
