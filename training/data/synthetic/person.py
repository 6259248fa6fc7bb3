"""A synthetic person: everything follows from (z_id, eps, betas), deterministically."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from training.data.synthetic import clothes, eyes, hair, hair_fit, lighting, paint
from training.data.synthetic.appearance import Appearance, appearance
from training.data.synthetic.mesh import MM, PART_NAMES, ColouredMesh, smoothstep, vertex_normals
from training.data.synthetic.sampling import BLINK, LEFT_LID, RIGHT_LID, Identity, sample_identity
from training.data.synthetic.template import (
    EYE_CENTRE,
    EYE_RADIUS,
    HEAD_WEIGHTS,
    MOVING,
    PersonTemplate,
    person_template,
)

PART = {name: index for index, name in enumerate(PART_NAMES)}
_LID_RADIUS = 1.005 * EYE_RADIUS  # lids slide on this; the eyeball is drawn a little smaller
_LEVEL = 1.62  # brings the brightest skin to about its own colour


class _Parts(NamedTuple):
    vertices: np.ndarray  # [N, 3]
    faces: np.ndarray  # [F, 3]
    albedo: np.ndarray  # [N, 3]
    warmth: np.ndarray  # [N] how far shadows redden
    gloss: np.ndarray  # [N] added brightness
    parts: np.ndarray  # [N] labels
    weights: np.ndarray  # [N, J] skinning by template.MOVING
    normals: np.ndarray  # [N, 3]


class SyntheticPerson:
    """A drawable person.

    Args:
        z_id: [80] identity of the face, unit variance.
        eps: [80] appearance (see :mod:`training.data.synthetic.appearance`).
        betas: [10] body shape.
        template: shared constants; those of the embedded assets by default.

    Raises ValueError for a wrong shape or a value that is not finite.
    """

    def __init__(self, z_id, eps, betas, template: PersonTemplate | None = None):
        self.z_id = _vector("z_id", z_id, 80)
        self.eps = _vector("eps", eps, 80)
        self.betas = _vector("betas", betas, 10)
        self.template = template if template is not None else person_template()
        self.look: Appearance = appearance(self.eps)

    @classmethod
    def sample(cls, seed: int, template: PersonTemplate | None = None) -> SyntheticPerson:
        """The person of a seed."""
        return cls(*_reorder(sample_identity(np.random.default_rng(seed))), template=template)

    def canonical_mesh(self) -> ColouredMesh:
        """The person in the canonical pose with a neutral face; colours carry the baked soft light."""
        parts = self._parts
        return ColouredMesh(parts.vertices.astype(np.float32), parts.faces, self._colours, parts.parts)

    def posed_mesh(self, expression, joint_eulers) -> ColouredMesh:
        """The same mesh with an expression [64] and ``joint_eulers`` [6, 3] (radians, relative to the mean pose)."""
        vertices = self._parts.vertices + self._expression_offset(_vector("expression", expression, 64))
        posed = self._pose(vertices, self._parts.weights, joint_eulers)
        return ColouredMesh(posed.astype(np.float32), self._parts.faces, self._colours, self._parts.parts)

    def joint_transforms(self, joint_eulers) -> np.ndarray:
        """Rigid transforms [24, 4, 4] from the canonical pose to ``joint_eulers`` [6, 3], canonical units."""
        eulers = _vector("joint_eulers", np.asarray(joint_eulers).reshape(-1), 18).reshape(1, 6, 3)
        with torch.no_grad():  # in float64: matrix products in float32 differ visibly between machines
            betas = torch.from_numpy(self.betas)[None].double()
            transforms = self.template.body_model.joint_transforms(betas, torch.from_numpy(eulers).double())
        return transforms[0].numpy()

    def landmarks(self, expression=None) -> np.ndarray:
        """The 68 landmarks [68, 3], canonical pose."""
        t = self.template
        marks = t.face_mean[t.marks] + t.face_id.at(t.marks, self.z_id)
        return marks if expression is None else marks + t.face_exp.at(t.marks, _vector("expression", expression, 64))

    def landmarks_of(self, mesh: ColouredMesh) -> np.ndarray:
        """The 68 landmarks [68, 3] of a mesh of this person."""
        return mesh.vertices[len(self.template.bare) + self.template.marks]

    def _pose(self, vertices: np.ndarray, weights: np.ndarray, joint_eulers) -> np.ndarray:
        """Linear blend skinning of canonical vertices [N, 3] with weights [N, J]."""
        rows = self.joint_transforms(joint_eulers)[list(MOVING), :3]  # [J, 3, 4]
        blended = (weights @ rows.reshape(len(MOVING), 12)).reshape(-1, 3, 4)
        x, y, z = vertices.T[:, :, None]
        return blended[:, :, 0] * x + blended[:, :, 1] * y + blended[:, :, 2] * z + blended[:, :, 3]

    @cached_property
    def _face_change(self) -> np.ndarray:
        """How identity moves the face's vertices [F, 3]."""
        return self.template.face_id.apply(self.z_id)

    @cached_property
    def _face(self) -> np.ndarray:
        """Neutral face [F, 3]."""
        face = self.template.face_mean + self._face_change
        return face + self._off_the_eyeballs(face)

    @property
    def _eyes(self) -> list[np.ndarray]:
        """Centres [3] of the right and the left eyeball."""
        sides = ((-1.0, slice(36, 42)), (1.0, slice(42, 48)))
        shift = self._face_change[self.template.marks]
        return [EYE_CENTRE * np.array([side, 1.0, 1.0]) + shift[rows].mean(0) for side, rows in sides]

    @cached_property
    def _body(self) -> np.ndarray:
        """Body in the canonical pose, following the face's identity [B, 3]."""
        t = self.template
        return t.body_mean + t.body_betas.apply(self.betas) + t.follow_id @ self._face_change

    @cached_property
    def _parts(self) -> _Parts:
        t = self.template
        face = self._face.copy()
        # Ears are rooted a little inside the head; hair that falls over them presses them to it.
        face[:, 0] -= np.sign(face[:, 0]) * t.ear * 2.5 * MM
        face[:, 0] *= 1.0 - 0.15 * t.ear * smoothstep(0.34, 0.52, np.float64(self.look.hair_length))
        body_normals = vertex_normals(self._body, t.body_faces, t.body_sums)
        face_normals = vertex_normals(face, t.face_faces, t.face_sums)
        shirt = clothes.drape(self._body, body_normals, t.body_mean, t.neighbours, self.look)
        shell = hair.grow(t.roots, self.look)
        pieces = [
            self._skin(face, body_normals, face_normals, shell),
            self._shirt(shirt),
            self._hair(shell, np.concatenate([shirt, face]), np.concatenate([body_normals, face_normals])),
            *self._eyes_and_teeth(),
        ]
        return _join(pieces)

    def _skin(self, face: np.ndarray, body_normals: np.ndarray, face_normals: np.ndarray, shell) -> _Parts:
        t, look = self.template, self.look
        n_body, n_face = len(t.bare), len(face)
        detail = np.concatenate([np.zeros(n_body), np.ones(n_face)])
        albedo = paint.paint(t.paint, look, detail)
        inside = np.concatenate([np.zeros(n_body), t.interior])[:, None]
        ear = np.concatenate([np.zeros(n_body), t.ear])
        stubble = self._stubble(shell, ear)
        albedo = albedo * (1 - stubble) + stubble * (0.9 * look.hair + 0.05 * look.skin)
        albedo = albedo * (1 - inside) + inside * np.array([0.16, 0.045, 0.045])
        return _Parts(
            vertices=np.concatenate([self._body[t.bare] - t.sink[:, None] * body_normals[t.bare], face]),
            faces=np.concatenate([t.bare_faces, t.face_faces + n_body]),
            albedo=albedo,
            warmth=np.ones(len(albedo)),
            gloss=paint.shine(t.paint, detail) * (1 - inside[:, 0]),
            parts=np.where(ear > 0.5, PART["ears"], PART["skin"]),
            weights=np.concatenate([t.body_weights[t.bare], t.face_weights]),
            normals=np.concatenate([body_normals[t.bare], face_normals]),
        )

    def _stubble(self, shell: hair.HairShell, ear: np.ndarray) -> np.ndarray:
        """Share [V, 1] of hair colour on the scalp under the shell: a soft hairline, and all there is of a crop."""
        azimuth, angle = self.template.polar
        line = np.interp(azimuth, self.template.roots.azimuth, shell.line, period=2 * np.pi)
        inside = smoothstep(np.radians(-0.2), np.radians(-3.6), angle - line)
        return (inside * (1 - ear) * 0.92 * smoothstep(0.0, 0.22, np.float64(self.look.hair_length)) ** 0.7)[:, None]

    def _shirt(self, shirt: np.ndarray) -> _Parts:
        t, vertices = self.template, shirt[self.template.cloth]
        normals = vertex_normals(vertices, t.cloth_faces, t.cloth_sums)
        albedo = clothes.dye(t.body_mean[t.cloth], self.look)
        return _plain(vertices, t.cloth_faces, albedo, "clothes", t.body_weights[t.cloth], normals, warmth=0.25)

    def _hair(self, shell: hair.HairShell, skin: np.ndarray, skin_normals: np.ndarray) -> _Parts:
        t = self.template
        vertices = hair_fit.fit(shell, skin, skin_normals, t.scalp, t.hair_spread)
        weights = hair_fit.skinning(vertices, shell, HEAD_WEIGHTS, t.scalp, t.hair_spread)
        normals = vertex_normals(vertices, t.hair_faces, t.hair_sums)
        albedo = hair_fit.dye(vertices, shell, self.look)
        piece = _plain(vertices, t.hair_faces, albedo, "hair", weights, normals, warmth=0.15)
        return piece._replace(parts=np.where(shell.inner > 0, PART["hair_inner"], PART["hair"]))

    def _eyes_and_teeth(self) -> list[_Parts]:
        t = self.template
        change, mean = self._face_change, t.face_mean
        patches = []
        for side, where in zip((-1.0, 1.0), self._eyes, strict=True):
            patches.append(("eyes", eyes.eyeball(where, 0.985 * EYE_RADIUS, self.look.iris, -side)))
        lips = t.marks[60:68]
        mouth = (mean[lips] + change[lips]).mean(0)
        half = 0.5 * np.ptp((mean + change)[t.marks[48:60], 0])
        for patch in (eyes.cavity(mouth, half), eyes.teeth(mouth, half, True), eyes.teeth(mouth, half, False)):
            patches.append(("mouth", patch._replace(colours=patch.colours * 0.92)))
        return [
            _plain(p.vertices, p.faces, p.colours, part, HEAD_WEIGHTS, np.zeros_like(p.vertices)) for part, p in patches
        ]

    @cached_property
    def _colours(self) -> np.ndarray:
        p, t = self._parts, self.template
        light = np.ones(len(p.vertices))
        lit = slice(t.probes.spread.shape[0])  # skin, shirt and hair come first
        light[lit] = lighting.soft_light(p.vertices[lit], p.normals[lit], t.probes, t.dome) * _LEVEL
        colours = lighting.shade(p.albedo, light, p.warmth) + p.gloss[:, None] * light[:, None]
        return np.clip(colours, 0.0, 1.0).astype(np.float32)

    def _expression_offset(self, expression: np.ndarray) -> np.ndarray:
        """[N, 3] how the canonical vertices move with an expression."""
        t = self.template
        move = t.face_exp.apply(self._closing(expression))  # [F, 3]
        move += self._off_the_eyeballs(self._face + move)
        offset = np.zeros_like(self._parts.vertices)
        n_body, n_face = len(t.bare), len(self._face)
        skin_move = t.follow_exp @ move
        offset[:n_body] = skin_move
        offset[n_body : n_body + n_face] = move
        lower = slice(-eyes.TEETH, None)
        offset[lower] = move[t.marks[[7, 8, 9]]].mean(0)  # the lower teeth ride on the jaw
        return offset

    def _closing(self, expression: np.ndarray) -> np.ndarray:
        """The expression with lids that go as much farther as this person's eyes are wider open than the mean's, so
        that a blink closes them."""
        t = self.template
        opening, mean = (
            m[[37, 38, 43, 44], 1] - m[[41, 40, 47, 46], 1] for m in (self.landmarks(), t.face_mean[t.marks])
        )
        right, left = np.maximum(opening / mean, 1.0).reshape(2, 2).max(1)
        expression = expression.copy()
        for lid, factor in ((RIGHT_LID, right), (LEFT_LID, left), (BLINK, max(left, right))):
            expression[lid] *= factor if expression[lid] < 0 else 1.0
        return expression

    def _off_the_eyeballs(self, face: np.ndarray) -> np.ndarray:
        """[F, 3] what keeps the skin of the lids before the eyeballs."""
        move = np.zeros_like(face)
        for centre in self._eyes:
            away = face - centre
            near = np.nonzero((np.abs(away) < 1.1 * EYE_RADIUS).all(1) & (away[:, 2] > 0.3 * EYE_RADIUS))[0]
            distance = np.sqrt((away[near] ** 2).sum(1, keepdims=True))
            move[near] += away[near] * np.maximum(_LID_RADIUS / np.maximum(distance, 1e-9) - 1.0, 0.0)
        return move


def _reorder(identity: Identity) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return identity.z_id, identity.eps, identity.betas


def _vector(name: str, value, length: int) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected shape [{length}], found {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: every value must be finite")
    return array


def _plain(vertices, faces, albedo, part, weights, normals, warmth=0.0) -> _Parts:
    """A piece of one part without highlights; ``weights`` [J] or [N, J]."""
    n = len(vertices)
    return _Parts(
        vertices, faces, albedo, np.full(n, warmth), np.zeros(n), np.full(n, PART[part], np.int8),
        np.broadcast_to(weights, (n, len(MOVING))), normals,
    )  # fmt: skip


def _join(pieces: list[_Parts]) -> _Parts:
    """One mesh of several."""
    start = np.cumsum([0] + [len(piece.vertices) for piece in pieces])
    joined = _Parts(*(np.concatenate(arrays) for arrays in zip(*pieces, strict=True)))
    faces = [piece.faces + first for piece, first in zip(pieces, start[:-1], strict=True)]
    return joined._replace(faces=np.concatenate(faces).astype(np.int32), parts=joined.parts.astype(np.int8))
