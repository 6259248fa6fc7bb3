"""Tied hair: strands that are combed back over the head's sheet of hair, and those of the bun or the ponytail."""

from __future__ import annotations

import numpy as np

from training.data.cycles.geometry import Mesh
from training.data.synthetic import hair, knot
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import MM, smoothstep
from training.data.synthetic.surface import Surface

_STRANDS = 4_000
_SKULL = 105.0  # mm, its radius with the hair on it


def combed(
    along: np.ndarray, column: np.ndarray, look: Appearance, knots: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (mm from the crown, column, mm from the root) [K, S] of strands from their roots to the knot: straight
    over the flattened head."""
    up, out = np.array([0.0, np.cos(hair.POLE_TILT), -np.sin(hair.POLE_TILT)]), knot.direction(look)
    angle = column / hair.COLUMNS * 2 * np.pi
    root = (along * np.exp(1j * angle))[None]
    end = _SKULL * np.arccos(np.clip(up @ out, -1.0, 1.0))  # column 0 lies at the back
    place = root + np.linspace(0.0, 0.96, knots)[:, None] * (end - root)
    return np.abs(place), np.angle(place) / (2 * np.pi) * hair.COLUMNS % hair.COLUMNS, np.abs(place - root)


def knot_strands(tied: Surface, look: Appearance, knots: int, rng: np.random.Generator) -> tuple[np.ndarray, Mesh]:
    """Points [S, K, 3] of the strands of a drawn, posed knot, and a core under them."""
    rings = tied.vertices.reshape(knot.ROWS, knot.COLUMNS, 3)
    middle = rings.mean(1, keepdims=True)
    turn, row = rng.random((2, _STRANDS)) * [[knot.COLUMNS], [knot.ROWS - 1]]
    t = np.linspace(0.0, 1.0, knots)[:, None]
    if look.knot > 0:  # coils round it
        rows = np.broadcast_to(np.clip(row + 0.8 * (t - 0.5), 0.0, knot.ROWS - 1.0), (knots, _STRANDS))
        turns, depth = turn + t * 0.45 * knot.COLUMNS, 0.86 + 0.14 * np.sqrt(rng.random(_STRANDS))
        core = 0.84
    else:
        rows = t * (knot.ROWS - 1) * (1.0 - 0.25 * rng.random(_STRANDS) ** 2)
        turns, depth = turn + 1.2 * t * rng.standard_normal(_STRANDS), np.sqrt(rng.random(_STRANDS))
        core = 0.6
    points, axis = _on(rings, rows, turns), _on(np.broadcast_to(middle, rings.shape), rows, turns)
    loose = 0.5 * MM * smoothstep(0.0, 1.0, t)[..., None] * rng.standard_normal((1, _STRANDS, 3))
    points = axis + (points - axis) * depth[:, None] + loose
    return np.moveaxis(points, 1, 0), Mesh((middle + core * (rings - middle)).reshape(-1, 3), tied.faces, {})


def _on(rings: np.ndarray, rows: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Places on the rings [ROWS, COLUMNS, 3] at any row and column, as fractions, bilinear."""
    low, first = np.minimum(rows.astype(np.int64), knot.ROWS - 2), np.floor(turns).astype(np.int64)
    u, v = (rows - low)[..., None], (turns - first)[..., None]
    first, second = first % knot.COLUMNS, (first + 1) % knot.COLUMNS
    upper = rings[low, first] * (1 - v) + rings[low, second] * v
    return upper * (1 - u) + (rings[low + 1, first] * (1 - v) + rings[low + 1, second] * v) * u
