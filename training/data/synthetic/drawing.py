"""Drawing a coloured mesh: the portrait and face cameras and a vectorised z-buffer, in plain numpy.

Camera and pixel grid follow the method notes, section 2; a test holds them to ``networks.cameras``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from training.data.synthetic.mesh import ColouredMesh

FACE_RADIUS = 0.52767998683149
FOV_DEGREES = 12.0
ORBIT_CENTRE = (0.0, (0.052552 - 0.067489409707008) / FACE_RADIUS + 0.01, -0.050608165033568 / FACE_RADIUS)
_SUPERSAMPLE = 2
_CHUNK = 2_000_000  # candidate (triangle, sample) pairs held at once


class Picture(NamedTuple):
    image: np.ndarray  # [3, H, W] float32 in [-1, 1], white where nothing is
    alpha: np.ndarray  # [H, W] float32, covered share of the pixel
    depth: np.ndarray  # [H, W] float32, canonical units along the ray, averaged over the covered part; 0 where empty


class View(NamedTuple):
    """A pinhole camera: world = rotation @ camera + origin; the camera looks along its own -z."""

    rotation: np.ndarray  # [3, 3]
    origin: np.ndarray  # [3]


def camera_view(camera: tuple[float, float], camera_kind: str = "portrait", head_transform=None) -> View:
    """The camera for (pitch, yaw) in radians, frontal at (pi/2, pi/2).

    ``camera_kind`` "portrait" orbits the shifted centre at radius 1/face_radius; "face" orbits the canonical origin
    at radius 1 and is carried by ``head_transform`` [4, 4], the posed head's rigid transform (identity if None).
    """
    if camera_kind not in ("portrait", "face"):
        raise ValueError(f"camera_kind: expected 'portrait' or 'face', found {camera_kind!r}")
    pitch, yaw = (float(a) for a in camera)
    direction = np.array([math.sin(pitch) * math.cos(yaw), math.cos(pitch), math.sin(pitch) * math.sin(yaw)])
    forward = -direction
    left = np.cross((0.0, 1.0, 0.0), forward)
    left /= np.linalg.norm(left)
    up = np.cross(forward, left)
    up /= np.linalg.norm(up)
    rotation = np.stack([-left, up, -forward], 1)
    if camera_kind == "portrait":
        return View(rotation, direction / FACE_RADIUS + ORBIT_CENTRE)
    if head_transform is None:
        return View(rotation, direction)
    head = np.asarray(head_transform, np.float64)
    return View(head[:3, :3] @ rotation, head[:3, :3] @ direction + head[:3, 3])


def project(points: np.ndarray, view: View, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [P, 3] -> (pixel coordinates [P, 2] as (column, row), distance in front of the camera [P]).

    Pixel centres are the integers; column 0 is x = -1 and column size - 1 is x = 1 (ends included).
    """
    local = (points.astype(np.float64) - view.origin) @ view.rotation  # [P, 3]
    ahead = -local[:, 2]
    scale = 1.0 / math.tan(math.radians(FOV_DEGREES) / 2) / ahead
    column = (local[:, 0] * scale + 1.0) * 0.5 * (size - 1)
    row = (1.0 - local[:, 1] * scale) * 0.5 * (size - 1)
    return np.stack([column, row], 1), ahead


def rasterise(pixels: np.ndarray, ahead: np.ndarray, faces: np.ndarray, size: int):
    """Nearest front-facing triangle at every sample of a ``size`` x ``size`` grid.

    Args: pixels [V, 2] (column, row) in samples, ahead [V] > 0, faces [F, 3].
    Returns (sample [H] flat indices, face [H] indices, barycentric [H, 3] perspective-correct, ahead [H]) for the H hit
    samples. Ties go to the lower candidate, so that the result is the same on every run.
    """
    tri = pixels[faces]  # [F, 3, 2]
    low = np.ceil(tri.min(1)).astype(np.int64)
    high = np.floor(tri.max(1)).astype(np.int64)
    low, high = np.maximum(low, 0), np.minimum(high, size - 1)
    extent = high - low + 1
    edge1, edge2 = tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0]
    area = edge1[:, 0] * edge2[:, 1] - edge1[:, 1] * edge2[:, 0]  # rows go down, so a front face has area < 0
    keep = (extent > 0).all(1) & (area < -1e-9) & (ahead[faces].min(1) > 0)
    kept = np.nonzero(keep)[0]
    counts = extent[kept, 0] * extent[kept, 1]
    hit_parts, start = [], 0
    ends = np.cumsum(counts)
    while start < len(kept):
        base = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, base + _CHUNK, "right")))
        hit_parts.append(_candidates(kept[start:stop], counts[start:stop], low, extent, tri, area, ahead, faces, size))
        start = stop
    if not hit_parts:
        empty = np.zeros(0, np.int64)
        return empty, empty, np.zeros((0, 3)), np.zeros(0)
    sample, face, bary, depth = (np.concatenate(part) for part in zip(*hit_parts))
    # Nearest wins: positive float32 bit patterns sort like the numbers; the low half breaks ties by order.
    keys = (depth.astype(np.float32).view(np.uint32).astype(np.int64) << 32) | np.arange(len(depth))
    nearest = np.full(size * size, np.iinfo(np.int64).max)
    np.minimum.at(nearest, sample, keys)
    hit = nearest[nearest != np.iinfo(np.int64).max] & 0xFFFFFFFF
    return sample[hit], face[hit], bary[hit], depth[hit]


