"""Distance primitives on point arrays [N, 3], smooth unions, projection and ray casting (metres, float64).

The formulas are the usual approximate signed distances (negative inside) and polynomial smooth minimum of
implicit modelling; exactness is not needed, only a smooth zero set and a gradient of length about one.
"""

from collections.abc import Callable

import numpy as np

Field = Callable[[np.ndarray], np.ndarray]


def smoothstep(low, high, value):
    """0 below `low`, 1 above `high`, C1 between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def smooth_union(a, b, k: float):
    """Union of two distances with a blend of width k."""
    h = np.maximum(k - np.abs(a - b), 0.0) / k
    return np.minimum(a, b) - h * h * k * 0.25


def smooth_cut(a, b, k: float):
    """a minus b with a blend of width k."""
    return -smooth_union(-a, b, k)


def ellipsoid(p, centre, radii, tilt: float = 0.0):
    """Ellipsoid; `tilt` turns it about the x axis (radians, positive brings its top forward)."""
    q = p - np.asarray(centre)
    if tilt:
        c, s = np.cos(tilt), np.sin(tilt)
        q = np.stack([q[:, 0], c * q[:, 1] + s * q[:, 2], -s * q[:, 1] + c * q[:, 2]], axis=1)
    radii = np.asarray(radii)
    k0 = np.linalg.norm(q / radii, axis=1)
    k1 = np.linalg.norm(q / radii**2, axis=1)
    return k0 * (k0 - 1.0) / np.maximum(k1, 1e-9)


def sphere(p, centre, radius: float):
    """Sphere."""
    return np.linalg.norm(p - np.asarray(centre), axis=1) - radius


def bone(p, a, b, radius_a: float, radius_b: float, squash=(1.0, 1.0, 1.0)):
    """Capsule from a to b whose radius runs linearly; `squash` > 1 thins it along an axis."""
    squash = np.asarray(squash)
    a, b = np.asarray(a), np.asarray(b)
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
    offset = (p - a - t[:, None] * (b - a)) * squash
    return np.linalg.norm(offset, axis=1) - (radius_a + (radius_b - radius_a) * t)


def chain(p, points, radii, squash=(1.0, 1.0, 1.0), k: float = 0.01):
    """Bones through `points`, smoothly joined."""
    out = None
    for i in range(len(points) - 1):
        d = bone(p, points[i], points[i + 1], radii[i], radii[i + 1], squash)
        out = d if out is None else smooth_union(out, d, k)
    return out


def gradient(field: Field, p: np.ndarray, step: float = 2e-4) -> np.ndarray:
    """Central differences of `field`, [N, 3]."""
    out = np.empty_like(p)
    for axis in range(3):
        shift = np.zeros(3)
        shift[axis] = step
        out[:, axis] = (field(p + shift) - field(p - shift)) / (2 * step)
    return out


def normals(field: Field, p: np.ndarray) -> np.ndarray:
    """Outward unit normals, [N, 3]."""
    g = gradient(field, p)
    return g / np.maximum(np.linalg.norm(g, axis=1, keepdims=True), 1e-9)


def project(field: Field, p: np.ndarray, steps: int = 4) -> np.ndarray:
    """Newton steps onto the zero set, each at most 8 mm."""
    p = p.copy()
    for _ in range(steps):
        g = gradient(field, p)
        move = -field(p)[:, None] * g / np.maximum((g * g).sum(1, keepdims=True), 0.1)
        length = np.linalg.norm(move, axis=1, keepdims=True)
        p += move * np.minimum(1.0, 0.008 / np.maximum(length, 1e-9))
    return p


def cast(field: Field, origin, direction, near, far, coarse: int = 24, fine: int = 16) -> np.ndarray:
    """Distance along each ray at which it last leaves the solid between near and far, [N].

    origin [3] or [N, 3], direction [N, 3] unit, near and far scalars. Marching from `far` inwards finds the
    outermost crossing; bisection refines it. Rays that never meet the solid give `near`.
    """
    origin = np.broadcast_to(np.asarray(origin), direction.shape)
    high = np.full(len(direction), float(far))
    low = np.full(len(direction), float(near))
    open_ = np.ones(len(direction), dtype=bool)
    for t in np.linspace(far, near, coarse)[1:]:
        index = np.flatnonzero(open_)
        if len(index) == 0:
            break
        inside = field(origin[index] + t * direction[index]) < 0
        low[index[inside]] = t
        open_[index[inside]] = False
        high[index[~inside]] = t
    for _ in range(fine):
        mid = 0.5 * (low + high)
        inside = field(origin + mid[:, None] * direction) < 0
        low[inside], high[~inside] = mid[inside], mid[~inside]
    return 0.5 * (low + high)
