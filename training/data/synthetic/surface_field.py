"""A mesh as a volumetric target: colour of, and signed distance to, its outermost visible surface."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.spatial import cKDTree

from networks.cameras import FRONTAL
from training.data.synthetic.drawing import camera_view, project, rasterise
from training.data.synthetic.mesh import PART_NAMES, ColouredMesh, cross

_NEIGHBOURS = 4
_DEEP = 0.012  # canonical units: about two cells of a view
_VIEWS = 40  # directions from which the surface is looked at
_VIEW_GRID = 90
_COARSE_STEP = 16  # one sample in so many is in the coarse tree
# Boxes in canonical units: eyes, nose and mouth, taken as the face camera sees them; eyes, taken in no other way.
_FACE_BOX = (-0.05, -0.07, -0.03), (0.05, 0.045, 0.05)
_EYE_BOX = (-0.045, -0.004, -0.03), (0.045, 0.030, 0.05)
_FACE_VIEW = 640  # samples a side of the face camera's view, 0.4 mm apart
_FINE_REACH = 0.02  # canonical units; several times the spacing of the coarse samples


class SurfaceField:
    """Nearest-surface queries on a union of (nearly) closed parts.

    The surface is sampled densely and deterministically, evenly by area. Samples of one part that lie inside another
    (scalp under hair, skin under clothes) are dropped, so that the outermost surface gives colour and distance, and a
    point behind it is filled with its colour. Eyes, nose and mouth, whose thin sheets would deceive such a rule, are
    sampled about forty times as densely where the face camera sees them, and there a point has the colour that this
    camera sees in its place: the nearest surface to a point two millimetres behind a lid is the eye beside it.
    """

    def __init__(self, mesh: ColouredMesh, samples: int = 60_000):
        """``samples``: about how many surface points (positions, colours, normals) are taken by area."""
        points, normals, colours, parts = _sample(mesh, samples)
        self._views = _Views(points)  # with the eyes: without them the head would be open
        seen = _within(points, _EYE_BOX) | np.isin(parts, [PART_NAMES.index("eyes"), PART_NAMES.index("mouth")])
        points, normals, colours, parts = points[~seen], normals[~seen], colours[~seen], parts[~seen]
        visible = self._views.exposed(points, normals)
        sheet = parts == PART_NAMES.index("hair_inner")
        parts = np.where(sheet, PART_NAMES.index("hair"), parts).astype(parts.dtype)
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
            covered |= sheet[others[found]] & (depth < 0.002)  # the hair's inner side shows only where it hangs free
            visible[others[found][covered]] = False
        area = (points[visible], normals[visible], colours[visible], parts[visible])
        self._face = _FaceView(mesh)
        both = zip(area, self._face.samples, strict=True)
        self.points, self.normals, self.colours, self.parts = (np.concatenate(pair) for pair in both)
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
        deep = np.nonzero(distance[:, 0] > _DEEP)[0]  # so far in, single sheets mislead; ask whether it sees the sky
        sign[deep] = np.where(self._views.open_air(points[deep]), 1.0, -1.0)
        # Near the surface the height over the tangent plane is finer than the distance to the nearest sample.
        near = np.abs((height * weight).sum(1))
        far = distance[:, 0]
        blend = np.clip(far / 0.004 - 0.5, 0.0, 1.0)
        size = near * (1.0 - blend) + far * blend
        rgb = (self.colours[index] * weight[:, :, None]).sum(1)
        seen, colours = self._face.colours_at(points)
        rgb[seen] = colours
        return rgb.astype(np.float32), (sign * size).astype(np.float32)


class _FaceView:
    """Eyes, nose and mouth as the face camera sees them."""

    def __init__(self, mesh: ColouredMesh):
        self.camera = camera_view((FRONTAL, FRONTAL), "face")
        pixels, ahead = project(mesh.vertices, self.camera, _FACE_VIEW)
        pixel, face, bary, _ = rasterise(pixels, ahead, mesh.faces, _FACE_VIEW)
        samples = _on_faces(mesh, face, bary)
        inside = _within(samples[0], _FACE_BOX)
        self.samples = tuple(part[inside] for part in samples)  # points, normals, colours, parts
        self.hit = np.zeros(_FACE_VIEW * _FACE_VIEW, bool)
        self.image = np.zeros((_FACE_VIEW * _FACE_VIEW, 3), np.float32)
        self.hit[pixel[inside]], self.image[pixel[inside]] = True, self.samples[2]

    def colours_at(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Indices [M] of those of the points [P, 3] that lie in the box and on what is seen, and its colours [M, 3]."""
        index = np.nonzero(_within(points, _FACE_BOX))[0]
        pixels, _ = project(points[index], self.camera, _FACE_VIEW)
        column, row = np.clip(np.rint(pixels), 0, _FACE_VIEW - 1).astype(np.int64).T
        pixel = row * _FACE_VIEW + column
        seen = self.hit[pixel]
        return index[seen], self.image[pixel[seen]]


