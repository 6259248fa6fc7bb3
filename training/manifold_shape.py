"""Where the manifolds lie to begin with, and fitting M to them.

The released model's began as spheres around a far centre. These are copies, shifted in z, of a relief of the average
head and shoulders, blurred and limited in slope, so that the orthographic view sees every part of every manifold well.
"""

import numpy as np
import torch
from scipy.interpolate import RegularGridInterpolator
from scipy.ndimage import gaussian_filter
from tqdm import trange

from networks.manifold.generator import Generator, GeneratorConfig

MAX_SLOPE = 1.3  # of the relief; about 52 degrees
NUM_CELLS = 96  # of the relief, a side
HALF_EXTENT = 0.30
BLUR_CELLS = 2.0
MIN_HEIGHT = -0.25  # beside the person
# The outermost and innermost manifold, relative to the relief, canonical units.
FRONT_OFFSET, BACK_OFFSET = 0.028, -0.092


def relief(surface: np.ndarray) -> RegularGridInterpolator:
    """The front of a point cloud as a smooth height field z(x, y).

    Args:
        surface: [N, 3] points of the average person, canonical units.
    """
    axis = np.linspace(-HALF_EXTENT, HALF_EXTENT, NUM_CELLS)
    cell = np.rint((surface[:, :2] + HALF_EXTENT) / (axis[1] - axis[0])).astype(int)
    inside = ((cell >= 0) & (cell < NUM_CELLS)).all(1)
    front = np.full((NUM_CELLS, NUM_CELLS), -np.inf)
    np.maximum.at(front, tuple(cell[inside].T), surface[inside, 2])
    # The lowest height field of limited slope that no point lies in front of.
    rows, columns = np.nonzero(np.isfinite(front))
    height = np.full((NUM_CELLS, NUM_CELLS), -np.inf)
    for row, column in zip(rows, columns, strict=True):
        distance = np.hypot(axis[:, None] - axis[row], axis[None] - axis[column])
        np.maximum(height, front[row, column] - MAX_SLOPE * distance, out=height)
    height = gaussian_filter(np.maximum(height, MIN_HEIGHT), BLUR_CELLS)
    return RegularGridInterpolator((axis, axis), height, bounds_error=False, fill_value=None)


def fit_manifolds(generator: Generator, surface: np.ndarray, *, steps: int, seed: int) -> float:
    """Regress M to s = level of the shifted relief; returns the final root mean square error in canonical units."""
    config: GeneratorConfig = generator.config
    spacing = (FRONT_OFFSET - BACK_OFFSET) / (config.first_level - config.last_level)
    height = relief(surface)
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
        target = config.last_level + (offset - BACK_OFFSET) / spacing
        difference = m(torch.as_tensor(points, dtype=torch.float32)) - torch.as_tensor(target, dtype=torch.float32)
        loss = difference.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        error = loss.item() ** 0.5 * spacing
    return error
