"""A synthetic person: everything follows from (z_id, eps, betas), deterministically."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from networks.person.body_model import MOVING
from networks.person.open_body.parts import EYE, LASH, SHIRT, SKIN
from training.data.synthetic import clothes, hair, hair_fit
from training.data.synthetic.appearance import SHIRT_COLLAR, Appearance, appearance
from training.data.synthetic.figure import HEAD_WEIGHTS, figure
from training.data.synthetic.knot import Knot, comb, tie
from training.data.synthetic.light import make_light, openness
from training.data.synthetic.mesh import MM, smoothstep, vertex_normals
from training.data.synthetic.noise import noise3
from training.data.synthetic.surface import HAIR, NORMAL, NUM_ATTRIBUTES, OPEN, OWN, WHERE, Shader, Surface

OUTER_LAYERS = ((1, 1.6), (2, 3.6))  # of single strands round the hair: number, mm outside
_BALD = 0.10  # hair length below which there is no sheet, but stubble on the scalp
_ARM = 190.0 * MM  # arms lie in sleeves from here on
_LYING = 4.5 * MM  # of cloth over the neck
_SHEET = hair.ROWS * hair.COLUMNS


class PosedPerson(NamedTuple):
    """What can be drawn."""

    surfaces: list[Surface]  # skin with all in it, shirt, what lies over them from the inside outwards
    shader: Shader
    landmarks: np.ndarray  # [68, 3] canonical units, of the posed person


class _Hair(NamedTuple):
    shell: hair.HairShell
    vertices: np.ndarray  # [2 * _SHEET, 3] canonical: the sheet, and again as its own inner side
    weights: np.ndarray  # [., J]
    attributes: np.ndarray  # [., NUM_ATTRIBUTES]
    faces: np.ndarray  # [F, 3] of the sheet, then of its inner side
    knot: Knot | None  # of tied hair, on this person


class SyntheticPerson:
    """A drawable person.

    Args:
        z_id: [80] identity of the face, unit variance.
        eps: [80] appearance (see :mod:`training.data.synthetic.appearance`).
        betas: [10] body shape.

    Raises ValueError for a wrong shape or a value that is not finite.
    """

    def __init__(self, z_id, eps, betas):
        self.z_id, self.eps, self.betas = (
            _vector("z_id", z_id, 80),
            _vector("eps", eps, 80),
            _vector("betas", betas, 10),
        )
        self.figure = figure()
        self.look: Appearance = appearance(self.eps)
        self.light = make_light(*self.look.light)

    def posed(self, expression, joint_eulers) -> PosedPerson:
        """With an expression [64] and ``joint_eulers`` [6, 3] (radians, relative to the mean pose)."""
        f, transforms = self.figure, self.joint_transforms(joint_eulers)
        canonical = self.canonical_vertices(expression)
        attributes = self._attributes.copy()
        attributes[:, NORMAL] = vertex_normals(canonical, f.faces, f.sums)
        vertices = _skin_to(canonical, f.weights, transforms)
        part = f.part[f.faces[:, 0]]
        apart = (part == SHIRT) | (part == LASH)  # drawn later: something is seen through them
        in_sleeves = (part == SKIN) & (np.abs(f.rest[f.faces[:, 0], 0]) > _ARM)

        def layer(chosen: np.ndarray) -> Surface:
            return Surface(vertices, f.faces[chosen], part[chosen], attributes)

        surfaces = [layer(~apart & ~in_sleeves), *self._cloth_layers(canonical, attributes, transforms)]
        if self._hair is not None:
            surfaces += self._hair_layers(self._hair, transforms)
        surfaces.append(layer(part == LASH))
        return PosedPerson(surfaces, Shader(self.look, self.light), vertices[f.landmarks])

    def canonical_vertices(self, expression=None) -> np.ndarray:
        """Skin, eyes, teeth, tongue, lashes and shirt [V, 3] in the canonical pose."""
        if expression is None:
            return self._neutral
        f, vertices = self.figure, self._neutral.copy()
        vertices[f.head] += (f.expression @ _vector("expression", expression, 64)).reshape(-1, 3)
        return vertices

    def joint_transforms(self, joint_eulers) -> np.ndarray:
        """Rigid transforms [24, 4, 4] from the canonical pose to ``joint_eulers`` [6, 3], canonical units."""
        eulers = _vector("joint_eulers", np.asarray(joint_eulers).reshape(-1), 18).reshape(1, 6, 3)
        with torch.no_grad():  # in float64: matrix products in float32 differ visibly between machines
            transforms = self.figure.body_model.joint_transforms(
                torch.from_numpy(self.betas)[None], torch.from_numpy(eulers)
            )
        return transforms[0].numpy()

    @cached_property
    def _neutral(self) -> np.ndarray:
        f = self.figure
        vertices = f.rest + f.betas @ self.betas
        vertices[f.head] += (f.identity @ self.z_id).reshape(-1, 3)
        return vertices

    @cached_property
    def _normals(self) -> np.ndarray:
        return vertex_normals(self._neutral, self.figure.faces, self.figure.sums).astype(np.float64)

    @cached_property
    def _attributes(self) -> np.ndarray:
        """[V, NUM_ATTRIBUTES]; normals are those of an expression."""
        f, a = self.figure, np.zeros((len(self.figure.rest), NUM_ATTRIBUTES))
        a[:, WHERE] = f.rest / MM
        blockers = self._neutral[f.blockers]
        if self._hair is not None:
            blockers = np.concatenate([blockers, self._hair.vertices[:_SHEET:2]])
        a[:, OPEN] = f.spread @ openness(self._neutral[f.probes], self._normals[f.probes], self.light, blockers)
        skin, eye, lash = (f.part == part for part in (SKIN, EYE, LASH))
        labels = [f.labels[name] for name in ("lips", "eyelids", "ears", "mouth_inside")]
        a[skin, OWN.start : OWN.start + 5] = np.stack([*labels, self._scalp()], 1)[skin]
        a[eye, OWN.start : OWN.start + 2] = f.eye[eye]
        a[lash, OWN.start : OWN.start + 3] = f.lash[lash]
        return a

    def _scalp(self) -> np.ndarray:
        """[V] how densely hair grows: a soft hairline under the sheet, and all there is of a crop."""
        f, cropped = self.figure, self.look._replace(hair_length=min(self.look.hair_length, 0.3), tied=0.0)
        azimuth, angle = hair.polar(f.rest, f.roots.centre)
        line = np.interp(azimuth, f.roots.azimuth, hair.hairline(f.roots.azimuth, cropped), period=2 * np.pi)
        dense = smoothstep(np.radians(1.0), np.radians(-5.0), angle - line) * (1 - f.labels["ears"])
        top = smoothstep(np.radians(60.0), np.radians(30.0), angle)
        nape = smoothstep(-72.0 * MM, -48.0 * MM, f.rest[:, 1])
        return dense * nape * (1 - top * np.sqrt(self.look.recede))

    @cached_property
    def _hair(self) -> _Hair | None:
        if self.look.hair_length < _BALD:
            return None
        f, look = self.figure, self.look
        shell = hair.grow(f.roots, look)
        vertices = hair_fit.fit(shell, self._neutral, self._normals, f.scalp, f.hair_spread)
        curl = 5.0 * MM * smoothstep(0.2, 0.9, look.curl) * smoothstep(0.0, 12.0 * MM, shell.to_tip)
        if curl.any():
            where = shell.vertices[:_SHEET] / MM
            bumps = np.stack([noise3(where, 1 / 16.0, 50 + axis) for axis in range(3)], 1)
            vertices = vertices + curl[:, None] * np.concatenate([bumps, bumps])
        sheet = f.hair_faces
        normals = vertex_normals(vertices[:_SHEET], sheet).astype(np.float64)
        strands = np.gradient(vertices[:_SHEET].reshape(hair.ROWS, hair.COLUMNS, 3), axis=0).reshape(-1, 3)
        strands /= np.sqrt((strands * strands).sum(1, keepdims=True) + 1e-18)
        blockers = np.concatenate([vertices[:_SHEET:2], self._neutral[f.blockers[::2]]])
        tied = self._tied(blockers)
        knots = hair_fit.KNOTS
        a = np.zeros((2 * _SHEET, NUM_ATTRIBUTES))
        a[:, WHERE] = shell.vertices / MM
        a[:, NORMAL] = np.concatenate([normals, -normals])
        a[:, OPEN] = f.hair_spread @ openness(vertices[knots], normals[knots], self.light, blockers)
        around, along = np.stack([np.cos(shell.around), np.sin(shell.around)], 1), shell.along / MM
        strands = np.concatenate([strands, strands])
        if tied is not None:
            around, along, strands = comb(shell.vertices, f.roots.centre, look)
            along = np.minimum(along, 100.0)  # farther on hair would be ragged as long hair is
        a[:, OWN] = np.column_stack([around, along, shell.to_tip / MM, -shell.inner, strands])
        covered = (shell.cover[sheet] > 0.3).all(1)
        faces = np.concatenate([sheet[covered], sheet[covered][:, ::-1] + _SHEET])
        weights = hair_fit.skinning(vertices, shell, HEAD_WEIGHTS, f.scalp, f.hair_spread)
        return _Hair(shell, vertices, weights, a, faces, tied)

    def _tied(self, blockers: np.ndarray) -> Knot | None:
        """The knot of tied hair, in the shadow of ``blockers`` [B, 3]."""
        if self.look.tied < 0.5:
            return None
        tied = tie(self.figure.roots, self.look)
        vertices, attributes = hair_fit.carry(tied.vertices, self._neutral, self.figure.scalp), tied.attributes
        attributes[:, OPEN] = openness(vertices, attributes[:, NORMAL], self.light, blockers)
        return Knot(vertices, tied.faces, attributes)

    def _cloth_layers(self, canonical: np.ndarray, attributes: np.ndarray, transforms: np.ndarray) -> list[Surface]:
        """The shirt, which lies on the skin round the neck, then the leaf of its collar if there is one."""
        cloth = self.figure.cloth
        attributes, weights = attributes[cloth.index], self.figure.weights[cloth.index]
        attributes[:, OWN] = 0.0
        vertices = canonical[cloth.index] + self._laid
        surfaces = [Surface(_skin_to(vertices, weights, transforms), cloth.faces, _all(SHIRT, cloth.faces), attributes)]
        if self.look.collar[SHIRT_COLLAR] > 0:
            leaf = attributes.copy()
            leaf[:, OWN.start] = 1.0
            vertices = vertices + attributes[:, NORMAL] * (clothes.LEAF * MM)
            faces = cloth.faces[cloth.by_neck]
            surfaces.append(Surface(_skin_to(vertices, weights, transforms), faces, _all(SHIRT, faces), leaf))
        return surfaces

    @cached_property
    def _laid(self) -> np.ndarray:
        """What lays the shirt on the neutral person's neck [K, 3]."""
        cloth = self.figure.cloth
        where, outwards = self.figure.rest[cloth.index] / MM, self._normals[cloth.near]
        height = ((self._neutral[cloth.index] - self._neutral[cloth.near]) * outwards).sum(1)
        lying = smoothstep(44.0, 14.0, clothes.neckline(where, self.look)) * (where[:, 1] > -260.0)
        return (lying * (_LYING - height))[:, None] * outwards

    def _hair_layers(self, grown: _Hair, transforms: np.ndarray) -> list[Surface]:
        """The sheet with both of its sides, strands that stand off it, then the knot of tied hair."""
        posed = _skin_to(grown.vertices, grown.weights, transforms)
        outside, inside = np.split(grown.faces, 2)
        # One after the other: through the ragged tips of a side the other one is seen.
        layers = [Surface(posed, side, _all(HAIR, side), grown.attributes) for side in (inside, outside)]
        full = (0.5 + 0.8 * self.look.hair_volume) * smoothstep(0.05, 0.4, self.look.hair_length)
        for number, height in OUTER_LAYERS:
            lift = height * MM * full * np.minimum(1.0, grown.shell.to_tip / (10.0 * MM))
            attributes = grown.attributes[:_SHEET].copy()
            attributes[:, OWN.start + 4] = number
            lifted = grown.vertices[:_SHEET] + (grown.attributes[:, NORMAL] * lift[:, None])[:_SHEET]
            posed = _skin_to(lifted, grown.weights[:_SHEET], transforms)
            layers.append(Surface(posed, outside, _all(HAIR, outside), attributes))
        if (tied := grown.knot) is not None:
            weights = np.broadcast_to(HEAD_WEIGHTS, (len(tied.vertices), len(HEAD_WEIGHTS)))
            posed = _skin_to(tied.vertices, weights, transforms)
            layers.append(Surface(posed, tied.faces, _all(HAIR, tied.faces), tied.attributes))
        return layers


def _all(material: int, faces: np.ndarray) -> np.ndarray:
    return np.full(len(faces), material)


def _skin_to(vertices: np.ndarray, weights: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """Linear blend skinning of canonical vertices [N, 3] with weights [N, J] by transforms [24, 4, 4]."""
    rows = transforms[list(MOVING), :3]  # [J, 3, 4]
    blended = (weights @ rows.reshape(len(MOVING), 12)).reshape(-1, 3, 4)
    x, y, z = vertices.T[:, :, None]
    return blended[:, :, 0] * x + blended[:, :, 1] * y + blended[:, :, 2] * z + blended[:, :, 3]


def _vector(name: str, value, length: int) -> np.ndarray:
    array = np.asarray(value, np.float32).astype(np.float64)  # as data sets keep them
    if array.shape != (length,):
        raise ValueError(f"{name}: expected shape [{length}], found {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: every value must be finite")
    return array
