"""Triangle meshes with a colour per vertex, and the few operations that drawing people needs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

MM = 0.001 / 1.1775  # one millimetre in canonical units


class ColouredMesh(NamedTuple):
    """A drawable surface in canonical (or posed) coordinates; faces wind counter-clockwise seen from outside."""

    vertices: np.ndarray  # [V, 3] float32, canonical units
    faces: np.ndarray  # [F, 3] int32
    colours: np.ndarray  # [V, 3] float32 in 0..1


def face_sums(faces: np.ndarray, count: int) -> sparse.csr_matrix:
    """[V, F] matrix that adds up values of the faces round every vertex, in the order of the faces."""
    rows, columns = faces.ravel(), np.repeat(np.arange(len(faces)), 3)
    return sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, len(faces)))


def vertex_normals(vertices: np.ndarray, faces: np.ndarray, sums: sparse.csr_matrix | None = None) -> np.ndarray:
    """Area-weighted unit normals [V, 3]; (0, 0, 0) at vertices without a face.

    ``sums``: :func:`face_sums` of the same faces, where many meshes share them.
    """
    a, b, c = (vertices[corner] for corner in faces.T)
    sums = face_sums(faces, len(vertices)) if sums is None else sums
    normals = sums @ cross(b - a, c - a)  # of the faces: twice the area long
    length = np.sqrt((normals * normals).sum(1, keepdims=True))
    return (normals / np.maximum(length, 1e-20)).astype(np.float32)


def thin(points: np.ndarray, spacing: float) -> np.ndarray:
    """Indices of about one point in every occupied cell of a grid, increasing."""
    cells = np.floor(points / spacing + 0.37).astype(np.int64)  # no cell border in the plane of symmetry
    return np.sort(np.unique(cells, axis=0, return_index=True)[1])


def nearby(tree: cKDTree, points: np.ndarray, k: int, soft: float = 1.0 * MM) -> tuple[np.ndarray, np.ndarray]:
    """The ``k`` nearest points of a tree, (index [P, k], weight [P, k], rows sum to 1), for inverse-distance weighting.

    The farthest counts nothing (Franke and Little's weights), so that which of two equally far ones is taken, a matter
    of the last bit, does not show. ``soft``: distance below which weights hardly grow.
    """
    distance, index = tree.query(points, k=k)
    weight = (1.0 / (distance + soft) - 1.0 / (distance[:, -1:] + soft)) ** 2 + 1e-30
    return index, weight / weight.sum(1, keepdims=True)


def interpolation(index: np.ndarray, weight: np.ndarray, count: int) -> sparse.csr_matrix:
    """[P, count] matrix of weighted means, from :func:`nearby`."""
    rows = np.repeat(np.arange(len(index)), index.shape[1])
    return sparse.csr_matrix((weight.ravel(), (rows, index.ravel())), shape=(len(index), count))


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of [N, 3] arrays (several times faster than np.cross)."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def smoothstep(low: float | np.ndarray, high: float | np.ndarray, x: np.ndarray | float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between; ``low > high`` reverses it."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def grid_faces(rows: int, cols: int, wrap: bool) -> np.ndarray:
    """Two triangles a cell of a [rows, cols] vertex grid; ``wrap`` joins the last column to the first."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(cols if wrap else cols - 1), indexing="ij")
    a, b = r * cols + c, r * cols + (c + 1) % cols
    d, e = a + cols, b + cols
    return np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([b, d, e], -1).reshape(-1, 3)]).astype(
        np.int32
    )