class _Views:
    """Orthographic depth maps of the samples from directions all round."""

    def __init__(self, points: np.ndarray):
        step = np.arange(_VIEWS) + 0.5
        y = 1.0 - 2.0 * step / _VIEWS
        angle = step * np.pi * (3.0 - np.sqrt(5.0))
        ring = np.sqrt(1.0 - y * y)
        self.directions = np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1)  # [L, 3]
        side = np.cross((0.31, 0.17, 0.93), self.directions)
        side /= np.sqrt((side * side).sum(1, keepdims=True))
        axes = np.stack([side, np.cross(self.directions, side), self.directions], 1)  # [L, 3, 3]
        self.axes = axes.astype(np.float32)
        centre = 0.5 * (points.min(0) + points.max(0))
        self.centre = centre.astype(np.float32)
        reach = np.sqrt(((points - centre) ** 2).sum(1).max())
        self.cell = max(2.0 * reach / (_VIEW_GRID - 3), 1e-9)
        self.fronts = []
        for i in range(_VIEWS):
            index, height = self.locate(points, i)
            front = np.full(_VIEW_GRID * _VIEW_GRID, -np.inf, np.float32)
            np.maximum.at(front, index, height)
            self.fronts.append(front)

    def locate(self, points: np.ndarray, view: int) -> tuple[np.ndarray, np.ndarray]:
        """Cell [N] and height towards the viewer [N] of points [N, 3] float32; far points share the empty border."""
        u, v, w = ((points - self.centre) @ self.axes[view].T).T
        middle, last = 0.5 * (_VIEW_GRID - 1), _VIEW_GRID - 1
        column = np.clip(np.rint(u / self.cell + middle), 0, last).astype(np.int64)
        return np.clip(np.rint(v / self.cell + middle), 0, last).astype(np.int64) * _VIEW_GRID + column, w

    def exposed(self, points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Which samples [N] bool are seen from a direction that they face: drops the hair's inner side on the skull,
        the roots of the ears, and whatever else hangs inside the head."""
        seen = np.zeros(len(points), bool)
        for i, front in enumerate(self.fronts):
            index, height = self.locate(points, i)
            seen |= (normals @ self.axes[i, 2] > 0.35) & (height > front[index] - 1.2 * self.cell)
        return seen

    def open_air(self, points: np.ndarray) -> np.ndarray:
        """Which points [N] bool have nothing in front of them from some direction: outside, whatever the normals."""
        seen = np.zeros(len(points), bool)
        for i, front in enumerate(self.fronts):
            if self.directions[i, 1] < -0.3:
                continue  # a bust is open below
            solid = maximum_filter(front.reshape(_VIEW_GRID, _VIEW_GRID), 3).ravel()  # no pinholes between samples
            hidden = np.nonzero(~seen)[0]
            index, height = self.locate(points[hidden], i)
            seen[hidden] = height > solid[index]
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
    return _on_faces(mesh, face, bary)


def _within(points: np.ndarray, box) -> np.ndarray:
    return ((points > box[0]) & (points < box[1])).all(1)


def _on_faces(mesh: ColouredMesh, face: np.ndarray, bary: np.ndarray):
    """Points [N, 3] at barycentric coordinates [N, 3] of faces [N], their unit normals, colours and parts."""
    tri = mesh.vertices[mesh.faces[face]].astype(np.float64)
    normal = cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])
    unit = normal / np.maximum(np.sqrt((normal * normal).sum(1, keepdims=True)), 1e-20)
    points = (tri * bary[:, :, None]).sum(1)
    colours = (mesh.colours[mesh.faces[face]] * bary[:, :, None]).sum(1)
    f32 = np.float32
    return points.astype(f32), unit.astype(f32), colours.astype(f32), mesh.parts[mesh.faces[face, 0]]
