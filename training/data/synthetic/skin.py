"""Skin as a function of where on the mean person it lies: tone, lips, brows, lashes' roots, beard, wrinkles, pores.

Everything is painted in millimetres of the mean person in the canonical pose (x to the person's left, y up, z out of
the face), so it sticks to the skin whatever the identity and expression.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import smoothstep
from training.data.synthetic.noise import noise2, noise3


class SkinSamples(NamedTuple):
    """P samples."""

    where: np.ndarray  # [P, 3] mm on the mean person
    lips: np.ndarray  # [P] 0..1
    eyelid: np.ndarray
    ear: np.ndarray
    inside: np.ndarray  # of the mouth
    scalp: np.ndarray  # [P] 0..1 under hair


class Paint(NamedTuple):
    albedo: np.ndarray  # [P, 3]
    gloss: np.ndarray  # [P] share of the highlight
    hairs: np.ndarray  # [P] 0..1 covered by hairs
    bump: np.ndarray  # [P] relative change of the light


def _spot(where: np.ndarray, centre: tuple[float, float, float], radius: float) -> np.ndarray:
    """Gaussians [P] at ``centre`` and its mirror image."""
    x = np.abs(where[:, 0]) - abs(centre[0])
    distance = x * x + (where[:, 1] - centre[1]) ** 2 + (where[:, 2] - centre[2]) ** 2
    return np.exp(-0.5 * distance / radius**2)


def _line(where: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a polyline (x, y) and its mirror image: distance, signed height above it, and share of the way along it."""
    x, y = np.abs(where[:, 0]), where[:, 1]
    best = np.full(len(where), np.inf)
    above, along = np.zeros(len(where)), np.zeros(len(where))
    steps = np.sqrt((np.diff(points, axis=0) ** 2).sum(1))
    start, total = np.concatenate([[0.0], np.cumsum(steps)]), steps.sum()
    for i, (a, b) in enumerate(zip(points[:-1], points[1:], strict=True)):
        d = (b - a) / steps[i]
        t = np.clip((x - a[0]) * d[0] + (y - a[1]) * d[1], 0.0, steps[i])
        dx, dy = x - a[0] - t * d[0], y - a[1] - t * d[1]
        distance = dx * dx + dy * dy
        nearer = distance < best
        best = np.where(nearer, distance, best)
        above = np.where(nearer, d[0] * dy - d[1] * dx, above)
        along = np.where(nearer, (start[i] + t) / total, along)
    return np.sqrt(best), above, along


# Lines (x, y) on the left of the mean face, mm; the right ones are their mirror images.
_BROW = np.array([
    (12.5, 27.5), (16.0, 29.2), (22.0, 31.8), (28.0, 33.2), (34.0, 33.8), (40.0, 33.2), (45.5, 31.2), (50.5, 28.0),
])  # fmt: skip
_FOLD = np.array([(15.5, -26.0), (20.0, -33.0), (25.0, -43.0), (28.5, -54.0), (29.0, -62.0)])
_BAG = np.array([(17.0, 5.0), (23.0, -1.5), (31.0, -2.5), (39.0, 1.5), (44.0, 7.0)])


