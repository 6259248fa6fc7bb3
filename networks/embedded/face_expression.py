"""The 64 expression directions of the embedded face (upright metres; coefficient 1 as named).

Signs follow the Basel face model with the expression basis of Guo et al. where coefficients are tracked from video:
0 falls as the mouth opens, 32 falls in blinks.
"""

import numpy as np

from networks.embedded import face_layout
from networks.embedded.face_fields import blob, edge_fade, harmonics
from networks.embedded.face_parts import EAR_PART, EYEBALL, MOUTH, RIM, FaceMesh
from networks.embedded.head import EYE, LID_RADIUS, MOUTH_HALF_WIDTH
from networks.embedded.head import MOUTH as MOUTH_CENTRE
from networks.embedded.sdf import smoothstep

NAMES = {
    0: "jaw", 1: "smile", 2: "pucker", 3: "sneer", 4: "brows", 5: "lip_corners", 6: "frown", 7: "jaw_sideways",
    8: "eye_left", 9: "eye_right", 10: "cheeks_puff", 32: "blink",
}  # fmt: skip
_HINGE = np.array([0.0, 0.4250, 0.0080])  # jaw joint, in front of the ears
_JAW_ANGLE = 0.175  # radians at coefficient -1: the chin goes about 14 mm down


def _jaw_share(mesh: FaceMesh) -> np.ndarray:
    """Share of the jaw's motion, 0..1: 0 above, 1 below a line through the lips and up to the ears, [N]."""
    p = mesh.points
    x = np.abs(p[:, 0])
    line = face_layout.lip_lines(np.minimum(x, MOUTH_HALF_WIDTH))[1] + 0.30 * np.maximum(x - MOUTH_HALF_WIDTH, 0.0)
    t = x / MOUTH_HALF_WIDTH
    width = 0.0030 + 0.016 * smoothstep(0.60, 1.15, t) + 0.012 * smoothstep(1.1, 2.0, t)
    height = p[:, 1] - line
    # the slit's two edges lie on the line itself: put each on its own side, less and less towards the corners
    height = height + mesh.lip_side * 0.0040 * np.clip(1.0 - t**3, 0.0, 1.0)
    share = smoothstep(1.0, -1.0, height / width)
    upper, lower = share_of_edges(t, width)
    inside = mesh.part == MOUTH
    share[inside] = (upper + (lower - upper) * mesh.jaw_share)[inside]
    fade = smoothstep(-0.035, 0.030, p[:, 2])  # behind the jaw's branch nothing moves
    return share * fade * np.isin(mesh.part, [EYEBALL, EAR_PART], invert=True)


