"""The shirt, as a function of where on the mean person a sample lies: cut, knit or weave, seams, stripes."""

from __future__ import annotations

import numpy as np

from training.data.synthetic.appearance import Appearance
from training.data.synthetic.mesh import smoothstep
from training.data.synthetic.noise import noise3


def neckline(where: np.ndarray, look: Appearance) -> np.ndarray:
    """Millimetres [P] below the shirt's upper edge at ``where`` [P, 3] mm; negative above it."""
    x, y, z = where.T
    front = smoothstep(-125.0, -60.0, z)
    # A ring round the neck that hangs in front; wide ones lie on the shoulders.
    level = -100.0 - 26.0 * look.neckline
    sag = (6.0 + 36.0 * look.neckline) * front
    away = np.hypot(x, 0.8 * (z + 95.0))
    return level - sag * np.exp(-((x / 48.0) ** 2)) - y + 0.9 * np.maximum(away - 62.0 - 10.0 * look.neckline, 0.0)


def paint_shirt(where: np.ndarray, look: Appearance, pixel: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(albedo [P, 3], relative change of light [P], covered share [P])."""
    below = neckline(where, look)
    x, y, z = where.T
    around = np.arctan2(x, z + 95.0) * 75.0  # mm round the neck
    folds = noise3(where * np.array([1.0, 0.55, 1.0]), 1 / 60.0, 31) + 0.5 * noise3(where, 1 / 28.0, 32)
    band = smoothstep(19.0, 17.0, below)
    seam = np.exp(-(((below - 19.5) / 1.3) ** 2))
    bump = 0.07 * folds * (1 - band) - 0.25 * seam - 0.20 * smoothstep(3.0, 0.0, below)
    fine = smoothstep(2.2, 0.7, pixel)
    rib = np.cos(2 * np.pi * around / 3.2)
    knit = np.cos(2 * np.pi * (x + 0.4 * y) / 2.4) * np.cos(2 * np.pi * (y - 0.2 * x) / 2.0)
    bump = bump + fine * (0.07 * band * rib + 0.035 * (1 - band) * knit)
    albedo = np.broadcast_to(look.clothes, (len(where), 3)).copy()
    stripes = smoothstep(-0.15, 0.15, np.cos(2 * np.pi * (y + 6.0 * folds * 0.3) / 26.0)) * (1 - band)
    other = np.clip(look.clothes * 0.45 + 0.08 + 0.5 * (look.clothes.mean() < 0.35), 0, 1)
    strength = (smoothstep(0.5, 0.8, look.pattern) * stripes)[:, None]
    albedo = albedo * (1 - strength) + other * strength
    return albedo, bump, smoothstep(-0.6, 0.6, below)