def paint_skin(s: SkinSamples, look: Appearance, pixel: float, hairs: float = 1.0) -> Paint:
    """Colours of skin; ``pixel``: mm that a pixel covers, what is finer is left out; ``hairs``: share of brows,
    beard and stubble that is painted."""
    w = s.where
    y, z = w[:, 1], w[:, 2]
    face = smoothstep(-105.0, -60.0, z)
    albedo = np.broadcast_to(look.skin, (len(w), 3)).copy()
    # Broad changes of tone: blood in cheeks, nose and ears, shade round the eyes, a paler brow and throat.
    red = 0.70 * _spot(w, (38.0, -22.0, -20.0), 20.0) + 0.40 * _spot(w, (0.0, -22.0, 12.0), 13.0)
    red += 0.35 * s.ear + 0.25 * _spot(w, (0.0, -80.0, -8.0), 14.0)
    mottle = noise3(w, 1 / 16.0, 1) + 0.6 * noise3(w, 1 / 7.0, 2)
    albedo *= (look.blush - 1.0) * (red * (1 + 0.10 * mottle))[:, None] + 1.0
    albedo *= 1.0 + 0.010 * mottle[:, None] * np.array([0.6, 1.0, 1.1])
    socket = 0.9 * _spot(w, (27.0, 2.0, -15.0), 9.0) + 0.6 * _spot(w, (17.0, 11.0, -12.0), 6.0)
    albedo *= 1.0 - (0.02 + 0.07 * look.tired) * socket[:, None] * np.array([0.8, 1.1, 0.9])
    albedo *= 1.0 + 0.03 * _spot(w, (0.0, 62.0, -8.0), 26.0)[:, None] * np.array([0.8, 1.0, 0.9])
    lid = s.eyelid * smoothstep(24.0, 16.0, y)
    albedo *= 1.0 - 0.08 * lid[:, None] * np.array([0.5, 1.0, 0.8])
    bump = np.zeros(len(w))
    if pixel < 2.2:  # mm
        fine = smoothstep(2.2, 0.8, pixel)
        pores = noise3(w, 1 / 1.1, 3) + 0.7 * noise3(w, 1 / 2.4, 4)
        albedo *= 1.0 - fine * look.pores * 0.022 * pores[:, None] * np.array([0.7, 1.0, 1.0])
        bump -= fine * look.pores * 0.03 * pores * face
    if look.freckles > 0.02:
        dots = smoothstep(0.52, 0.78, noise3(w, 1 / 2.6, 5)) * (0.5 + 0.5 * noise3(w, 1 / 9.0, 6))
        where = np.clip(1.2 * _spot(w, (25.0, -8.0, -10.0), 24.0) + 0.7 * _spot(w, (0.0, -5.0, 5.0), 16.0), 0, 1)
        albedo *= 1.0 - 0.36 * look.freckles * (dots * where)[:, None] * np.array([0.55, 0.9, 1.1])
    albedo, bump = _wrinkles(w, look, albedo, bump, face)
    albedo, gloss = _lips(s, look, albedo, pixel)
    covered = np.zeros(len(w))
    albedo, covered = _brows(w, look, albedo, covered, face, pixel, hairs)
    albedo, covered = _beard(s, look, albedo, covered, pixel, hairs)
    albedo, covered = _crop(s, look, albedo, covered, pixel, hairs)
    inside = s.inside[:, None]
    depth = smoothstep(-4.0, -26.0, z)[:, None]
    albedo = albedo * (1 - inside) + inside * (np.array([0.46, 0.19, 0.18]) * (1 - 0.90 * depth))
    gloss = gloss + face * (0.25 * _spot(w, (0.0, -18.0, 12.0), 12.0) + 0.12 * _spot(w, (0.0, 58.0, -5.0), 30.0))
    gloss = (0.30 + gloss) * (1 - covered) * (1 - 0.6 * s.inside)
    return Paint(np.clip(albedo, 0.0, 1.0), gloss, covered, bump)


def _crop(s: SkinSamples, look: Appearance, albedo, hairs, pixel: float, share: float):
    """Stubble on the scalp: all there is of a crop, and what shows between the strands of longer hair."""
    grow = np.nonzero(s.scalp > 0.01)[0]
    w, density = s.where[grow], s.scalp[grow]
    fine = smoothstep(2.2, 0.6, pixel)
    grain = 0.5 * noise3(w, 1 / 1.0, 16) * fine + 0.35 * noise3(w, 1 / 5.0, 17)
    long = smoothstep(0.06, 0.14, look.hair_length)
    cover = share * density * look.scalp_cover * np.clip(0.62 + 0.33 * long + (1 - long) * 0.45 * grain, 0.0, 1.0)
    albedo[grow] = albedo[grow] * (1 - cover[:, None]) + (0.80 * look.hair + 0.03) * cover[:, None]
    hairs[grow] = np.maximum(hairs[grow], cover)
    return albedo, hairs


