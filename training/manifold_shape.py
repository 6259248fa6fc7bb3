"""Where the manifolds lie to begin with, and fitting M to them.

The released model's began as spheres around a far centre. These are copies, shifted in z, of a relief of the average
head and shoulders, blurred and limited in slope, so that the orthographic view sees every part of every manifold well.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter
from scipy.optimize import brentq
from tqdm import trange

from networks.manifold.generator import Generator, GeneratorConfig

HALF_EXTENT = 0.30
MIN_HEIGHT = -0.25  # beside the person
# The outermost and innermost manifold, relative to the relief, canonical units.
FRONT_OFFSET, BACK_OFFSET = 0.028, -0.092


class Layers(NamedTuple):
    """How manifolds lie around the average person."""

    max_slope: float  # of the relief
    cells: int  # of the relief, a side
    blur: float  # cells
    density: float  # 0: evenly spaced; else cosh(density / 2) times or more as dense at the relief as far from it


WIDE = Layers(1.3, 96, 2.0, 0.0)  # 52 degrees; people of many shapes
CLOSE = Layers(1.3, 160, 1.2, 1.5)  # people who have the mean's shape (``canonical_shape``)


def relief(surface: np.ndarray, layers: Layers = WIDE) -> RegularGridInterpolator:
    """The front of a point cloud as a smooth height field z(x, y).

    Args:
        surface: [N, 3] points of the average person, canonical units.
    """
    axis = np.linspace(-HALF_EXTENT, HALF_EXTENT, layers.cells)
    cell = np.rint((surface[:, :2] + HALF_EXTENT) / (axis[1] - axis[0])).astype(int)
    inside = ((cell >= 0) & (cell < layers.cells)).all(1)
    front = np.full((layers.cells, layers.cells), -np.inf)
    np.maximum.at(front, tuple(cell[inside].T), surface[inside, 2])
    # The lowest height field of limited slope that no point lies in front of.
    rows, columns = np.nonzero(np.isfinite(front))
    height = np.full((layers.cells, layers.cells), -np.inf)
    for row, column in zip(rows, columns, strict=True):
        distance = np.hypot(axis[:, None] - axis[row], axis[None] - axis[column])
        np.maximum(height, front[row, column] - layers.max_slope * distance, out=height)
    height = gaussian_filter(np.maximum(height, MIN_HEIGHT), layers.blur)
    return RegularGridInterpolator((axis, axis), height, bounds_error=False, fill_value=None)


def depth_share(offset: np.ndarray, density: float) -> np.ndarray:
    """0 at FRONT_OFFSET .. 1 at BACK_OFFSET, and on beyond: the t of evenly spaced manifolds at ``offset``."""
    if density == 0:
        return (FRONT_OFFSET - offset) / (FRONT_OFFSET - BACK_OFFSET)

    def excess(before: float) -> float:
        return np.sinh(density * before) * -BACK_OFFSET - np.sinh(density * (1 - before)) * FRONT_OFFSET

    before = brentq(excess, 0.0, 1.0)  # t of the relief itself
    return before - np.arcsinh(offset * np.sinh(density * before) / FRONT_OFFSET) / density


def fit_manifolds(generator: Generator, surface: np.ndarray, *, steps: int, seed: int, layers: Layers = WIDE) -> float:
    """Regress M to s = level of the shifted relief; returns the final root mean square error in canonical units."""
    config: GeneratorConfig = generator.config
    spacing = (FRONT_OFFSET - BACK_OFFSET) / (config.first_level - config.last_level)
    height = relief(surface, layers)
    rng = np.random.default_rng(seed)
    m = generator.manifolds.train().requires_grad_(True)
    with torch.no_grad():  # a plain field: start from standard weights rather than from spheres
        for layer in [*m.hidden, m.output]:
            layer.reset_parameters()
    optimizer = torch.optim.Adam(m.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    error = float("nan")
    for _ in trange(steps, desc="manifolds", leave=False):
        points = rng.uniform((-0.26, -0.27, -0.30), (0.26, 0.22, 0.15), (4096, 3))
        near = rng.uniform((-0.24, -0.26, 1.3 * BACK_OFFSET), (0.24, 0.21, 1.3 * FRONT_OFFSET), (8192, 3))
        near[:, 2] += height(near[:, :2])
        points = np.concatenate([points, near])
        offset = points[:, 2] - height(points[:, :2])
        share = depth_share(offset, layers.density)
        target = config.first_level + share * (config.last_level - config.first_level)
        difference = m(torch.as_tensor(points, dtype=torch.float32)) - torch.as_tensor(target, dtype=torch.float32)
        loss = difference.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = loss.item() ** 0.5 * spacing
    return error
