"""What tied hair is gathered in, at the back of the head: a bun or a ponytail; and strands that are combed there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.hair import HairRoots
from training.data.synthetic.mesh import MM, grid_faces, smoothstep, vertex_normals
from training.data.synthetic.surface import NORMAL, NUM_ATTRIBUTES, OWN, WHERE

ROWS, COLUMNS = 16, 28
_SIDE = np.array([1.0, 0.0, 0.0])


class Knot(NamedTuple):
    """A tube of ROWS rings from the head outwards, closed at both ends."""

    vertices: np.ndarray  # [ROWS * COLUMNS, 3] canonical, on the mean head
    faces: np.ndarray  # [F, 3]
    attributes: np.ndarray  # [ROWS * COLUMNS, NUM_ATTRIBUTES], all but openness


def direction(look: Appearance) -> np.ndarray:
    """Unit vector [3] from the middle of the skull: a low ponytail sits at the nape, a high bun under the crown."""
    angle = np.radians(18.0 + 36.0 * look.knot)
    return np.array([0.0, np.sin(angle), -np.cos(angle)])


def tie(roots: HairRoots, look: Appearance) -> Knot:
    """A bun where ``look.knot`` is positive, else a ponytail; both larger and longer with more hair."""
    out = direction(look)
    reach = roots.radius[0, (roots.directions[0] @ out).argmax()]  # column 0 lies at the back
    t, turn = np.linspace(0.0, 1.0, ROWS), np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    shape, much = (_bun if look.knot > 0 else _tail), float(smoothstep(0.40, 1.0, look.hair_length))
    path, radius, own = shape(t, turn, out, much, look.hair_volume)
    path = roots.centre + out * (reach + 3.0 * MM) + path * MM
    along = np.gradient(path, axis=0)
    along /= np.sqrt((along * along).sum(1, keepdims=True))
    across = np.cross(along, _SIDE)
    ring = np.cos(turn)[:, None] * _SIDE + np.sin(turn)[:, None] * across[:, None]
    vertices = path[:, None] + ring * (radius * MM)[:, None, None]
    faces = grid_faces(ROWS, COLUMNS, wrap=True)[:, ::-1]
    a = np.zeros((ROWS * COLUMNS, NUM_ATTRIBUTES))
    a[:, OWN] = own.reshape(ROWS * COLUMNS, -1)
    strands = np.gradient(vertices, axis=0) if look.knot <= 0 else np.roll(vertices, -1, 1) - np.roll(vertices, 1, 1)
    vertices = vertices.reshape(-1, 3)
    a[:, WHERE], a[:, NORMAL] = vertices / MM, vertex_normals(vertices, faces)
    a[:, OWN.start + 5 :] = strands.reshape(-1, 3) / MM
    return Knot(vertices, faces, a)


def comb(points: np.ndarray, centre: np.ndarray, look: Appearance) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Strands that run to the knot over a head round ``centre``: of points [N, 3] the strand as (cos, sin) [N, 2], mm
    from the knot [N], and the direction away from it [N, 3]."""
    out, away = direction(look), points - centre
    away = away / np.sqrt((away * away).sum(1, keepdims=True))
    facing = np.clip(away @ out, -1.0, 1.0)
    sine = np.sqrt(1.0 - facing * facing)[:, None] + 1e-9
    round_ = np.stack([away @ _SIDE, away @ np.cross(out, _SIDE)], 1)
    return round_ / sine, np.arccos(facing) * 90.0, (facing[:, None] * away - out) / sine


def _bun(t: np.ndarray, turn: np.ndarray, out: np.ndarray, much: float, volume: float):
    """(middle of the rings [R, 3] mm, radius [R], strand, place on it and the rest [R, C, 8]): coils round its axis."""
    size = 17.0 + 13.0 * much + 5.0 * volume
    swell = 1.0 + 0.05 * np.cos(5 * np.pi * t)  # coils
    middle = out * (size * (0.55 - 0.95 * np.cos(np.pi * t)))[:, None]
    around = 0.6 * np.stack(np.broadcast_arrays(np.cos(np.pi * t)[:, None], np.sin(np.pi * t)[:, None], turn[None]), -1)
    around[..., 2] = 60.0 + 10.0 * np.abs(turn)
    own = np.concatenate([around, np.broadcast_to([60.0, 0.0, 0.0, 0.0, 0.0], (ROWS, COLUMNS, 5))], -1)
    return middle, np.maximum(size * np.sin(np.pi * t) * swell, 0.1), own


def _tail(t: np.ndarray, turn: np.ndarray, out: np.ndarray, much: float, volume: float):
    """As :func:`_bun`: out of a band, then down."""
    length = 70.0 + 110.0 * much
    s = t * length
    goes_out = 16.0 * (1 - np.exp(-s / 16.0))
    middle = out * (1.5 * goes_out)[:, None] - np.array([0.0, 1.0, 0.10]) * (s - goes_out)[:, None]
    radius = (7.0 + (8.0 + 8.0 * volume) * smoothstep(0.02, 0.25, t)) * (1 - 0.65 * smoothstep(0.4, 1.0, t))
    strand = 0.3 * np.stack([np.cos(turn), np.sin(turn)], -1)
    own = np.zeros((ROWS, COLUMNS, 8))
    own[..., :2], own[..., 2], own[..., 3] = strand[None], 40.0 + s[:, None], (length - s)[:, None]
    return middle, radius, own
