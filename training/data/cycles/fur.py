"""Short hairs that grow from the skin: brows, lashes, beards, and crops."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from training.data.cycles.body import linear, skin_samples
from training.data.cycles.exchange import Strands
from training.data.cycles.geometry import Mesh
from training.data.synthetic import skin
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import MM, smoothstep
from training.data.synthetic.person import PosedPerson
from training.data.synthetic.surface import OWN, WHERE

_KNOTS = 5


def brows(mesh: Mesh, look: Appearance, rng: np.random.Generator) -> Strands:
    """Hairs that stand up at the nose and lie outwards further on."""
    where = mesh.values["own"][:, WHERE]
    zone = skin.brow_zone(where, look)
    thick = 0.35 + 0.65 * look.brow_density
    roots = _Roots(mesh, zone.inside * (where[:, 2] > -60), int(1500 * thick), rng)
    own = skin.brow_zone(roots.where, look)
    side = np.sign(roots.where[:, 0])
    lean = smoothstep(0.0, 0.35, own.along)
    # From below upwards, from above downwards: they meet in the middle.
    up = (1.0 - lean) * 1.2 + lean * (0.35 - 0.9 * np.clip(own.above / 4.0, -0.6, 0.9))
    direction = np.stack([side * (0.25 + lean), up, np.zeros(len(side))], 1)
    length = (5.2 + 2.6 * rng.random(len(side))) * (1.0 - 0.35 * own.along)
    return roots.grow(direction, length, 0.16, 0.075, look.brow, rng)


def beard(mesh: Mesh, look: Appearance, rng: np.random.Generator) -> Strands | None:
    """Stubble to a full beard, downwards and forwards."""
    if look.beard < 0.12:
        return None
    own = mesh.values["own"]
    zone = skin.beard_zone(skin_samples(own))
    count = int(1500 + 7500 * look.beard)
    roots = _Roots(mesh, zone, count, rng)
    x, y, _ = roots.where.T
    lip = (y > -62.0) & (np.abs(x) < 32.0)
    direction = np.stack([np.sign(x) * np.where(lip, 0.75, 0.15), -np.ones(len(x)), np.zeros(len(x))], 1)
    length = (0.9 + 12.0 * max(look.beard - 0.3, 0.0) ** 1.4) * (0.7 + 0.6 * rng.random(len(x)))
    length = np.where(lip, np.minimum(length, 6.0), length)
    return roots.grow(direction, length, 0.45, 0.075, look.beard_hair, rng)


def crop(mesh: Mesh, look: Appearance, rng: np.random.Generator) -> Strands | None:
    """Hair too short to lie on the drawn sheet."""
    dense = mesh.values["own"][:, OWN][:, 4] * look.scalp_cover
    if look.hair_length >= 0.10 or dense.max() < 0.15:
        return None
    roots = _Roots(mesh, dense, 16_000, rng)
    away = roots.where - np.array([0.0, 118.0, -118.0])  # from the crown
    length = (1.0 + 45.0 * look.hair_length) * (0.7 + 0.6 * rng.random(len(away)))
    return roots.grow(away, length, 0.55, 0.075, look.hair, rng)


def lashes(posed: PosedPerson, rng: np.random.Generator) -> Strands:
    """On the drawn strips of lashes."""
    look, strip = posed.shader.look, posed.surfaces[-1]
    used = np.unique(strip.faces)
    own = strip.attributes[used][:, OWN]
    points, at, above = strip.vertices[used], own[:, :2], own[:, 2] > 0.5
    left = strip.attributes[used][:, 0] > 0
    curves = []
    for side in (left, ~left):
        for upper, count in ((True, 90), (False, 26)):
            strip_of = np.flatnonzero(side & (above == upper))
            tree = cKDTree(at[strip_of] * [0.6, 1.0])
            along = (np.arange(count) + rng.random(count)) / count
            tips = (0.55 + 0.45 * rng.random(count)) * (0.6 + 0.4 * look.lashes)
            along = along + 0.03 * rng.standard_normal(count)
            across = tips[:, None] * np.linspace(0.0, 1.0, _KNOTS)
            query = np.stack([0.6 * across, np.repeat(along[:, None], _KNOTS, 1)], -1)
            near, index = tree.query(query.reshape(-1, 2), k=4)
            weight = 1.0 / (near + 0.01) ** 2
            weight /= weight.sum(1, keepdims=True)
            curves.append((points[strip_of][index] * weight[..., None]).sum(1).reshape(count, _KNOTS, 3))
    curve = np.concatenate(curves)
    radius = 0.055 * MM * np.linspace(1.0, 0.25, _KNOTS) * np.ones((len(curve), 1))
    colour = np.broadcast_to(linear(0.21 * look.brow + 0.012), (len(curve), 3))
    return Strands(curve, radius, colour.copy())


class _Roots:
    """Places on a mesh, drawn by a density at its vertices."""

    def __init__(self, mesh: Mesh, density: np.ndarray, count: int, rng: np.random.Generator):
        corner = mesh.vertices[mesh.faces]
        edges = corner[:, 1:] - corner[:, :1]  # [F, 2, 3]
        area = np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=-1)
        weight = area * density[mesh.faces].mean(1)
        face = rng.choice(len(weight), count, p=weight / weight.sum())
        a, b = np.sort(rng.random((2, count)), 0)
        bary = np.stack([a, b - a, 1 - b], 1)
        self.points = (corner[face] * bary[..., None]).sum(1)
        mean = mesh.values["own"][:, WHERE][mesh.faces[face]]  # [N, 3, 3] mm on the mean person
        self.where = (mean * bary[..., None]).sum(1)
        self._edges, self._mean_edges = edges[face], mean[:, 1:] - mean[:, :1]
        self.normals = (mesh.normals()[mesh.faces[face]] * bary[..., None]).sum(1)
        self.normals /= np.linalg.norm(self.normals, axis=-1, keepdims=True) + 1e-12

    def grow(
        self, direction: np.ndarray, length: np.ndarray, lift: float, radius: float, colour: np.ndarray, rng
    ) -> Strands:
        """Strands of ``length`` [N] mm along ``direction`` [N, 3] of the mean person, rising by ``lift`` of it.

        They lie down towards the tips. radius: mm at the root; colour: sRGB.
        """
        count = len(length)
        direction = direction / (np.linalg.norm(direction, axis=-1, keepdims=True) + 1e-9)
        direction = direction + 0.22 * rng.standard_normal((count, 3))
        inverse = np.linalg.pinv(self._mean_edges)  # of edges as rows: direction = coordinates @ edges
        flat = np.einsum("ni,nij,njk->nk", direction, inverse, self._edges)
        flat -= (flat * self.normals).sum(1, keepdims=True) * self.normals
        flat /= np.linalg.norm(flat, axis=-1, keepdims=True) + 1e-12
        t = np.linspace(0.0, 1.0, _KNOTS)
        forward = (length[:, None] * t)[..., None] * flat[:, None]
        rising = lift * (0.6 + 0.8 * rng.random((count, 1)))
        upward = (length[:, None] * rising * (t - 0.45 * t * t))[..., None] * self.normals[:, None]
        points = self.points[:, None] + (forward + upward - 0.15 * self.normals[:, None]) * MM
        thick = radius * MM * (0.8 + 0.4 * rng.random((count, 1))) * np.linspace(1.0, 0.3, _KNOTS)
        tone = np.exp(0.2 * rng.standard_normal((count, 1)))
        return Strands(points, thick, np.clip(linear(np.asarray(colour)) * tone, 0.003, 0.9))
