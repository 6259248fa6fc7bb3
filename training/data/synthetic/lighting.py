"""View-independent soft light, baked into vertex colours: a bright dome above and in front, softly shadowed.

How much of the dome a point sees varies slowly and is worked out at sparse probes; how it faces the dome is exact.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.spatial import cKDTree

from training.data.synthetic.mesh import MM, interpolation, nearby, thin

_GRID = 72  # cells of a direction's depth map over the mesh's bounding square
_DIRECTIONS = 28
_SPACING = 9.0 * MM  # of the probes


class Probes(NamedTuple):
    """Vertices at which shadows are worked out, and how all vertices follow them."""

    index: np.ndarray  # type: ignore[assignment]  # [P]; hides tuple.index
    spread: sparse.csr_matrix  # [V, P]


def place_probes(points: np.ndarray, usable: np.ndarray | None = None) -> Probes:
    """Probes on a part whose vertices lie at ``points`` [V, 3]: one in every occupied cell of a grid.

    ``usable`` [V] bool: where probes may lie; what is hidden in folds would darken its surroundings.
    """
    open_ = np.arange(len(points)) if usable is None else np.nonzero(usable)[0]
    index = open_[thin(points[open_], _SPACING)]
    return Probes(index, interpolation(*nearby(cKDTree(points[index]), points, k=12, soft=_SPACING), len(index)))


def join_probes(parts: list[Probes]) -> Probes:
    """Probes of several parts whose vertices follow each other."""
    start = np.cumsum([0] + [part.spread.shape[0] for part in parts])
    index = np.concatenate([part.index + first for part, first in zip(parts, start[:-1], strict=True)])
    return Probes(index, sparse.block_diag([part.spread for part in parts], "csr"))


def dome() -> tuple[np.ndarray, np.ndarray]:
    """Light directions [L, 3] (unit, towards the light) and weights [L] that sum to 1: a Fibonacci sphere, weighted
    to a big soft source above and in front, slightly to the person's right."""
    step = np.arange(_DIRECTIONS) + 0.5
    y = 1.0 - 1.45 * step / _DIRECTIONS  # down to a little below the horizon: the floor throws light back
    angle = step * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - y * y)
    directions = np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1)
    key = np.array([-0.32, 0.50, 0.80])
    key /= np.linalg.norm(key)
    weight = 0.30 + 0.9 * np.clip(y, 0, 1) + 2.6 * np.clip((directions * key).sum(1), 0, 1) ** 2
    return directions, weight / weight.sum()


def _facing(normals: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Cosine [V], wrapped: light bleeds a little round the edge, as in skin."""
    x, y, z = direction
    return np.clip((normals[:, 0] * x + normals[:, 1] * y + normals[:, 2] * z + 0.25) / 1.25, 0.0, None)


def dome_form() -> np.ndarray:
    """The dome without shadows as a quadratic form [4, 4] of (normal, 1): the nine terms of spherical harmonics up to
    the second order, which is nearly all of it (Ramamoorthi and Hanrahan 2001)."""
    steps = np.arange(2000) + 0.5
    y, angle = 1.0 - steps / 1000, steps * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - y * y)
    normals = np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1)
    exact = sum(weight * _facing(normals, direction) for direction, weight in zip(*dome(), strict=True))
    rows, columns = np.triu_indices(4)
    padded = np.concatenate([normals, np.ones((len(normals), 1))], 1)
    terms = padded[:, rows] * padded[:, columns]
    form = np.zeros((4, 4))
    # x^2 + y^2 + z^2 = 1 makes one term redundant; least squares of least norm leaves it out evenly.
    form[rows, columns] = np.linalg.lstsq(terms, exact, rcond=1e-9)[0]
    return form


def open_sky(normals: np.ndarray, form: np.ndarray) -> np.ndarray:
    """Irradiance [V] at ``normals`` [V, 3] if nothing cast a shadow; ``form`` [4, 4] of :func:`dome_form`."""
    x, y, z = normals.astype(np.float64).T
    light = x * (form[0, 0] * x + form[0, 1] * y + form[0, 2] * z + form[0, 3])
    light += y * (form[1, 1] * y + form[1, 2] * z + form[1, 3])
    light += z * (form[2, 2] * z + form[2, 3]) + form[3, 3]
    return np.maximum(light, 0.0)


def visibility(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Soft share [V] of ``points`` [V, 3] that light from ``direction`` [3] reaches past the other points."""
    side = np.cross((0.0, 0.0, 1.0) if abs(direction[2]) < 0.9 else (0.0, 1.0, 0.0), direction)
    side /= np.linalg.norm(side)
    up = np.cross(direction, side)
    u, v, w = (points[:, 0] * x + points[:, 1] * y + points[:, 2] * z for x, y, z in (side, up, direction))
    low_u, low_v = u.min(), v.min()
    cell = max(u.max() - low_u, v.max() - low_v) / (_GRID - 3)
    u, v = (u - low_u) / cell + 1.0, (v - low_v) / cell + 1.0
    depth = np.full(_GRID * _GRID, -10.0)
    np.maximum.at(depth, np.rint(v).astype(np.int64) * _GRID + np.rint(u).astype(np.int64), w)
    # Bilinear look-up of the occlusion, so that shadow borders are soft and without cells.
    base_u, base_v = u.astype(np.int64), v.astype(np.int64)
    part_u, part_v = u - base_u, v - base_v
    base = base_v * _GRID + base_u
    own = w + 2.6 * cell
    lit = np.zeros(len(points))
    for step, weight in (
        (0, (1 - part_u) * (1 - part_v)),
        (1, part_u * (1 - part_v)),
        (_GRID, (1 - part_u) * part_v),
        (_GRID + 1, part_u * part_v),
    ):
        lit += weight * np.clip(0.5 - (depth[base + step] - own) / (2.8 * cell), 0.0, 1.0)
    return lit


def soft_light(vertices: np.ndarray, normals: np.ndarray, probes: Probes, form: np.ndarray) -> np.ndarray:
    """Irradiance [V], about 1 where the light falls best and 0.35 in deep folds; ``form`` of :func:`dome_form`."""
    points, facing = vertices[probes.index], normals[probes.index]
    reached = np.zeros(len(points))
    whole = np.zeros(len(points))
    for direction, weight in zip(*dome(), strict=True):
        light = weight * _facing(facing, direction)
        reached += light * visibility(points, direction)
        whole += light
    return open_sky(normals, form) * (probes.spread @ (reached / np.maximum(whole, 1e-6)))


def shade(albedo: np.ndarray, light: np.ndarray, warmth: np.ndarray) -> np.ndarray:
    """Albedo [V, 3] under light [V] (normalised to about 1) -> colours in 0..1.

    ``warmth`` [V] in 0..1 reddens the shadows, as light scattered under skin does.
    """
    level = 0.34 + 0.66 * light
    tint = warmth[:, None] * np.array([-0.18, 0.04, 0.12])
    return np.clip(albedo * np.exp(np.log(level)[:, None] * (1.0 + tint)), 0.0, 1.0)
