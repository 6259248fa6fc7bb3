"""The face's skin as a 2D layout: rings round eyes and mouth, a lattice between, and their triangulation.

The chart is the azimuthal equidistant projection of directions from head.CENTRE (metres at radius 0.075). Only the
left half (x >= 0) is laid out; face_parts.py mirrors it.
"""

from typing import NamedTuple

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from networks.embedded import figure, sdf
from networks.embedded.head import CENTRE, EYE, MOUTH, MOUTH_HALF_WIDTH

_CHART_RADIUS = 0.075
_FINE = 0.0021
EYE_HALF_WIDTH = 0.0138
EYE_POINTS = 44
LIP_POINTS = 15
_EYE_RINGS = ((0.0, 0.0), (0.0009, 0.08), (0.0021, 0.20), (0.0037, 0.40), (0.0055, 0.62), (0.0074, 0.85))


class Skin(NamedTuple):
    """Left half of the face's skin (upright metres)."""

    points: np.ndarray  # [N, 3]
    faces: np.ndarray  # [F, 3]
    eye_margin: np.ndarray  # [EYE_POINTS] indices round the lid margin, from the outer corner over the upper lid
    lip_upper: np.ndarray  # [LIP_POINTS] indices along the lip line from the middle; the last is the corner
    lip_lower: np.ndarray  # the same points' copies below the slit (the corner is shared)
    lip: np.ndarray  # [N] 1 on the upper lip, -1 on the lower, 0 elsewhere
    brow: np.ndarray  # [N] 0..1, the brow's hair
    boundary: np.ndarray  # [N] distance to the face's outer edge in the chart, metres


def chart(points: np.ndarray) -> np.ndarray:
    """Upright points [N, 3] -> chart coordinates [N, 2]."""
    d = points - CENTRE
    angle = np.arctan2(np.hypot(d[:, 0], d[:, 1]), d[:, 2])
    side = np.maximum(np.hypot(d[:, 0], d[:, 1]), 1e-12)
    return _CHART_RADIUS * angle[:, None] * d[:, :2] / side[:, None]


def unchart(uv: np.ndarray) -> np.ndarray:
    """Chart coordinates -> unit directions from head.CENTRE, [N, 3]."""
    radius = np.linalg.norm(uv, axis=1)
    angle = radius / _CHART_RADIUS
    side = np.sin(angle) / np.maximum(radius, 1e-12)
    return np.column_stack([uv * side[:, None], np.cos(angle)])


def surface(uv: np.ndarray) -> np.ndarray:
    """Points of head and neck above chart coordinates, [N, 2] -> [N, 3]."""
    unit = unchart(uv)
    return CENTRE + sdf.cast(figure.portrait_distance, CENTRE, unit, 0.035, 0.150)[:, None] * unit


def _edge_angle(position: np.ndarray) -> np.ndarray:
    """How far the face reaches from straight ahead, radians, by position angle (-pi/2 down, 0 left, pi/2 up)."""
    knots = np.radians([-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0])
    reach = np.radians([77.0, 84.0, 98.0, 104.0, 96.0, 78.0, 70.0])
    return np.interp(position, knots, reach)


def edge_distance(uv: np.ndarray) -> np.ndarray:
    """Distance to the face's outer edge in the chart, positive inside, [N]."""
    position = np.arctan2(uv[:, 1], np.maximum(np.abs(uv[:, 0]), 1e-12))
    return _CHART_RADIUS * _edge_angle(position) - np.linalg.norm(uv, axis=1)


