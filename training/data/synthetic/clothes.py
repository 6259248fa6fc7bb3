"""The shirt, as a function of where on the mean person a sample lies: cut, collar, knit or weave, seams, stripes.

Four kinds go round the neck (``Appearance.collar``): a crew neck, a V-neck, a shirt's collar and a turtleneck. All are
cut from one surface; the leaf of a shirt's collar is a second layer of it.
"""

from __future__ import annotations

import numpy as np

from training.data.synthetic.appearance import CREW, SHIRT_COLLAR, TURTLENECK, VEE, Appearance
from training.data.synthetic.mesh import smoothstep
from training.data.synthetic.noise import noise3

LEAF = 4.0  # mm that the leaf of a collar lies over the shirt
_OPEN = 20.0, 18.0  # mm from a collar's stand to its first closed button, of narrow ones; more of wide ones
_BAND = {CREW: 18.0, VEE: 14.0, SHIRT_COLLAR: 0.0, TURTLENECK: 34.0}  # mm of ribs along the edge


def neckline(where: np.ndarray, look: Appearance) -> np.ndarray:
    """Millimetres [P] below the shirt's upper edge at ``where`` [P, 3] mm; negative above it."""
    edges = {CREW: _crew, VEE: _vee, SHIRT_COLLAR: _open_shirt, TURTLENECK: _turtleneck}
    shares = [(look.collar[kind], edge) for kind, edge in edges.items() if look.collar[kind] > 0]
    below = sum(share * edge(where, look.neckline) for share, edge in shares)
    return np.minimum(below, _highest(where))


def band_width(look: Appearance) -> float:
    """Millimetres of ribs along the edge."""
    return float(sum(share * _BAND[kind] for kind, share in enumerate(look.collar)))


def collar_leaf(where: np.ndarray, look: Appearance) -> np.ndarray:
    """Millimetres [P] inside the edge of a shirt collar's leaf; negative beside it."""
    x, below, front = np.abs(where[:, 0]), stand(where), _front(where)
    length = 36.0 + 24.0 * front * np.exp(-(((x - 40.0) / 24.0) ** 2))
    opening = 0.9 * (x - _notch(0.0, look.neckline) - 1.0 - 0.30 * below) + 90.0 * (1 - front)
    return np.minimum(np.minimum(length - below, opening), below)


