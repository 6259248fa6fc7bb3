"""The vertex nearest to every point of a grid along rays, for inverse skinning (paper section 3.1, K = 1)."""

import math

import torch
from torch import Tensor

from torch_utils.custom_ops import select
from torch_utils.ops.nearest_vertex_ref import nearest_vertices_ref

# Points that a GPU's block of threads takes together.
TILE = (8, 4, 4)


def nearest_vertices(points: Tensor, vertices: Tensor, *, impl: str = "auto") -> Tensor:
    """Index of the vertex nearest to each point; of two as near, within rounding, either.

    The compiled search takes neighbours in the grid together, and is fast where they are neighbours in space.

    Args:
        points: [H, W, S, 3] float32, or float64, which plain torch alone searches.
        vertices: [V, 3] alike, V >= 1.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        [H, W, S] int64. No gradients.

    Raises:
        ValueError: shapes, devices, or ``impl`` do not fit.
        TypeError: another dtype, or float64 for a compiled search.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    if points.ndim != 4 or points.shape[-1] != 3:
        raise ValueError(f"points: expected shape [H, W, S, 3], found {list(points.shape)}")
    if vertices.ndim != 2 or vertices.shape[1] != 3 or len(vertices) == 0:
        raise ValueError(f"vertices: expected shape [V, 3] with V >= 1, found {list(vertices.shape)}")
    for name, tensor in (("points", points), ("vertices", vertices)):
        allowed = (torch.float32,) if impl in ("cpp", "cuda") else (torch.float32, torch.float64)
        if tensor.dtype not in allowed or tensor.dtype != points.dtype:
            raise TypeError(f"{name}: expected {' or '.join(map(str, allowed))}, found {tensor.dtype}")
    if points.device != vertices.device:
        raise ValueError(f"points and vertices: expected one device, found {points.device}, {vertices.device}")
    points, vertices = points.detach(), vertices.detach()
    ops = select("ref" if points.dtype == torch.float64 else impl, points.device)
    if ops is None:
        return nearest_vertices_ref(points.reshape(-1, 3), vertices).reshape(points.shape[:3])
    index = points.new_empty(points.shape[:3], dtype=torch.int64)
    size = (*points.shape[:3], len(vertices))
    threads = math.prod(-(-n // tile) * tile for n, tile in zip(size, TILE, strict=False))
    ops("nearest_vertices", points.contiguous(), vertices.T.contiguous(), *size, index, threads=threads)
    return index