def lid_lines(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Heights (upper, lower) of the left eye's lid margins at x, metres; equal at and beyond the corners."""
    t = np.clip((x - EYE[0]) / EYE_HALF_WIDTH, -1.0, 1.0)
    middle = EYE[1] - 0.0006 + 0.0012 * t
    upper = middle + 0.0067 * (1.0 - np.abs(t + 0.10 * (1 - t * t)) ** 2.2) * np.sqrt(np.maximum(1 - t**8, 0))
    lower = middle - 0.0052 * (1.0 - np.abs(t - 0.12 * (1 - t * t)) ** 2.2) * np.sqrt(np.maximum(1 - t**8, 0))
    return np.where(np.abs(t) < 1, upper, middle), np.where(np.abs(t) < 1, lower, middle)


def lip_lines(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heights (upper border, lip line, lower border) of the lips at x >= 0, metres."""
    t = np.clip(x / MOUTH_HALF_WIDTH, 0.0, 1.0)
    line = MOUTH[1] - 0.0006 * np.exp(-((t / 0.18) ** 2)) + 0.0004 * np.sin(np.pi * t) + 0.0008 * t**2
    bow = 0.0074 - 0.0014 * np.exp(-((t / 0.13) ** 2)) - 0.0002 * t
    upper = line + bow * np.maximum(1.0 - t**1.7, 0.0) ** 0.9
    lower = line - 0.0090 * np.maximum(1.0 - t**2.2, 0.0) ** 0.85
    return upper, line, lower


def _eye_rings() -> list[np.ndarray]:
    """Front-view rings (x, y) round the left eye, the first the lid margin, [EYE_POINTS, 2] each."""
    s = np.linspace(0.0, 2 * np.pi, EYE_POINTS, endpoint=False)
    x = EYE[0] + EYE_HALF_WIDTH * np.cos(s)
    upper, lower = lid_lines(x)
    y = np.where(s <= np.pi, upper, lower)
    rings = []
    for offset, round_ in _EYE_RINGS:
        grown = np.column_stack([
            EYE[0] + (x - EYE[0]) * (1 + offset / EYE_HALF_WIDTH), y + offset * np.sin(s)
        ])  # fmt: skip
        oval = np.column_stack([
            EYE[0] + (EYE_HALF_WIDTH + offset) * np.cos(s), EYE[1] + (0.0068 + offset) * np.sin(s)
        ])  # fmt: skip
        rings.append((1 - round_) * grown + round_ * oval)
    return rings


def _brow_points() -> tuple[np.ndarray, np.ndarray]:
    """Front-view points along the left brow [N, 2] and how much hair grows there [N]."""
    along, across = np.meshgrid(np.linspace(-0.06, 1.06, 24), [-1.5, -0.9, -0.45, 0.0, 0.45, 0.9, 1.5], indexing="ij")
    t, offset = along.ravel(), across.ravel()
    arch = 0.4710 + 0.0052 * np.sin(np.pi * np.clip(0.06 + 0.74 * t, 0, 1)) ** 1.3 - 0.0015 * t
    half = 0.0036 * (1.0 - 0.55 * np.clip(t, 0, 1) ** 1.5)
    hair = sdf.smoothstep(1.4, 0.7, np.abs(offset)) * sdf.smoothstep(-0.05, 0.12, t) * sdf.smoothstep(1.04, 0.85, t)
    return np.column_stack([0.0125 + 0.0395 * t, arch + offset * half]), hair


def _mouth_rings() -> tuple[np.ndarray, list[np.ndarray], list[float]]:
    """Front-view lip line [LIP_POINTS, 2] from the middle to the corner, rings round it, and each ring's lip sign."""
    across = np.linspace(0.0, 1.0, LIP_POINTS)
    t = 0.7 * np.sin(0.5 * np.pi * across) + 0.3 * across  # closer towards the corner, but not too close
    x = MOUTH_HALF_WIDTH * t
    upper, line, lower = lip_lines(x)
    rings, lip = [], []
    for fraction in (0.3, 0.65, 1.0):
        keep = t < (0.97 if fraction == 1.0 else 0.93)
        rings.append(np.column_stack([x, line + fraction * (upper - line)])[keep])
        rings.append(np.column_stack([x, line + fraction * (lower - line)])[keep])
        lip += [1.0, -1.0]
    for offset in (0.0007, 0.0022, 0.0045, 0.0078):
        s = np.linspace(0.0, np.pi, 2 * LIP_POINTS - 1)
        x_in = MOUTH_HALF_WIDTH * np.concatenate([t, t[-2::-1]])
        upper, line, lower = lip_lines(x_in)
        y = np.where(s < np.pi / 2, upper, lower) + offset * np.cos(s)
        rings.append(np.column_stack([x_in + offset * np.sin(s) * (np.sin(s) > 1e-9), y]))
        rings[-1][[0, -1], 0] = 0.0
        lip.append(0.0)
    return np.column_stack([MOUTH_HALF_WIDTH * t, lip_lines(MOUTH_HALF_WIDTH * t)[1]]), rings, lip


def _edge_points() -> np.ndarray:
    position = np.linspace(-np.pi / 2, np.pi / 2, 76)
    radius = _CHART_RADIUS * _edge_angle(position)
    out = np.column_stack([radius * np.cos(position), radius * np.sin(position)])
    out[[0, -1], 0] = 0.0
    return out


def _lattice(taken: np.ndarray, eye_hole: np.ndarray) -> np.ndarray:
    """Hexagonal lattice in the chart: `_FINE` round the nose, twice that elsewhere, clear of the points `taken`."""
    rows = np.arange(-62, 58)
    points = []
    for row in rows:
        u = (np.arange(0, 82) + (0.5 if row % 2 else 0.0)) * _FINE
        u[0] = 0.0
        v = np.full(len(u), row * _FINE * 0.866)
        coarse = (np.arange(len(u)) % 2 == (0 if row % 4 == 0 else 1)) & (row % 2 == 0)
        coarse[0] = row % 2 == 0
        nose = (u < 0.030) & (v > -0.052) & (v < -0.012)
        points.append(np.column_stack([u, v, np.where(nose, 1.0, 2.0)])[nose | coarse])
    placed = np.concatenate(points)
    uv, size = placed[:, :2], placed[:, 2] * _FINE
    distance = cKDTree(taken).query(uv)[0]
    hole = Delaunay(eye_hole)
    keep = (distance > 0.66 * size) & (edge_distance(uv) > 0.6 * size) & (hole.find_simplex(uv) < 0)
    return uv[keep]


def build_skin() -> Skin:
    """Lays out, lifts to the surface and triangulates the left half."""

    def front(xy):
        origin = np.column_stack([xy, np.full(len(xy), 0.03)])
        direction = np.broadcast_to([0.0, 0.0, 1.0], origin.shape)
        return chart(origin + sdf.cast(figure.portrait_distance, origin, direction, 0.0, 0.11)[:, None] * direction)

    eye = [front(ring) for ring in _eye_rings()]
    line, rings, lip_sign = _mouth_rings()
    brow, hair = _brow_points()
    brow = front(brow)
    line, rings = front(line), [front(ring) for ring in rings]
    edge = _edge_points()
    fixed = np.concatenate([*eye, line, *rings, brow, edge])
    lattice = _lattice(fixed, eye[-1])
    in_mouth = Delaunay(np.concatenate([rings[-1], rings[-1] * (-1, 1)])).find_simplex(lattice) >= 0
    in_brow = Delaunay(brow).find_simplex(lattice) >= 0
    lattice = lattice[~in_mouth & ~in_brow]
    uv = np.concatenate([fixed, lattice])
    uv[np.abs(uv[:, 0]) < 1e-5, 0] = 0.0
    points = surface(uv)
    points[uv[:, 0] == 0, 0] = 0.0

    flat = uv.copy()  # seen from CENTRE the upper lip is foreshortened: stretch the mouth before triangulating
    flat[:, 1] += np.minimum(points[:, 1] - 0.400, 0.0) * sdf.smoothstep(0.055, 0.030, points[:, 0])
    triangles = Delaunay(flat).simplices
    a, b, c = (flat[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    triangles = np.where(area[:, None] > 0, triangles, triangles[:, ::-1])
    hole = (triangles < EYE_POINTS).all(1)
    first_edge = len(fixed) - len(edge)
    outside = ((triangles >= first_edge) & (triangles < len(fixed))).all(1)
    triangles = triangles[~hole & ~outside & (np.abs(area) > 1e-10)]

    lip = np.arange(LIP_POINTS) + EYE_POINTS * len(_EYE_RINGS)
    lower = np.concatenate([np.arange(LIP_POINTS - 1) + len(uv), lip[-1:]])
    middle = uv[triangles].mean(1)
    below = (middle[:, 0] < line[-1, 0]) & (middle[:, 1] < np.interp(middle[:, 0], line[:, 0], line[:, 1]))
    sign = np.zeros(len(uv))
    sign[lip] = 1.0
    start = lip[-1] + 1
    for ring, value in zip(rings, lip_sign, strict=True):
        sign[start : start + len(ring)] = value
        start += len(ring)
    grown = np.zeros(len(uv))
    grown[start : start + len(hair)] = hair
    remap = np.arange(len(uv))
    remap[lip] = lower
    triangles[below] = remap[triangles[below]]
    return Skin(
        points=np.concatenate([points, points[lip[:-1]]]),
        faces=triangles,
        eye_margin=np.arange(EYE_POINTS),
        lip_upper=lip,
        lip_lower=lower,
        lip=np.concatenate([sign, -np.ones(LIP_POINTS - 1)]),
        brow=np.concatenate([grown, np.zeros(LIP_POINTS - 1)]),
        boundary=edge_distance(np.concatenate([uv, uv[lip[:-1]]])),
    )
