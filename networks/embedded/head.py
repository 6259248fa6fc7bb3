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
EAR = np.array([0.0735, 0.4350, 0.0010])  # root of the left ear


def _skull(p):
    """Cranium, brow, cheekbones, upper and lower jaw."""
    d = ellipsoid(p, (0.0, 0.4885, -0.0005), (0.0765, 0.0845, 0.0945))
    d = smooth_union(d, ellipsoid(p, (0.0, 0.495, 0.030), (0.0635, 0.060, 0.0655)), 0.030)  # forehead
    d = smooth_union(d, ellipsoid(p, (0.0, 0.425, 0.036), (0.0630, 0.066, 0.0560)), 0.030)  # mid face
    jaw = sdf.chain(p, [(0.058, 0.425, 0.008), (0.0475, 0.376, 0.020), (0.016, 0.3580, 0.0790)], (0.011, 0.0125, 0.0140), k=0.020)
    d = smooth_union(d, jaw, 0.030)
    d = smooth_union(d, ellipsoid(p, (0.0, 0.380, 0.060), (0.036, 0.034, 0.0395)), 0.026)  # muzzle
    d = smooth_union(d, ellipsoid(p, (0.0, 0.3565, 0.0845), (0.0190, 0.0140, 0.0150)), 0.016)  # chin
    d = smooth_union(d, ellipsoid(p, (0.0445, 0.4260, 0.0600), (0.0190, 0.0130, 0.0210)), 0.024)  # cheekbone
    return smooth_union(d, ellipsoid(p, (0.0260, 0.4690, 0.0790), (0.0280, 0.0085, 0.0130)), 0.018)  # brow ridge


def _nose(p):
    d = sdf.bone(p, (0.0, 0.4590, 0.0860), (0.0, 0.4180, 0.1085), 0.0072, 0.0085, (1.0, 1.0, 1.0))
    d = smooth_union(d, ellipsoid(p, (0.0, 0.4145, 0.1130), (0.0098, 0.0088, 0.0098)), 0.008)  # tip
    wing = ellipsoid(p, (0.0115, 0.4115, 0.1000), (0.0062, 0.0070, 0.0095))
    d = smooth_union(d, wing, 0.006)
    return smooth_union(d, ellipsoid(p, (0.0, 0.4350, 0.0900), (0.0150, 0.026, 0.0110)), 0.010)  # root of the sides


def _lips(p):
    x = p[:, 0]
    arch = 0.0035 * (x / MOUTH_HALF_WIDTH) ** 2  # lips follow the curve of the teeth
    q = p + np.stack([np.zeros_like(x), np.zeros_like(x), 2.6 * arch], axis=1)
    upper = ellipsoid(q, (0.0, 0.3850, 0.0985), (0.0240, 0.0050, 0.0075))
    lower = ellipsoid(q, (0.0, 0.3762, 0.0975), (0.0205, 0.0056, 0.0075))
    return upper, lower


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
        d = smooth_union(d, upper, 0.006)
        d = smooth_union(d, lower, 0.006)
        d = smooth_union(d, sdf.sphere(p, EYE, LID_RADIUS), 0.006)
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
