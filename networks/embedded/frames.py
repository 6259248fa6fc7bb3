"""Frames of the embedded assets: SMPL's T-pose, the upright head, and canonical space.

*T-pose*: SMPL's frame, metres, y up, +z out of the chest, left = +x.
*Upright*: the T-pose head rotated about joint 15 by the canonical pose's R(0, 0, 0.15536945), so that it looks
straight along +z; still metres. The head is designed here.
*Canonical*: x_c = ((x - joint 12) / 2.2314079 - face_offset) / 0.52767998683149, of upright head points.
Source: the conventions that the released checkpoint fixes.
"""

import numpy as np

SCALE = 2.2314079
FACE_OFFSET = np.array([0.0, 0.067489409707008, 0.050608165033568])
FACE_RADIUS = 0.52767998683149
HEAD_BOW = 0.15536945
UNIT = SCALE * FACE_RADIUS  # metres in one canonical unit

PARENTS = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21], dtype=np.int64)

_LEFT = {
    1: (0.069, -0.314, 0.024),
    4: (0.102, -0.690, 0.017),
    7: (0.088, -1.088, -0.027),
    10: (0.115, -1.144, 0.093),
    13: (0.080, 0.194, -0.008),
    16: (0.173, 0.226, -0.017),
    18: (0.430, 0.213, -0.042),
    20: (0.681, 0.221, -0.044),
    22: (0.765, 0.214, -0.058),
}
_MIDDLE = {
    0: (0.0, -0.223, 0.028),
    3: (0.0, -0.114, 0.002),
    6: (0.0, 0.021, 0.003),
    9: (0.0, 0.074, 0.028),
    12: (0.0, 0.288, -0.015),
    15: (0.0, 0.353, 0.037),
}


def joints() -> np.ndarray:
    """Rest joints of the embedded body, [24, 3] float64, metres; exactly mirror-symmetric."""
    out = np.zeros((24, 3))
    for index, point in _MIDDLE.items():
        out[index] = point
    for index, point in _LEFT.items():
        out[index] = point
        out[index + 1] = np.array(point) * (-1.0, 1.0, 1.0)
    return out


def head_rotation() -> np.ndarray:
    """R(0, 0, 0.15536945) = Rx: T-pose head -> upright head, [3, 3]."""
    c, s = np.cos(HEAD_BOW), np.sin(HEAD_BOW)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def to_upright(points: np.ndarray) -> np.ndarray:
    """T-pose metres -> upright metres, [..., 3]."""
    centre = np.array(_MIDDLE[15])
    return (points - centre) @ head_rotation().T + centre


def to_tpose(points: np.ndarray) -> np.ndarray:
    """Upright metres -> T-pose metres, [..., 3]."""
    centre = np.array(_MIDDLE[15])
    return (points - centre) @ head_rotation() + centre


def to_canonical(points: np.ndarray) -> np.ndarray:
    """Upright (canonical-pose) metres -> canonical units, [..., 3]."""
    return ((points - np.array(_MIDDLE[12])) / SCALE - FACE_OFFSET) / FACE_RADIUS


def from_canonical(points: np.ndarray) -> np.ndarray:
    """Canonical units -> upright (canonical-pose) metres, [..., 3]."""
    return (points * FACE_RADIUS + FACE_OFFSET) * SCALE + np.array(_MIDDLE[12])
