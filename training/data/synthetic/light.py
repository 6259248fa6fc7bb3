"""Soft light of a person: a dome of lamps whose main one stands where ``eps`` says, shadowed by the person's own shape.

The light belongs to the person's canonical pose, as radiance does in the generator: a head that turns takes its light
along. How much of the dome a vertex sees is worked out per vertex, how the dome falls on a sample per sample.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

_DIRECTIONS = 26
_GRID = 88  # cells of a direction's depth map over the person's bounding square
FACE = np.array([(0.0, 0.15, 0.98), (0.55, 0.1, 0.83), (-0.55, 0.1, 0.83)])  # normals of forehead and cheeks
_WRAP = 0.25  # light bleeds a little round an edge


class Light(NamedTuple):
    """What falls on a person."""

    form: np.ndarray  # [4, 4] irradiance as a quadratic form of the normal
    key: np.ndarray  # [3] unit vector towards the main lamp
    tint: np.ndarray  # [3] its colour
    directions: np.ndarray  # [L, 3]
    weights: np.ndarray  # [L], irradiance is 1 on average over forehead and cheeks


def _sphere(count: int) -> np.ndarray:
    """A Fibonacci sphere from the zenith to a little below the horizon: the floor throws light back."""
    step = np.arange(count) + 0.5
    y = 1.0 - 1.5 * step / count
    angle = step * np.pi * (3.0 - np.sqrt(5.0))
    ring = np.sqrt(1.0 - y * y)
    return np.stack([ring * np.cos(angle), y, ring * np.sin(angle)], 1)


def facing(normals: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Wrapped cosine [P] of normals [P, 3]."""
    cosine = normals[:, 0] * direction[0] + normals[:, 1] * direction[1] + normals[:, 2] * direction[2]
    return np.maximum(cosine + _WRAP, 0.0) / (1.0 + _WRAP)


def make_light(yaw: float, pitch: float, strength: float, warmth: float) -> Light:
    """The dome with a main lamp.

    Args:
        yaw, pitch: of the main lamp, radians from the front (positive yaw: the person's left) and above the horizon.
        strength: 0..1, from an overcast sky to a studio's key light.
        warmth: -1 cool .. 1 warm.
    """
    key = np.array([np.sin(yaw) * np.cos(pitch), np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    directions = _sphere(_DIRECTIONS)
    towards = np.clip((directions * key).sum(1), 0.0, 1.0)
    weights = 0.75 + 0.9 * np.clip(directions[:, 1], 0, 1) + (1.0 + 3.2 * strength) * towards**3
    weights += 0.6 * np.clip(directions[:, 2], 0, 1)
    # As bright for everybody where the face looks.
    weights /= sum(
        weight * facing(FACE, direction) for direction, weight in zip(directions, weights, strict=True)
    ).mean()
    normals = _sphere(400)
    normals = np.concatenate([normals, -normals])
    exact = sum(weight * facing(normals, direction) for direction, weight in zip(directions, weights, strict=True))
    rows, columns = np.triu_indices(4)
    padded = np.concatenate([normals, np.ones((len(normals), 1))], 1)
    terms = padded[:, rows] * padded[:, columns]
    form = np.zeros((4, 4))
    form[rows, columns] = np.linalg.lstsq(terms, exact, rcond=1e-9)[0]
    tint = 1.0 + 0.05 * warmth * np.array([1.0, 0.1, -1.2])
    return Light(form, key, tint, directions, weights)


def irradiance(normals: np.ndarray, light: Light) -> np.ndarray:
    """[P] where nothing casts a shadow; about 1 where it falls best."""
    x, y, z = normals.T
    form = light.form
    level = x * (form[0, 0] * x + form[0, 1] * y + form[0, 2] * z + form[0, 3])
    level += y * (form[1, 1] * y + form[1, 2] * z + form[1, 3])
    level += z * (form[2, 2] * z + form[2, 3]) + form[3, 3]
    return np.maximum(level, 0.0)


def openness(points: np.ndarray, normals: np.ndarray, light: Light, blockers: np.ndarray) -> np.ndarray:
    """Share [P] of its light that reaches each of ``points`` [P, 3] past the ``blockers`` [B, 3]."""
    reached, whole = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction, weight in zip(light.directions, light.weights, strict=True):
        level = weight * facing(normals, direction)
        lit = np.nonzero(level > 0)[0]
        whole[lit] += level[lit]
        reached[lit] += level[lit] * _visible(points[lit], direction, blockers)
    return reached / whole


def _visible(points: np.ndarray, direction: np.ndarray, blockers: np.ndarray) -> np.ndarray:
    """Soft share [P] of ``points`` that light from ``direction`` reaches, by a depth map of the blockers."""
    side = np.cross((0.0, 0.0, 1.0) if abs(direction[2]) < 0.9 else (0.0, 1.0, 0.0), direction)
    side /= np.sqrt((side * side).sum())
    up = np.cross(direction, side)

    def seen_along(p: np.ndarray) -> tuple[np.ndarray, ...]:
        return tuple(p[:, 0] * a[0] + p[:, 1] * a[1] + p[:, 2] * a[2] for a in (side, up, direction))

    u, v, w = seen_along(blockers)
    low_u, low_v = u.min(), v.min()
    cell = max(u.max() - low_u, v.max() - low_v) / (_GRID - 3)
    depth = np.full(_GRID * _GRID, -10.0)
    cells = np.rint((v - low_v) / cell + 1).astype(np.int64) * _GRID + np.rint((u - low_u) / cell + 1).astype(np.int64)
    np.maximum.at(depth, cells, w)
    u, v, w = seen_along(points)
    u, v = np.clip((u - low_u) / cell + 1.0, 0, _GRID - 1.01), np.clip((v - low_v) / cell + 1.0, 0, _GRID - 1.01)
    base_u, base_v = u.astype(np.int64), v.astype(np.int64)
    part_u, part_v = u - base_u, v - base_v
    base = base_v * _GRID + base_u
    lit = np.zeros(len(points))
    corners = ((0, (1 - part_u) * (1 - part_v)), (1, part_u * (1 - part_v)), (_GRID, (1 - part_u) * part_v),
               (_GRID + 1, part_u * part_v))  # fmt: skip
    for step, weight in corners:  # bilinear look-up of the occlusion: soft borders, no cells
        lit += weight * np.clip(0.5 - (depth[base + step] - w - 2.6 * cell) / (2.8 * cell), 0.0, 1.0)
    return lit
