"""Observed space -> canonical space by the nearest triangle of a body (3DPortraitGAN, section 3.2).

A point keeps its coordinates in the frame of the triangle that is nearest to it on the posed body, and is set into the
frame of the same triangle of the canonical one. The map is rigid by triangles, and jumps where the nearest one changes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from torch_utils.device import full_precision
from torch_utils.ops.nearest_triangle import nearest_triangles


class Frames(NamedTuple):
    """Of triangles."""

    axes: Tensor  # [..., 3, 3] rows: along the first edge, normal, their cross product
    origin: Tensor  # [..., 3] the first corner


def triangle_frames(corners: Tensor) -> Frames:
    """Of triangles [..., 3, 3]."""
    first, second, third = corners.unbind(-2)
    along = F.normalize(second - first, dim=-1)
    normal = F.normalize(torch.linalg.cross(second - first, third - first), dim=-1)
    return Frames(torch.stack([along, normal, torch.linalg.cross(along, normal)], -2), first)


@full_precision()
def to_rest_pose(
    points: Tensor, posed: Tensor, rest: Tensor, faces: Tensor, thickness: float, *, impl: str = "auto"
) -> Tensor:
    """Points about a posed body -> where they are about the body at rest.

    Gradients flow to ``points`` and, through the frames, to ``posed``; the search has none.

    Args:
        points: [B, ..., S, 3] float32; the S of a row are near one another, as samples of a ray.
        posed: [B, V, 3] vertices.
        rest: [V, 3] the same vertices at rest.
        faces: [F, 3] int64 triangles that count.
        thickness: points as far from the body or farther stay where they are.
        impl: of the search; see :func:`torch_utils.ops.nearest_triangle.nearest_triangles`.

    Returns:
        Like ``points``.
    """
    rest_frames = triangle_frames(rest[faces])
    moved = []
    for of_one, vertices in zip(points, posed, strict=True):
        corners = vertices[faces]
        triangle = nearest_triangles(of_one, corners, limit=thickness, impl=impl).triangle
        frames, at = triangle_frames(corners), triangle.clamp_min(0)
        local = torch.einsum("...ij,...j->...i", frames.axes[at], of_one - frames.origin[at])
        carried = torch.einsum("...ij,...i->...j", rest_frames.axes[at], local) + rest_frames.origin[at]
        moved.append(torch.where((triangle >= 0)[..., None], carried, of_one))
    return torch.stack(moved)


def faces_within(vertices: Tensor, faces: Tensor, half: float) -> Tensor:
    """The triangles [F', 3] of ``faces`` [F, 3] whose vertices lie within ``half`` of the origin on every axis."""
    inside = (vertices.abs() < half).all(-1)
    return faces[inside[faces].all(-1)]