def _wrinkles(w, look: Appearance, albedo, bump, face):
    """Folds that come with the years."""
    x, y = np.abs(w[:, 0]), w[:, 1]
    old = look.age
    # Lines are looked for where they lie; what is farther from them is too far to show.
    by_mouth = np.nonzero((x < 45.0) & (y > -78.0) & (y < -12.0))[0]
    distance, _, along = _line(w[by_mouth], _FOLD)
    ends = smoothstep(0.0, 0.2, along) * smoothstep(0.95, 0.55, along) * face[by_mouth]
    bump[by_mouth] -= 0.15 * old * np.exp(-((distance / 2.2) ** 2)) * ends
    bump[by_mouth] += 0.06 * old * np.exp(-((distance - 4.5) ** 2) / 8.0) * ends
    by_eye = np.nonzero((x > 8.0) & (x < 54.0) & (y > -14.0) & (y < 18.0))[0]
    distance, _, along = _line(w[by_eye], _BAG)
    ends = smoothstep(0.0, 0.15, along) * smoothstep(1.0, 0.7, along) * face[by_eye]
    bump[by_eye] -= 0.12 * old * np.exp(-((distance / 1.6) ** 2)) * ends
    if old > 0.05:
        wave = y + 1.6 * noise2(w[:, 0] / 22.0, y / 30.0, 7) + 0.0016 * x * x
        lines = np.cos(np.pi * wave / 11.0) ** 14 * smoothstep(38.0, 48.0, y) * smoothstep(84.0, 70.0, y)
        lines *= smoothstep(48.0, 34.0, x) * face
        bump = bump - 0.09 * old * lines * (0.7 + 0.3 * noise2(w[:, 0] / 14.0, y / 9.0, 8))
        angle = np.arctan2(y - 12.0, x - 38.0)
        reach = np.hypot(x - 38.0, y - 12.0)
        crow = np.cos(8.0 * angle + 0.5 * noise2(x / 6.0, y / 6.0, 9)) ** 6
        crow *= smoothstep(5.0, 8.0, reach) * smoothstep(19.0, 10.0, reach) * smoothstep(0.9, 0.4, np.abs(angle)) * face
        bump = bump - 0.10 * old * crow
        frown = (
            np.exp(-(((x - 4.0 - 0.03 * (y - 30)) / 0.9) ** 2)) * smoothstep(22, 28, y) * smoothstep(44, 36, y) * face
        )
        bump = bump - 0.10 * old * frown
        albedo = albedo * (1.0 - 0.03 * old * smoothstep(0.45, 0.8, noise3(w, 1 / 6.0, 10))[:, None])
    return albedo, bump


def _lips(s: SkinSamples, look: Appearance, albedo, pixel: float):
    red, gloss = np.nonzero(s.lips > 0.08)[0], np.zeros(len(albedo))
    w, lips = s.where[red], 0.92 * smoothstep(0.08, 0.92, s.lips[red])
    y, fine = w[:, 1], smoothstep(1.6, 0.5, pixel)
    line = noise2(w[:, 0] / 0.9, y / 7.0, 11)
    colour = look.lips * (1.0 - 0.06 * fine * line[:, None])
    colour = colour * (0.92 + 0.08 * smoothstep(-54.0, -60.0, y))[:, None]  # the upper lip is in its own shade
    albedo[red] = albedo[red] * (1 - lips[:, None]) + colour * lips[:, None]
    gloss[red] = lips * (0.60 + 0.25 * fine * line)
    return albedo, gloss


class BrowZone(NamedTuple):
    inside: np.ndarray  # [P] 0..1
    above: np.ndarray  # [P] mm over the brow's line
    along: np.ndarray  # [P] 0 at the nose .. 1


