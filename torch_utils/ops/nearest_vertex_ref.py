"""The nearest vertex in plain torch: what the compiled implementations must agree with."""

import torch
from torch import Tensor

from torch_utils.device import full_precision

# Pairs of point and vertex whose distances are held at a time.
PAIRS_PER_CHUNK = 1 << 23


@full_precision()
def nearest_vertices_ref(points: Tensor, vertices: Tensor) -> Tensor:
    """points [N, 3], vertices [V, 3] -> [N] int64; see ``nearest_vertices``."""
    # |v|^2 - 2 p.v (one matrix product) about the vertices' mean, where rounding is smallest.
    centre = vertices.mean(0)
    points, vertices = points - centre, vertices - centre
    squared, transposed = vertices.square().sum(-1), -2 * vertices.T
    parts = points.split(max(1, PAIRS_PER_CHUNK // len(vertices)))
    return torch.cat([torch.addmm(squared, part, transposed).argmin(-1) for part in parts])
