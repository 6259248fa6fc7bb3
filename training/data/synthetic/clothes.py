"""A shirt: the body's own surface, lifted below a neckline and sunk above it, so that the edge is crisp."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.hair import noise
from training.data.synthetic.mesh import MM, smoothstep


def below_neckline(p: np.ndarray, neckline: float) -> np.ndarray:
    """Signed height [V] of canonical points ``p`` [V, 3] below the neckline (positive where the shirt is).

    ``neckline`` 0..1 goes from a crew neck to a deep V.
    """
    x = np.sqrt(p[:, 0] ** 2 + (3 * MM) ** 2)
    front = smoothstep(-0.135, -0.075, p[:, 2])  # 0 behind the shoulders' ridge, 1 on the chest
    side, back = -0.140, -0.122
    centre = -0.176 - 0.050 * neckline
    reach = 0.052 + 0.008 * neckline
    t = np.clip(x / reach, 0.0, 1.3)
    sharp = 2.2 - 1.1 * neckline  # parabola for a crew neck, straight sides for a V
    line_front = centre + (side - centre) * t**sharp
    line_back = back + (side - back) * np.clip(t, 0, 1.3) ** 2
    line = line_front * front + line_back * (1 - front) + 2.0 * np.maximum(x - reach, 0.0)  # shoulders stay covered
    return line - p[:, 1]


def drape(p: np.ndarray, normals: np.ndarray, rest: np.ndarray, neighbours, look: Appearance) -> np.ndarray:
    """Shirt vertices [V, 3] from body vertices ``p`` with ``normals``; ``rest`` [V, 3] the mean body's vertices, which
    fix where the neckline runs; ``neighbours`` the [V, V] sparse matrix of neighbour means."""
    depth = below_neckline(rest, look.neckline)
    # A straight ramp through the skin: the mesh is coarse, but where two straight pieces cross is a clean line.
    lift = np.clip(0.40 * depth, -3.0 * MM, 3.4 * MM)
    lift = lift + 4.0 * MM * smoothstep(10 * MM, 60 * MM, depth)  # looser further down
    loose = smoothstep(4 * MM, 45 * MM, depth)[:, None]
    for _ in range(10):  # cloth spans the hollows of the body
        p = p + 0.7 * loose * (neighbours @ p - p)
    return p + normals * lift[:, None]


def dye(rest: np.ndarray, look: Appearance) -> np.ndarray:
    """Shirt albedo [V, 3]: plain cloth, a ribbed collar, faint folds."""
    depth = below_neckline(rest, look.neckline)
    seam = smoothstep(6.0 * MM, 1.0 * MM, np.abs(depth - 13 * MM))  # no narrower than the mesh, or it breaks into dots
    fold = noise(rest @ np.array([1.9, 1.1, 0.6]), 9) * 0.5 + noise(rest @ np.array([-1.3, 1.7, 0.4]), 13) * 0.5
    edge = smoothstep(4.0 * MM, 0.0, np.abs(depth))
    level = (1 + 0.05 * fold * smoothstep(10 * MM, 50 * MM, depth)) * (1 - 0.11 * seam) * (1 - 0.18 * edge)
    return look.clothes[None] * level[:, None]