def share_of_edges(t: np.ndarray, width: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Jaw shares of the slit's upper and lower edge at |x| / half width = t."""
    offset = 0.0040 * np.clip(1.0 - t**3, 0.0, 1.0)
    return smoothstep(1.0, -1.0, offset / width), smoothstep(1.0, -1.0, -offset / width)


def _rotate_x(points, centre, angle):
    """Displacement of a turn about the x axis through `centre` (radians, positive brings +z down)."""
    q = points - centre
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack([q[:, 0], c * q[:, 1] - s * q[:, 2], s * q[:, 1] + c * q[:, 2]], axis=1)
    return turned - q


def jaw_open(mesh: FaceMesh) -> np.ndarray:
    """Opened jaw, metres."""
    out = _jaw_share(mesh)[:, None] * _rotate_x(mesh.points, _HINGE, _JAW_ANGLE)
    soft = blob(mesh.points, (0.0, 0.3815, 0.100), 0.022)
    out[:, 0] -= 0.06 * mesh.points[:, 0] * soft  # the corners come in a little
    return out


def eye_closed(mesh: FaceMesh, side: float) -> np.ndarray:
    """Closed lids of the left (side = 1) or right (-1) eye, metres; the upper lid slides down over the eyeball."""
    p = mesh.points * (side, 1.0, 1.0)
    out = np.zeros_like(p)
    upper, lower = face_layout.lid_lines(p[:, 0])
    near = (p[:, 0] > 0.005) & (p[:, 2] > EYE[2]) & np.isin(mesh.part, [EYEBALL, MOUTH, EAR_PART], invert=True)
    near &= np.linalg.norm(p - EYE, axis=1) < 0.030
    rim = mesh.part == RIM
    q = p - EYE
    radius = np.hypot(q[:, 1], q[:, 2])
    ball = np.sqrt(np.maximum(LID_RADIUS**2 - np.minimum(np.abs(q[:, 0]), 0.0143) ** 2, 1e-8))
    meet = lower + 0.18 * (upper - lower)
    for is_upper, margin, reach in ((True, upper, 0.0105), (False, lower, 0.0080)):
        turn = np.arcsin(np.clip((margin - EYE[1]) / ball, -1, 1)) - np.arcsin(np.clip((meet - EYE[1]) / ball, -1, 1))
        away = p[:, 1] - margin if is_upper else margin - p[:, 1]
        share = np.where(rim, 1.0, 1.0 - smoothstep(0.0, reach, np.maximum(away, 0.0)))
        middle = 0.5 * (upper + lower)
        used = near & (p[:, 1] >= middle if is_upper else p[:, 1] < middle) & (upper - lower > 1e-9)
        angle = np.arctan2(q[:, 1], q[:, 2]) - turn * share
        full = np.where(rim, radius, np.maximum(radius, LID_RADIUS * np.minimum(1.0, ball / LID_RADIUS)))
        moved = np.stack([q[:, 0], full * np.sin(angle), full * np.cos(angle)], axis=1)
        out[used] = (moved - q)[used]
    return out * (side, 1.0, 1.0)


def _mouth_fields(mesh: FaceMesh) -> dict[int, np.ndarray]:
    p = mesh.points
    side = np.sign(p[:, 0])
    x = np.abs(p[:, 0])
    q = np.column_stack([x, p[:, 1], p[:, 2]])
    corner = blob(q, (0.0280, 0.3815, 0.0920), (0.0180, 0.0160, 0.030))
    cheek = blob(q, (0.0420, 0.4120, 0.0800), (0.0170, 0.0170, 0.030))
    lips = blob(q, (0.0, 0.3810, 0.100), (0.0210, 0.0135, 0.030))
    zero = np.zeros_like(x)
    smile = np.column_stack([
        side * (0.0075 * corner + 0.0015 * cheek), 0.0065 * corner + 0.0045 * cheek, -0.0045 * corner + 0.0030 * cheek
    ])  # fmt: skip
    smile[:, 2] -= 0.0015 * lips
    pucker = np.column_stack([
        -0.33 * p[:, 0] * blob(q, (0.0, 0.3815, 0.098), (0.034, 0.021, 0.035)),
        0.10 * (p[:, 1] - MOUTH_CENTRE[1]) * lips, 0.0062 * lips
    ])  # fmt: skip
    above = smoothstep(-0.0005, 0.0040, p[:, 1] - MOUTH_CENTRE[1] + 0.004 * mesh.lip_side)
    lift = 0.0030 * blob(q, (0.008, 0.390, 0.104), (0.018, 0.012, 0.030)) + 0.0015 * blob(q, (0.014, 0.410, 0.1), 0.010)
    sneer = np.column_stack([zero, lift * above, zero])
    stretch = np.column_stack([side * 0.0050 * corner, -0.0004 * corner, -0.0020 * corner])
    puff = np.column_stack([side * 0.0060, zero, zero + 0.0030]) * blob(q, (0.042, 0.388, 0.070), 0.017)[:, None]
    return {1: smile, 2: -pucker, 3: -sneer, 5: -stretch, 10: puff}


def _brow_fields(mesh: FaceMesh) -> dict[int, np.ndarray]:
    p = mesh.points
    side = np.sign(p[:, 0])
    x = np.abs(p[:, 0])
    q = np.column_stack([x, p[:, 1], p[:, 2]])
    zero = np.zeros_like(x)
    clear = smoothstep(0.0085, 0.0160, p[:, 1] - EYE[1])  # the lids stay
    brow = blob(q, (0.030, 0.474, 0.090), (0.030, 0.013, 0.035)) * clear
    raise_ = np.column_stack([zero, 0.0075 * brow, 0.0008 * brow])
    inner = blob(q, (0.014, 0.471, 0.097), (0.013, 0.010, 0.030)) * clear
    frown = np.column_stack([-side * 0.0040 * inner * smoothstep(0, 0.01, x), -0.0045 * inner, 0.0012 * inner])
    return {4: raise_, 6: frown}


def expression_basis(mesh: FaceMesh) -> np.ndarray:
    """[N, 3, 64], upright metres."""
    out = np.zeros((len(mesh.points), 3, 64))
    moving = ~np.isin(mesh.part, [EYEBALL])
    fade = edge_fade(mesh)
    out[:, :, 0] = -jaw_open(mesh)
    for fields in (_mouth_fields(mesh), _brow_fields(mesh)):
        for index, field in fields.items():
            inside = mesh.part == MOUTH
            if index in (3, 6):
                field = field * np.where(inside, 0.0, 1.0)[:, None]
            out[:, :, index] = field
    share = _jaw_share(mesh)
    out[:, 0, 7] = 0.0050 * share
    left, right = eye_closed(mesh, 1.0), eye_closed(mesh, -1.0)
    out[:, :, 8], out[:, :, 9] = -left, -right
    out[:, :, 32] = -(left + right) / 0.8
    small = [k for k in range(11, 64) if k != 32]
    lids = 1.0 - 0.75 * blob(np.abs(mesh.points), EYE, 0.020)
    for order, k in enumerate(small):
        size = 0.0006 * 0.95**order
        out[:, :, k] = size * lids[:, None] * harmonics(mesh.points, order, antisymmetric=order % 3 == 2)
    out[~moving] = 0.0
    return out * fade[:, None, None]
