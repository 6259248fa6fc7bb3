"""The triangle of a mesh nearest to every point, for inverse mesh deformation (3DPortraitGAN, section 3.2)."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from torch_utils.custom_ops import select
from torch_utils.ops.nearest_triangle_ref import nearest_triangles_ref

LEAF = 4  # triangles of a leaf, as in csrc/nearest_triangle.h
_BITS = 10  # of each coordinate in the order of triangles


class NearestTriangle(NamedTuple):
    """Of every point."""

    triangle: Tensor  # [...] int64, a row of the faces; -1: none within the limit
    distance: Tensor  # [...] float32; the limit where there is none


class TriangleTree(NamedTuple):
    """Triangles in the order of a space-filling curve, ``LEAF`` to a leaf, below boxes that hold them."""

    order: Tensor  # [LEAF * L] int64 rows of the faces
    corners: Tensor  # [LEAF * L, 3, 3] float32
    boxes: Tensor  # [2 * L, 2, 3] low and high corner; node n lies above 2 n and 2 n + 1, leaves from L on


def build_tree(corners: Tensor) -> TriangleTree:
    """Of triangles [F, 3, 3] float32, F >= 1, on their device and without waiting for it."""
    middle = corners.mean(1)
    low, high = middle.amin(0), middle.amax(0)
    cell = ((middle - low) / (high - low).clamp_min(1e-12) * (2**_BITS - 1)).long()
    code = sum(((cell >> bit & 1) << (3 * bit + axis)).select(1, axis) for bit in range(_BITS) for axis in range(3))
    assert isinstance(code, Tensor)
    leaves = 1 << max(0, math.ceil(math.log2(math.ceil(len(corners) / LEAF))))
    order = code.argsort(stable=True)
    # Leaves are as full as can be, and the last triangle fills the rest.
    order = order[torch.arange(LEAF * leaves, device=order.device).clamp_max(len(corners) - 1)]
    corners = corners[order]
    ends = corners.view(leaves, 3 * LEAF, 3)
    level = torch.stack([ends.amin(1), ends.amax(1)], 1)  # [L, 2, 3]
    levels = [level]
    while len(level) > 1:
        pairs = level.view(-1, 2, 2, 3)
        level = torch.stack([pairs[:, :, 0].amin(1), pairs[:, :, 1].amax(1)], 1)
        levels.insert(0, level)
    return TriangleTree(order, corners.contiguous(), torch.cat([level[:1], *levels]).contiguous())


def nearest_triangles(
    points: Tensor, corners: Tensor, *, limit: float = math.inf, impl: str = "auto"
) -> NearestTriangle:
    """Index of the triangle nearest to each point, and how far away it is.

    Distances are exact, from the triangle's inside, edges and corners. Of two as near, within rounding, either: points
    whose nearest point lies on an edge have two.

    Args:
        points: [..., S, 3] float32; the S of a row are near one another, as samples of a ray.
        corners: [F, 3, 3] alike, F >= 1.
        limit: triangles as far away or farther are none.
        impl: ``ref`` (plain torch), ``cpp``, ``cuda``, or ``auto``: the compiled one where it can be built.

    Returns:
        :class:`NearestTriangle` of shape [..., S]. No gradients.

    Raises:
        ValueError: shapes, devices, the limit or ``impl`` do not fit.
        TypeError: another dtype.
        UserError: ``cpp`` or ``cuda`` cannot be built here.
    """
    if points.ndim < 2 or points.shape[-1] != 3:
        raise ValueError(f"points: expected shape [..., S, 3], found {list(points.shape)}")
    if corners.ndim != 3 or corners.shape[1:] != (3, 3) or len(corners) == 0:
        raise ValueError(f"corners: expected shape [F, 3, 3] with F >= 1, found {list(corners.shape)}")
    for name, tensor in (("points", points), ("corners", corners)):
        if tensor.dtype != torch.float32:
            raise TypeError(f"{name}: expected torch.float32, found {tensor.dtype}")
    if points.device != corners.device:
        raise ValueError(f"points and corners: expected one device, found {points.device}, {corners.device}")
    if not limit > 0:
        raise ValueError(f"limit: expected a positive number, found {limit}")
    points, corners = points.detach(), corners.detach()
    ops = select(impl, points.device)
    shape, most = points.shape[:-1], min(limit**2, torch.finfo(torch.float32).max)
    if ops is None:
        triangle, squared = nearest_triangles_ref(points.reshape(-1, 3), corners)
        is_near = squared < most
        triangle, squared = torch.where(is_near, triangle, -1), torch.where(is_near, squared, most)
    else:
        tree = build_tree(corners)
        count = math.prod(shape)
        row, squared = points.new_empty(count, dtype=torch.int64), points.new_empty(count)
        run = 1 if ops.is_cuda else max(1, shape[-1])
        size = (len(tree.order) // LEAF, count, run)
        arrays = (points.contiguous(), tree.corners, tree.boxes)
        ops("nearest_triangles", *arrays, *size, most, row, squared, threads=-(-count // run))
        triangle = torch.where(row >= 0, tree.order[row.clamp_min(0)], -1)
    return NearestTriangle(triangle.view(shape), squared.sqrt().view(shape))
