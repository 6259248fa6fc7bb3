"""Value noise from integer hashes: smooth, repeatable, the same on every machine."""

from __future__ import annotations

import numpy as np

_PRIMES = np.array([73856093, 19349663, 83492791], np.uint32)
_SHIFT = 4096.0  # keeps cells positive


def _hash(h: np.ndarray) -> np.ndarray:
    """uint32 [...] -> -1..1, by xor-shifts and multiplications modulo 2^32; in place."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        h ^= h >> np.uint32(shift)
        h *= np.uint32(factor)
    h ^= h >> np.uint32(16)
    return (h & np.uint32(0xFFFF)) * (2.0 / 65535.0) - 1.0


def _cells(position: np.ndarray, axis: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Hash terms of the cell and the next one along an axis, and the smooth share of the way between them."""
    cell = np.floor(position)
    t = position - cell
    low = cell.astype(np.uint32)
    return [low * _PRIMES[axis], (low + np.uint32(1)) * _PRIMES[axis]], t * t * (3.0 - 2.0 * t)


def noise3(points: np.ndarray, frequency: float, seed: int = 0) -> np.ndarray:
    """Value noise [P] in -1..1 at ``points`` [P, 3] with ``frequency`` cells per unit."""
    axes = [_cells(points[:, axis] * frequency + (_SHIFT + 17.31 * seed), axis) for axis in range(3)]
    (xs, s), (ys, t), (zs, u) = axes
    value = 0.0
    for z, weight in zip(zs, (1.0 - u, u), strict=True):
        rows = []
        for y in ys:
            plane = y ^ z
            a, b = _hash(xs[0] ^ plane), _hash(xs[1] ^ plane)
            rows.append(a + (b - a) * s)
        value = value + weight * (rows[0] + (rows[1] - rows[0]) * t)
    return np.asarray(value)


def noise2(u: np.ndarray, v: np.ndarray, seed: int = 0) -> np.ndarray:
    """Value noise in -1..1 with a cell per unit of ``u`` and ``v``, any shape."""
    (us, s), (vs, t) = _cells(u + (_SHIFT + 31.7 * seed), 0), _cells(v + _SHIFT, 1)
    rows = []
    for y in vs:
        a, b = _hash(us[0] ^ y), _hash(us[1] ^ y)
        rows.append(a + (b - a) * s)
    return rows[0] + (rows[1] - rows[0]) * t