def brow_zone(w: np.ndarray, look: Appearance) -> BrowZone:
    """Where brows grow; ``w`` [P, 3] mm."""
    distance, above, along = _line(w, _BROW)
    half = (3.1 + 2.6 * look.brow_thickness) * (1.0 - 0.55 * along**1.6) * smoothstep(-0.02, 0.10, along)
    inside = smoothstep(1.05, 0.25, np.abs(above) / np.maximum(half, 0.2))
    inside *= smoothstep(0.9 + half, 0.2 + half, distance)
    return BrowZone(inside, above, along)


def _brows(w, look: Appearance, albedo, hairs, face, pixel: float, share: float):
    near = np.nonzero((w[:, 1] > 14.0) & (w[:, 1] < 48.0))[0]
    w, face = w[near], face[near]
    inside, above, along = brow_zone(w, look)
    # Hairs lean outwards; at the nose they stand up.
    lean = 0.5 + 2.2 * along
    strand = noise2((np.abs(w[:, 0]) - above / lean) / 0.55, above / 5.0 + along * 2.0, 12)
    fine = smoothstep(1.7, 0.5, pixel)
    cover = inside * np.clip(0.88 + 0.50 * fine * strand, 0, 1) * (0.70 + 0.30 * look.brow_density) * face
    cover = share * cover * smoothstep(1.05, 0.85, along)
    albedo[near] = albedo[near] * (1 - cover[:, None]) + look.brow * cover[:, None]
    hairs[near] = np.maximum(hairs[near], cover)
    return albedo, hairs


def beard_zone(s: SkinSamples) -> np.ndarray:
    """Where beards grow [P], 0..1: moustache, chin and jaw, thinner up the cheek and under the jaw."""
    w = s.where
    x, y, z = np.abs(w[:, 0]), w[:, 1], w[:, 2]
    ragged = 3.0 * noise3(w, 1 / 6.0, 13)
    cheek = -46.0 + 0.42 * np.maximum(x - 26.0, 0.0) + ragged  # the border runs from the mouth's corner up to the ear
    jaw = smoothstep(cheek + 9.0, cheek - 16.0, y) * smoothstep(-116.0, -98.0, y + 0.75 * (z + 20.0))
    moustache = smoothstep(-36.0, -42.0, y) * smoothstep(32.0, 24.0, x) * smoothstep(-62.0, -56.0, y) * (z > -60.0)
    zone = np.maximum(jaw, moustache) * (1 - smoothstep(0.15, 0.5, s.lips)) * (1 - s.inside) * (1 - s.ear)
    soul = np.exp(-(((y + 74.0) / 3.5) ** 2)) * smoothstep(5.0, 9.0, x) * smoothstep(24.0, 17.0, x)
    return zone * (1 - 0.6 * soul)  # thin under the lower lip's sides


def _beard(s: SkinSamples, look: Appearance, albedo, hairs, pixel: float, share: float):
    """Stubble to a full beard: hairs that fall from the mouth outwards, the skin between them."""
    if look.beard < 0.02:
        return albedo, hairs
    zone = beard_zone(s)
    grow = np.nonzero(zone > 0.004)[0]
    w, zone = s.where[grow], zone[grow]
    fine = smoothstep(2.0, 0.6, pixel)
    side = np.abs(w[:, 0]) + 0.35 * (w[:, 1] + 60.0)  # across the hairs
    strand = noise2(side / 0.8 + 0.7 * noise3(w, 1 / 3.0, 18), w[:, 1] / 4.5, 14)
    tuft = noise3(w, 1 / 4.0, 15)
    density = zone * (0.25 + 1.05 * look.beard)
    cover = share * np.clip(density * (0.92 + 0.12 * tuft + 0.55 * fine * strand), 0, 0.94)
    cover *= smoothstep(0.02, 0.16, look.beard)
    colour = (0.90 * look.beard_hair + 0.10 * look.skin) * (1.0 + 0.10 * tuft + 0.22 * fine * strand)[:, None]
    albedo[grow] = albedo[grow] * (1 - cover[:, None]) + colour * cover[:, None]
    hairs[grow] = np.maximum(hairs[grow], 0.8 * cover)
    return albedo, hairs
