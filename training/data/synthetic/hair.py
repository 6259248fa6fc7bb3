"""A hair shell grown from the head: one closed sheet whose strands follow the skull and then fall.

Columns of the grid are strands (by azimuth about a pole at the crown), rows go from the crown to the tip. The topology
never changes: a crop is a thin shell that ends at the hairline, long hair is the same shell with longer columns.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import grid_faces, smoothstep

COLUMNS, ROWS = 192, 52
_POLE_TILT = np.radians(18.0)  # the crown lies behind the top of the head
_THETA = np.radians(np.linspace(0.0, 150.0, 76))

# The natural hairline: polar angle from the crown (degrees) by azimuth (degrees from the front, symmetric).
_HAIRLINE = np.array([
    (0, 65), (22, 66), (38, 68), (50, 75), (60, 89), (68, 103), (76, 104), (84, 90), (94, 82), (106, 88), (118, 104),
    (135, 116), (155, 121), (180, 122),
])  # fmt: skip
_EARLESS = np.array([(0, 65), (22, 66), (38, 69), (50, 79), (60, 94), (72, 106), (118, 112), (155, 121), (180, 122)])


class HairRoots(NamedTuple):
    """What the hair needs to know of the mean head."""

    centre: np.ndarray  # [3], middle of the skull
    radius: np.ndarray  # [COLUMNS, T] skull radius at (azimuth, polar angle)
    arc: np.ndarray  # [COLUMNS, T] length along the skull from the crown
    azimuth: np.ndarray  # [COLUMNS] radians, 0 = front, positive towards +x
    directions: np.ndarray  # [COLUMNS, T, 3] unit vectors


class HairShell(NamedTuple):
    vertices: np.ndarray  # [2 * ROWS * COLUMNS, 3], canonical: outer grid, then inner grid
    strand: np.ndarray  # [.] streak pattern in -1..1
    inner: np.ndarray  # [.] 1 on the hidden side
    cover: np.ndarray  # [.] 0..1, how much hair rather than skin shows (stubble is half skin)
    fall: np.ndarray  # [.] distance fallen below the point where the strand leaves the skull
    height: np.ndarray  # [.] wanted height of the outer sheet over the skin (where fall is 0)
    line: np.ndarray  # [COLUMNS] polar angle (radians) of the hairline


def hair_faces() -> np.ndarray:
    """Faces [F, 3] of the closed shell: outer grid, inner grid turned over, joined at the tips."""
    outer = grid_faces(ROWS, COLUMNS, wrap=True)
    n = ROWS * COLUMNS
    inner = outer[:, ::-1] + n
    a = (ROWS - 1) * COLUMNS + np.arange(COLUMNS)
    b = (ROWS - 1) * COLUMNS + (np.arange(COLUMNS) + 1) % COLUMNS
    rim = np.concatenate([np.stack([a, a + n, b], 1), np.stack([b, a + n, b + n], 1)])
    return np.concatenate([outer, inner, rim]).astype(np.int32)


def find_roots(points: np.ndarray, centre: np.ndarray) -> HairRoots:
    """Measure the skull: ``points`` [P, 3] on the mean head without ears, ``centre`` [3]."""
    azimuth = -np.pi + 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    sin_t, cos_t = np.sin(_THETA)[None], np.cos(_THETA)[None]
    x = sin_t * np.sin(azimuth)[:, None]
    z = sin_t * np.cos(azimuth)[:, None]
    y = np.broadcast_to(cos_t, x.shape)
    c, s = np.cos(_POLE_TILT), np.sin(_POLE_TILT)
    directions = np.stack([x, y * c + z * s, -y * s + z * c], -1)  # [C, T, 3]
    offset = points - centre
    length = np.sqrt((offset * offset).sum(1))
    near, index = cKDTree(offset / length[:, None]).query(directions.reshape(-1, 3), k=12)
    weight = 1.0 / (near * near + 1e-4)
    radius = ((length[index] * weight).sum(1) / weight.sum(1)).reshape(COLUMNS, -1)
    for _ in range(3):  # ears, if any, and the mesh's facets do not belong in the hair
        radius = 0.5 * radius + 0.25 * (np.roll(radius, 1, 0) + np.roll(radius, -1, 0))
    path = directions * radius[:, :, None]
    step = np.sqrt((np.diff(path, axis=1) ** 2).sum(-1))
    arc = np.concatenate([np.zeros((COLUMNS, 1)), np.cumsum(step, 1)], 1)
    return HairRoots(np.asarray(centre, np.float64), radius, arc, azimuth, directions)


def noise(x: np.ndarray, period: int) -> np.ndarray:
    """Smooth periodic 1-D value noise in -1..1 with ``period`` lattice cells per unit of x."""
    position = np.asarray(x) * period
    cell = np.floor(position).astype(np.int64)
    t = position - cell
    t = t * t * (3 - 2 * t)

    def lattice(i):
        h = (i % period) * 2654435761 % 4294967296
        h = (h ^ (h >> 15)) * 2246822519 % 4294967296
        return ((h ^ (h >> 13)) % 65536) / 32767.5 - 1.0

    return lattice(cell) * (1 - t) + lattice(cell + 1) * t


def _table(knots: np.ndarray, azimuth: np.ndarray) -> np.ndarray:
    """The symmetric periodic curve through ``knots`` (degrees, degrees) at ``azimuth``, radians."""
    at = np.concatenate([-knots[:0:-1, 0], knots[:, 0]]).astype(np.float64)
    value = np.concatenate([knots[:0:-1, 1], knots[:, 1]]).astype(np.float64)
    return np.radians(CubicSpline(at, value, bc_type="periodic")(np.degrees(azimuth)))


def raggedness(azimuth: np.ndarray) -> np.ndarray:
    """Uneven ends of the strands, about -1..1."""
    return 1.0 * noise(azimuth / (2 * np.pi), 60) + 0.7 * noise(azimuth / (2 * np.pi), 96)


def hairline(azimuth: np.ndarray, look: Appearance) -> np.ndarray:
    """Polar angle [N] (radians) at which hair on the skull ends: over the ears once long enough, with the fringe."""
    long = float(smoothstep(0.34, 0.52, np.float64(look.hair_length)))
    some = float(smoothstep(0.10, 0.34, np.float64(look.hair_length)))
    ragged = raggedness(azimuth)
    line = _table(_HAIRLINE, azimuth) * (1 - long) + _table(_EARLESS, azimuth) * long
    line += np.radians(0.9) * ragged * (0.4 + 0.6 * some)
    side = np.degrees(azimuth) - 26.0 * look.fringe
    line -= np.radians(5.0) * long * np.exp(-(((np.degrees(azimuth) + 16.0 * look.fringe) / 7.0) ** 2))  # the parting
    low = smoothstep(0.25, 1.0, np.float64(abs(look.fringe))) * 9.0 + 5.0 * max(look.fringe, 0.0)
    return line + np.radians(some * low) * np.exp(-((side / 30.0) ** 2)) * (1 + 0.12 * ragged)


def polar(points: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(azimuth, polar angle) [P] in radians of points [P, 3] about the crown."""
    x, y, z = (points - centre).T
    c, s = np.cos(_POLE_TILT), np.sin(_POLE_TILT)
    return np.arctan2(x, s * y + c * z), np.arctan2(np.hypot(x, s * y + c * z), c * y - s * z)