def paint_shirt(
    where: np.ndarray, leaf: np.ndarray, look: Appearance, pixel: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(albedo [P, 3], relative change of light [P], covered share [P]); ``leaf`` [P]: 1 on the leaf of a collar."""
    below = neckline(where, look)
    x, y, z = where.T
    folds = noise3(where * np.array([1.0, 0.55, 1.0]), 1 / 60.0, 31) + 0.5 * noise3(where, 1 / 28.0, 32)
    width = band_width(look)
    band = smoothstep(width + 1.0, width - 1.0, below)
    seam = np.exp(-(((below - width - 1.5) / 1.3) ** 2))
    bump = 0.07 * folds * (1 - band) - 0.25 * seam - 0.20 * smoothstep(3.0, 0.0, below)
    woven, fine = look.collar[SHIRT_COLLAR], smoothstep(2.2, 0.7, pixel)
    if fine * (1 - woven) > 0:
        rib = np.cos(2 * np.pi * np.arctan2(x, z + 95.0) * 75.0 / 3.2)  # round the neck
        knit = np.cos(2 * np.pi * (x + 0.4 * y) / 2.4) * np.cos(2 * np.pi * (y - 0.2 * x) / 2.0)
        bump = bump + fine * (1 - woven) * (0.07 * band * rib + 0.035 * (1 - band) * knit)
    if (roll := look.collar[TURTLENECK]) > 0:  # folded over: it is round
        bump += roll * 0.10 * np.sin(np.pi * np.clip(below / max(width, 1.0), 0, 1)) * band
    albedo = np.broadcast_to(look.clothes, (len(where), 3)).copy()
    if (striped := float(smoothstep(0.5, 0.8, look.pattern)) * (1 - woven)) > 0:
        stripes = smoothstep(-0.15, 0.15, np.cos(2 * np.pi * (y + 6.0 * folds * 0.3) / 26.0)) * (1 - band)
        other = np.clip(look.clothes * 0.45 + 0.08 + 0.5 * (look.clothes.mean() < 0.35), 0, 1)
        albedo += (striped * stripes)[:, None] * (other - albedo)
    cover = smoothstep(-0.6, 0.6, below)
    if woven > 0:
        bump, cover = _buttoned(where, leaf, look, albedo, bump, cover)
    return albedo, bump, cover


def _buttoned(where, leaf, look: Appearance, albedo, bump, cover):
    """Collar, placket and buttons of a shirt; ``albedo`` is painted in place."""
    x, y, _ = where.T
    inside, on_leaf, front = collar_leaf(where, look), leaf > 0.5, _front(where)
    bump = bump - 0.30 * smoothstep(-9.0, 0.0, inside) * ~on_leaf  # in the leaf's shadow
    bump += on_leaf * (0.10 * smoothstep(9.0, 2.0, stand(where)) - 0.12 * np.exp(-(((inside - 5.0) / 0.8) ** 2)))
    bump -= on_leaf * 0.22 * smoothstep(1.8, 0.0, inside)
    placket = front * ~on_leaf * (x < 60.0)
    bump -= placket * (0.10 * np.exp(-(((np.abs(x) - 13.0) / 0.9) ** 2)) + 0.25 * np.exp(-(((x - 15.5) / 1.1) ** 2)))
    step = (y + 168.0) / 72.0
    button = smoothstep(5.2, 4.4, np.hypot(x, 72.0 * (step - np.rint(step)))) * placket * (np.rint(step) < 1)
    albedo += button[:, None] * (0.5 * (1.0 - albedo))
    bump -= 0.3 * button * smoothstep(2.6, 3.8, np.hypot(x, 72.0 * (step - np.rint(step))))
    leaf_cover = smoothstep(-0.6, 0.6, inside) * look.collar[SHIRT_COLLAR]
    return bump, np.where(on_leaf, leaf_cover, cover)


def _front(where: np.ndarray) -> np.ndarray:
    return smoothstep(-125.0, -60.0, where[:, 2])


def _lying(where: np.ndarray, radius: float) -> np.ndarray:
    """Millimetres [P] outside a ring round the neck: the edges of wide ones lie on the shoulders."""
    return np.maximum(np.hypot(where[:, 0], 0.8 * (where[:, 2] + 95.0)) - radius, 0.0)


def _highest(where: np.ndarray) -> np.ndarray:
    """Millimetres [P] below where the surface ends: the neck leans forward."""
    return -77.0 - 0.50 * (where[:, 2] + 171.0) - where[:, 1]


def _crew(where: np.ndarray, wide: float) -> np.ndarray:
    """A ring round the neck that hangs in front."""
    x, y, _ = where.T
    sag = (6.0 + 36.0 * wide) * _front(where)
    return -100.0 - 26.0 * wide - sag * np.exp(-((x / 48.0) ** 2)) - y + 0.9 * _lying(where, 62.0 + 10.0 * wide)


def _vee(where: np.ndarray, wide: float) -> np.ndarray:
    x, y, _ = where.T
    point = np.maximum(1.0 - np.sqrt(x * x + 6.0) / (54.0 + 8.0 * wide), 0.0)
    depth = (36.0 + 20.0 * wide) * smoothstep(-125.0, -80.0, where[:, 2])
    return -102.0 - 8.0 * wide - depth * point - y + 0.9 * _lying(where, 64.0 + 8.0 * wide)


def _turtleneck(where: np.ndarray, wide: float) -> np.ndarray:
    return _highest(where) - 4.0 * wide


def stand(where: np.ndarray) -> np.ndarray:
    """Millimetres [P] below the upper edge of the stand of a shirt's collar, where the leaf is folded over."""
    return _highest(where) - 8.0 + 0.5 * _lying(where, 64.0)


def _notch(below: np.ndarray | float, wide: float) -> np.ndarray:
    """Half the width [P] of what an open button shows."""
    return 0.50 * np.maximum(_OPEN[0] + _OPEN[1] * wide - np.asarray(below), 0.0)


def _open_shirt(where: np.ndarray, wide: float) -> np.ndarray:
    below = stand(where)
    beside = 0.9 * (np.abs(where[:, 0]) - _notch(below, wide)) + 90.0 * (1 - _front(where))
    closed = 12.0 * smoothstep(0.0, 12.0, below - _OPEN[0] - _OPEN[1] * wide)
    return np.minimum(below, beside + closed)
