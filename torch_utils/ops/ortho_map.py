"""What a mesh shows to an orthographic view from its front and from its back: a face and a place in it per pixel."""

from typing import NamedTuple

import torch
from torch import Tensor

# Pairs of pixel and face that are looked at together.
_PAIRS = 1 << 22


class OrthoMap(NamedTuple):
    """A view of S x S pixels; row 0 is the highest y, column 0 the lowest x, seen from either side."""

    face: Tensor  # [S, S] int64, -1 where there is none
    barycentric: Tensor  # [S, S, 3] weights of the face's corners, 0 where there is none


@torch.no_grad()
def ortho_map(
    vertices: Tensor, faces: Tensor, centre: Tensor, half_extent: float, size: int
) -> tuple[OrthoMap, OrthoMap]:
    """The surface points of largest (front) and smallest z (back) at the pixels' centres.

    Pixel (i, j) looks at x = centre_x - h + 2 h (j + 0.5) / S and y = centre_y + h - 2 h (i + 0.5) / S. Faces count
    from both sides; on an edge the lower face does.

    Args:
        vertices: [V, 3] float32 or float64. faces: [F, 3] int64. centre: [3] alike, its z is not used.
        half_extent: h, in units of the vertices, above 0.
        size: S, from 1.

    Raises:
        ValueError: shapes or numbers do not fit.
    """
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        found = f"{list(vertices.shape)} and {list(faces.shape)}"
        raise ValueError(f"vertices and faces: expected shapes [V, 3] and [F, 3], found {found}")
    if not half_extent > 0 or size < 1:
        raise ValueError(f"half_extent and size: expected more than 0, found {half_extent} and {size}")
    scale = size / (2 * half_extent)
    flat = torch.stack([vertices[:, 0] - centre[0], centre[1] - vertices[:, 1]], -1)
    corners = ((flat + half_extent) * scale - 0.5)[faces]  # [F, 3, 2] column and row
    low = corners.amin(1).ceil().clamp(min=0).long()
    sides = (corners.amax(1).floor().clamp(max=size - 1).long() - low + 1).clamp(min=0)  # [F, 2]
    counts = sides.prod(-1)
    depth = vertices[:, 2][faces]  # [F, 3]
    best = [vertices.new_full((size * size,), -torch.inf) for _ in range(2)]
    chosen = [torch.full((size * size,), len(faces), device=faces.device) for _ in range(2)]
    _, together = (counts.cumsum(0) // _PAIRS).unique_consecutive(return_counts=True)
    parts = torch.arange(len(faces), device=faces.device).split(together.tolist())
    covered = [_cover(these, corners, low, sides, size) for these in parts]
    # Twice over the pairs: for the nearest depth of every pixel, and for the first face that has it.
    for sign, nearest, face in zip((1, -1), best, chosen, strict=True):
        for index, pixel, weights in covered:
            z = sign * (weights * depth[index]).sum(-1)
            nearest.scatter_reduce_(0, pixel, z, "amax")
        for index, pixel, weights in covered:
            z = sign * (weights * depth[index]).sum(-1)
            first = z == nearest[pixel]
            face.scatter_reduce_(0, pixel[first], index[first], "amin")
    return _view(chosen[0], corners, size), _view(chosen[1], corners, size)


def _cover(these: Tensor, corners: Tensor, low: Tensor, sides: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Face, pixel and barycentric weights of all pairs in which a pixel's centre lies in one of ``these`` faces."""
    counts = sides[these].prod(-1)
    first = (counts.cumsum(0) - counts).repeat_interleave(counts)
    entry = these.repeat_interleave(counts)
    within = torch.arange(len(entry), device=these.device) - first
    width = sides[entry, 0]
    column, row = low[entry, 0] + within % width, low[entry, 1] + within.div(width, rounding_mode="floor")
    weights = _barycentric(corners[entry], torch.stack([column, row], -1).to(corners))
    inside = (weights >= 0).all(-1)
    return entry[inside], (row * size + column)[inside], weights[inside]


def _barycentric(corners: Tensor, points: Tensor) -> Tensor:
    """[N, 3, 2] and [N, 2] -> [N, 3]; NaN for a face without area."""
    a, b, c = corners.unbind(1)

    def cross(u: Tensor, v: Tensor) -> Tensor:
        return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

    area = cross(b - a, c - a)
    first, second = cross(c - b, points - b) / area, cross(a - c, points - c) / area
    return torch.stack([first, second, 1 - first - second], -1)


def _view(chosen: Tensor, corners: Tensor, size: int) -> OrthoMap:
    covered = (chosen < len(corners)).nonzero().squeeze(-1)
    places = torch.stack([covered % size, covered.div(size, rounding_mode="floor")], -1).to(corners)
    weights = corners.new_zeros(len(chosen), 3)
    weights[covered] = _barycentric(corners[chosen[covered]], places)
    face = torch.where(chosen < len(corners), chosen, -1)
    return OrthoMap(face.reshape(size, size), weights.reshape(size, size, 3))
