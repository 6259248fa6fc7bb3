"""The face mesh: mirrored skin, lid rims, eyeballs, mouth interior and ears (upright metres)."""

from typing import NamedTuple

import numpy as np

from networks.embedded import face_layout
from networks.embedded.head import EAR, EYE, EYE_RADIUS, MOUTH_HALF_WIDTH
from networks.embedded.head import MOUTH as MOUTH_CENTRE

SKIN, RIM, EYEBALL, MOUTH, EAR_PART = range(5)
PUPIL_ANGLE = np.radians(9.5)
IRIS_ANGLE = np.radians(26.0)
_EYE_ANGLES = np.radians([0.0, 5.0, 9.0, 10.0, 14.0, 19.0, 25.4, 26.6, 34.0, 44.0, 56.0, 70.0, 86.0])
_EYE_SEGMENTS = 28
# mouth interior, from the upper lip round to the lower lip: up, back (m), share of the jaw's motion, teeth
_MOUTH_ROWS = np.array([
    (0.0004, 0.0012, 0.0, 0.0), (0.0050, 0.0058, 0.0, 0.6), (0.0030, 0.0054, 0.0, 1.0), (-0.0036, 0.0056, 0.0, 1.0),
    (-0.0032, 0.0076, 0.0, 0.0), (-0.0005, 0.0180, 0.5, 0.0), (-0.0020, 0.0120, 0.9, 0.0), (-0.0070, 0.0055, 1.0, 0.0),
    (-0.0004, 0.0012, 1.0, 0.0),
])  # fmt: skip


class FaceMesh(NamedTuple):
    """Neutral face and what the bases and labels need to know of its vertices; N vertices, x mirror-symmetric."""

    points: np.ndarray  # [N, 3] upright metres
    faces: np.ndarray  # [F, 3] int64
    part: np.ndarray  # [N] SKIN, RIM, EYEBALL, MOUTH or EAR_PART
    lip_side: np.ndarray  # [N] +1 on the slit's upper edge, -1 on its lower edge, 0 elsewhere
    jaw_share: np.ndarray  # [N] for MOUTH vertices: share of the jaw's motion
    lip: np.ndarray  # [N] SKIN: 1 on the upper lip, -1 on the lower
    brow: np.ndarray  # [N] SKIN: 0..1, the brows' hair
    label: np.ndarray  # [N] MOUTH: 0..1 teeth; EYEBALL: angle from the gaze axis
    margin: np.ndarray  # [N] 1 on the lid margin
    boundary: np.ndarray  # [N] chart distance to the face's outer edge, metres (large for other parts)


class _Builder:
    def __init__(self) -> None:
        self.columns: dict[str, list[np.ndarray]] = {
            name: []
            for name in ("points", "part", "lip_side", "jaw_share", "lip", "brow", "label", "margin", "boundary")
        }
        self.faces: list[np.ndarray] = []
        self.count = 0

    def add(self, points, faces, part, **labels) -> None:
        """Appends vertices; `labels` are FaceMesh's columns (scalars are spread); faces index them from 0."""
        n = len(points)
        values = dict.fromkeys(self.columns, 0.0) | {"boundary": 1.0, "part": part} | labels
        del values["points"]
        self.columns["points"].append(points)
        for name, value in values.items():
            self.columns[name].append(np.broadcast_to(np.asarray(value, dtype=np.float64), (n,)))
        self.faces.append(np.asarray(faces, dtype=np.int64).reshape(-1, 3) + self.count)
        self.count += n

    def build(self) -> FaceMesh:
        joined = {name: np.concatenate(value) for name, value in self.columns.items()}
        joined["part"] = joined["part"].astype(np.int64)
        return FaceMesh(faces=np.concatenate(self.faces), **joined)


