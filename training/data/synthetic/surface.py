"""Surfaces with what is needed to shade a sample of them, and the shading of samples by what they are made of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from networks.person.open_body import parts
from training.data.synthetic import clothes, eyes, skin, strands
from training.data.synthetic.appearance import Appearance
from training.data.synthetic.light import Light, irradiance

# Materials: the body's parts, and hair.
HAIR = parts.HAIR
# Columns of attributes: where on the mean person (mm), normal, openness to the light, eight that a material defines.
WHERE, NORMAL, OPEN, OWN = slice(0, 3), slice(3, 6), 6, slice(7, 15)
NUM_ATTRIBUTES = 15


class Surface(NamedTuple):
    """Triangles of one layer."""

    vertices: np.ndarray  # [N, 3] canonical units, posed
    faces: np.ndarray  # [F, 3]
    materials: np.ndarray  # [F]
    attributes: np.ndarray  # [N, NUM_ATTRIBUTES]


class Shader(NamedTuple):
    """What the samples of a person are shaded by."""

    look: Appearance
    light: Light

    def __call__(self, material: np.ndarray, attributes: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        """Colour [P, 3] in 0..1 and covered share [P] of samples.

        Args:
            material: [P].
            attributes: [P, NUM_ATTRIBUTES], interpolated.
            pixel: mm that a pixel covers.
        """
        colour, alpha = np.zeros((len(material), 3)), np.ones(len(material))
        shaders = {
            parts.SKIN: self._skin, parts.EYE: self._eye, parts.TEETH: self._teeth, parts.TONGUE: self._tongue,
            parts.LASH: self._lash, parts.SHIRT: self._shirt, HAIR: self._hair,
        }  # fmt: skip
        for kind, shade in shaders.items():
            at = np.nonzero(material == kind)[0]
            if len(at):
                colour[at], alpha[at] = shade(attributes[at], pixel)
        return np.clip(colour, 0.0, 1.0), alpha

    def _lit(self, a: np.ndarray, bump: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Irradiance [P] and unit normals [P, 3]."""
        normal = a[:, NORMAL]
        normal = normal / np.sqrt((normal * normal).sum(1, keepdims=True) + 1e-12)
        return irradiance(normal, self.light) * a[:, OPEN] * (1.0 + bump), normal

    def _highlight(self, normal: np.ndarray, power: float) -> np.ndarray:
        """Blinn's, of the main lamp, for somebody who looks from the front: radiance does not depend on the view."""
        half = self.light.key + np.array([0.0, 0.0, 1.0])
        half = half / np.sqrt((half * half).sum())
        facing = normal[:, 0] * half[0] + normal[:, 1] * half[1] + normal[:, 2] * half[2]
        return np.maximum(facing, 0.0) ** power

    def _skin(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        paint = skin.paint_skin(skin.SkinSamples(a[:, WHERE], *a[:, OWN].T[:5]), self.look, pixel)
        light, normal = self._lit(a, paint.bump)
        colour = diffuse(paint.albedo, light, 1.0 - 0.8 * paint.hairs, self.light.tint)
        shine = 0.10 * self._highlight(normal, 14) + 0.10 * self._highlight(normal, 60)
        return colour + (paint.gloss * shine * np.minimum(a[:, OPEN] * 1.3, 1.0))[:, None], np.ones(len(a))

    def _eye(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        colour = eyes.paint_eye(a[:, OWN][:, :2], self.look)
        return colour * (0.86 + 0.14 * np.clip(a[:, OPEN, None], 0, 1)), np.ones(len(a))

    def _teeth(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        colour = eyes.paint_teeth(a[:, WHERE]) * self.light.tint
        return colour, np.ones(len(a))

    def _tongue(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        light, normal = self._lit(a)
        colour = diffuse(eyes.paint_tongue(a[:, WHERE]), 0.25 + 0.5 * light, np.ones(len(a)), self.light.tint)
        return colour + 0.05 * self._highlight(normal, 30)[:, None], np.ones(len(a))

    def _lash(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        colour, cover = eyes.paint_lashes(a[:, OWN][:, :3], self.look, pixel)
        return np.broadcast_to(colour, (len(a), 3)), cover

    def _hair(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        light, normal = self._lit(a)
        return strands.shade_hair(a[:, WHERE], a[:, OWN], light, normal, self.look, self.light, pixel)

    def _shirt(self, a: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
        albedo, bump, cover = clothes.paint_shirt(a[:, WHERE], a[:, OWN.start], self.look, pixel)
        light, _ = self._lit(a, bump)
        return diffuse(albedo, light, np.full(len(a), 0.15), self.light.tint), cover


def diffuse(albedo: np.ndarray, light: np.ndarray, warmth: np.ndarray, tint: np.ndarray) -> np.ndarray:
    """Albedo [P, 3] under light [P] -> colours; ``warmth`` [P] reddens shadows, as light scattered under skin does."""
    level = np.maximum(0.16 + 0.84 * light, 1e-3)
    warm = warmth[:, None] * np.array([-0.20, 0.05, 0.12])
    return albedo * np.exp(np.log(level)[:, None] * (1.0 + warm)) * tint
