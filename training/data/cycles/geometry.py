"""Triangle meshes made finer and cut, with values at their vertices."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from training.data.synthetic.mesh import face_sums, vertex_normals

# New triangles by which edges are split (bit 0: corners 0-1, bit 1: 1-2, bit 2: 2-0); 3, 4, 5 are the middles of those.
_SPLITS: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 1, 2),),
    ((0, 3, 2), (3, 1, 2)),
    ((0, 1, 4), (0, 4, 2)),
    ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    ((0, 1, 5), (5, 1, 2)),
    ((0, 3, 5), (3, 1, 2), (3, 2, 5)),
    ((4, 2, 5), (0, 1, 4), (0, 4, 5)),
    ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
)
# What is left of a triangle by which corners are kept (bit i: corner i); 3, 4, 5 are where its edges are cut.
_CUTS: tuple[tuple[tuple[int, int, int], ...], ...] = (
    (),
    ((0, 3, 5),),
    ((3, 1, 4),),
    ((0, 1, 4), (0, 4, 5)),
    ((5, 4, 2),),
    ((0, 3, 4), (0, 4, 2)),
    ((1, 2, 5), (1, 5, 3)),
    ((0, 1, 2),),
)


class Mesh(NamedTuple):
    """A surface with values at its vertices; faces wind counter-clockwise seen from outside."""

    vertices: np.ndarray  # [V, 3]
    faces: np.ndarray  # [F, 3]
    values: dict[str, np.ndarray]  # name -> [V, ...]

    def normals(self) -> np.ndarray:
        """Unit normals [V, 3] of the vertices, in double precision."""
        return vertex_normals(self.vertices, self.faces, face_sums(self.faces, len(self.vertices))).astype(np.float64)


def part_of(mesh: Mesh, faces: np.ndarray) -> Mesh:
    """Some faces [F, 3] of a mesh with no more vertices than they have."""
    used, local = np.unique(faces, return_inverse=True)
    values = {name: value[used] for name, value in mesh.values.items()}
    return Mesh(mesh.vertices[used], local.reshape(faces.shape), values)


def refine(mesh: Mesh, spacing: Callable[[Mesh], np.ndarray], most: int = 6) -> Mesh:
    """Splits edges until none is longer than ``spacing(mesh)`` [V] allows at its ends, round as the normals say.

    An edge is split for both of its triangles, so the surface stays closed. New vertices lie half-way between its
    middle and the projections on the tangent planes at its ends (Boubekeur and Alexa, Phong Tessellation, 2008), which
    on a sphere puts them on it.
    """
    for _ in range(most):
        edges, of_face = _edges(mesh.faces)
        a, b = mesh.vertices[edges[:, 0]], mesh.vertices[edges[:, 1]]
        limit = spacing(mesh)[edges].min(1)
        split = ((a - b) ** 2).sum(1) > limit * limit
        if not split.any():
            break
        normals = mesh.normals()
        middle, chosen = 0.5 * (a + b)[split], edges[split]
        lift = np.zeros_like(middle)
        for end in chosen.T:
            normal = normals[end]
            lift -= 0.25 * (((middle - mesh.vertices[end]) * normal).sum(1, keepdims=True)) * normal
        place = np.full(len(edges), -1)
        place[split] = len(mesh.vertices) + np.arange(len(chosen))
        codes = split[of_face] @ np.array([1, 2, 4])
        faces = _replaced(np.concatenate([mesh.faces, place[of_face]], 1), codes, _SPLITS)
        values = {name: np.concatenate([v, v[chosen].mean(1)]) for name, v in mesh.values.items()}
        mesh = Mesh(np.concatenate([mesh.vertices, middle + lift]), faces, values)
    return mesh


def cut(mesh: Mesh, level: np.ndarray) -> tuple[Mesh, np.ndarray]:
    """The part of a mesh where ``level`` [V] is positive, and which of its vertices [V'] lie on the cut."""
    edges, of_face = _edges(mesh.faces)
    low, high = level[edges[:, 0]], level[edges[:, 1]]
    crossed = (low > 0) != (high > 0)
    chosen = edges[crossed]
    share = (low / np.where(crossed, low - high, 1.0))[crossed]
    place = np.full(len(edges), -1)
    place[crossed] = len(mesh.vertices) + np.arange(len(chosen))

    def between(v: np.ndarray) -> np.ndarray:
        part = share.reshape(-1, *[1] * (v.ndim - 1))
        return np.concatenate([v, v[chosen[:, 0]] * (1 - part) + v[chosen[:, 1]] * part])

    codes = (level > 0)[mesh.faces] @ np.array([1, 2, 4])
    faces = _replaced(np.concatenate([mesh.faces, place[of_face]], 1), codes, _CUTS)
    values = {name: between(value) for name, value in mesh.values.items()}
    on_cut = np.arange(len(mesh.vertices) + len(chosen)) >= len(mesh.vertices)
    whole = Mesh(between(mesh.vertices), faces, values | {"_cut": on_cut.astype(np.float64)})
    kept = part_of(whole, faces)
    return Mesh(kept.vertices, kept.faces, {k: v for k, v in kept.values.items() if k != "_cut"}), kept.values[
        "_cut"
    ] > 0


def thicken(mesh: Mesh, thickness: np.ndarray) -> Mesh:
    """A sheet with its inner side ``thickness`` [V] below, closed along its border."""
    edges, of_face = _edges(mesh.faces)
    border = np.flatnonzero(np.bincount(of_face.ravel(), minlength=len(edges)) == 1)
    directed = np.concatenate([mesh.faces[:, [0, 1]], mesh.faces[:, [1, 2]], mesh.faces[:, [2, 0]]])
    a, b = directed[np.isin(of_face.T.ravel(), border)].T
    count = len(mesh.vertices)
    rim = np.concatenate([np.stack([b, a, a + count], 1), np.stack([b, a + count, b + count], 1)])
    inner = mesh.vertices - mesh.normals() * thickness[:, None]
    values = {name: np.concatenate([value, value]) for name, value in mesh.values.items()}
    faces = np.concatenate([mesh.faces, mesh.faces[:, ::-1] + count, rim])
    return Mesh(np.concatenate([mesh.vertices, inner]), faces, values)


def _edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges [E, 2], low index first, and those of every face [F, 3]: between corners 0-1, 1-2 and 2-0."""
    pairs = np.sort(np.stack([faces, np.roll(faces, -1, 1)], 2).reshape(-1, 2), 1)
    count = int(faces.max()) + 1 if len(faces) else 1
    keys, of_face = np.unique(pairs[:, 0].astype(np.int64) * count + pairs[:, 1], return_inverse=True)
    return np.stack([keys // count, keys % count], 1), of_face.reshape(-1, 3)


def _replaced(
    points: np.ndarray, codes: np.ndarray, patterns: tuple[tuple[tuple[int, int, int], ...], ...]
) -> np.ndarray:
    """Triangles [F', 3] that take the place of others, by their code [F]; points [F, 6]: corners, points of edges."""
    parts = [points[codes == code][:, list(triangle)] for code, pattern in enumerate(patterns) for triangle in pattern]
    return np.concatenate(parts)