def _strip(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Triangles between two equally long vertex rows."""
    return np.concatenate([
        np.stack([a[:-1], a[1:], b[1:]], axis=1), np.stack([a[:-1], b[1:], b[:-1]], axis=1)
    ])  # fmt: skip


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    index = np.arange(rows * columns).reshape(rows, columns)
    return np.concatenate([_strip(index[i], index[i + 1]) for i in range(rows - 1)])


def _eyeball() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left eye's front cap looking along +z: points, faces, angle from the gaze axis."""
    turn = np.linspace(0, 2 * np.pi, _EYE_SEGMENTS, endpoint=False)
    angle = np.repeat(_EYE_ANGLES[1:], _EYE_SEGMENTS)
    around = np.tile(turn, len(_EYE_ANGLES) - 1)
    ball = np.column_stack([np.sin(angle) * np.cos(around), np.sin(angle) * np.sin(around), np.cos(angle)])
    points = EYE + EYE_RADIUS * np.concatenate([[[0.0, 0.0, 1.0]], ball])
    ring = np.arange(_EYE_SEGMENTS) + 1
    closed = [np.append(ring + k * _EYE_SEGMENTS, ring[0] + k * _EYE_SEGMENTS) for k in range(len(_EYE_ANGLES) - 1)]
    faces = [np.stack([np.zeros(_EYE_SEGMENTS, int), closed[0][:-1], closed[0][1:]], axis=1)]
    faces += [_strip(outer, inner) for inner, outer in zip(closed[:-1], closed[1:], strict=True)]
    return points, np.concatenate(faces), np.concatenate([[0.0], angle])


def _ear() -> tuple[np.ndarray, np.ndarray]:
    """Left ear: rings from the concha out to the helix and back behind it."""
    turn = np.linspace(0, 2 * np.pi, 28, endpoint=False)  # 0 backwards, pi/2 up
    #         size, relief over the ear's plane (m)
    rings = [(0.0, -0.009), (0.30, -0.008), (0.50, -0.001), (0.62, 0.0025), (0.74, 0.0005), (0.86, 0.001),
             (0.95, 0.0045), (1.00, 0.0035), (0.97, -0.001), (0.80, -0.010)]  # fmt: skip
    back = np.where(np.cos(turn) > 0, 0.0200, 0.0130) * np.cos(turn)
    up = np.where(np.sin(turn) > 0, 0.0310, 0.0300) * np.sin(turn)
    back = back * (1.0 - 0.28 * np.clip(-np.sin(turn), 0, 1)) - 0.0045 * np.clip(-np.sin(turn), 0, 1)
    flare = np.radians(20.0)
    e_up = np.array([0.0, np.cos(0.14), -np.sin(0.14)])
    e_back = np.array([np.sin(flare), -np.cos(flare) * np.sin(0.14), -np.cos(flare) * np.cos(0.14)])
    e_out = np.cross(e_back, e_up)
    e_out *= np.sign(e_out[0])
    points = []
    for size, relief in rings:
        front = smooth_front(turn)
        height = relief * (1.0 - 0.8 * front) - 0.003 * front
        points.append(
            EAR + size * back[:, None] * e_back + size * up[:, None] * e_up + (height + 0.004)[:, None] * e_out
        )
    index = np.arange(len(rings) * len(turn)).reshape(len(rings), -1)
    closed = np.concatenate([index, index[:, :1]], axis=1)
    return np.concatenate(points), np.concatenate([_strip(closed[k], closed[k + 1]) for k in range(len(rings) - 1)])


def smooth_front(turn: np.ndarray) -> np.ndarray:
    """1 where the ear meets the cheek (turn = pi), 0 at its back."""
    return np.clip(-np.cos(turn), 0.0, 1.0) ** 1.5


def _mouth(line: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sheet behind the lip line [M, 3] (corner to corner): points, faces, jaw share, teeth."""
    t = np.clip(np.abs(line[:, 0]) / MOUTH_HALF_WIDTH, 0.0, 1.0)
    room = np.sqrt(1.0 - t**2) * (1 - 0.3 * t)
    points = [line + np.outer(room, (0.0, up, -back)) for up, back, _, _ in _MOUTH_ROWS]
    for row in points[1:-1]:  # teeth and palate do not repeat the lip line's bow
        row[:, 1] += room * (MOUTH_CENTRE[1] - line[:, 1])
    rows = np.repeat(_MOUTH_ROWS, len(line), axis=0)
    teeth = rows[:, 3] * (np.tile(t, len(_MOUTH_ROWS)) < 0.78)
    return np.concatenate(points), _grid_faces(len(_MOUTH_ROWS), len(line))[:, ::-1], rows[:, 2], teeth


def build_face_mesh() -> FaceMesh:
    """The whole neutral face."""
    skin = face_layout.build_skin()
    n = len(skin.points)
    off_middle = skin.points[:, 0] > 0
    twin = np.arange(n)
    twin[off_middle] = n + np.arange(off_middle.sum())
    flip = np.array([-1.0, 1.0, 1.0])
    side, margin = np.zeros(n), np.zeros(n)
    side[skin.lip_upper[:-1]], side[skin.lip_lower[:-1]] = 1.0, -1.0
    margin[skin.eye_margin] = 1.0

    def both(values):
        return np.concatenate([values, values[off_middle]])

    builder = _Builder()
    builder.add(
        np.concatenate([skin.points, skin.points[off_middle] * flip]),
        np.concatenate([skin.faces, twin[skin.faces][:, ::-1]]),
        SKIN, lip_side=both(side), margin=both(margin), boundary=both(skin.boundary),
        lip=both(skin.lip), brow=both(skin.brow),
    )  # fmt: skip

    def add_pair(points, faces, part, **labels):
        builder.add(points, faces, part, **labels)
        builder.add(points * flip, np.asarray(faces)[:, ::-1], part, **labels)

    ring = skin.points[skin.eye_margin]
    inward = ring - EYE
    inner = EYE + inward * ((EYE_RADIUS + 0.0001) / np.linalg.norm(inward, axis=1, keepdims=True))
    m = len(ring)
    outer_row, inner_row = np.append(np.arange(m), 0), np.append(np.arange(m), 0) + m
    add_pair(np.concatenate([ring, inner]), _strip(outer_row, inner_row)[:, ::-1], RIM, margin=1.0)
    points, faces, angle = _eyeball()
    add_pair(points, faces, EYEBALL, label=angle)
    line = skin.points[skin.lip_upper]
    points, faces, jaw, teeth = _mouth(np.concatenate([(line * flip)[:0:-1], line]))
    builder.add(points, faces, MOUTH, jaw_share=jaw, label=teeth)
    add_pair(*_ear(), EAR_PART)
    return builder.build()
