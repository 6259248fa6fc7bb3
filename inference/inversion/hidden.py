"""What a photo does not show of a person.

A photo leaves points of the far side, and those behind others, to the model. There they stay as they were, or, where
their mirror images are shown, become like them: people are nearly symmetric (Yin et al. 2023, "3D GAN Inversion with
Facial Symmetry Prior", who mirror the picture; points of canonical space need no second camera).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from scipy.spatial import KDTree
from torch import Tensor

from networks.person.tracking import MILLIMETRES

BEHIND = 10.0 / MILLIMETRES  # a surface is shown to this depth
NEAR = 6.0 / MILLIMETRES  # from a shown crossing; rays of the demo are 5 mm apart
MIRROR = (-1.0, 1.0, 1.0)  # canonical space
A_STEP = 4096  # points that a step asks about


class Hidden(NamedTuple):
    """Points that a photo does not show, and what they were."""

    places: Tensor  # [N, 3] canonical
    twin: Tensor  # [N] bool: the mirror image is shown
    before: Tensor  # [N, 4] radiance
    colours: bool = False  # whether colours stay where there is no twin, or opacity alone

    def loss(self, radiance_of: Callable[[Tensor], Tensor], random: torch.Generator) -> Tensor:
        """The :meth:`error` of some of the points; ``radiance_of`` says what places [N, 3] are now, [N, 4]."""
        if not len(self.places):
            return self.before.new_zeros(())
        part = self.rows(torch.randint(len(self.places), (A_STEP,), generator=random).to(self.places.device))
        with torch.no_grad():
            twins = radiance_of(part.twins())
        return part.error(radiance_of(part.places), twins)

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


def shown_places(places: Tensor, depth: Tensor, surface: Tensor) -> Tensor:
    """Those of the ``places`` [R, K, 3] along the rays of a photo that lie before the surface or just below it: [N, 3].

    Args:
        depth: [R, K] of the places, canonical units.
        surface: [R] where the rays end; infinite where nothing is in their way.
    """
    return places[depth < surface[:, None] + BEHIND]


def hidden_places(places: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """Those of the ``places`` [M, 3] that are not near ``shown`` [K, 3].

    Returns:
        places [N, 3], and whether their mirror images are near it [N] bool.
    """
    tree = KDTree(shown.cpu().numpy())

    def seen(positions: Tensor) -> Tensor:
        distance, _ = tree.query(positions.cpu().numpy(), distance_upper_bound=NEAR)
        return torch.from_numpy(distance <= NEAR).to(positions.device)

    places = places[~seen(places)]
    return places, seen(places * places.new_tensor(MIRROR))
