"""View-independent soft light, baked into vertex colours: a bright dome above and in front, softly shadowed."""

from __future__ import annotations

import numpy as np

_GRID = 72  # cells of a direction's depth map over the mesh's bounding square
_DIRECTIONS = 28


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


def visibility(points: np.ndarray, direction: np.ndarray, extra: np.ndarray | None = None) -> np.ndarray:
    """Soft share [V] of ``points`` [V, 3] that light from ``direction`` [3] reaches; the points themselves (and
    ``extra`` [E, 3] blockers, e.g. face centres) cast the shadows."""
    side = np.cross((0.0, 0.0, 1.0) if abs(direction[2]) < 0.9 else (0.0, 1.0, 0.0), direction)
    side /= np.linalg.norm(side)
    up = np.cross(direction, side)
    blockers = points if extra is None else np.concatenate([points, extra], 0)
    u, v, w = (blockers @ axis for axis in (side, up, direction))
    low_u, low_v = u.min(), v.min()
    cell = max(u.max() - low_u, v.max() - low_v) / (_GRID - 3)
    u, v = (u - low_u) / cell + 1.0, (v - low_v) / cell + 1.0
    depth = np.full(_GRID * _GRID, -10.0)
    np.maximum.at(depth, np.rint(v).astype(np.int64) * _GRID + np.rint(u).astype(np.int64), w)
    n = len(points)
    # Bilinear look-up of the occlusion, so that shadow borders are soft and without cells.
    base_u, base_v = u[:n].astype(np.int64), v[:n].astype(np.int64)
    part_u, part_v = u[:n] - base_u, v[:n] - base_v
    base = base_v * _GRID + base_u
    own = w[:n] + 2.6 * cell
    lit = np.zeros(n)
    for step, weight in (
        (0, (1 - part_u) * (1 - part_v)),
        (1, part_u * (1 - part_v)),
        (_GRID, (1 - part_u) * part_v),
        (_GRID + 1, part_u * part_v),
    ):
        lit += weight * np.clip(0.5 - (depth[base + step] - own) / (2.8 * cell), 0.0, 1.0)
    return lit


def soft_light(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Irradiance [V], about 1 where the light falls best and 0.35 in deep folds."""
    directions, weights = dome()
    centres = vertices[faces[::2]].mean(1)
    light = np.zeros(len(vertices))
    for direction, weight in zip(directions, weights, strict=True):
        facing = normals @ direction
        wrapped = np.clip((facing + 0.25) / 1.25, 0.0, None)  # light bleeds a little round the edge, as in skin
        light += weight * wrapped * visibility(vertices, direction, centres)
    return light


def shade(albedo: np.ndarray, light: np.ndarray, warmth: np.ndarray) -> np.ndarray:
    """Albedo [V, 3] under light [V] (normalised to about 1) -> colours in 0..1.

    ``warmth`` [V] in 0..1 reddens the shadows, as light scattered under skin does.
    """
    level = 0.34 + 0.66 * light
    tint = warmth[:, None] * np.array([-0.18, 0.04, 0.12])
    return np.clip(albedo * level[:, None] ** (1.0 + tint), 0.0, 1.0)
