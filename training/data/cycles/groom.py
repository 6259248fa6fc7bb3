"""Strands of hair on the head: they follow the drawn person's sheet of hair, which lies on head and shoulders.

The sheet is a grid of rows from the crown to the tips and columns round the head. A strand is a path over it, from a
root on the scalp outwards, some way under the sheet: what the sheet does not run into no strand does either.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from training.data.cycles.body import linear
from training.data.cycles.exchange import Strands
from training.data.cycles.geometry import Mesh
from training.data.cycles.tied import combed, knot_strands
from training.data.synthetic import hair
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import MM, smoothstep, vertex_normals
from training.data.synthetic.person import PosedPerson
from training.data.synthetic.strands import TO_TIP
from training.data.synthetic.surface import HAIR, OWN, Surface

R, C = hair.ROWS, hair.COLUMNS
_STRANDS = 15_000
_MAX_DEPTH = 14.0  # mm of hair under the sheet
_CLEAR, _REACH = 0.7, 14.0  # mm over skin and cloth that strands keep, and within which they are looked for


class _Sheet:
    """The drawn hair's sheet of a posed person, at any place (mm from the crown, column)."""

    def __init__(self, surface: Surface, skin: Mesh):
        count = R * C
        faces = surface.faces[(surface.faces < count).all(1)]
        self.points = surface.vertices[:count].reshape(R, C, 3)
        normals = vertex_normals(surface.vertices[:count], hair.hair_faces()).astype(np.float64)
        self.normals = normals.reshape(R, C, 3)
        to_tip = surface.attributes[:count, OWN.start + TO_TIP].reshape(R, C)  # mm
        self.along = to_tip[0] - to_tip
        self.total = self.along[-1]  # [C] mm
        covered = np.zeros(count)
        covered[np.unique(faces)] = 1.0
        self.covered = covered.reshape(R, C)
        scalp = skin.vertices[(skin.values["own"][:, OWN][:, 4] > 0.2)]
        distance, _ = cKDTree(scalp if len(scalp) else skin.vertices).query(surface.vertices[:count])
        self.to_scalp = distance.reshape(R, C) / MM
        depth, _ = cKDTree(skin.vertices).query(surface.vertices[:count])
        self.depth = np.clip(depth.reshape(R, C) / MM - 0.8, 0.3, _MAX_DEPTH)
        self._share = self.along[:, 0] / self.total[0]  # of the way to the tip, by row

    def row(self, along: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Row, as a fraction, at ``along`` mm in a column."""
        total = np.interp(column, np.arange(C + 1), np.append(self.total, self.total[0]))
        return np.interp(along / total, self._share, np.arange(R))

    def length(self, column: np.ndarray) -> np.ndarray:
        """mm from the crown to the tip."""
        return np.interp(column % C, np.arange(C + 1), np.append(self.total, self.total[0]))

    def sample(self, grid: np.ndarray, along: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Values of a grid [R, C, ...] at places of any one shape, bilinear."""
        column = column % C
        row = self.row(along, column)
        r0, c0 = np.minimum(row.astype(np.int64), R - 2), column.astype(np.int64) % C
        u, v = row - r0, column - column.astype(np.int64)
        c1 = (c0 + 1) % C
        u, v = (part.reshape(*part.shape, *[1] * (grid.ndim - 2)) for part in (u, v))
        return (grid[r0, c0] * (1 - v) + grid[r0, c1] * v) * (1 - u) + (
            grid[r0 + 1, c0] * (1 - v) + grid[r0 + 1, c1] * v
        ) * u


def hair_layers(posed: PosedPerson) -> list[Surface]:
    """Of the drawn hair: the inner side of the sheet, the outer one, strands over it; last the knot of tied hair."""
    return [surface for surface in posed.surfaces if len(surface.materials) and surface.materials[0] == HAIR]


def groom(posed: PosedPerson, skin: Mesh, shirt: Mesh, rng: np.random.Generator) -> tuple[Strands, Mesh] | None:
    """Strands of the head's hair, and a dark core under them; None for a crop and the bald."""
    if not (layers := hair_layers(posed)):
        return None
    look, sheet = posed.shader.look, _Sheet(layers[1], skin)
    along, column = _roots(sheet, rng)
    points = _pushed_out(_paths(sheet, look, along, column, rng), skin, shirt)
    core = _core(sheet, look)
    if look.tied > 0.5:
        gathered, inner = knot_strands(layers[-1], look, points.shape[1], rng)
        points = np.concatenate([points, gathered])
        column = np.concatenate([column, rng.random(len(gathered)) * C])
        faces = np.concatenate([core.faces, inner.faces + len(core.vertices)])
        vertices = np.concatenate([core.vertices, inner.vertices])
        core = Mesh(vertices, faces, {"albedo": np.broadcast_to(core.values["albedo"][0], vertices.shape).copy()})
    taper = np.linspace(1.0, 0.45, points.shape[1]) ** 0.7
    radius = (0.10 + 0.03 * rng.random((len(points), 1))) * MM * taper
    return Strands(points, radius, _tints(look, column, rng)), core


def _roots(sheet: _Sheet, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(mm from the crown, column) [S] of roots, even over the part of the scalp that hair covers."""
    p = sheet.points
    du, dv = p[1:] - p[:-1], np.roll(p, -1, 1) - p
    area = np.linalg.norm(np.cross(du, dv[:-1]), axis=-1)
    # A hairline is no line: hair thins out towards it.
    thin = 0.55 + 0.45 * smoothstep(0.0, 9.0, sheet.total - sheet.along[:-1])
    weight = area * thin * sheet.covered[:-1] * smoothstep(34.0, 22.0, sheet.to_scalp[:-1])
    cell = rng.choice(weight.size, _STRANDS, p=weight.ravel() / weight.sum())
    row, column = np.divmod(cell, C)
    u, v = rng.random((2, _STRANDS))
    top, bottom = (sheet.along[row + i, column] for i in (0, 1))
    return np.maximum(top * (1 - u) + bottom * u + 2.5 * rng.standard_normal(_STRANDS), 0.0), column + v


def _degrees(column: np.ndarray) -> np.ndarray:
    """Azimuth of a column from the front, -180..180, positive to the person's left."""
    return (column / C * 360.0) % 360.0 - 180.0


def _paths(sheet: _Sheet, look: Appearance, along: np.ndarray, column: np.ndarray, rng) -> np.ndarray:
    """Points [S, K, 3] of the strands from root to tip."""
    count = len(along)
    length = look.loose_length
    long = float(smoothstep(0.34, 0.52, length))
    knots = 14 + int(22 * max(long, look.curl))
    parting = -16.0 * look.fringe
    bangs = float(smoothstep(0.35, 0.9, abs(look.fringe)))
    # How far a strand goes: short hair has a length, long hair its tips.
    cut = (9.0 + 95.0 * max(length - 0.10, 0.0)) * (0.8 + 0.4 * rng.random(count))
    layered = np.where(rng.random(count) < 0.35, rng.random(count) * 70.0, 0.0)
    reach = np.where(long > 0.5, 1e3, cut + long * 160.0)
    # Which way it goes over the skull: from the crown outwards, and from the parting to the sides.
    steps = np.empty((knots, count))
    columns = np.empty((knots, count))
    s, c = along.copy(), column.copy()
    end_of = np.minimum(sheet.length(column) - layered * long - rng.exponential(6.0, count), along + reach)
    step = np.maximum(end_of - along, 4.0) / (knots - 1)
    for k in range(knots):
        steps[k], columns[k] = s, c
        degrees = _degrees(c)
        ahead = smoothstep(66.0, 50.0, np.abs(degrees)) * smoothstep(8.0, 30.0, s)
        side = np.sign(degrees - parting)
        drift = long * (1 - 0.75 * bangs) * 0.95 * ahead * side + (1 - long) * 0.35 * ahead * np.sign(
            look.fringe + 1e-9
        )
        c = c + drift * step * C / 360.0
        end_of = np.minimum(sheet.length(c) - layered * long, along + reach)
        s = np.minimum(s + np.maximum((end_of - s) / np.maximum(knots - 1 - k, 1), 0.0), sheet.length(c))
    away = steps - along  # mm from the root
    if look.tied > 0.5:
        steps, columns, away = combed(along, column, look, knots)
        steps = np.minimum(steps, sheet.length(columns) - 1.0)
    # Strands gather in locks: those of a lock come together towards the tips.
    lock = _locks(along, column, max(count // (26 if look.curl < 0.5 else 34), 1), rng)
    t = np.linspace(0.0, 1.0, knots)[:, None]
    gather = (0.25 + 0.5 * max(look.curl, 0.6 * look.wave)) * smoothstep(0.15, 0.9, t)
    columns = columns + gather * _turned(columns[:, lock] - columns)
    level = rng.beta(1.0, 1.5, count)  # 0 at the sheet .. 1 at the skin
    level = 0.75 * level + 0.25 * level[lock]
    rise = smoothstep(0.0, 14.0 + 10.0 * long, away)
    points = sheet.sample(sheet.points, steps, columns)
    normals = sheet.sample(sheet.normals, steps, columns)
    depth = sheet.sample(sheet.depth, steps, columns)
    under = depth * (1 - rise * (1 - level))
    points = points - normals * (under * MM)[..., None]
    points = points + _waves(points, normals, away, lock, look, rng) * MM
    return np.moveaxis(points, 1, 0)


def _pushed_out(points: np.ndarray, *meshes: Mesh) -> np.ndarray:
    """Strands [S, K, 3] over the surfaces of meshes, ears and collars included; roots stay.

    Looked up at every other knot; those between move half as much as both neighbours together.
    """
    surface, normals = (
        np.concatenate(parts) for parts in zip(*((m.vertices, m.normals()) for m in meshes), strict=True)
    )
    tree = cKDTree(surface)
    for _ in range(2):
        knots = points[:, 2::2]
        near, index = tree.query(knots, distance_upper_bound=_REACH * MM)
        index = np.minimum(index, len(surface) - 1)
        height = ((knots - surface[index]) * normals[index]).sum(-1)
        push = np.where(np.isfinite(near), np.clip(_CLEAR * MM - height, 0.0, None), 0.0)[..., None] * normals[index]
        move = np.zeros_like(points)
        move[:, 2::2] = push
        move[:, 3:-1:2] = 0.5 * (move[:, 2:-2:2] + move[:, 4::2])
        if points.shape[1] % 2 == 0:
            move[:, -1] = move[:, -2]
        points = points + move
    return points


def _turned(columns: np.ndarray) -> np.ndarray:
    """Differences of columns the short way round."""
    return (columns + C / 2) % C - C / 2


def _locks(along: np.ndarray, column: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """[S] the strand that leads each strand's lock."""
    angle, radius = column / C * 2 * np.pi, np.minimum(along, 90.0)
    at = np.stack([radius * np.cos(angle), radius * np.sin(angle), 0.5 * along], 1)
    leaders = rng.choice(len(at), count, replace=False)
    return leaders[cKDTree(at[leaders]).query(at)[1]]


def _waves(points: np.ndarray, normals: np.ndarray, away: np.ndarray, lock: np.ndarray, look: Appearance, rng):
    """Offsets [K, S, 3] in mm: waves that a lock shares, curls, and a little of every strand's own."""
    knots, count = away.shape
    tangent = np.gradient(points, axis=0)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True) + 1e-12
    across = np.cross(tangent, normals)
    across /= np.linalg.norm(across, axis=-1, keepdims=True) + 1e-12
    free = smoothstep(3.0, 35.0, away) * (1 - 0.7 * look.tied)
    phase, pace = rng.random(count)[lock] * 2 * np.pi, (0.85 + 0.3 * rng.random(count))[lock]
    curl = float(smoothstep(0.25, 0.9, look.curl))
    tight = 1.0 - 0.6 * curl
    angle = away * pace * (2 * np.pi / (52.0 * tight)) + phase + 0.5 * rng.standard_normal(count)
    size = (0.5 + 2.6 * look.wave * (1 - curl) + 4.2 * curl) * free
    side = np.sin(angle)[..., None] * across + (curl * np.cos(angle) * 0.9)[..., None] * normals
    # A strand of its own: slow, small; a few stand off.
    own = rng.standard_normal((2, 4, count)) * np.array([0.45, 0.35, 0.25, 0.2])[:, None]
    waves = np.stack([np.sin(away / (60.0 / (i + 1)) + own[0, i] * 6) for i in range(4)])
    stray = np.where(rng.random(count) < 0.05, 3.0, 1.0) * (1.0 + 1.2 * curl)
    loose = smoothstep(0.0, 60.0, away) * stray
    frizz = (own[0][:, None] * waves).sum(0) * loose
    lift = np.abs((own[1][:, None] * waves).sum(0)) * loose
    return size[..., None] * side + frizz[..., None] * across + lift[..., None] * normals


def _tints(look: Appearance, column: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Linear colours [S, 3]: every strand a little lighter or darker, some of them grey with the years."""
    count = len(column)
    tone = np.exp(0.20 * rng.standard_normal(count) + 0.10 * hair.noise(column / C, 48))
    colour = linear(look.hair) * tone[:, None]
    grey = rng.random(count) < 0.5 * float(smoothstep(0.35, 0.9, look.age))
    colour[grey] = 0.7 * colour[grey] + 0.3 * np.array([0.36, 0.35, 0.34])
    return np.clip(colour, 0.004, 0.92)


def _core(sheet: _Sheet, look: Appearance) -> Mesh:
    """What is seen between the strands: hair in its own shade."""
    depth = np.clip(0.72 * sheet.depth, 1.2, 9.0)
    points = sheet.points - sheet.normals * (depth * MM)[..., None]
    to_tip = (sheet.total[None] - sheet.along).ravel()
    faces = hair.hair_faces()
    kept = (to_tip[faces] > 16.0).all(1) & (sheet.covered.ravel()[faces] > 0.5).all(1)
    colour = np.broadcast_to(linear(look.hair) * 0.35, (R * C, 3))
    return Mesh(points.reshape(-1, 3), faces[kept], {"albedo": colour.copy()})
