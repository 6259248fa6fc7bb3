"""Triangle meshes with a colour per vertex, and the few operations the portrait drawing needs of them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class ColouredMesh(NamedTuple):
    """A drawable surface in canonical (or posed) coordinates; faces wind counter-clockwise seen from outside."""

    vertices: np.ndarray  # [V, 3] float32, canonical units
    faces: np.ndarray  # [F, 3] int32
    colours: np.ndarray  # [V, 3] float32 in 0..1: albedo with the baked soft light
    parts: np.ndarray  # [V] int8, index into PART_NAMES


PART_NAMES = ("skin", "eyes", "mouth", "hair", "clothes", "ears", "hair_inner")


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted unit normals [V, 3]; (0, 0, 0) at vertices without a face."""
    tri = vertices[faces]  # [F, 3, 3]
    face_normals = cross(tri[:, 1] - tri[:, 0], tri[:, 2] - tri[:, 0])  # [F, 3], twice the area long
    normals = np.zeros((3, len(vertices)))
    index = faces.ravel()
    for axis in range(3):  # bincount adds in index order, so the sum is the same on every machine
        normals[axis] = np.bincount(index, np.repeat(face_normals[:, axis], 3), minlength=len(vertices))
    length = np.sqrt((normals * normals).sum(0))
    return (normals / np.maximum(length, 1e-20)).T.astype(np.float32)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cross product of [N, 3] arrays (several times faster than np.cross)."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def smoothstep(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic between; ``low > high`` reverses it."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


class Subdivision(NamedTuple):
    """Topology of a partly refined mesh: new vertex = average of two old ones."""

    faces: np.ndarray  # [F', 3]
    pairs: np.ndarray  # [V' - V, 2] old vertex indices whose mean each new vertex is

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Values [V, ...] on the coarse vertices -> [V', ...] on the fine ones (linear)."""
        mid = 0.5 * (values[self.pairs[:, 0]] + values[self.pairs[:, 1]])
        return np.concatenate([values, mid.astype(values.dtype)], 0)


def subdivide(faces: np.ndarray, marked: np.ndarray, n_vertices: int) -> Subdivision:
    """Split every face of ``marked`` [F] bool in four; their neighbours in two or three, so that no crack opens."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), 1).astype(np.int64)  # [3F, 2]
    keys = edges[:, 0] * n_vertices + edges[:, 1]
    split = np.isin(keys, keys.reshape(-1, 3)[marked].ravel())
    unique, inverse = np.unique(keys[split], return_inverse=True)
    pairs = np.stack([unique // n_vertices, unique % n_vertices], 1)
    mid = np.full(len(keys), -1, np.int64)
    mid[split] = n_vertices + inverse.ravel()
    mid = mid.reshape(-1, 3)
    n_split = (mid >= 0).sum(1)
    out = [faces[n_split == 0]]
    for count in (1, 2, 3):
        f, m = faces[n_split == count].copy(), mid[n_split == count].copy()
        if not len(f):
            continue
        # Rotate so that the split edges come first (count 1: edge 0; count 2: edges 0 and 1).
        want = {1: lambda s: s[:, 0], 2: lambda s: s[:, 0] & s[:, 1], 3: lambda s: s[:, 0]}[count]
        for _ in range(2):
            turn = ~want(m >= 0)
            f[turn], m[turn] = np.roll(f[turn], -1, 1), np.roll(m[turn], -1, 1)
        a, b, c = f.T
        ab, bc, ca = m.T
        if count == 1:
            new = [(a, ab, c), (ab, b, c)]
        elif count == 2:
            new = [(ab, b, bc), (a, ab, bc), (a, bc, c)]
        else:
            new = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        out += [np.stack(t, 1) for t in new]
    return Subdivision(np.concatenate(out).astype(np.int32), pairs)


def grid_faces(rows: int, cols: int, wrap: bool) -> np.ndarray:
    """Two triangles a cell of a [rows, cols] vertex grid; ``wrap`` joins the last column to the first."""
    r, c = np.meshgrid(np.arange(rows - 1), np.arange(cols if wrap else cols - 1), indexing="ij")
    a, b = r * cols + c, r * cols + (c + 1) % cols
    d, e = a + cols, b + cols
    return np.concatenate([np.stack([a, d, b], -1).reshape(-1, 3), np.stack([b, d, e], -1).reshape(-1, 3)]).astype(
        np.int32
    )
