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
POLE_TILT = np.radians(18.0)  # the crown lies behind the top of the head
_THETA = np.radians(np.linspace(0.0, 150.0, 76))

# The natural hairline: polar angle from the crown (degrees) by azimuth (degrees from the front, symmetric).
_HAIRLINE = np.array([
    (0, 81), (13, 80), (27, 81), (40, 87), (52, 95), (62, 103), (74, 112), (84, 118), (91, 112), (97, 98), (105, 90),
    (114, 92), (129, 102), (149, 119), (180, 118),
])  # fmt: skip
_EARLESS = np.array([(0, 81), (13, 80), (27, 82), (42, 91), (56, 103), (75, 115), (118, 116), (149, 120), (180, 119)])


class HairRoots(NamedTuple):
    """What the hair needs to know of the mean head."""

    centre: np.ndarray  # [3], middle of the skull
    radius: np.ndarray  # [COLUMNS, T] skull radius at (azimuth, polar angle)
    arc: np.ndarray  # [COLUMNS, T] length along the skull from the crown
    azimuth: np.ndarray  # [COLUMNS] radians, 0 = front, positive towards +x
    directions: np.ndarray  # [COLUMNS, T, 3] unit vectors


class HairShell(NamedTuple):
    """Vertices of the outer grid, then of the inner one; [N] = 2 * ROWS * COLUMNS."""

    vertices: np.ndarray  # [N, 3], canonical, on the mean head
    around: np.ndarray  # [N] azimuth of the strand
    along: np.ndarray  # [N] length from the crown
    to_tip: np.ndarray  # [N] length to the tip
    inner: np.ndarray  # [N] 1 on the hidden side
    cover: np.ndarray  # [N] 0..1, how much hair rather than skin shows
    fall: np.ndarray  # [N] distance fallen below the point where the strand leaves the skull
    height: np.ndarray  # [N] wanted height of the outer sheet over the skin (where fall is 0)
    line: np.ndarray  # [COLUMNS] polar angle (radians) of the hairline


def hair_faces() -> np.ndarray:
    """Faces [F, 3] of the sheet."""
    return grid_faces(ROWS, COLUMNS, wrap=True).astype(np.int32)


def find_roots(points: np.ndarray, centre: np.ndarray) -> HairRoots:
    """Measure the skull: ``points`` [P, 3] on the mean head without ears, ``centre`` [3]."""
    azimuth = -np.pi + 2 * np.pi * np.arange(COLUMNS) / COLUMNS
    sin_t, cos_t = np.sin(_THETA)[None], np.cos(_THETA)[None]
    x = sin_t * np.sin(azimuth)[:, None]
    z = sin_t * np.cos(azimuth)[:, None]
    y = np.broadcast_to(cos_t, x.shape)
    c, s = np.cos(POLE_TILT), np.sin(POLE_TILT)
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
    long = float(smoothstep(0.34, 0.52, look.loose_length))
    some = float(smoothstep(0.10, 0.34, look.loose_length))
    ragged = raggedness(azimuth)
    line = _table(_HAIRLINE, azimuth) * (1 - long) + _table(_EARLESS, azimuth) * long
    line += np.radians(0.9) * ragged * (0.4 + 0.6 * some)
    line += np.radians(2.2) * some * noise(azimuth / (2 * np.pi) + 0.03 * look.fringe, 17)
    side = np.degrees(azimuth) - 26.0 * look.fringe
    line -= np.radians(5.0) * long * np.exp(-(((np.degrees(azimuth) + 16.0 * look.fringe) / 7.0) ** 2))  # the parting
    # Temples recede first, then the top.
    degrees = np.abs(np.degrees(azimuth))
    temples = np.exp(-(((degrees - 30.0) / 16.0) ** 2))
    front = smoothstep(75.0, 40.0, degrees)
    line -= np.radians(look.recede * (22.0 * temples + 48.0 * front * smoothstep(0.3, 1.0, look.recede)))
    low = smoothstep(0.25, 1.0, abs(look.fringe)) * 9.0 + 5.0 * max(look.fringe, 0.0)
    return line + np.radians(some * low * (1 - look.tied)) * np.exp(-((side / 30.0) ** 2)) * (1 + 0.12 * ragged)


