"""What single rays see of a drawn person: colour, opacity and distance, without drawing whole pictures.

Shading is most of a picture's cost. Here only rays are shaded that say something: most of them at eyes, lids, mouth and
edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter

from networks.person.open_body.parts import EYE, HAIR, LASH, PART_NAMES, SHIRT, SKIN, TEETH, TONGUE
from training.data.synthetic.drawing import FOV_DEGREES, Angles, camera_view, project, rasterise
from training.data.synthetic.person import PosedPerson
from training.data.synthetic.surface import OWN, Surface

PIXEL = 0.9  # mm that a ray stands for: a pixel of a portrait of 512^2
# How often rays are chosen that meet a material first; skin also by its labels, and rays beside the person.
_WEIGHTS = np.zeros(len(PART_NAMES))
_WEIGHTS[[SKIN, EYE, TEETH, TONGUE, LASH, SHIRT, HAIR]] = 1.0, 8.0, 5.0, 3.0, 4.0, 0.8, 1.5
_LIPS, _LIDS, _MOUTH = 3.0, 5.0, 2.0
_BESIDE, _EMPTY, _NEAR = 0.9, 0.3, 13  # within so many pixels of the person, farther away; pixels across


class Sights(NamedTuple):
    """N rays of a square picture."""

    place: np.ndarray  # [N, 2] where in the picture, x right and y up, -1..1 between the border pixels' centres
    colour: np.ndarray  # [N, 3] in 0..1, of what is there: not mixed with white
    alpha: np.ndarray  # [N] in 0..1
    depth: np.ndarray  # [N] canonical units along the ray, of what is nearest and opaque; inf where nothing is


def look(
    person: PosedPerson,
    camera: Angles,
    camera_kind: str,
    head_transform: np.ndarray | None,
    *,
    size: int,
    count: int,
    rng: np.random.Generator,
) -> Sights:
    """``count`` different rays among those through the pixels of a picture of ``size``^2, shifted by a part of one."""
    view, shift = camera_view(camera, camera_kind, head_transform), rng.uniform(-0.5, 0.5, 2)
    hits = []
    for surface in person.surfaces:
        pixels, ahead = project(surface.vertices, view, size)
        hits.append(rasterise(pixels + shift, ahead, surface.faces, size))
    weights = _weights(person.surfaces, hits, size)
    chosen = np.argpartition(rng.exponential(size=weights.shape) / weights, count)[:count]
    row = np.full(size * size, -1)
    row[chosen] = np.arange(count)
    colour, clear = np.zeros((count, 3)), np.ones(count)
    opaque, front = np.full(count, np.inf), np.full(count, np.inf)
    for surface, (sample, face, bary, ahead) in zip(person.surfaces, hits, strict=True):
        at = row[sample]
        kept = np.flatnonzero((at >= 0) & (ahead < opaque[at]))
        at, face, bary, ahead = at[kept], face[kept], bary[kept], ahead[kept]
        corners = surface.faces.take(face, 0)
        attributes = sum(surface.attributes.take(corners[:, i], 0) * bary[:, i, None] for i in range(3))
        shade, alpha = person.shader(surface.materials.take(face), attributes, PIXEL)
        colour[at] = colour[at] * (1 - alpha)[:, None] + shade * alpha[:, None]
        clear[at] *= 1 - alpha
        seen = alpha > 0
        front[at[seen]] = np.minimum(front[at[seen]], ahead[seen])
        opaque[at[alpha > 0.5]] = ahead[alpha > 0.5]
    ahead = np.where(np.isfinite(opaque), opaque, front)
    place = (np.stack([chosen % size, chosen // size], 1) - shift) / (size - 1) * 2 - 1
    tangent = place * np.tan(np.radians(FOV_DEGREES) / 2)
    return Sights(
        place * [1, -1],
        colour / np.maximum(1 - clear, 1e-6)[:, None],
        1 - clear,
        ahead * np.sqrt(1 + (tangent * tangent).sum(1)),
    )


def _weights(surfaces: list[Surface], hits: list[tuple[np.ndarray, ...]], size: int) -> np.ndarray:
    """How often to choose the rays [size^2]."""
    nearest, weights = np.full(size * size, np.inf), np.zeros(size * size)
    for surface, (sample, face, _, ahead) in zip(surfaces, hits, strict=True):
        kept = np.flatnonzero(ahead < nearest[sample])
        sample, face = sample[kept], face[kept]
        nearest[sample] = ahead[kept]
        material = surface.materials.take(face)
        lips, lids, _, mouth = surface.attributes.take(surface.faces.take(face, 0)[:, 0], 0)[:, OWN].T[:4]
        skin = (material == SKIN) * (_LIPS * lips + _LIDS * lids + _MOUTH * mouth)
        weights[sample] = _WEIGHTS[material] + skin
    somebody = np.isfinite(nearest).reshape(size, size)
    beside = np.where(maximum_filter(somebody, _NEAR), _BESIDE, _EMPTY).ravel()
    return np.where(somebody.ravel(), weights, beside)