def _candidates(which, counts, low, extent, tri, area, ahead, faces, size):
    """All samples inside the triangles ``which``: (sample, face, barycentric, ahead)."""
    face = np.repeat(which, counts)
    local = np.arange(len(face)) - np.repeat(np.cumsum(counts) - counts, counts)
    width = extent[face, 0]
    x = low[face, 0] + local % width
    y = low[face, 1] + local // width
    corners = tri[face]
    inverse_area = 1.0 / area[face]
    ax, ay = corners[:, 0, 0], corners[:, 0, 1]
    bx, by = corners[:, 1, 0] - ax, corners[:, 1, 1] - ay
    cx, cy = corners[:, 2, 0] - ax, corners[:, 2, 1] - ay
    px, py = x - ax, y - ay
    v = (px * cy - py * cx) * inverse_area
    w = (bx * py - by * px) * inverse_area
    u = 1.0 - v - w
    inside = np.nonzero((u >= 0) & (v >= 0) & (w >= 0))[0]
    face, sample = face[inside], (y * size + x)[inside]
    screen = np.stack([u[inside], v[inside], w[inside]], 1)
    screen /= ahead[faces[face]]
    inverse = screen.sum(1)
    return sample, face, screen / inverse[:, None], 1.0 / inverse


def draw(
    mesh: ColouredMesh,
    camera: tuple[float, float],
    size: int = 256,
    camera_kind: str = "portrait",
    head_transform: np.ndarray | None = None,
) -> Picture:
    """Draw a mesh unlit (its colours carry the light) on white.

    Args: camera (pitch, yaw) radians; size in pixels; camera_kind and head_transform as in :func:`camera_view`.
    Every pixel is the mean of 2 x 2 samples. Returns a :class:`Picture`.
    Raises ValueError for a size below 2 or an unknown camera kind.
    """
    if size < 2:
        raise ValueError(f"size: expected at least 2 pixels, found {size}")
    view = camera_view(camera, camera_kind, head_transform)
    pixels, ahead = project(mesh.vertices, view, size)
    fine = size * _SUPERSAMPLE
    samples = pixels * _SUPERSAMPLE + 0.5 * (_SUPERSAMPLE - 1)
    sample, face, bary, depth = rasterise(samples, ahead, mesh.faces, fine)
    colour = (mesh.colours[mesh.faces[face]] * bary[:, :, None]).sum(1)  # [H, 3]
    # Distance along the (normalised) ray from the distance along the optical axis.
    grid = ((np.stack([sample % fine, sample // fine], 1) - 0.5 * (_SUPERSAMPLE - 1)) / _SUPERSAMPLE) / (size - 1)
    tangent = (grid * 2.0 - 1.0) * math.tan(math.radians(FOV_DEGREES) / 2)
    along = depth * np.sqrt(1.0 + (tangent * tangent).sum(1))
    buffer = np.zeros((fine * fine, 5))
    buffer[sample, :3], buffer[sample, 3], buffer[sample, 4] = colour, 1.0, along
    total = buffer.reshape(size, _SUPERSAMPLE, size, _SUPERSAMPLE, 5).mean((1, 3))  # [H, W, 5]
    alpha = total[:, :, 3]
    image = np.clip(total[:, :, :3], 0.0, 1.0) + (1.0 - alpha)[:, :, None]
    return Picture(
        np.ascontiguousarray((image * 2.0 - 1.0).clip(-1, 1).transpose(2, 0, 1), np.float32),
        alpha.astype(np.float32),
        (total[:, :, 4] / np.maximum(alpha, 1e-12)).astype(np.float32),
    )
