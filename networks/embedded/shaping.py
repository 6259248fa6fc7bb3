"""Shape and pose blend shapes of the embedded body (T-pose, metres)."""

import numpy as np

from networks.embedded import frames
from networks.embedded.sdf import smoothstep

SHAPE_NAMES = (
    "height", "girth", "shoulder_width", "chest_depth", "leg_length",
    "arm_girth", "neck_length", "neck_girth", "shoulder_slope", "head_size",
)  # fmt: skip


def _from_bones(v, weights):
    """Vector to each vertex from the nearest point of its own bone's axis, blended by skinning weight, [V, 3]."""
    joints = frames.joints()
    child = {j: k for k, j in reversed(list(enumerate(frames.PARENTS))) if j >= 0}
    child[9], child[0] = 12, 3
    out = np.zeros_like(v)
    for j in range(24):
        used = weights[:, j] > 0
        start = joints[j]
        end = joints[child[j]] if j in child else start + 0.3 * (start - joints[frames.PARENTS[j]])
        t = np.clip((v[used] - start) @ (end - start) / ((end - start) @ (end - start)), 0.0, 1.0)
        out[used] += weights[used, j, None] * (v[used] - start - t[:, None] * (end - start))
    return out


def shapedirs(v: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[V, 3, 10], a unit is one standard deviation; named by SHAPE_NAMES, of decreasing size (at most about 3 cm)."""
    x, y, z = v.T
    side = np.sign(x)
    radial = _from_bones(v, weights)
    radial /= np.maximum(np.linalg.norm(radial, axis=1, keepdims=True), 0.02)
    head, neck = weights[:, 15], weights[:, 12]
    arms = weights[:, 16:24].sum(1)
    legs = weights[:, [1, 2, 4, 5, 7, 8, 10, 11]].sum(1)
    up = np.array([0.0, 1.0, 0.0])
    out = np.zeros((len(v), 3, 10))
    out[:, :, 0] = 0.020 * (v - frames.joints()[0]) * (1.0 - 0.5 * head[:, None])
    soft = 1.0 - 0.85 * np.maximum(head, weights[:, 20:24].sum(1))
    out[:, :, 1] = 0.012 * radial * soft[:, None] * (1.0 - 0.5 * (arms + legs + neck))[:, None]
    out[:, 0, 2] = 0.010 * side * smoothstep(0.02, 0.16, np.abs(x)) * smoothstep(0.0, 0.12, y) * (1.0 - head)
    chest = np.exp(-(((y - 0.08) / 0.13) ** 2)) * (1.0 - arms)
    out[:, 2, 3] = 0.009 * chest * np.tanh(z / 0.05)
    out[:, 1, 4] = -0.009 * smoothstep(-0.30, -1.09, y)
    out[:, :, 5] = 0.006 * radial * (arms * (1.0 - weights[:, 20:24].sum(1)))[:, None]
    rise = smoothstep(0.235, 0.345, y) * (head + neck)
    out[:, :, 6] = 0.006 * rise[:, None] * up
    out[:, :, 7] = 0.005 * radial * (neck * (1.0 - head))[:, None]
    out[:, 1, 8] = -0.005 * smoothstep(0.05, 0.17, np.abs(x)) * smoothstep(0.05, 0.15, y) * (1.0 - head)
    out[:, :, 9] = 0.022 * head[:, None] * (v - frames.joints()[15])
    return out


def posedirs(v: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[V, 3, 207]: volume-keeping correctives.

    Linear blend skinning thins a bent joint. Where joint j and its parent share a vertex, it is pushed away from
    the bone by up to 12 mm * (1 - cos(angle)) = -6 mm * trace(R_j - I); only R_j's diagonal entries are used.
    """
    radial = _from_bones(v, weights)
    length = np.linalg.norm(radial, axis=1, keepdims=True)
    radial = radial / np.maximum(length, 0.02)
    out = np.zeros((len(v), 3, 23, 9))
    for j in range(1, 24):
        shared = 4.0 * weights[:, j] * weights[:, frames.PARENTS[j]]
        out[:, :, j - 1, [0, 4, 8]] = (-0.006 * shared[:, None] * radial)[:, :, None]
    return out.reshape(len(v), 3, 207)
