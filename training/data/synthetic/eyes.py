"""Eyes, teeth, tongue and lashes as functions of where on them a sample lies."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import smoothstep
from training.data.synthetic.noise import noise2

IRIS, PUPIL = np.pi / 8, np.pi / 16  # half-angles: rings of the mesh lie there
BITE = -60.6  # mm: upper teeth end a little below it, lower ones start there
_UPPER_GAPS, _LOWER_GAPS = (0.0, 8.4, 14.8, 22.0), (0.0, 5.3, 11.0, 17.5)  # mm from the middle
_SPOT = np.array([-0.15, 0.17])  # of the main lamp's reflection, radians from the gaze


def paint_eye(at: np.ndarray, look: Appearance) -> np.ndarray:
    """Colours [P, 3], light included.

    Args:
        at: [P, 2] angle from the gaze axis in radians, rightwards and upwards.
    """
    angle, around = np.hypot(at[:, 0], at[:, 1]), np.arctan2(at[:, 1], at[:, 0])
    pink = smoothstep(0.45, 1.0, angle)[:, None]
    veins = smoothstep(0.55, 0.9, noise2(around * 5.0, angle * 5.0, 21)) * smoothstep(0.5, 0.8, angle)
    white = np.array([0.84, 0.815, 0.80]) - pink * [0.05, 0.15, 0.15] - (0.05 * veins)[:, None] * [0.4, 1.0, 1.0]
    ring = smoothstep(PUPIL, IRIS, angle)
    fibres = 0.16 * noise2(around * 11.0, angle * 6.0, 22) + 0.10 * noise2(around * 23.0, angle * 9.0, 23)
    collarette = np.exp(-(((ring - 0.28) / 0.16) ** 2))
    inside = (1.12 * look.iris + 0.03) * (1.05 + fibres + 0.22 * collarette - 0.10 * ring)[:, None]
    inside = inside * (1 - 0.55 * smoothstep(0.74, 1.0, ring))[:, None]  # limbal ring
    # Light from above is refracted into the lower half.
    inside = inside * (1.0 - 0.40 * at[:, 1] / IRIS)[:, None]
    colour = white + (inside - white) * smoothstep(IRIS * 1.10, IRIS * 0.93, angle)[:, None]
    colour = colour + (0.015 - colour) * smoothstep(PUPIL * 1.10, PUPIL * 0.90, angle)[:, None]
    shade = 0.55 * smoothstep(0.12, 0.45, at[:, 1]) + 0.2 * smoothstep(-0.2, -0.5, at[:, 1])
    # The ball turns away from the light, and its corners lie in the lids' shadow.
    colour = colour * (1.0 - 0.50 * shade)[:, None] * (1.0 - 0.22 * smoothstep(0.3, 0.9, angle))[:, None]
    return colour + (1.0 - colour) * glint(at)[:, None]


def glint(at: np.ndarray) -> np.ndarray:
    """Share [P] of what the wet eye mirrors: the main lamp, and faintly the floor."""
    lamp = np.hypot(at[:, 0] - _SPOT[0], at[:, 1] - _SPOT[1])
    floor = np.hypot(at[:, 0] - 0.16, 1.4 * (at[:, 1] + 0.19))
    return np.maximum(smoothstep(0.125, 0.075, lamp), 0.30 * smoothstep(0.13, 0.03, floor))


def paint_teeth(where: np.ndarray) -> np.ndarray:
    """Colours [P, 3] as the light of an open mouth shows them; ``where`` [P, 3] mm: gaps, gums, shade at the back."""
    x, y, z = where.T
    upper = y > BITE
    gap = np.zeros(len(where))
    for places, jaw in ((_UPPER_GAPS, upper), (_LOWER_GAPS, ~upper)):
        for place in places:
            gap = np.maximum(gap, jaw * smoothstep(0.55, 0.0, np.abs(np.abs(x) - place)))
    gum = np.where(upper, smoothstep(-50.7, -49.2, y), smoothstep(-66.0, -67.5, y))[:, None]
    colour = np.array([0.93, 0.905, 0.86]) * (1 - 0.20 * gap)[:, None]
    colour = colour + (np.array([0.72, 0.42, 0.41]) - colour) * gum
    lip = np.where(upper, smoothstep(-57.0, -51.5, y), smoothstep(-60.0, -66.0, y))  # its shade
    back = smoothstep(-10.0, -34.0, z)[:, None] * np.array([0.72, 0.80, 0.82])
    return colour * (1 - 0.22 * lip)[:, None] * (1 - back)


def paint_tongue(where: np.ndarray) -> np.ndarray:
    """Albedo [P, 3]."""
    back = smoothstep(-14.0, -44.0, where[:, 2])[:, None]
    return np.array([0.66, 0.33, 0.33]) * (1 - 0.85 * back)


def paint_lashes(at: np.ndarray, look: Appearance, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """(colour [3], covered share [P]) of strips of lashes.

    Args:
        at: [P, 3] 0 at the root .. 1 at the tip, 0..1 along the lid, 1 on the upper lid.
        pixel: mm that a pixel covers.
    """
    across, along, upper = at.T
    hairs = smoothstep(-0.5, 0.4, np.cos(2 * np.pi * along * 24.0) + 0.4 - 1.3 * across)
    fine = smoothstep(0.9, 0.4, pixel)
    cover = (fine * hairs + (1 - fine) * 0.55) * np.sqrt(np.clip(1.0 - across, 0.0, 1.0))
    return 0.21 * look.brow + 0.012, cover * look.lashes * (0.25 + 0.75 * upper)
