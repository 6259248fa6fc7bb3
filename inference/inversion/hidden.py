"""What a photo does not show of a person of manifolds.

A photo leaves points of the far side, and those behind others, to the model. There they stay as they were, or, where
their mirror images are shown, become like them: people are nearly symmetric (Yin et al. 2023, "3D GAN Inversion with
Facial Symmetry Prior", who mirror the picture; points of canonical space need no second camera).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.spatial import KDTree
from torch import Tensor

from networks.compositing import composite
from networks.manifold.generator import ManifoldPoints
from networks.person.tracking import MILLIMETRES

BEHIND = 10.0 / MILLIMETRES  # a surface is shown to this depth
NEAR = 6.0 / MILLIMETRES  # from a shown crossing; rays of the demo are 5 mm apart
MIRROR = (-1.0, 1.0, 1.0)  # canonical space


class Hidden(NamedTuple):
    """Points that a photo does not show, and what they were."""

    places: Tensor  # [N, 3] canonical
    twin: Tensor  # [N] bool: the mirror image is shown
    before: Tensor  # [N, 4] radiance
    colours: bool = False  # whether colours stay where there is no twin, or opacity alone

    def rows(self, chosen: Tensor) -> Hidden:
        """Of the points ``chosen`` [n]."""
        return self._replace(places=self.places[chosen], twin=self.twin[chosen], before=self.before[chosen])

    def twins(self) -> Tensor:
        """Mirror images [N, 3]."""
        return self.places * self.places.new_tensor(MIRROR)

    def error(self, now: Tensor, twins: Tensor) -> Tensor:
        """How far radiance [N, 4] is from that of the ``twins`` [N, 4], or else from what it was."""
        off = (now - torch.where(self.twin[:, None], twins, self.before)).abs()
        if self.colours:
            return off.mean()
        return torch.cat([off[:, :3] * self.twin[:, None], off[:, 3:]], -1).mean()


def shown_places(points: ManifoldPoints, rgba: Tensor, order: Tensor) -> Tensor:
    """Crossings [N, 3] of the rays of a photo, from the camera to the surface.

    Args:
        points: [1, R, K, ...] of its rays.
        rgba: [1, R, K, 4] their radiance.
        order: [1, R, K] what they are sorted by.
    """
    there = points.valid > 0
    pixels = composite(torch.cat([rgba[..., :3], (rgba[..., 3] * points.valid)[..., None]], -1), order, points.depth)
    surface = torch.where(pixels.alpha > 0.5, pixels.depth, torch.inf)
    return points.canonical[there & (points.depth < surface[..., None] + BEHIND)]


def hidden_places(points: ManifoldPoints, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the crossings ``points`` that are not near ``shown`` [M, 3].

    Returns:
        places [N, 3], and whether their mirror images are near it [N] bool.
    """
    places, tree = points.canonical[points.valid > 0], KDTree(shown.cpu().numpy())

    def seen(positions: Tensor) -> Tensor:
        distance, _ = tree.query(positions.cpu().numpy(), distance_upper_bound=NEAR)
        return torch.from_numpy(distance <= NEAR).to(positions.device)

    places = places[~seen(places)]
    return places, seen(places * places.new_tensor(MIRROR))
