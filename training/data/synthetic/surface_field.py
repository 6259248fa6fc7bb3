"""A mesh as a volumetric target: colour of, and signed distance to, its outermost visible surface."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from training.data.synthetic.mesh import ColouredMesh, cross

_NEIGHBOURS = 4
_VIEWS = 30  # directions from which the surface is looked at
_VIEW_GRID = 90
_COARSE_STEP = 16  # one sample in so many is in the coarse tree
_FINE_REACH = 0.02  # canonical units; several times the spacing of the coarse samples


class SurfaceField:
    """Nearest-surface queries on a union of (nearly) closed parts.

    The surface is sampled densely, evenly by area and deterministically. Samples of one part that lie inside another
    (scalp under hair, skin under clothes) are dropped, so that the outermost surface gives colour and distance, and a
    point behind it is filled with its colour.
    """

    def __init__(self, mesh: ColouredMesh, samples: int = 60_000):
        """``samples``: about how many surface points are kept in memory (positions, colours, normals)."""
        points, normals, colours, parts = _sample(mesh, samples)
        visible = _exposed(points, normals)
        labels = np.unique(parts)
        reach = 0.05  # canonical units: no part is thicker than this over another
        for label in labels if len(labels) > 1 else ():
            own = parts == label
            own &= visible
            others = np.nonzero(visible & (parts != label))[0]
            if not own.any() or not len(others):
                continue
            tree = cKDTree(points[own])
            distance, near = tree.query(points[others], k=1, distance_upper_bound=reach)
            found = np.isfinite(distance)
            index = np.nonzero(own)[0][near[found]]
            offset = points[others[found]] - points[index]
            depth = (offset * normals[index]).sum(1)
            # Only what lies well behind the sheet, and not beside its edge, is covered by it.
            covered = (depth < -0.0008) & (depth < -0.6 * distance[found])
            visible[others[found][covered]] = False
        self.points, self.normals = points[visible], normals[visible]
        self.colours, self.parts = colours[visible], parts[visible]
        self._tree = cKDTree(self.points)
        self._coarse = slice(None, None, _COARSE_STEP)
        self._coarse_tree = cKDTree(self.points[self._coarse])

    def query(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points [P, 3] -> (rgb [P, 3] float32 in 0..1, signed distance [P] float32, negative inside).

        The colour is that of the nearest samples weighted by inverse squared distance; the sign is a vote of their
        normals.
        """
        points = np.asarray(points, np.float32)
        distance, index = self._coarse_tree.query(points, k=_NEIGHBOURS)
        index *= _COARSE_STEP
        near = distance[:, 0] < _FINE_REACH  # farther away the coarse answer is as good, and ten times as fast
        distance[near], index[near] = self._tree.query(points[near], k=_NEIGHBOURS)
        offset = points[:, None] - self.points[index]  # [P, 4, 3]
        height = (offset * self.normals[index]).sum(-1)  # [P, 4], signed height over each sample's tangent plane
        weight = 1.0 / (distance * distance + 1e-7)
        weight /= weight.sum(1, keepdims=True)
        sign = np.where((height * weight).sum(1) < 0, -1.0, 1.0)
        # Near the surface the height over the tangent plane is finer than the distance to the nearest sample.
        near = np.abs((height * weight).sum(1))
        far = distance[:, 0]
        blend = np.clip(far / 0.004 - 0.5, 0.0, 1.0)
        size = near * (1.0 - blend) + far * blend
        rgb = (self.colours[index] * weight[:, :, None]).sum(1)
        return rgb.astype(np.float32), (sign * size).astype(np.float32)


def _exposed(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Which samples [N] bool are seen from outside: from some direction they face, nothing lies far in front.

    This drops the inner sheet of the hair, the roots of the ears and whatever else hangs inside the head.
    """
    step = np.arange(_VIEWS) + 0.5
    y = 1.0 - 2.0 * step / _VIEWS
    angle = step * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - y * y)
    seen = np.zeros(len(points), bool)
    for direction in np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1).astype(np.float32):
        side = np.cross((0.0, 0.0, 1.0) if abs(direction[2]) < 0.9 else (0.0, 1.0, 0.0), direction)
        side = (side / np.linalg.norm(side)).astype(np.float32)
        u, v, w = points @ side, points @ np.cross(direction, side).astype(np.float32), points @ direction
        cell = max(np.ptp(u), np.ptp(v), 1e-6) / (_VIEW_GRID - 1)
        index = np.rint((v - v.min()) / cell).astype(np.int64) * _VIEW_GRID + np.rint((u - u.min()) / cell).astype(np.int64)
        front = np.full(_VIEW_GRID * _VIEW_GRID, -np.inf, np.float32)
        np.maximum.at(front, index, w)
        seen |= (normals @ direction > 0.35) & (w > front[index] - 1.2 * cell)
    return seen


def _sample(mesh: ColouredMesh, samples: int):
    """Area-weighted points on the faces: (points, unit normals, colours, part labels), float32."""
    tri = mesh.vertices[mesh.faces].astype(np.float64)
    normal = cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    area = np.sqrt((normal * normal).sum(1))
    # Error diffusion along the face list: each face gets its share of samples, rounded so that the sum stays true.
    quota = np.cumsum(area) * (samples / max(area.sum(), 1e-20))
    count = np.diff(np.floor(quota), prepend=0.0).astype(np.int64)
    face = np.repeat(np.arange(len(area)), count)
    # A low-discrepancy sequence (plastic number) folded into the triangle.
    step = np.arange(len(face))[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    uv = step % 1.0
    fold = uv.sum(1) > 1.0
    uv[fold] = 1.0 - uv[fold]
    bary = np.stack([1.0 - uv.sum(1), uv[:, 0], uv[:, 1]], 1)
    points = (tri[face] * bary[:, :, None]).sum(1)
    colours = (mesh.colours[mesh.faces[face]] * bary[:, :, None]).sum(1)
    unit = normal[face] / np.maximum(area[face], 1e-20)[:, None]
    f32 = np.float32
    return points.astype(f32), unit.astype(f32), colours.astype(f32), mesh.parts[mesh.faces[face, 0]]
