"""The head's analytic surface, in the upright frame (metres): both meshes, body and face, are taken from it.

Proportions: vertex y = 0.572, chin y = 0.342, eyes half-way, nose base half-way between brow and chin, mouth a third
below that; width 0.155, depth about 0.195, interpupillary 0.063.
"""

import numpy as np

from networks.embedded import sdf
from networks.embedded.sdf import ellipsoid, smooth_cut, smooth_union

CENTRE = np.array([0.0, 0.448, 0.030])  # the head is star-shaped as seen from here, nose and chin included
EYE = np.array([0.0315, 0.4520, 0.0780])  # centre of the left eyeball
EYE_RADIUS = 0.0134
LID_RADIUS = 0.0147
MOUTH = np.array([0.0, 0.3815, 0.1015])  # middle of the lip line
MOUTH_HALF_WIDTH = 0.0255
EAR = np.array([0.0720, 0.4350, 0.0010])  # root of the left ear


def _skull(p):
    """Cranium, brow, cheekbones, upper and lower jaw."""
    d = ellipsoid(p, (0.0, 0.4885, -0.0005), (0.0765, 0.0845, 0.0945))
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4950, 0.0300), (0.0635, 0.0600, 0.0660)), 0.030)  # forehead
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4250, 0.0360), (0.0625, 0.0660, 0.0560)), 0.030)  # mid face
    jaw = [(0.0570, 0.4250, 0.0080), (0.0415, 0.3770, 0.0220), (0.0115, 0.3575, 0.0790)]
    d = smooth_union(d, sdf.chain(p, jaw, (0.0105, 0.0115, 0.0130), k=0.020), 0.034)
    d = smooth_union(d, ellipsoid(p, (0.0340, 0.4010, 0.0540), (0.0240, 0.0310, 0.0300)), 0.024)  # cheek
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4320, -0.0330), (0.0530, 0.0560, 0.0420)), 0.034)  # skull base
    d = smooth_union(d, ellipsoid(p, (0.0, 0.3840, 0.0620), (0.0340, 0.0255, 0.0375)), 0.022)  # muzzle
    d = smooth_union(d, ellipsoid(p, (0.0, 0.3950, 0.0830), (0.0200, 0.0180, 0.0195)), 0.012)  # philtrum
    d = smooth_union(d, ellipsoid(p, (0.0, 0.3535, 0.0870), (0.0165, 0.0120, 0.0150)), 0.013)  # chin
    d = smooth_union(d, ellipsoid(p, (0.0430, 0.4270, 0.0600), (0.0190, 0.0130, 0.0215)), 0.026)  # cheekbone
    return smooth_union(d, ellipsoid(p, (0.0260, 0.4690, 0.0790), (0.0280, 0.0085, 0.0130)), 0.018)  # brow ridge


def _nose(p):
    d = sdf.bone(p, (0.0, 0.4590, 0.0870), (0.0, 0.4200, 0.1060), 0.0066, 0.0078)
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4165, 0.1110), (0.0080, 0.0078, 0.0088)), 0.010)  # tip
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4105, 0.1030), (0.0040, 0.0055, 0.0090)), 0.006)  # columella
    d = smooth_union(d, ellipsoid(p, (0.0104, 0.4125, 0.1000), (0.0056, 0.0066, 0.0085)), 0.009)  # wing
    return smooth_union(d, ellipsoid(p, (0.0, 0.4350, 0.0900), (0.0145, 0.0260, 0.0110)), 0.010)  # root of the sides


def _lips(p):
    """Upper and lower lip; they follow the curve of the teeth."""
    q = p.copy()
    q[:, 2] += 0.0085 * (p[:, 0] / MOUTH_HALF_WIDTH) ** 2
    bow = ellipsoid(q, (0.0070, 0.3858, 0.1000), (0.0125, 0.0044, 0.0080))
    upper = smooth_union(bow, ellipsoid(q, (0.0140, 0.3845, 0.0985), (0.0130, 0.0036, 0.0070)), 0.004)
    return upper, ellipsoid(q, (0.0, 0.3760, 0.0995), (0.0195, 0.0053, 0.0078))


def head_distance(p: np.ndarray, detail: bool = True) -> np.ndarray:
    """Signed distance to the head (no neck), upright frame, [N, 3] -> [N].

    `detail=False` leaves out lids and lips, for coarse meshes.
    """
    p = np.column_stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]])
    d = _skull(p)
    d = smooth_cut(d, ellipsoid(p, (0.0330, 0.4500, 0.1040), (0.0195, 0.0125, 0.0150)), 0.014)  # eye socket
    d = smooth_union(d, _nose(p), 0.010)
    if detail:
        upper, lower = _lips(p)
        d = smooth_union(d, upper, 0.005)
        d = smooth_union(d, lower, 0.005)
        d = smooth_union(d, sdf.sphere(p, EYE, LID_RADIUS), 0.004)
    return d


def head_surface(directions: np.ndarray, detail: bool = True) -> np.ndarray:
    """Points where rays from `CENTRE` leave the head, upright frame (see frames.to_tpose), [N, 3] -> [N, 3] metres.

    Directions need not be unit. Offset a hair cap from it along the direction.
    """
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    radius = sdf.cast(lambda p: head_distance(p, detail), CENTRE, unit, 0.03, 0.16)
    return CENTRE + radius[:, None] * unit


def front_surface(xy: np.ndarray) -> np.ndarray:
    """Points of the face seen from the front at (x, y), [N, 2] -> [N, 3] metres, upright frame."""
    origin = np.column_stack([xy, np.zeros(len(xy))])
    direction = np.broadcast_to([0.0, 0.0, 1.0], origin.shape)
    depth = sdf.cast(head_distance, origin, direction, 0.0, 0.16)
    return origin + depth[:, None] * direction