def polar(points: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(azimuth, polar angle) [P] in radians of points [P, 3] about the crown."""
    x, y, z = (points - centre).T
    c, s = np.cos(POLE_TILT), np.sin(POLE_TILT)
    return np.arctan2(x, s * y + c * z), np.arctan2(np.hypot(x, s * y + c * z), c * y - s * z)


def grow(roots: HairRoots, look: Appearance) -> HairShell:
    """The shell on the mean head for a person's length, volume, fringe and wave (before any collision)."""
    azimuth, length = roots.azimuth, look.loose_length
    degrees = np.abs(np.degrees(azimuth))
    long = float(smoothstep(0.34, 0.52, length))
    some = float(smoothstep(0.10, 0.34, length))
    ragged = raggedness(azimuth)
    line = hairline(azimuth, look)
    reach = np.array([np.interp(line[j], _THETA, roots.arc[j]) for j in range(COLUMNS)])

    # Strands beside and behind the face grow on.
    grows = smoothstep(41.0, 51.0, degrees)
    extra = 0.30 * (1 - look.tied) * float(smoothstep(0.36, 1.02, length)) * (1 + 0.05 * ragged)
    total = reach + grows * extra * (1.0 - 0.18 * smoothstep(60.0, 100.0, 160.0 - degrees))

    t = np.linspace(0.0, 1.0, ROWS)
    t = t + 0.10 * np.sin(2 * np.pi * t) / (2 * np.pi)  # a little denser at both ends
    s = t[:, None] * total[None]  # [R, C] distance from the crown
    to_tip = total[None] - s

    thick = (0.0026 + some * (0.0075 + 0.0165 * look.hair_volume) * (1 - 0.55 * look.tied)) * (1 + 0.40 * long)
    crown = 1.0 - 0.18 * np.exp(-((s / 0.03) ** 2))
    # The outer offset falls below the skin at a hairline, and stays out on a strand that hangs free. Over the forehead
    # short hair rises slowly.
    rise = 0.030 * (1 - long) * smoothstep(85.0, 55.0, degrees)[None]
    tuck, sunk = (smoothstep(0.0, 0.016 + 0.5 * thick + more, to_tip) for more in (rise, 0.0))
    # Close-cut sides for short hair.
    sides = 1.0 - 0.62 * (1 - long) * smoothstep(50.0, 85.0, degrees)[None] * smoothstep(0.03, 0.11, s)
    free = grows[None] * long
    # The edge beside the face lies close to it, and tips turn in: nothing shows between hair and head.
    edge = 1.0 - 0.85 * free * smoothstep(66.0, 44.0, degrees)[None]
    inwards = 0.35 * free * smoothstep(0.05, 0.0, to_tip) * smoothstep(0.30, 0.12, s)
    lying = 1 - free
    offset = thick * crown * sides * (tuck * lying + free * edge * (1 - inwards)) - 0.0030 * (1 - sunk) * lying
    lobes = noise(azimuth / (2 * np.pi), 24)[None] * smoothstep(0.02, 0.08, s)
    offset = offset + 0.10 * thick * lobes * tuck
    sideways = roots.radius[:, 30][None] * np.sin(np.minimum(s / 0.075, 1.4)) * np.sin(azimuth)[None]
    ahead = smoothstep(0.2, 0.6, np.cos(azimuth))[None] * smoothstep(0.0, 0.03, s)
    part = np.exp(-(((sideways + 0.022 * look.fringe) / 0.0075) ** 2)) * ahead
    offset = offset - 0.55 * long * thick * part * tuck
    offset = offset - 0.0020 * (1.0 - float(smoothstep(0.08, 0.16, length)))
    outer, fall = _path(roots, s, offset, look, long)
    thinning = look.recede * smoothstep(0.25, 0.9, look.recede)
    bald = thinning * smoothstep(0.115, 0.070, s) * np.ones_like(s)
    cover = (0.35 + 0.65 * some) * (1 - bald)

    def both(values):
        return np.concatenate([np.broadcast_to(values, s.shape).ravel()] * 2)

    return HairShell(
        vertices=np.concatenate([outer.reshape(-1, 3)] * 2),
        around=both(azimuth[None]),
        along=both(s),
        to_tip=both(to_tip),
        inner=np.repeat([0.0, 1.0], ROWS * COLUMNS),
        cover=both(cover),
        fall=both(fall),
        height=both(offset),
        line=line,
    )


def _path(roots: HairRoots, s: np.ndarray, offset: np.ndarray, look: Appearance, long: float):
    """Positions [R, C, 3] at arc length ``s`` and height ``offset`` over the skull, and the length fallen [R, C]."""
    leave = np.radians(88.0)
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
    # The strand goes on as it leaves before it hangs straight; front strands drift forward over the shoulders.
    columns = np.arange(COLUMNS)
    before, after = (roots.directions[columns, at] * roots.radius[columns, at, None] for at in (row - 1, row + 1))
    leaving = (after - before) / (roots.arc[columns, row + 1] - roots.arc[columns, row - 1])[:, None]  # [C, 3]
    goes_on = 0.022 * (1 - np.exp(-fall / 0.022))
    hang += leaving[None] * goes_on[:, :, None]
    hang[..., 1] -= fall - goes_on
    # Beside the face they hang close to it, behind they spread, so that nothing shows between hair and neck.
    degrees = np.abs(np.degrees(roots.azimuth))
    aside, behind = smoothstep(48.0, 85.0, degrees)[None], smoothstep(80.0, 118.0, degrees)[None]
    spread = 0.34 * behind * smoothstep(0.0, 0.10, fall) - 0.16 * (1 - aside) * smoothstep(0.0, 0.08, fall)
    hang[..., 0] *= 1.0 + spread + (0.02 + 0.16 * aside * (1 - behind)) * smoothstep(0.11, 0.26, fall)
    front = smoothstep(120.0, 75.0, degrees)[None]
    hang[..., 2] += (0.018 * front - 0.012 * (1 - front)) * smoothstep(0.05, 0.17, fall)
    phase = 6.0 * noise(roots.azimuth / (2 * np.pi), 14)[None]
    swing = look.wave * 0.0050 * smoothstep(0.0, 0.06, fall) * np.sin(fall * (2 * np.pi / 0.062) + phase)
    outward = lead * np.array([1.0, 0.0, 1.0])
    outward /= np.sqrt((outward * outward).sum(1, keepdims=True))
    hang += swing[:, :, None] * outward[None]
    weight = (long * (start >= s_leave[None] - 1e-9))[:, :, None]
    return on_skull * (1 - weight) + hang * weight, fall * long
