"""The nearest triangle in plain torch: what the compiled implementations must agree with."""

import torch
from torch import Tensor

# Pairs of point and triangle whose distances are held at a time.
PAIRS_PER_CHUNK = 1 << 20


def nearest_triangles_ref(points: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """points [N, 3], corners [F, 3, 3] -> triangle [N] int64 and squared distance [N]; see ``nearest_triangles``."""
    parts = points.split(max(1, PAIRS_PER_CHUNK // len(corners)))
    found = [squared_distances(part[:, None], corners).min(-1) for part in parts]
    return torch.cat([least.indices for least in found]), torch.cat([least.values for least in found])


def squared_distances(points: Tensor, corners: Tensor) -> Tensor:
    """Of points [..., 3] from triangles [..., 3, 3]: from the inside where a point is above it, else from an edge."""
    a, b, c = corners.unbind(-2)
    edges = [_from_segment(points, *ends) for ends in ((a, b), (b, c), (c, a))]
    nearest_edge = torch.stack(torch.broadcast_tensors(*edges), -1).amin(-1)
    normal = torch.linalg.cross(b - a, c - a)
    area = normal.square().sum(-1)
    is_above = area > 0
    for start, end in ((a, b), (b, c), (c, a)):
        is_above = is_above & ((torch.linalg.cross(normal, end - start) * (points - start)).sum(-1) >= 0)
    height = ((points - a) * normal).sum(-1).square() / area.clamp_min(torch.finfo(area.dtype).tiny)
    return torch.where(is_above, height, nearest_edge)


def _from_segment(points: Tensor, start: Tensor, end: Tensor) -> Tensor:
    along = end - start
    length = along.square().sum(-1).clamp_min(torch.finfo(along.dtype).tiny)
    share = (((points - start) * along).sum(-1) / length).clamp(0, 1)
    return (points - start - share[..., None] * along).square().sum(-1)
