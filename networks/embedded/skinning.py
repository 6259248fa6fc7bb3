"""Skinning weights and joint regressor of the embedded body (T-pose, metres)."""

import numpy as np
from scipy.spatial import cKDTree

from networks.embedded import frames
from networks.embedded.sdf import smoothstep

_JOINT_REACH = 0.045  # metres: vertices about this near to the closest one help to place a joint


def _blend_chain(out, weight, indices, position, cuts):
    """Shares `weight` out along a chain: joint k hands over to k + 1 between cuts[k] = (low, high) of `position`."""
    rest = weight
    for index, (low, high) in zip(indices[:-1], cuts, strict=True):
        passed = smoothstep(low, high, position)
        out[:, index] += rest * (1.0 - passed)
        rest = rest * passed
    out[:, indices[-1]] += rest


def lbs_weights(v: np.ndarray) -> np.ndarray:
    """Skinning weights [V, 24] of T-pose points [V, 3]: non-negative, rows sum to 1, at most 4 non-zero.

    Chains share out a partition of unity: limbs against trunk, then joint by joint with smooth steps. The head moves
    rigidly with joint 15 above a plane through jaw line and skull base, and blends into the neck over 6 cm below it.
    """
    x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
    left = v[:, 0] >= 0
    out = np.zeros((len(v), 24))
    upright = frames.to_upright(v)
    jaw_plane = (upright[:, 1] - 0.352) * 0.94 - (upright[:, 2] - 0.05) * -0.34
    head = smoothstep(-0.062, -0.006, jaw_plane)

    arm = smoothstep(0.105, 0.215, x + 0.20 * (y - 0.20)) * smoothstep(-0.02, 0.08, y)
    arm *= 1.0 - smoothstep(0.285, 0.325, y)  # ears and temples are no shoulders
    collar = smoothstep(0.015, 0.115, x) * smoothstep(0.06, 0.17, y) * (1.0 - smoothstep(0.245, 0.330, y))
    collar = np.maximum(collar, arm)
    leg = smoothstep(-0.27, -0.40, y + 0.35 * (x - 0.09)) * smoothstep(0.0, 0.03, x)

    trunk = (1.0 - collar) * (1.0 - leg)
    # the neck's share grows upwards, sooner behind than in front
    neck_height = y - 0.25 * (z + 0.015)
    passed_neck = smoothstep(0.200, 0.300, neck_height)
    below = trunk * (1.0 - passed_neck)
    _blend_chain(out, below, [0, 3, 6, 9], y, [(-0.19, -0.10), (-0.07, 0.0), (0.02, 0.09)])
    out[:, 12] += trunk * passed_neck * (1.0 - head)
    out[:, 15] += trunk * passed_neck * head

    for side, chosen in ((0, left), (1, ~left)):
        shoulder = np.zeros_like(out)
        _blend_chain(
            shoulder, arm, [16 + side, 18 + side, 20 + side, 22 + side], x, [(0.37, 0.49), (0.65, 0.71), (0.745, 0.785)]
        )
        shoulder[:, 13 + side] += collar - arm
        _blend_chain(shoulder, leg * (1.0 - collar), [1 + side, 4 + side, 7 + side], -y, [(0.62, 0.76), (1.06, 1.11)])
        toes = smoothstep(0.06, 0.12, z) * shoulder[:, 7 + side]
        shoulder[:, 10 + side] += toes
        shoulder[:, 7 + side] -= toes
        out += shoulder * chosen[:, None]
    order = np.argsort(out, axis=1)[:, :-4]
    np.put_along_axis(out, order, 0.0, axis=1)
    out[out < 1e-4] = 0.0
    return out / out.sum(1, keepdims=True)


def joint_regressor(v: np.ndarray) -> np.ndarray:
    """[24, V] rows that sum to 1 with J_regressor @ v = frames.joints() exactly; support: a ring round each joint.

    Gaussian weights are corrected by the least weighted norm that meets the four linear conditions of each row.
    """
    joints = frames.joints()
    nearest = cKDTree(v).query(joints)[0]
    out = np.zeros((24, len(v)))
    for j, joint in enumerate(joints):
        distance = np.linalg.norm(v - joint, axis=1) - nearest[j]
        g = np.exp(-((distance / _JOINT_REACH) ** 2))
        g[distance > 2.2 * _JOINT_REACH] = 0.0
        used = np.flatnonzero(g)
        g = g[used] / g.sum()
        conditions = np.vstack([np.ones(len(used)), v[used].T])
        gap = np.concatenate([[1.0], joint]) - conditions @ g
        out[j, used] = g + g * (conditions.T @ np.linalg.lstsq((conditions * g) @ conditions.T, gap, rcond=None)[0])
    return out
