"""Neck, torso and limbs as a distance field in the T-pose (metres), joined smoothly to the head."""

import numpy as np

from networks.embedded import frames, sdf
from networks.embedded.head import head_distance
from networks.embedded.sdf import ellipsoid, smooth_union


def _neck(p):
    d = sdf.bone(p, (0.0, 0.200, -0.030), (0.0, 0.385, -0.004), 0.0540, 0.0490)
    d = smooth_union(d, sdf.bone(p, (0.0, 0.235, 0.012), (0.0, 0.345, 0.022), 0.0330, 0.0300), 0.030)  # throat
    strap = sdf.chain(p, [(0.054, 0.395, -0.010), (0.041, 0.310, 0.008), (0.015, 0.222, 0.042)], (0.010, 0.0105, 0.008))
    d = smooth_union(d, strap, 0.018)  # sternocleidomastoid
    trapezius = sdf.chain(
        p, [(0.018, 0.370, -0.042), (0.042, 0.285, -0.043), (0.150, 0.234, -0.030)], (0.024, 0.027, 0.024)
    )
    return smooth_union(d, trapezius, 0.050)


def _torso(p):
    d = ellipsoid(p, (0.0, 0.085, -0.010), (0.150, 0.185, 0.112))  # rib cage
    d = smooth_union(d, ellipsoid(p, (0.075, 0.115, 0.045), (0.085, 0.070, 0.055)), 0.050)  # chest muscle
    d = smooth_union(d, ellipsoid(p, (0.080, 0.150, -0.060), (0.090, 0.095, 0.050)), 0.060)  # shoulder blade
    d = smooth_union(d, ellipsoid(p, (0.0, -0.070, 0.005), (0.130, 0.150, 0.098)), 0.080)  # waist
    d = smooth_union(d, ellipsoid(p, (0.0, -0.220, 0.000), (0.160, 0.125, 0.110)), 0.080)  # pelvis
    collar = sdf.chain(
        p, [(0.014, 0.219, 0.050), (0.080, 0.231, 0.038), (0.160, 0.248, -0.006)], (0.009, 0.0085, 0.010)
    )
    return smooth_union(d, collar, 0.028)


def _arm(p):
    points = [(0.165, 0.218, -0.015), (0.215, 0.215, -0.020), (0.310, 0.212, -0.030), (0.430, 0.213, -0.042),
              (0.500, 0.215, -0.043), (0.681, 0.221, -0.044)]  # fmt: skip
    d = sdf.chain(p, points, (0.053, 0.049, 0.044, 0.037, 0.038, 0.026), k=0.04)
    palm = ellipsoid(p, (0.735, 0.216, -0.048), (0.060, 0.018, 0.042))
    d = smooth_union(d, palm, 0.030)
    d = smooth_union(d, ellipsoid(p, (0.805, 0.213, -0.055), (0.055, 0.013, 0.036)), 0.020)  # fingers
    thumb = sdf.bone(p, (0.705, 0.212, -0.025), (0.770, 0.210, -0.004), 0.018, 0.014)
    return smooth_union(d, thumb, 0.030)


def _leg(p):
    points = [(0.082, -0.300, 0.005), (0.095, -0.480, 0.012), (0.102, -0.690, 0.014), (0.100, -0.800, -0.008),
              (0.088, -1.088, -0.027)]  # fmt: skip
    d = sdf.chain(p, points, (0.092, 0.080, 0.056, 0.058, 0.038), k=0.05)
    foot = sdf.bone(p, (0.090, -1.120, -0.030), (0.120, -1.138, 0.120), 0.040, 0.034, (1.0, 1.3, 1.0))
    return smooth_union(d, foot, 0.035)


def body_distance(p: np.ndarray) -> np.ndarray:
    """Signed distance to the whole body, coarse head (no lids, lips, ears), [N, 3] T-pose metres -> [N]."""
    p = np.column_stack([np.abs(p[:, 0]), p[:, 1], p[:, 2]])
    out = np.full(len(p), 0.2)
    upper, lower = p[:, 1] > 0.0, p[:, 1] < -0.12
    trunk = np.abs(p[:, 0]) < 0.30
    if trunk.any():
        out[trunk] = _torso(p[trunk])
    high = trunk & (p[:, 1] > 0.10)
    if high.any():
        q = p[high]
        d = smooth_union(out[high], _neck(q), 0.040)
        out[high] = smooth_union(d, head_distance(frames.to_upright(q), detail=False), 0.026)
    arm = upper & (p[:, 0] > 0.03) & (p[:, 1] < 0.40)
    if arm.any():
        out[arm] = smooth_union(out[arm], _arm(p[arm]), 0.045)
    if lower.any():
        out[lower] = smooth_union(out[lower], _leg(p[lower]), 0.050)
    return out


def portrait_distance(p: np.ndarray) -> np.ndarray:
    """Signed distance to the detailed head joined to the neck, [N, 3] *upright* metres -> [N]; the face's surface."""
    d = head_distance(p)
    low = p[:, 1] < 0.46
    if low.any():
        q = frames.to_tpose(p[low])
        q[:, 0] = np.abs(q[:, 0])
        d[low] = smooth_union(_neck(q), d[low], 0.026)
    return d
