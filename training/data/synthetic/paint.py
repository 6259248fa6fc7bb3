"""Painting skin: where brows, lips, lashes, beard and blush lie on the mean face, and their colours for one person.

Distances are measured once on the mean face from the 68 landmarks (iBUG order: 0-16 jaw line from the person's right
ear, 17-21 right brow, 22-26 left brow, 27-35 nose, 36-41 right eye, 42-47 left eye, 48-59 outer lips, 60-67 inner
lips), so they stick to the skin whatever the identity and expression. Lengths are canonical units.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.hair import noise
from training.data.synthetic.mesh import MM, smoothstep


class FacePaint(NamedTuple):
    """Fields [V] on skin vertices."""

    brow_distance: np.ndarray  # to the brow's middle line
    brow_along: np.ndarray  # 0 inner end .. 1 tail
    brow_slant: np.ndarray  # coordinate across the brow hairs
    lid_distance: np.ndarray  # to the upper lid's margin
    low_lid_distance: np.ndarray
    crease: np.ndarray  # 0..1 lid fold above the eye
    lips: np.ndarray  # signed distance to the outline, negative inside
    lip_line: np.ndarray  # distance to the line between the lips
    upper_lip: np.ndarray  # 0..1
    nostril: np.ndarray  # 0..1
    beard: np.ndarray  # 0..1
    blush: np.ndarray  # 0..1
    tired: np.ndarray  # 0..1 under the eyes
    speckle: np.ndarray  # -1..1 unevenness of the skin
    gloss: np.ndarray  # 0..1 where skin shines
    rim: np.ndarray  # 0..1 wet inner edge of the lids


def resample(points: np.ndarray, count: int) -> np.ndarray:
    """``count`` points evenly along a smooth curve through ``points`` [N, D] (centripetal-free Catmull-Rom)."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, len(points) - 1, count)
    cell = np.minimum(t.astype(np.int64), len(points) - 2)
    u = (t - cell)[:, None]
    p0, p1, p2, p3 = (padded[cell + i] for i in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * u + (2 * p0 - 5 * p1 + 4 * p2 - p3) * u**2 + (3 * p1 - p0 - 3 * p2 + p3) * u**3)