def grow(roots: HairRoots, look: Appearance) -> HairShell:
    """The shell on the mean head for a person's length, volume, fringe and wave (before any collision)."""
    azimuth, length = roots.azimuth, look.hair_length
    degrees = np.abs(np.degrees(azimuth))
    long = float(smoothstep(0.34, 0.52, np.float64(length)))
    some = float(smoothstep(0.10, 0.34, np.float64(length)))
    ragged = raggedness(azimuth)
    line = hairline(azimuth, look)
    reach = np.array([np.interp(line[j], _THETA, roots.arc[j]) for j in range(COLUMNS)])

    # Strands beside and behind the face grow on.
    grows = smoothstep(41.0, 51.0, degrees)
    extra = 0.30 * float(smoothstep(0.36, 1.02, np.float64(length))) * (1 + 0.05 * ragged)
    total = reach + grows * extra * (1.0 - 0.18 * smoothstep(60.0, 100.0, 160.0 - degrees))

    t = np.linspace(0.0, 1.0, ROWS)
    t = t + 0.10 * np.sin(2 * np.pi * t) / (2 * np.pi)  # a little denser at both ends
    s = t[:, None] * total[None]  # [R, C] distance from the crown
    to_tip = total[None] - s

    thick = (0.0010 + some * (0.0075 + 0.0165 * look.hair_volume)) * (1 + 0.40 * long)
    crown = 1.0 - 0.18 * np.exp(-((s / 0.03) ** 2))
    # The outer offset falls below the skin at a hairline, and stays out on a strand that hangs free.
    tuck = smoothstep(0.0, 0.016 + 0.5 * thick, to_tip)
    # Close-cut sides for short hair.
    sides = 1.0 - 0.62 * (1 - long) * smoothstep(50.0, 85.0, degrees)[None] * smoothstep(0.03, 0.11, s)
    free = grows[None] * long
    offset = thick * crown * sides * (tuck * (1 - free) + free) - 0.0030 * (1 - tuck) * (1 - free)
    lobes = noise(azimuth / (2 * np.pi), 24)[None] * smoothstep(0.02, 0.08, s)
    offset = offset + 0.10 * thick * lobes * tuck
    sideways = roots.radius[:, 30][None] * np.sin(np.minimum(s / 0.075, 1.4)) * np.sin(azimuth)[None]
    ahead = smoothstep(0.2, 0.6, np.cos(azimuth))[None] * smoothstep(0.0, 0.03, s)
    part = np.exp(-(((sideways + 0.022 * look.fringe) / 0.0075) ** 2)) * ahead
    offset = offset - 0.55 * long * thick * part * tuck
    offset = offset - 0.0048 * (1.0 - float(smoothstep(0.05, 0.15, np.float64(length))))  # a shaved head shows none
    depth = (1 - free) * (offset + 0.004) + free * (0.004 + 0.020 * smoothstep(0.0, 0.10, to_tip))
    depth = depth * smoothstep(-1e-6, 0.012, to_tip)

    outer, fall = _path(roots, s, offset, look, long)
    inner, _ = _path(roots, s, offset - depth, look, long)
    vertices = np.concatenate([outer.reshape(-1, 3), inner.reshape(-1, 3)])
    strand = _streaks(roots, outer, s, look, long)
    flat = np.concatenate([strand.ravel()] * 2)
    cover = np.broadcast_to((0.45 + 0.55 * some) * (1 - (1 - free) * 0.35 * (1 - tuck)), s.shape).ravel()
    hidden = np.repeat([0.0, 1.0], ROWS * COLUMNS)

    def both(values):
        return np.concatenate([values.ravel()] * 2)

    return HairShell(vertices, flat, hidden, both(cover), both(fall), both(offset), line)


