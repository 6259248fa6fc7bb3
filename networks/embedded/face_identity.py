"""The 80 identity directions of the embedded face (upright metres; coefficient 1 = one standard deviation)."""

import numpy as np

from networks.embedded.face_fields import blob, edge_fade, harmonics
from networks.embedded.face_parts import EYEBALL, FaceMesh
from networks.embedded.head import EYE, MOUTH
from networks.embedded.sdf import smoothstep

NAMES = (
    "face_width", "face_length", "jaw_width", "chin_length", "chin_forward", "cheekbones", "cheek_fullness",
    "nose_length", "nose_width", "nose_bridge", "nose_tip_up", "eye_size", "eye_spacing", "eye_tilt", "eye_depth",
    "brow_height", "brow_ridge", "mouth_width", "lip_thickness", "mouth_height", "forehead_slope", "mouth_forward",
)  # fmt: skip
NUM_IDENTITY = 80


def _named(p: np.ndarray) -> list[np.ndarray]:
    """Fields in the order of NAMES, [N, 3] each; all symmetric."""
    x, y, z = np.abs(p[:, 0]), p[:, 1], p[:, 2]
    s = p[:, 0]  # odd in x: multiplies sideways motion, so that the middle stays put
    side = np.tanh(p[:, 0] / 0.012)
    q = np.column_stack([x, y, z])
    zero = np.zeros_like(x)

    def vec(dx=zero, dy=zero, dz=zero):
        return np.column_stack([dx + zero, dy + zero, dz + zero])

    low = smoothstep(0.415, 0.350, y)
    jaw = blob(q, (0.050, 0.372, 0.045), (0.028, 0.024, 0.040))
    chin = blob(q, (0.0, 0.350, 0.092), (0.028, 0.021, 0.034))
    bone = blob(q, (0.050, 0.428, 0.065), (0.022, 0.018, 0.035))
    hollow = blob(q, (0.045, 0.398, 0.070), (0.020, 0.022, 0.035))
    nose = blob(q, (0.0, 0.416, 0.113), (0.016, 0.017, 0.020))
    wings = blob(q, (0.013, 0.4115, 0.102), (0.012, 0.012, 0.018))
    bridge = blob(q, (0.0, 0.438, 0.108), (0.012, 0.020, 0.020))
    eye = blob(q, EYE + (0, 0, 0.010), (0.021, 0.017, 0.030))
    brow = blob(q, (0.030, 0.471, 0.090), (0.028, 0.011, 0.030)) * smoothstep(0.008, 0.016, y - EYE[1])
    mouth = blob(q, (0.0, MOUTH[1], 0.100), (0.030, 0.017, 0.030))
    lips = blob(q, (0.0, MOUTH[1], 0.104), (0.022, 0.0105, 0.025))
    forehead = blob(q, (0.0, 0.515, 0.090), (0.060, 0.030, 0.050))
    eye_side = (x - EYE[0]) * np.sign(p[:, 0])
    return [
        vec(0.050 * s),
        vec(dy=0.048 * (y - 0.445)),
        vec(side * 0.0038 * jaw),
        vec(dy=-0.0034 * chin - 0.0008 * low),
        vec(dz=0.0036 * chin),
        vec(side * 0.0028 * bone, zero, 0.0018 * bone),
        vec(side * 0.0038 * hollow, zero, 0.0018 * hollow),
        vec(dy=-0.0026 * nose, dz=0.0022 * nose),
        vec(side * 0.0024 * wings + 0.06 * s * nose),
        vec(dz=0.0028 * bridge),
        vec(dy=0.0026 * blob(q, (0.0, 0.412, 0.118), (0.012, 0.010, 0.014))),
        vec(0.110 * eye_side * eye, 0.170 * (y - EYE[1]) * eye, 0.110 * (z - EYE[2]) * eye),
        vec(side * 0.0020 * eye),
        vec(dy=0.145 * (x - EYE[0]) * eye),
        vec(dz=-0.0018 * eye),
        vec(dy=0.0030 * brow),
        vec(dz=0.0024 * blob(q, (0.022, 0.468, 0.098), (0.030, 0.011, 0.025)) * smoothstep(0.006, 0.016, y - EYE[1])),
        vec(0.125 * s * mouth),
        vec(dy=0.240 * (y - MOUTH[1]) * lips, dz=0.0012 * lips),
        vec(dy=0.0024 * mouth),
        vec(dz=-0.0034 * forehead),
        vec(dz=0.0022 * mouth),
    ]


def _keep_round(field: np.ndarray, mesh: FaceMesh) -> np.ndarray:
    """Eyeballs follow a field as a whole and only grow or shrink: the irises stay round."""
    out = field.copy()
    for side in (1.0, -1.0):
        ball = (mesh.part == EYEBALL) & (mesh.points[:, 0] * side > 0)
        q = mesh.points[ball] - EYE * (side, 1.0, 1.0)
        front = np.abs(q).sum(1) < 0.020  # what shows between the lids
        arm = q[front] - q[front].mean(0)
        move = field[ball][front]
        shift = move.mean(0)
        grow = (arm * (move - shift)).sum() / (arm * arm).sum()
        out[ball] = shift + grow * (q - q[front].mean(0))
    return out


def identity_basis(mesh: FaceMesh) -> np.ndarray:
    """[N, 3, 80], upright metres. Smooth fields of position: coincident vertices move together, nothing tears."""
    out = np.zeros((len(mesh.points), 3, NUM_IDENTITY))
    fade = edge_fade(mesh)[:, None]
    named = _named(mesh.points)
    for k, field in enumerate(named):
        out[:, :, k] = _keep_round(field, mesh) * fade
    for order, k in enumerate(range(len(named), NUM_IDENTITY)):
        lopsided = order % 4 == 3
        size = 0.0008 * 0.95**order * (0.5 if lopsided else 1.0)
        field = size * harmonics(mesh.points, order + 7, antisymmetric=lopsided)
        out[:, :, k] = _keep_round(field, mesh) * fade
    return out