def to_curve(points: np.ndarray, curve: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance [V] of points [V, D] to a polyline [N, D], and where along it (0..1)."""
    best = np.full(len(points), np.inf)
    along = np.zeros(len(points))
    for i in range(len(curve) - 1):
        a, d = curve[i], curve[i + 1] - curve[i]
        t = np.clip(((points - a) @ d) / max(d @ d, 1e-20), 0.0, 1.0)
        offset = points - a - t[:, None] * d
        distance = (offset * offset).sum(1)
        closer = distance < best
        best[closer], along[closer] = distance[closer], (i + t[closer]) / (len(curve) - 1)
    return np.sqrt(best), along


def inside_polygon(xy: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Even-odd rule: [V] bool for xy [V, 2] against a closed polygon [N, 2]."""
    inside = np.zeros(len(xy), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        if a[1] == b[1]:
            continue
        crosses = (a[1] > xy[:, 1]) != (b[1] > xy[:, 1])
        inside ^= crosses & (xy[:, 0] < a[0] + (xy[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0]))
    return inside


def bump(p: np.ndarray, centre: np.ndarray, radii: tuple[float, float, float]) -> np.ndarray:
    """Gaussian [V] round ``centre`` with ``radii`` in millimetres."""
    return np.exp(-0.5 * (((p - centre) / (np.array(radii) * MM)) ** 2).sum(1))


def measure(p: np.ndarray, normals: np.ndarray, marks: np.ndarray, rim: np.ndarray) -> FacePaint:
    """All fields for skin points ``p`` [V, 3] with ``normals`` [V, 3]; ``marks`` [68, 3] landmarks of the mean face;
    ``rim`` [V] the lids' inner edges."""
    mirror = np.array([-1.0, 1.0, 1.0])
    half = p * np.array([1.0, 1.0, 1.0])
    half[:, 0] = np.abs(half[:, 0])  # the mean face is symmetric: work on the person's left

    brow = resample(0.5 * (marks[22:27] + marks[21:16:-1] * mirror), 24)
    brow_distance, brow_along = to_curve(half, brow)
    upper = resample(0.5 * (marks[42:46] + marks[[39, 38, 37, 36]] * mirror), 24)
    lower = resample(0.5 * (marks[[42, 47, 46, 45]] + marks[[39, 40, 41, 36]] * mirror), 24)
    lid_distance, lid_along = to_curve(half, upper)
    lid_distance = lid_distance + 1.0 * MM * smoothstep(0.22, 0.0, lid_along)  # no lashes at the tear duct
    low_lid_distance, _ = to_curve(half, lower)
    fold = upper + np.array([0.0006, 4.6 * MM, -1.0 * MM])
    crease = smoothstep(1.6 * MM, 0.3 * MM, to_curve(half, fold)[0])

    x_low = np.linspace(marks[54, 0], marks[48, 0], 41)[1:-1]  # the lower lip's border: one full curve
    t = (x_low - marks[57, 0]) / (marks[54, 0] - marks[57, 0])
    y_low = marks[54, 1] + (marks[57, 1] - marks[54, 1]) * np.maximum(1 - np.abs(t) ** 2.3, 0) ** 0.8
    low = np.stack([x_low, y_low, np.full_like(x_low, marks[57, 2])], 1)
    outline = np.concatenate([resample(marks[48:55], 40), low])
    outline_distance, _ = to_curve(p[:, :2], np.concatenate([outline, outline[:1]])[:, :2])
    lips = np.where(inside_polygon(p[:, :2], outline[:, :2]), -outline_distance, outline_distance)
    lips = np.where(np.abs(p[:, 2] - marks[48:60, 2].mean()) < 25 * MM, lips, 1.0)
    middle = resample(0.5 * (marks[60:65] + marks[[60, 67, 66, 65, 64]]), 30)
    middle = np.concatenate([marks[48:49], middle, marks[54:55]])
    lip_line, _ = to_curve(p[:, :2], middle[:, :2])
    upper_lip = smoothstep(-0.3 * MM, 0.3 * MM, p[:, 1] - np.interp(p[:, 0], middle[:, 0], middle[:, 1]))

    base = 0.5 * (marks[32] + marks[34] * mirror) * mirror
    hole = base + np.array([0.6 * MM, 1.0 * MM, 2.0 * MM])
    nostril = smoothstep(1.0, 0.45, np.sqrt((((half - hole) / (np.array([4.6, 3.6, 6.5]) * MM)) ** 2).sum(1)))
    nostril = nostril * smoothstep(0.15, -0.30, normals[:, 1])

    corner, nose, chin = marks[54], marks[33], marks[8]
    ear = marks[16]
    x = half[:, 0]
    border = np.interp(
        x,
        [0.0, 9 * MM, corner[0] * 0.98, corner[0] + 16 * MM, 0.92 * ear[0], 1.2 * ear[0]],
        [nose[1] - 4 * MM, nose[1] - 5 * MM, corner[1] + 4 * MM, corner[1] + 2 * MM, ear[1] + 8 * MM, ear[1] + 8 * MM],
    )
    # Thins out over the cheeks, and below the line of the jaw, which rises from the chin back to the ear.
    grows = smoothstep(-1.0, 1.0, (border - p[:, 1]) / (4 * MM + 14 * MM * smoothstep(corner[0], ear[0], x)))
    side = marks[16:7:-1]  # jaw line from the ear to the chin
    under = np.interp(p[:, 2], np.maximum.accumulate(side[:, 2]), side[:, 1]) - p[:, 1]
    neck = 1.0 - smoothstep(2 * MM, 26 * MM, under)
    behind = _soft(p[:, 2] - (ear[2] - 4 * MM), 6 * MM)
    soul = 1.0 - 0.75 * bump(half, np.array([corner[0] * 0.75, corner[1] - 9 * MM, corner[2]]), (5.5, 4.5, 20.0))
    beard = grows * neck * behind * soul * smoothstep(-0.4 * MM, 1.4 * MM, lips)

    eye_low = marks[[46, 47]].mean(0)
    cheek = np.array([0.5 * (eye_low[0] + ear[0]) - 3 * MM, 0.55 * eye_low[1] + 0.45 * nose[1], eye_low[2] - 6 * MM])
    tip = marks[30]
    blush = bump(half, cheek, (14, 11, 22)) + 0.55 * bump(half, tip, (9, 7, 12))
    blush += 0.35 * bump(half, np.array([0.0, chin[1] + 8 * MM, chin[2]]), (11, 8, 20))
    tired = bump(half, eye_low + np.array([-1.5 * MM, -5.5 * MM, 0.0]), (8.5, 3.2, 14))
    cells = p / (9 * MM)
    speckle = 0.5 * (noise(cells @ [0.061, 0.052, 0.043], 64) + noise(cells @ [-0.047, 0.058, 0.051], 64))
    gloss = 0.9 * bump(half, tip + np.array([0, 1.5 * MM, 0]), (4.0, 4.5, 12))
    gloss += 0.35 * bump(half, np.array([0.0, marks[27, 1] - 8 * MM, marks[28, 2]]), (3.0, 14, 20))
    gloss += 0.40 * bump(half, np.array([10 * MM, brow[:, 1].max() + 24 * MM, marks[27, 2]]), (22, 11, 30))
    gloss += 0.42 * bump(half, cheek + np.array([-2 * MM, 8 * MM, 4 * MM]), (9, 5, 20))
    slant = (half[:, 0] * 0.75 + (half[:, 1] - np.interp(x, brow[:, 0], brow[:, 1])) * -0.9) / (1.15 * MM)
    return FacePaint(
        brow_distance, brow_along, slant, lid_distance, low_lid_distance, crease, lips, lip_line, upper_lip, nostril,
        beard, np.clip(blush, 0, 1), tired, speckle, np.clip(gloss, 0, 1), rim,
    )  # fmt: skip


def _soft(x: np.ndarray, width: float) -> np.ndarray:
    """0 at x <= -width, 1 at x >= width."""
    return smoothstep(-width, width, x)


def paint(fields: FacePaint, look: Appearance, detail: np.ndarray) -> np.ndarray:
    """Skin albedo [V, 3] of a person; ``detail`` [V] is 1 on the face mesh, 0 on the body, where only skin, beard and
    speckle apply."""
    skin = look.skin[None] * (1.0 + 0.02 * fields.speckle[:, None])
    skin = skin * (1 + fields.blush[:, None] * (look.blush - 1.0))
    skin = skin * (1 - detail[:, None] * fields.tired[:, None] * np.array([0.07, 0.10, 0.06]))
    shadow = 0.5 * look.hair + 0.5 * look.skin * np.array([0.45, 0.40, 0.40])
    skin = _mix(skin, shadow, 0.12 * min(1.0, 3.0 * look.beard) * fields.beard)

    strength = look.beard * fields.beard
    grain = 0.5 + 0.5 * noise(fields.brow_slant * 0.011 + fields.speckle * 0.13, 97)
    full = smoothstep(0.25, 0.95, strength)
    whiskers = (0.62 * smoothstep(0.0, 0.7, strength) + 0.30 * full) * (1 - 0.25 * grain)
    skin = _mix(skin, look.hair * 0.75 + 0.1 * look.skin, whiskers)

    lips = look.lips[None] * np.where(fields.upper_lip[:, None] > 0.5, 0.90, 1.0)
    lips = lips * (1 + 0.05 * (noise(fields.brow_slant * 0.02, 60)[:, None]))
    skin = _mix(skin, lips, detail * smoothstep(0.9 * MM, -0.7 * MM, fields.lips))
    line = smoothstep(0.9 * MM, 0.1 * MM, fields.lip_line) * smoothstep(1.0 * MM, 0.0, fields.lips)
    skin = skin * (1 - 0.62 * detail[:, None] * line[:, None] * np.array([0.85, 1.0, 1.0]))
    skin = skin * (1 - 0.78 * detail[:, None] * fields.nostril[:, None] * np.array([0.92, 1.0, 1.0]))
    skin = skin * (1 - 0.22 * detail[:, None] * fields.crease[:, None])

    along = fields.brow_along
    width = (2.0 + 2.2 * look.brow_thickness) * MM * (1 - 0.70 * smoothstep(0.40, 1.0, along))
    width = width * (0.72 + 0.28 * smoothstep(0.0, 0.25, along))
    hairs = 0.80 + 0.20 * noise(fields.brow_slant * 0.05, 20)
    brow = smoothstep(1.25, 0.55, fields.brow_distance / width) * hairs
    brow = brow * (0.62 + 0.30 * smoothstep(0.0, 0.30, along)) * (1 - 0.5 * smoothstep(0.8, 1.0, along))
    skin = _mix(skin, look.brow, detail * brow)

    lash = smoothstep((1.3 + 0.6 * look.lashes) * MM, 0.3 * MM, fields.lid_distance) * (0.62 + 0.35 * look.lashes)
    skin = _mix(skin, 0.12 * look.hair + 0.03, detail * lash)
    low = smoothstep(1.0 * MM, 0.1 * MM, fields.low_lid_distance) * (0.30 + 0.2 * look.lashes)
    skin = _mix(skin, 0.35 * look.skin, detail * low)
    return _mix(skin, look.skin * np.array([0.85, 0.55, 0.52]), 0.85 * fields.rim)


def shine(fields: FacePaint, detail: np.ndarray) -> np.ndarray:
    """Added brightness [V] of the fixed soft highlights on nose, brow and cheeks."""
    return 0.075 * detail * fields.gloss


def _mix(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    w = np.clip(weight, 0, 1)[:, None]
    return a * (1 - w) + b * w