def _path(roots: HairRoots, s: np.ndarray, offset: np.ndarray, look: Appearance, long: float):
    """Positions [R, C, 3] at arc length ``s`` and height ``offset`` over the skull, and the length fallen [R, C]."""
    leave = np.radians(82.0)
    rest = np.arange(COLUMNS)[None]
    part = np.stack([np.interp(s[:, j], roots.arc[j], np.arange(len(_THETA))) for j in range(COLUMNS)], 1)  # [R, C]
    low = np.minimum(part.astype(np.int64), len(_THETA) - 2)
    part = part - low
    direction = roots.directions[rest, low] * (1 - part[..., None]) + roots.directions[rest, low + 1] * part[..., None]
    radius = roots.radius[rest, low] * (1 - part) + roots.radius[rest, low + 1] * part
    s_leave = np.array([np.interp(leave, _THETA, arc) for arc in roots.arc])
    on_skull = roots.centre + direction * (radius + offset)[:, :, None]

    fall = np.maximum(s - s_leave[None], 0.0)
    start = np.minimum(s, s_leave[None])
    row = np.array([np.interp(leave, _THETA, np.arange(len(_THETA)))] * COLUMNS).astype(np.int64)
    lead = roots.directions[np.arange(COLUMNS), row]  # [C, 3]
    lead_radius = roots.radius[np.arange(COLUMNS), row]
    hang = roots.centre + lead[None] * (lead_radius[None] + offset)[:, :, None]
    # The strand rounds off before it hangs straight; front strands drift forward over the shoulders.
    level = fall - 0.012 * (1 - np.exp(-fall / 0.012))
    hang[..., 1] -= level
    aside = smoothstep(48.0, 85.0, np.abs(np.degrees(roots.azimuth)))[None]
    inwards = 1.0 - 0.06 * smoothstep(0.02, 0.12, fall) + (0.02 + 0.26 * aside) * smoothstep(0.11, 0.26, fall)
    hang[..., 0] *= inwards
    front = smoothstep(135.0, 100.0, np.abs(np.degrees(roots.azimuth)))[None]
    hang[..., 2] += (0.030 * front - 0.012 * (1 - front)) * smoothstep(0.05, 0.17, fall)
    phase = 6.0 * noise(roots.azimuth / (2 * np.pi), 14)[None]
    swing = look.wave * 0.0050 * smoothstep(0.0, 0.06, fall) * np.sin(fall * (2 * np.pi / 0.062) + phase)
    outward = lead * np.array([1.0, 0.0, 1.0])
    outward /= np.sqrt((outward * outward).sum(1, keepdims=True))
    hang += swing[:, :, None] * outward[None]
    weight = (long * (start >= s_leave[None] - 1e-9))[:, :, None]
    return on_skull * (1 - weight) + hang * weight, fall * long


def _streaks(roots: HairRoots, position: np.ndarray, s: np.ndarray, look: Appearance, long: float) -> np.ndarray:
    """Light and dark strands in -1..1: radial from the crown when short, from the parting when long."""
    around = roots.azimuth[None] / (2 * np.pi) + 0.004 * np.sin(s * 90.0) * look.wave + 0.3 * s * (1 - long)
    radial = 0.55 * noise(around, 97) + 0.45 * noise(around, 46)
    across = position[..., 2] - roots.centre[2]
    aside = np.abs(position[..., 0] + 0.018 * look.fringe)
    lane = 4.0 * (across + 0.45 * np.minimum(aside, 0.07)) + 0.03 * look.wave * np.sin(s * 60.0)
    parted = 0.55 * noise(lane, 64) + 0.45 * noise(lane, 31)
    back = smoothstep(110.0, 150.0, np.abs(np.degrees(roots.azimuth)))[None]
    weight = long * (1 - back)
    return radial * (1 - weight) + parted * weight
