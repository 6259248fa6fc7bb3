"""A synthetic person: everything follows from (z_id, eps, betas), deterministically."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from training.data.synthetic import clothes, eyes, hair, lighting, paint
from training.data.synthetic.appearance import Appearance, appearance
from training.data.synthetic.mesh import PART_NAMES, ColouredMesh, smoothstep, vertex_normals
from training.data.synthetic.paint import MM
from training.data.synthetic.sampling import sample_identity
from training.data.synthetic.template import (
    EYE_CENTRE,
    EYE_RADIUS,
    PersonTemplate,
    head_only,
    near_weights,
    person_template,
)

PART = {name: index for index, name in enumerate(PART_NAMES)}
_LEVEL = 1.62  # brings the brightest skin to about its own colour


class _Parts(NamedTuple):
    vertices: np.ndarray  # [N, 3]
    faces: np.ndarray  # [F, 3]
    albedo: np.ndarray  # [N, 3]
    lit: np.ndarray  # [N] 1 where the soft light applies, 0 where the colour has it already
    warmth: np.ndarray  # [N] how far shadows redden
    gloss: np.ndarray  # [N] added brightness
    parts: np.ndarray  # [N] labels
    weights: np.ndarray  # [N, 24] skinning


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
        expression = _vector("expression", expression, 64)
        eulers = _vector("joint_eulers", np.asarray(joint_eulers).reshape(-1), 18).reshape(6, 3)
        vertices = self._parts.vertices + self._expression_offset(expression)
        transforms = self.joint_transforms(eulers)
        blended = (self._parts.weights @ transforms[:, :3].reshape(24, 12)).reshape(-1, 3, 4)  # [N, 3, 4]
        posed = (blended[:, :, :3] * vertices[:, None, :]).sum(-1) + blended[:, :, 3]
        return ColouredMesh(posed.astype(np.float32), self._parts.faces, self._colours, self._parts.parts)

    def joint_transforms(self, joint_eulers: np.ndarray) -> np.ndarray:
        """Rigid transforms [24, 4, 4] from the canonical pose to ``joint_eulers`` [6, 3], canonical units."""
        with torch.no_grad():
            transforms = self.template.body_model.joint_transforms(
                torch.from_numpy(self.betas)[None], torch.as_tensor(joint_eulers, dtype=torch.float32)[None]
            )
        return transforms[0].numpy().astype(np.float64)

    def landmarks(self, expression=None) -> np.ndarray:
        """The 68 landmarks [68, 3], canonical pose."""
        face = self._face
        if expression is not None:
            face = face + self.template.face_exp @ _vector("expression", expression, 64).astype(np.float64)
        return face[self.template.marks]

    @cached_property
    def _face(self) -> np.ndarray:
        """Neutral face [F, 3]."""
        return self.template.face_mean + self._face_change

    @cached_property
    def _face_change(self) -> np.ndarray:
        return self.template.face_id @ self.z_id.astype(np.float64)

    @cached_property
    def _body(self) -> np.ndarray:
        """Refined body in the canonical pose, following the face's identity [B, 3]."""
        with torch.no_grad():
            coarse = self.template.body_model.canonical_vertices(torch.from_numpy(self.betas)[None])[0].numpy()
        return self.template.refine_body(coarse.astype(np.float64)) + self.template.follow_id @ self._face_change

    @cached_property
    def _parts(self) -> _Parts:
        t, look = self.template, self.look
        face = self._face.copy()
        # Ears are rooted a little inside the head; hair that falls over them presses them to it.
        face[:, 0] -= np.sign(face[:, 0]) * t.ear * 2.5 * MM
        face[:, 0] *= 1.0 - 0.15 * t.ear * smoothstep(0.34, 0.52, np.float64(look.hair_length))
        body_normals = vertex_normals(self._body, t.body_faces)
        skin = np.concatenate([self._body[t.bare] - t.sink[:, None] * body_normals[t.bare], face])
        n_body, n_face = len(t.bare), len(self._face)
        skin_faces = np.concatenate([t.bare_faces, t.face_faces + n_body])
        face_normals = vertex_normals(self._face, t.face_faces)
        detail = np.concatenate([np.zeros(n_body), np.ones(n_face)])
        albedo = paint.paint(t.paint, look, detail)
        inside = np.concatenate([np.zeros(n_body), t.interior])[:, None]
        ear = np.concatenate([np.zeros(n_body), t.ear])
        stubble = self._stubble(np.concatenate([t.body_flat_mean[t.bare], t.face_mean]), ear)
        albedo = albedo * (1 - stubble) + stubble * (0.9 * look.hair + 0.05 * look.skin)
        albedo = albedo * (1 - inside) + inside * np.array([0.16, 0.045, 0.045])
        skin_parts = np.where(ear > 0.5, PART["ears"], PART["skin"])
        pieces = [
            (skin, skin_faces, albedo, 1.0, 1.0, paint.shine(t.paint, detail) * (1 - inside[:, 0]), skin_parts,
             np.concatenate([t.body_weights[t.bare], t.face_weights])),
        ]  # fmt: skip
        rest = t.body_flat_mean
        shirt = clothes.drape(self._body, body_normals, rest, t.neighbours, look)
        pieces.append((shirt[t.cloth], t.cloth_faces, clothes.dye(rest[t.cloth], look), 1.0, 0.25, 0.0, PART["clothes"],
                       t.body_weights[t.cloth]))  # fmt: skip
        pieces.append(self._hair(np.concatenate([shirt, face]), np.concatenate([body_normals, face_normals])))
        pieces += self._eyes_and_teeth()
        return _join(pieces)

    def _stubble(self, rest: np.ndarray, ear: np.ndarray) -> np.ndarray:
        """Share [V, 1] of hair colour on the scalp under the shell: a soft hairline, and all there is of a crop."""
        azimuth, angle = hair.polar(rest, self.template.roots.centre)
        inside = smoothstep(np.radians(-0.2), np.radians(-3.6), angle - hair.hairline(azimuth, self.look))
        return (inside * (1 - ear) * 0.92 * smoothstep(0.0, 0.22, np.float64(self.look.hair_length)) ** 0.7)[:, None]

    def _hair(self, skin: np.ndarray, skin_normals: np.ndarray):
        t, look = self.template, self.look
        shell = hair.grow(t.roots, look)
        mean_skin = np.concatenate([t.body_flat_mean, t.face_mean])
        change = skin - mean_skin
        distance, index = cKDTree(mean_skin[::3]).query(shell.vertices, k=6)
        near = 1.0 / (distance + 4 * MM) ** 2
        near /= near.sum(1, keepdims=True)
        vertices = shell.vertices + (change[::3][index] * near[:, :, None]).sum(1)
        # On the skull the shell keeps its exact height over this person's skin.
        n = len(vertices) // 2
        lying = np.nonzero(shell.fall[:n] == 0)[0]
        smooth = np.concatenate([np.ones(len(self._body), bool), t.ear < 0.01])
        distance, index = cKDTree(skin[smooth]).query(vertices[lying], k=6)
        normal = skin_normals[smooth][index].mean(1)
        height = ((vertices[lying] - skin[smooth][index].mean(1)) * normal).sum(-1)
        lift = np.clip(shell.height[lying] - height, -8 * MM, 8 * MM)[:, None] * normal
        vertices[lying] += lift
        vertices[lying + n] += lift
        # Hanging strands rest on neck, shoulders and shirt instead of passing through.
        loose = np.nonzero(shell.fall > 0)[0]
        if len(loose):
            clearance = (6.0 - 4.0 * shell.inner[loose]) * MM
            for _ in range(2):
                distance, index = cKDTree(skin[smooth]).query(vertices[loose], k=6)
                index = np.nonzero(smooth)[0][index]
                height = ((vertices[loose][:, None] - skin[index]) * skin_normals[index]).sum(-1).mean(1)
                close = distance[:, 0] < 40 * MM
                push = np.where(close, np.clip(clearance - height, 0.0, 30 * MM), 0.0)
                move = np.zeros_like(vertices)
                move[loose] = push[:, None] * skin_normals[index].mean(1)
                vertices += hair.even_out(move)
        cover = shell.cover * smoothstep(0.0, 0.16, np.float64(look.hair_length)) ** 0.5
        tone = 1.0 + (0.26 + 0.1 * look.hair_sheen) * shell.strand
        # A soft band of sheen round the head, where the light from above glances off the strands.
        up = (vertices[:, 1] - 0.075) / 0.022
        sheen = (0.10 + 0.38 * look.hair_sheen) * np.exp(-up * up) * (0.6 + 0.4 * shell.strand)
        colour = 1.2 * look.hair[None] * tone[:, None] + (0.12 + look.hair[None]) * 0.55 * sheen[:, None]
        colour = colour * (1 - 0.45 * shell.inner[:, None])
        colour = colour * cover[:, None] + look.skin * 0.9 * (1 - cover[:, None])
        roots = head_only(len(vertices))
        fall = smoothstep(-0.085, -0.165, vertices[:, 1])[:, None] * (shell.fall > 0)[:, None]
        weights = near_weights(vertices, self._body[::2], t.body_weights[::2], k=12)
        weights = roots * (1 - fall) + weights * fall
        labels = np.where(shell.inner > 0, PART["hair_inner"], PART["hair"])
        return vertices, t.hair_faces, colour, 1.0, 0.15, 0.0, labels, weights

    def _eyes_and_teeth(self) -> list:
        t = self.template
        change, mean = self._face_change, t.face_mean
        out = []
        for side, rows in ((-1.0, t.marks[36:42]), (1.0, t.marks[42:48])):
            where = EYE_CENTRE * np.array([side, 1.0, 1.0]) + change[rows].mean(0)
            patch = eyes.eyeball(where, 0.985 * EYE_RADIUS, self.look.iris, -side)
            out.append((patch.vertices, patch.faces, patch.colours, 0.0, 0.0, 0.0, PART["eyes"],
                        head_only(len(patch.vertices))))  # fmt: skip
        lips = t.marks[60:68]
        mouth = (mean[lips] + change[lips]).mean(0)
        half = 0.5 * np.ptp((mean + change)[t.marks[48:60], 0])
        for patch in (eyes.cavity(mouth, half), eyes.teeth(mouth, half, True), eyes.teeth(mouth, half, False)):
            out.append((patch.vertices, patch.faces, patch.colours * 0.92, 0.0, 0.0, 0.0, PART["mouth"],
                        head_only(len(patch.vertices))))  # fmt: skip
        return out

    @cached_property
    def _colours(self) -> np.ndarray:
        p = self._parts
        normals = vertex_normals(p.vertices, p.faces)
        lit = p.lit > 0
        light = np.ones(len(p.vertices))
        light[lit] = lighting.soft_light(p.vertices[lit], normals[lit], np.zeros((0, 3), np.int64)) * _LEVEL
        colours = lighting.shade(p.albedo, light, p.warmth) + p.gloss[:, None] * light[:, None]
        return np.clip(colours, 0.0, 1.0).astype(np.float32)

    def _expression_offset(self, expression: np.ndarray) -> np.ndarray:
        """[N, 3] how the canonical vertices move with an expression."""
        t = self.template
        move = t.face_exp @ expression.astype(np.float64)  # [F, 3]
        offset = np.zeros_like(self._parts.vertices)
        n_body, n_face = len(t.bare), len(self._face)
        skin_move = t.follow_exp @ move
        offset[:n_body] = skin_move
        offset[n_body : n_body + n_face] = move
        lower = slice(-eyes.TEETH, None)
        offset[lower] = move[t.marks[[7, 8, 9]]].mean(0)  # the lower teeth ride on the jaw
        return offset


def _reorder(identity):
    return identity.z_id, identity.eps, identity.betas


def _vector(name: str, value, length: int) -> np.ndarray:
    array = np.asarray(value, np.float32)
    if array.shape != (length,):
        raise ValueError(f"{name}: expected shape [{length}], found {list(array.shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: every value must be finite")
    return array


def _join(pieces: list) -> _Parts:
    """Concatenate (vertices, faces, albedo, lit, warmth, gloss, part name, weights)."""
    start = np.cumsum([0] + [len(p[0]) for p in pieces])

    def spread(i: int) -> np.ndarray:
        return np.concatenate([np.broadcast_to(np.asarray(p[i], np.float64), len(p[0])) for p in pieces])

    return _Parts(
        vertices=np.concatenate([p[0] for p in pieces]).astype(np.float64),
        faces=np.concatenate([p[1] + s for p, s in zip(pieces, start[:-1], strict=True)]).astype(np.int32),
        albedo=np.concatenate([p[2] for p in pieces]),
        lit=spread(3),
        warmth=spread(4),
        gloss=spread(5),
        parts=np.concatenate([np.broadcast_to(np.asarray(p[6], np.int8), len(p[0])) for p in pieces]),
        weights=np.concatenate([p[7] for p in pieces]),
    )
